package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// explain runs the command with files and standard input.
func explain(t *testing.T, stdin string, args ...string) (out, complaint string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	p := process{stdin: strings.NewReader(stdin), stdout: &stdout, stderr: &stderr}
	status = p.run(context.Background(), context.Background(), append([]string{"explain"}, args...))
	return stdout.String(), stderr.String(), status
}

func TestExplainFromFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	join := `{"room_id":"!r:hs","type":"m.room.member","state_key":"@bob:hs","sender":"@bob:hs","content":{"membership":"join","displayname":"Bobby"}}` + "\n"
	event := `{"room_id":"!r:hs","type":"m.room.message","sender":"@alice:hs","event_id":"$e","content":{"body":"hello BOBBY"}}`
	state, ev := file("state", join), file("event", event)
	muted := file("rules", `{"global":{"override":[{"rule_id":"quiet","enabled":true,"conditions":[],"actions":[]}]}}`)
	for _, tc := range []struct {
		name string
		args []string
		want []string
	}{
		{"who is mentioned", []string{"--user", "@bob:hs", "--event", ev, "--state", state}, []string{`display name "Bobby"`, "because of the override rule .m.rule.contains_display_name"}},
		{"who has muted all", []string{"--user", "@bob:hs", "--event", ev, "--state", state, "--rules", muted}, []string{"No notification, because of the override rule quiet"}},
		{"who wrote it", []string{"--user", "@alice:hs", "--event", ev, "--state", state}, []string{"The rules are not asked: the user sent the event"}},
		{"who is not there", []string{"--user", "@carol:hs", "--event", ev, "--state", state}, []string{"The rules are not asked: the user is not joined to the room"}},
	} {
		out, complaint, status := explain(t, "", tc.args...)
		for _, want := range tc.want {
			if status != 0 || !strings.Contains(out, want) {
				t.Errorf("%s: status %d, %q does not say %q %s", tc.name, status, out, want, complaint)
			}
		}
	}
	if _, complaint, status := explain(t, "", "--user", "@bob:hs", "--event", file("bad", `{"type":1}`), "--state", state); status != 1 || !strings.Contains(complaint, "type") {
		t.Errorf("an event that can't be read: status %d, %q", status, complaint)
	}
	for _, args := range [][]string{{}, {"--user", "bob", "--event", ev}, {"--user", "@bob:hs", "--event", filepath.Join(dir, "missing"), "--state", state}} {
		if _, _, status := explain(t, "", args...); status != misused {
			t.Errorf("explain %v: status %d, want %d", args, status, misused)
		}
	}
}

func TestExplainBatch(t *testing.T) {
	t.Parallel()
	in := `{"name":"a","kind":"condition","event":{"content":{"body":"hi"}},"condition":{"kind":"event_match","key":"content.body","pattern":"HI"}}` + "\nnonsense\n"
	out, complaint, status := explain(t, in, "--batch")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if status != 0 || len(lines) != 2 || lines[0] != `{"name":"a","match":true}` || !strings.Contains(lines[1], `"error"`) {
		t.Errorf("status %d, %q %s", status, out, complaint)
	}
}
