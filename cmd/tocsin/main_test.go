package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite golden files")

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// run carries out a command line with this environment alone.
func run(t *testing.T, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return runWith(t.Context(), environ, args...)
}

func runWith(ctx context.Context, environ []string, args ...string) (status int, stdout, stderr string) {
	var out, complaints bytes.Buffer
	p := process{environ: environ, stdin: strings.NewReader(""), stdout: &out, stderr: &complaints}
	status = p.run(ctx, context.Background(), args)
	return status, out.String(), complaints.String()
}

const serverName = "TOCSIN_HOMESERVER_SERVER_NAME=example.org"

// What is wrong with a command line or a configuration is said before anything is done.
func TestMisuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "tocsin.yaml")
	if err := os.WriteFile(file, []byte("homeserver: {server_name: example.org}\nkafka:\n  broker: [a:1]\n  drain_timeout: 5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	faults := "tocsin: the configuration has 2 faults:\n" +
		"  FILE:3:3: kafka.broker: is not a key; did you mean kafka.brokers?\n" +
		"  FILE:4:3: kafka.drain_timeout: must be a duration such as 500ms, 5s or 1h30m: \"5\" has no unit\n"
	for _, tc := range []struct {
		name    string
		environ []string
		args    []string
		want    string
	}{
		{"nothing", nil, nil, "tocsin: expected one of \"worker\", \"check\", \"explain\", \"topics\", \"rooms\", ...\nTry tocsin --help.\n"},
		{"unknown command", nil, []string{"wroker"}, "tocsin: unexpected argument wroker, did you mean \"worker\"?\nTry tocsin --help.\n"},
		{"unknown flag", nil, []string{"worker", "--confg", "x"}, "tocsin: unknown flag --confg, did you mean \"--config\"?\nTry tocsin --help.\n"},
		{"unknown stage", nil, []string{"worker", "--stages", "rooms,user"}, "tocsin: --stages must be one of \"accounts\",\"rooms\",\"users\",\"retry\" but got \"user\"\nTry tocsin --help.\n"},
		{"no partitions", nil, []string{"topics", "create", "--partitions", "0"}, "tocsin: topics create: --partitions must be at least 1, not 0\nTry tocsin --help.\n"},
		{"negative replication", nil, []string{"topics", "create", "--replication=-1"}, "tocsin: topics create: --replication must not be negative\nTry tocsin --help.\n"},
		{"no file to import", nil, []string{"rooms", "import"}, "tocsin: expected \"<file>\"\nTry tocsin --help.\n"},
		{"no pattern of apps", nil, []string{"pause", "--app", "{a"}, "tocsin: pause: \"{a\" is no pattern of app ids, such as im.vector.app.*: glob: syntax error at 2: unclosed `{`\nTry tocsin --help.\n"},
		{"restore what", nil, []string{"pushers", "restore"}, "tocsin: missing flags: --app=GLOB, --since=TIME\nTry tocsin --help.\n"},
		{"restore since when", nil, []string{"pushers", "restore", "--app=*", "--since=yesterday"}, "tocsin: --since: \"yesterday\" is neither a time such as 2026-01-31T08:00:00Z nor a duration such as 2h\nTry tocsin --help.\n"},
		{"whose pushers", nil, []string{"pushers", "list", "--user=alice"}, "tocsin: pushers list: --user must be a user id, such as @alice:example.org\nTry tocsin --help.\n"},
		{"test what", nil, []string{"pushers", "test"}, "tocsin: missing flags: --app=GLOB, --user=@USER:SERVER\nTry tocsin --help.\n"},
		{"test whom", nil, []string{"pushers", "test", "--user=alice", "--app=*"}, "tocsin: pushers test: --user must be a user id, such as @alice:example.org\nTry tocsin --help.\n"},
		{"test no pattern", nil, []string{"pushers", "test", "--user=@a:b", "--app={a"}, "tocsin: pushers test: \"{a\" is no pattern of app ids, such as im.vector.app.*: glob: syntax error at 2: unclosed `{`\nTry tocsin --help.\n"},
		{"nothing configured", nil, []string{"check"}, "tocsin: the configuration has a fault:\n  homeserver.server_name: is required: what stands after the colon in the users' ids, such as example.org\n"},
		{"no such configuration", nil, []string{"check", "--config", "nowhere.yaml"}, "tocsin: the configuration can't be read: open nowhere.yaml: no such file or directory\n"},
		{"a configuration with faults", nil, []string{"worker", "--config", file}, faults},
		{"the same for check", nil, []string{"check", "--config=" + file}, faults},
		{"the same for topics", nil, []string{"topics", "create", "--config=" + file}, faults},
		{"the same for rooms", nil, []string{"rooms", "import", "-", "--config=" + file}, faults},
		{"the same for health", nil, []string{"health", "--config=" + file}, faults},
		{"the file of TOCSIN_CONFIG", []string{"TOCSIN_CONFIG=" + file}, []string{"check"}, faults},
		{"the flag above TOCSIN_CONFIG", []string{"TOCSIN_CONFIG=" + file}, []string{"check", "--config", "nowhere.yaml"}, "tocsin: the configuration can't be read: open nowhere.yaml: no such file or directory\n"},
		{"nothing to import", []string{serverName}, []string{"rooms", "import", "nowhere.jsonl"}, "tocsin: open nowhere.jsonl: no such file or directory\n"},
		{"a certificate that is not there", []string{serverName, "TOCSIN_KAFKA_TLS_ENABLED=true", "TOCSIN_KAFKA_TLS_CA_FILE=nowhere.pem"}, []string{"worker"}, "nowhere.pem"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			status, stdout, stderr := run(t, tc.environ, tc.args...)
			stderr = strings.ReplaceAll(stderr, file, "FILE")
			if status != misused || stdout != "" {
				t.Errorf("status %d, printed %q", status, stdout)
			}
			if stderr != tc.want && !(strings.HasSuffix(tc.want, ".pem") && strings.Contains(stderr, tc.want)) {
				t.Errorf("said %q, want %q", stderr, tc.want)
			}
		})
	}
}

