package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const example = "homeserver: {server_name: example.org}\n"

func mustParse(t *testing.T, yaml string, environ ...string) *Config {
	t.Helper()
	c, err := Parse([]byte(yaml), environ)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// An empty configuration is the defaults, and lacks the one thing that has none.
func TestDefault(t *testing.T) {
	t.Parallel()
	const want = "homeserver.server_name: is required: what stands after the colon in the users' ids, such as example.org"
	for name, err := range map[string]error{"Validate": Default().Validate(), "Parse": second(Parse(nil, nil)), "Load": second(Load("", nil))} {
		if err == nil || err.Error() != want || !IsFault(err) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	defaults := Default()
	defaults.Homeserver.ServerName = "example.org"
	if err := defaults.Validate(); err != nil {
		t.Error(err)
	}
	got := mustParse(t, "", "TOCSIN_HOMESERVER_SERVER_NAME=example.org")
	if !reflect.DeepEqual(got, defaults) {
		t.Errorf("got %+v, want %+v", got, defaults)
	}
}

func second[T any](_ T, err error) error { return err }

// Every key says what it means, and no two are one variable.
func TestKeys(t *testing.T) {
	t.Parallel()
	byVariable := map[string]string{}
	for _, k := range schemaOf(Default()).keys {
		if k.doc == "" && !k.isFile() {
			t.Errorf("%s has no doc tag", k.path)
		}
		if k.path != strings.ToLower(k.path) {
			t.Errorf("%s is not in lower case", k.path)
		}
		v := variable(k.path)
		if other := byVariable[v]; other != "" {
			t.Errorf("%s and %s are both %s", k.path, other, v)
		}
		byVariable[v] = k.path
	}
	if names := Variables(); len(names) != len(byVariable) || !slices.Contains(names, "TOCSIN_KAFKA_SASL_PASSWORD_FILE") {
		t.Errorf("Variables() = %v", names)
	}
}

const readme = "../README.md"

// The tables in the README are those that the tags make.
func TestTablesInREADME(t *testing.T) {
	t.Parallel()
	for _, part := range []struct {
		name  string
		write func(io.Writer) error
	}{{"config", Table}, {"config apps", AppsTable}} {
		begin, end := "<!-- "+part.name+": begin -->\n", "<!-- "+part.name+": end -->"
		text, err := os.ReadFile(readme)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok1 := strings.Cut(string(text), begin)
		table, after, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			t.Fatalf("%s has no lines %q and %q", readme, begin, end)
		}
		var want bytes.Buffer
		if err := part.write(&want); err != nil {
			t.Fatal(err)
		}
		if *update {
			writeFile(t, readme, before+begin+want.String()+end+after)
			continue
		}
		if diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(table, "\n")); diff != "" {
			t.Errorf("%s: -want +got (go test ./config -update writes it):\n%s", readme, diff)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := writeTable(&b, schemaOf(sampleDefaults())); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.md", b.String())
}

func TestLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "tocsin.yaml")
	writeFile(t, file, "homeserver:\n  server_name: example.org\nkafka:\n  brokers: [a:1]\nlog:\n  level: loud\n")
	_, err := Load(file, []string{"TOCSIN_LOG_FORMAT=xml"})
	want := file + ":6:3: log.level: \"loud\" is none of debug, info, warn, error\nTOCSIN_LOG_FORMAT: log.format: \"xml\" is neither text nor json"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c, err := Load(file, []string{"TOCSIN_LOG_LEVEL=warn"})
	if err != nil || c.Kafka.Brokers[0] != "a:1" || c.Log.Level != "warn" {
		t.Errorf("got %+v, %v", c, err)
	}
	_, err = Load(filepath.Join(dir, "nowhere"), nil)
	if !errors.Is(err, fs.ErrNotExist) || IsFault(err) {
		t.Errorf("no such file: %v", err)
	}
	if _, err = Load(dir, nil); err == nil || IsFault(err) {
		t.Errorf("a folder: %v", err)
	}
	if _, err = Load("/dev/zero", nil); err == nil || !strings.HasPrefix(err.Error(), "/dev/zero: has 262145 bytes") {
		t.Errorf("a file without an end: %v", err)
	}
}

