package main

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// asProcess makes the test's own binary the command.
const asProcess = "TOCSIN_DEV_AS_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestExitStatus(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"replay", file("good.jsonl", `{"wait":"idle"}`)}, 0, ""},
		{[]string{"replay", file("bad.jsonl", `{"wait":"idle"}`+"\n"+`{"wait":"idle"`)}, exitUsage, "bad.jsonl, line 2: not valid JSON"},
		{[]string{"replay", filepath.Join(dir, "none.jsonl")}, exitUsage, "no such file"},
		{[]string{"replay"}, exitUsage, `expected "<file>"`},
		{[]string{"dance"}, exitUsage, "unexpected argument dance"},
		{[]string{"--log-level", "loud", "replay", "-"}, exitUsage, "loud"},
		{[]string{"live", "--data", file("file", "")}, exitFailed, "file"},
	} {
		stderr := &strings.Builder{}
		if got := run(tc.args, stderr); got != tc.status || !strings.Contains(stderr.String(), tc.says) {
			t.Errorf("%v: status %d, want %d; it says %q, want %q", tc.args, got, tc.status, stderr, tc.says)
		}
	}
}

// TestBrokenConnections: connections that break, as those of push services do when they are told to, don't end the command as a broken output does.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	replay := exec.CommandContext(t.Context(), os.Args[0], "replay", "../../test/e2e/testdata/direct-retries.jsonl")
	replay.Env = append(os.Environ(), asProcess+"=1")
	replay.Stderr = os.Stderr
	out, err := replay.Output()
	want, wrong := os.ReadFile("../../test/e2e/testdata/direct-retries.golden")
	if err != nil || wrong != nil || string(out) != string(want) {
		t.Errorf("%v %v\n%s", err, wrong, out)
	}
}

// TestNobodyReads: when the reader of the output goes, the command ends, and leaves nothing behind.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"live"}, {"replay", "../../test/e2e/testdata/direct-shrink.jsonl"}} {
		left := t.TempDir()
		command := exec.CommandContext(t.Context(), os.Args[0], args...)
		command.Env = append(os.Environ(), asProcess+"=1", "TMPDIR="+left)
		stdout, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		stdout.Close()
		err = command.Wait()
		if status := command.ProcessState.ExitCode(); status != 0 && status != exitFailed {
			t.Errorf("%v: %v", args, err)
		}
		if files, err := os.ReadDir(left); err != nil || len(files) > 0 {
			t.Errorf("%v: %v, and these files are left: %v", args, err, files)
		}
	}
}
