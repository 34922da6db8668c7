package main

import (
	"os"
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