func TestMerge(t *testing.T) {
	t.Parallel()
	base := mustParse(t, example)
	if err := Merge(base, []byte(` {"kafka":{"brokers":["b:2"],"sasl":{"mechanism":"plain","username":"u","password":"p"}},"log":null,"admin":{"listen":""}} `)); err != nil {
		t.Fatal(err)
	}
	want := mustParse(t, example+"kafka: {brokers: ['b:2'], sasl: {mechanism: plain, username: u, password: p}}\nadmin: {listen: ''}\n")
	if !reflect.DeepEqual(base, want) {
		t.Errorf("got %+v, want %+v", base, want)
	}
	for _, tc := range []struct{ name, json, want string }{
		{"unknown key", `{"kafka":{"broker":1}}`, "kafka.broker: is not a key; did you mean kafka.brokers?"},
		{"exact names", `{"Kafka":{}}`, "Kafka: is not a key; did you mean kafka?"},
		{"wrong types", `{"kafka":{"brokers":"a:1","drain_timeout":5,"sasl":{"password":5}},"log":[]}`, strings.Join([]string{
			"kafka.brokers: must be a list, such as [a, b]",
			`kafka.drain_timeout: must be a duration such as 500ms, 5s or 1h30m: "5" has no unit`,
			"kafka.sasl.password: must be a text: put what is read as a number in quotes",
			"log: must be a mapping of keys to values, not a list",
		}, "\n")},
		{"no value", `{"log":{"level":null}}`, "log.level: has no value: give one, or remove the key for its default"},
		{"given twice", `{"log":{"level":"info","level":"warn"}}`, "log.level: is given twice: keep one"},
		{"impossible values", `{"log":{"level":"loud"},"homeserver":{"server_name":""}}`, strings.Join([]string{
			"homeserver.server_name: is required: what stands after the colon in the users' ids, such as example.org",
			`log.level: "loud" is none of debug, info, warn, error`,
		}, "\n")},
		{"expressions that are none", `{"homeserver":{"appservice_users":["@irc_.*","@(",".*"]}}`, strings.Join([]string{
			`homeserver.appservice_users[1]: "@(" is no regular expression (RE2): error parsing regexp: missing closing ): ` + "`@(`",
			`homeserver.appservice_users[2]: ".*" matches every user: nobody would be told of anything`,
		}, "\n")},
		{"an array", `[]`, "must be a mapping of keys to values, not a list"},
		{"a text", `"x"`, "must be a mapping of keys to values, not a text"},
		{"nothing", ``, "is not JSON, at byte 0"},
		{"cut off", `{"log":{"level":"hunter2`, "is not JSON, at byte 15"},
		{"more after it", `{} {}`, "is not JSON, at byte 4"},
		{"not UTF-8", "{\"log\":{\"level\":\"\xff\"}}", "is not JSON, at byte 15"},
		{"not JSON but YAML", "log: {level: warn}", "is not JSON, at byte 0"},
		{"deep", strings.Repeat(`{"log":`, 20000), "is not JSON, at byte 69999"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			base := mustParse(t, example)
			err := Merge(base, []byte(tc.json))
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if !reflect.DeepEqual(base, mustParse(t, example)) {
				t.Error("the base has changed")
			}
		})
	}
}

func TestServerName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"example.org": "", "example.org:8448": "", "localhost": "", "A-b.c": "", "1.2.3.4": "", "1.2.3.4:1": "", "[::1]": "", "[2001:db8::1]:65535": "", "xn--mnchen-3ya.example": "",
		"https://example.org":    "it is a URL; write the name alone, such as example.org",
		"@user:example.org":      "it is a user id; write what stands after the colon",
		":8448":                  "the host must have 1 to 255 characters",
		strings.Repeat("a", 256): "the host must have 1 to 255 characters",
		"example.org:":           "the port must be 1 to 65535",
		"example.org:0":          "the port must be 1 to 65535",
		"example.org:65536":      "the port must be 1 to 65535",
		"example.org:000001":     "the port must be 1 to 65535",
		"example.org:+1":         "the port must be 1 to 65535",
		"example.org:1:2":        "the port must be 1 to 65535",
		"::1":                    "the port must be 1 to 65535",
		"[::1]:":                 "the port must be 1 to 65535",
		"[::1]8448":              "only a port may follow the address",
		"[1.2.3.4]":              "the brackets must hold an IPv6 address",
		"[fe80::1%eth0]":         "the brackets must hold an IPv6 address",
		"[]":                     "the brackets must hold an IPv6 address",
		"[::1":                   "the port must be 1 to 65535",
		"[":                      "a host has letters, digits, hyphens and dots alone, or is an IPv6 address in brackets",
		"[[::1]]":                "the brackets must hold an IPv6 address",
		"exa mple.org":           "a host has letters, digits, hyphens and dots alone, or is an IPv6 address in brackets",
		"münchen.example":        "a host has letters, digits, hyphens and dots alone, or is an IPv6 address in brackets",
		"example.org/":           "a host has letters, digits, hyphens and dots alone, or is an IPv6 address in brackets",
		"::1]":                   "a host has letters, digits, hyphens and dots alone, or is an IPv6 address in brackets",
	} {
		got := ""
		if err := checkServerName(name); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", name, got, want)
		}
	}
}

