package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// golden compares with testdata/NAME, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		writeFile(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s: -want +got (-update writes it):\n%s", path, diff)
	}
}

// faultCase holds one kind of fault, or several that must all be found at once.
type faultCase struct {
	name, file string
	environ    []string
}

// goldenFaults compares what is said of all cases with testdata/NAME.
func goldenFaults(t *testing.T, name string, cases []faultCase, read func(*testing.T, faultCase) Faults) {
	t.Helper()
	t.Chdir("testdata") // so that messages name the secrets' files without this machine's folders
	var said strings.Builder
	for _, tc := range cases {
		faults := read(t, tc)
		file := tc.file
		if len(file) > 1000 {
			file = fmt.Sprintf("(%d bytes)\n", len(file))
		}
		fmt.Fprintf(&said, "=== %s\n", tc.name)
		for line := range strings.Lines(file) {
			fmt.Fprintf(&said, "  | %s\n", strings.TrimSuffix(fmt.Sprintf("%q", line)[1:], `\n"`))
		}
		for _, e := range tc.environ {
			fmt.Fprintf(&said, "  $ %s\n", strings.NewReplacer("\x00", `\0`, "\n", `\n`).Replace(e))
		}
		fmt.Fprintln(&said, faults.Error())
		if faults == nil {
			t.Errorf("%s: no fault", tc.name)
		}
	}
	t.Chdir("..")
	golden(t, name, said.String())
}

func sampleFaults(t *testing.T, tc faultCase) Faults {
	t.Helper()
	_, faults := readSample(t, "tocsin.yaml", tc.file, tc.environ...)
	return faults
}

