package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is the command as a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr *bufio.Reader
}

func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.CommandContext(t.Context(), os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), asProcess+"=1")
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.stdout, p.stderr = stdin, bufio.NewReader(stdout), bufio.NewReader(stderr)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// says reads standard error up to a line that has what.
func (p *process) says(what string) string {
	p.t.Helper()
	var all strings.Builder
	for {
		line, err := p.stderr.ReadString('\n')
		all.WriteString(line)
		if strings.Contains(line, what) {
			return all.String()
		}
		if err != nil {
			p.t.Fatalf("it ends with %v, and never says %q:\n%s", err, what, &all)
		}
	}
}

// interrupt is Ctrl-C. It returns when the process has ended, which must be in the orderly way.
func (p *process) interrupt() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		p.t.Fatal(err)
	}
	for _, rest := range []io.Reader{p.stderr, p.stdout} {
		if text, _ := io.ReadAll(rest); len(text) > 0 {
			p.t.Errorf("it ends with %s", text)
		}
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("it ends with %v", err)
	}
}

// The command as operators use it: twice with one folder, with a client that knows no more than what the first start has said.
func TestFakeProviders(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "rehearsal")
	args := []string{"fake-providers", "--data", dir, "--port", "0", "--control", "127.0.0.1:0", "--gateway", "org.example.*", "--fcm", ""}
	p := start(t, args...)
	guide := p.says("Ctrl-C")
	gateway := regexp.MustCompile(`https://[^"]*/notify`).FindString(guide)
	authority, err := os.ReadFile(regexp.MustCompile(`ca_file: "([^"]*)"`).FindStringSubmatch(guide)[1])
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(guide, "type: fcm") || !strings.Contains(guide, `"org.example.*":`+"\n    type: gateway\n") {
		t.Errorf("apps\n%s", guide)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
	const body = `{"notification":{"counts":{"unread":0},"devices":[{"app_id":"org.example.x","pushkey":"k"}]}}`
	push := func(status int) {
		t.Helper()
		resp, err := client.Post(gateway, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		line, err := p.stdout.ReadString('\n')
		if want := fmt.Sprintf(`{"kind":"push","url":%q,"body":%s,"status":%d}`+"\n", gateway, body, status); err != nil || line != want || resp.StatusCode != status {
			t.Errorf("status %d, %v, line\n%swant\n%s", resp.StatusCode, err, line, want)
		}
	}
	push(200)
	fmt.Fprintln(p.stdin, `{"provider":{"app_id":"org.example.x","status":502}}`)
	p.says("answers waiting: 1")
	push(502)
	p.interrupt()
	if resp, err := client.Post(gateway, "application/json", strings.NewReader(body)); err == nil {
		resp.Body.Close()
		t.Error("it is still there")
	}
	p = start(t, args...)
	p.says("Ctrl-C")
	push(200)
	p.interrupt()
}