func TestAdmin(t *testing.T) {
	t.Parallel()
	for listen, want := range map[string]string{
		"": "", "127.0.0.1:9100": "127.0.0.1:9100", ":9100": "127.0.0.1:9100", "0.0.0.0:9100": "127.0.0.1:9100", "[::]:9100": "[::1]:9100", "[::1]:1": "[::1]:1", "admin.internal:80": "admin.internal:80",
	} {
		a := Admin{Listen: listen}
		if err := a.Validate(); err != nil || a.Dial() != want {
			t.Errorf("%q: %v, dialled at %q, want %q", listen, err, a.Dial(), want)
		}
	}
	for _, listen := range []string{"9100", "localhost", "localhost:", "localhost:http", "localhost:0", "a:1:2", "localhost:65536"} {
		if err := (Admin{Listen: listen}).Validate(); err == nil {
			t.Errorf("%q is taken", listen)
		}
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		log  Log
		want string
	}{
		{Log{"info", "text"}, "level=INFO msg=b n=1\nlevel=ERROR msg=c\n"},
		{Log{"error", "json"}, `,"level":"ERROR","msg":"c"}` + "\n"},
		{Log{"debug", "text"}, "level=DEBUG msg=a\nlevel=INFO msg=b n=1\nlevel=ERROR msg=c\n"},
	} {
		var b bytes.Buffer
		log := tc.log.New(&b)
		log.Debug("a")
		log.Info("b", "n", 1)
		log.Error("c")
		var got strings.Builder
		for line := range strings.Lines(b.String()) {
			if tc.log.Format == "json" {
				got.WriteString(line[strings.Index(line, `,"level"`):])
			} else {
				got.WriteString(line[strings.Index(line, "level="):])
			}
		}
		if got.String() != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.log, got.String(), tc.want)
		}
	}
}

// What a copy of a Config holds is not changed by merging into the other.
func TestMergeLeavesCopies(t *testing.T) {
	t.Parallel()
	base := mustParse(t, example)
	saved := *base
	before := slices.Clone(base.Kafka.Brokers)
	if err := Merge(base, []byte(`{"kafka":{"brokers":["x:1"]}}`)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(saved.Kafka.Brokers, before) || base.Kafka.Brokers[0] != "x:1" {
		t.Errorf("got %v and %v", saved.Kafka.Brokers, base.Kafka.Brokers)
	}
}

func FuzzMerge(f *testing.F) {
	for _, seed := range []string{`{}`, `{"kafka":{"brokers":["a:1"]}}`, `[`, `{"log":{"level":"info","level":1}}`, `{"":{"":null}}`, `{"a.b":1e400}`, "\xff", `{"topics":{"events":"` + "\\u0000" + `"}}`, `{"apps":{"a.[b]":{"type":"gateway","url":"https://a"},"":{},"b":{"typ":"fcm"},"c":{"type":"webpush","allowed_endpoints":["*"]}}}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, json []byte) {
		c := mustParse(t, example)
		if err := Merge(c, json); err == nil {
			if err := c.Validate(); err != nil {
				t.Errorf("merged to what is not valid: %v", err)
			}
		} else if !IsFault(err) {
			t.Errorf("%T", err)
		}
	})
}