// What is said of each is in testdata/faults.txt.
func TestFaults(t *testing.T) {
	goldenFaults(t, "faults.txt", []faultCase{
		{"unknown keys", "server:\n  nmae: x\n  pasword: y\nlimit:\n  timeout: 5s\ntimeout: 5s\nzzz: 1\n", nil},
		{"names of other styles", "Server: {}\nserver:\n  server-name: x\n  userName: x\n  NAME: x\n", nil},
		{"dots in a name", "server.name: x\nlimits:\n  a.b: 1\n", nil},
		{"odd names", "5: x\ntrue: x\n~: x\n'': x\n\"a\\nb\": x\n", nil},
		{"a list for a name", "? [a, b]\n: x\n", nil},
		{"given twice", "server: {name: a, name: b}\nlimits: {count: 1}\nlimits: {count: 2}\n", nil},
		{"no values", "server:\n  name:\n  addresses: ~\n  labels: null\n  login: {password: }\nlimits:\n  count:\n", nil},
		{"numbers for texts", "server:\n  name: 0123\n  addresses: [1, b:2]\n  login: {user: 1.5, password: 12345}\nlimits:\n  mode: true\n", nil},
		{"wrong types", "server:\n  addresses: a:1\n  name: [a]\n  labels: x\n  networks: {a: b}\n  login: text\nlimits:\n  timeout: [1s]\n  count: {a: 1}\n  on: [true]\n", nil},
		{"booleans", "limits: {on: yes}\n", []string{"TOCSIN_LIMITS_ON=1"}},
		{"whole numbers", "limits:\n  count: 010\n  small: 2147483648\n", []string{"TOCSIN_LIMITS_COUNT=99999999999999999999"}},
		{"more numbers", "limits:\n  count: 1.5\n  small: 1_000\n  share: .nan\n", []string{"TOCSIN_LIMITS_COUNT=0x10", "TOCSIN_LIMITS_SHARE=Inf"}},
		{"durations", "limits: {timeout: 30}\n", []string{"TOCSIN_LIMITS_TIMEOUT=5 s"}},
		{"a duration that is a word", "limits: {timeout: forever and ever and ever and ever and ever and ever and ever}\n", nil},
		{"elements", "server:\n  addresses: [a:1, [b:2]]\n  labels: {a: [b], a: c}\n  networks: [10.0.0.0/33]\n", []string{"TOCSIN_SERVER_ADDRESSES=a:1,,b:2", "TOCSIN_SERVER_LABELS=a"}},
		{"repeated labels", "server: {labels: {a: b, a: c}}\n", []string{"TOCSIN_SERVER_LABELS=a=1,a=2"}},
		{"empty variables", "", []string{"TOCSIN_LIMITS_COUNT=", "TOCSIN_LIMITS_ON=", "TOCSIN_LIMITS_TIMEOUT=", "TOCSIN_SERVER_LOGIN_PASSWORD_FILE="}},
		{"unknown variables", "", []string{"TOCSIN_SERVER_NAMES=x", "TOCSIN_LIMIT_COUNT=1", "TOCSIN_WHATEVER=1", "TOCSIN_=1", "TOCSIN_SERVER=x", "TOCSIN_SERVER_PORT=9092"}},
		{"what a section says, with the place of the key, or of its section", "server:\n  addresses: [a, b:1, c]\n  login:\n    user: x\nlimits:\n  count: -1\n", []string{"TOCSIN_SERVER_NAME=bad"}},
		{"what a section says of a default", "", []string{"TOCSIN_SERVER_LOGIN_PASSWORD=x"}},
		{"a section is silent on a key with a fault", "server: {name: [x], login: {user: u, password: 1}}\n", []string{"TOCSIN_SERVER_ADDRESSES=,"}},
		{"a secret and its file", "server: {login: {user: u, password: x, password_file: empty}}\n", []string{"TOCSIN_SERVER_LOGIN_PASSWORD=x", "TOCSIN_SERVER_LOGIN_PASSWORD_FILE=x"}},
		{"secrets' files", "server: {login: {user: u, password_file: nowhere}}\n", nil},
		{"an empty file of a secret", "server: {login: {user: u, password_file: empty}}\n", nil},
		{"a folder for a secret", "server: {login: {user: u}}\n", []string{"TOCSIN_SERVER_LOGIN_PASSWORD_FILE=."}},
		{"a device for a secret", "server: {login: {user: u, password_file: /dev/zero}}\n", nil},
		{"no name for a secret's file", "server: {login: {user: u, password_file: ''}}\n", nil},
		{"not a mapping", "- a\n- b\n", nil},
		{"a text", "hello\n", nil},
		{"not YAML", "server:\n  login:\n    password: \"hunter2\n", []string{"TOCSIN_LIMITS_COUNT=x"}},
		{"not YAML either", "server:\n\tname: hunter2\n", nil},
		{"not YAML in a line", "server: name: hunter2\n", nil},
		{"two documents", "server: {name: x}\n---\nserver: {name: y}\n", nil},
		{"a directive", "%YAML 1.2\n---\nserver: {name: x}\n", nil},
		{"anchors, aliases, tags and merges", "server: &s\n  name: &n x\n  login: *s\n  addresses: [!!str a]\nlimits:\n  <<: *s\n  mode: *n\n  count: !!int '5'\n", nil},
		{"not UTF-8", "server:\n  name: \"x\"\n  login: {user: \"\xff\"}\n", nil},
		{"NUL", "server: {name: \"a\\0b\", login: {user: u, password: \"a\\0b\"}}\n", []string{"TOCSIN_LIMITS_MODE=a\x00b"}},
		{"too large", strings.Repeat("#", maxFile+1), nil},
		{"too many brackets", strings.Repeat("[", 100_000), nil},
	}, sampleFaults)
}