// The help of every command is a text that a person has read: testdata/help.txt.
func TestHelp(t *testing.T) {
	t.Parallel()
	var all strings.Builder
	for _, args := range []string{"--help", "worker --help", "check --help", "topics --help", "topics create --help", "rooms --help", "rooms import --help", "rebuild --help", "dead-letter --help", "dead-letter list --help", "dead-letter show --help", "dead-letter replay --help",
		"offsets --help", "offsets show --help", "offsets reset --help", "pushers --help", "pushers guard --help",
		"pushers guard show --help", "pushers guard reset --help", "pushers restore --help", "pushers list --help", "pushers test --help", "pause --help", "resume --help", "paused --help", "appconfig --help", "health --help", "version --help"} {
		status, stdout, stderr := run(t, nil, strings.Fields(args)...)
		if status != succeeded || stderr != "" {
			t.Errorf("%s: status %d, %s", args, status, stderr)
		}
		fmt.Fprintf(&all, "$ tocsin %s\n%s\n", args, stdout)
	}
	const file = "testdata/help.txt"
	if *update {
		if err := os.WriteFile(file, []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(mustRead(t, file), all.String()); diff != "" {
		t.Errorf("-want +got (-update writes it):\n%s", diff)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	status, stdout, stderr := run(t, nil, "version")
	if status != succeeded || stderr != "" || !regexp.MustCompile(`^tocsin \S+.* \(go1\.\d+\S*, \w+/\w+\)\n$`).MatchString(stdout) {
		t.Errorf("status %d, %q, %q", status, stdout, stderr)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer http.HandlerFunc
		status int
		stdout string
		stderr string // a part of it
	}{
		{"ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ready") }, succeeded, "ready\n", ""},
		{"not ready", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "redis: connection refused", http.StatusServiceUnavailable)
		}, failed, "", "tocsin: the worker is not ready: redis: connection refused\n"},
		{"another server", http.NotFound, failed, "", "tocsin: the worker is not ready: 404 page not found\n"},
		{"cut off", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, failed, "", "tocsin: the worker does not answer: "},
		{"long", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
		}, failed, "", "tocsin: the worker is not ready: xxx"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.URL.Path != "/readyz" {
					t.Errorf("asked %s %s", r.Method, r.URL)
				}
				tc.answer(w, r)
			}))
			defer server.Close()
			status, stdout, stderr := run(t, []string{serverName, "TOCSIN_ADMIN_LISTEN=" + server.Listener.Addr().String()}, "health")
			if status != tc.status || stdout != tc.stdout || !strings.HasPrefix(stderr, tc.stderr) || len(stderr) > 5000 {
				t.Errorf("status %d, %q, %q", status, stdout, stderr)
			}
		})
	}
	if status, _, stderr := run(t, []string{serverName, "TOCSIN_ADMIN_LISTEN="}, "health"); status != failed || stderr != "tocsin: admin.listen is empty: the worker answers no one\n" {
		t.Errorf("no listener: status %d, %s", status, stderr)
	}
	if status, _, stderr := run(t, []string{serverName, "TOCSIN_ADMIN_LISTEN=" + closedPort(t)}, "health"); status != failed || !strings.HasPrefix(stderr, "tocsin: the worker does not answer: ") {
		t.Errorf("no worker: status %d, %s", status, stderr)
	}
}

// closedPort is an address of this machine at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