// A file without a name is one that a program holds: its lines alone are said.
func TestFaultWithoutFile(t *testing.T) {
	t.Parallel()
	_, faults := readSample(t, "", "server:\n  nam: x\n")
	if got, want := faults.Error(), "line 2:3: server.nam: is not a key; did you mean server.name?"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Nothing that the loader says or that is done with what it read shows a secret.
func TestSecretsStaySecret(t *testing.T) {
	t.Parallel()
	const secret = "hunter2-very-secret"
	c, faults := readSample(t, "f", "server: {login: {user: u, password: "+secret+"}}")
	if faults != nil {
		t.Fatal(faults)
	}
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", c)
		fmt.Fprintf(&shown, verb+"\n", c.Server.Login.Password)
	}
	c.Server.Hook = nil
	encoded, err := json.Marshal(c.Server.Login)
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(encoded)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("x", "config", c.Server.Login, "password", c.Server.Login.Password)
	}
	for _, file := range []string{
		"server: {login: {user: [], password: [" + secret + "]}}",
		"server: {login: {user: u, password: {" + secret + ": 1}}}",
		"server: {login: {user: u, password: &" + secret + " x}}",
		"server: {login: {user: u, password: *" + secret + "}}",
		"server: {login: {user: u, password: !" + secret + "}}",
		"server: {login: {password: " + secret + ", password: " + secret + "}}",
		"server: {login: {password: " + secret + ", password_file: /dev/null}}",
		"server: {login: {password: \"" + secret + "}}",
		"server: {login: {password: \"" + secret + "\\q\"}}",
		"server: {login: {pasword: " + secret + "}}",
		"server: {login: {password: @" + secret + "}}",
		"server: {login: {password: `" + secret + "}}",
		"server: {login: {password: {{" + secret + "}}}}",
		"shapes: {a: {type: circle, code: " + secret + ", code_file: /dev/null}}",
		"shapes: {a: {type: circle, code: [" + secret + "]}, b: {type: square, code: " + secret + "}, c: {code: " + secret + "}}",
		"shapes: {a: {type: circle, code: " + secret + "}, b: " + secret + "}",
	} {
		_, faults := readSample(t, "f", file)
		if faults == nil {
			t.Errorf("%s: no fault", file)
		}
		fmt.Fprintln(&shown, faults)
	}
	for _, e := range []string{"TOCSIN_SERVER_LOGIN_PASSWORD=" + secret + "\x00", "TOCSIN_SERVER_LOGIN_PASWORD=" + secret, "TOCSIN_SHAPES=" + secret,
		"TOCSIN_SHAPES={a: {type: circle, code: \"" + secret, "TOCSIN_SHAPES={a: {type: circle, code: " + secret + "}}", "TOCSIN_SHAPES_A_CODE=" + secret} {
		_, faults := readSample(t, "f", "", e)
		fmt.Fprintln(&shown, faults)
	}
	if s := shown.String(); strings.Contains(s, secret) || strings.Contains(s, fmt.Sprintf("%x", secret)) {
		t.Errorf("a secret was shown:\n%s", s)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"brokers", "client_id", "tls", "sasl", "group_prefix", "log", "push_from"}
	for name, want := range map[string]string{
		"broker": "brokers", "bootstrap": "", "clientId": "client_id", "client-id": "client_id", "tsl": "tls", "ssl": "sasl", "SASL": "sasl",
		"groupprefix": "group_prefix", "foo": "", "": "", "logs": "log", "push_form": "push_from", "x": "",
	} {
		if got := nearest(name, names); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "bc", 1}, {"abc", "abd", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(tc.a, tc.b); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.a, tc.b, got, tc.want)
		}
		if got := distance(tc.b, tc.a); got != tc.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tc.b, tc.a, got, tc.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "server:\n  name: x\n", "a: &x [1, *x]", "- a", "server: {login: {password: x}}", "? [a]\n: b", "limits: {timeout: 5s, count: 010}", "\ufeff%YAML 1.2\n---\n",
		"server:\n  addresses:\n  - a:1\n  -\n", "a: |\n  b\n c", "<<: {}", "a: !!binary x", "\"\\u12\"", "'", "{", "limits: .inf", "server: {networks: [::/0]}",
		"shapes: {a.[b]: {type: circle, code_file: /dev/null}}", "shapes:\n  a]: {type: [x]}\n  b: {typ: square, paint: {}}\n  '': ", "shapes: {bad[: {type: square, type: circle}}",
	} {
		f.Add(seed, "TOCSIN_SERVER_NAME="+seed)
		f.Add("", "TOCSIN_SHAPES="+strings.TrimPrefix(seed, "shapes: "))
	}
	f.Fuzz(func(t *testing.T, file, variable string) {
		if len(file) > 1<<12 { // the YAML parser is slow on brackets
			return
		}
		c := sampleDefaults()
		faults := parseYAML(c, "f", []byte(file), []string{variable, "TOCSIN_" + variable}) // secret files of a fuzzer's choosing are only read
		for _, f := range faults {
			if strings.ContainsAny(f.Path, "\n ") || f.Place == (Place{}) {
				t.Errorf("a fault of %q in %+v: %s", f.Path, f.Place, f)
			}
		}
		for name, shape := range c.Shapes {
			if faults == nil && (shape == nil || shape.Validate() != nil || strings.HasPrefix(name, "bad")) {
				t.Errorf("%q is %+v", name, shape)
			}
		}
	})
}
