package replay

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const event = `{"topic":"events","value":{"room_id":"!r:x","origin_server_ts":1700000000000}}`

func TestInputIsReadTwice(t *testing.T) {
	text := `{"config":{"rules":{"dialect":"2015"}}}` + "\n" + `{"topic":"events","value":"no time in this"}` + "\n" + event + "\n" + `{"wait":"idle"}` // no newline at the end
	for _, open := range []struct {
		name  string
		stdin io.Reader
	}{{write(t, text), nil}, {"-", strings.NewReader(text)}} {
		in, err := openInput(open.name, open.stdin)
		if err != nil {
			t.Fatal(err)
		}
		if in.start.UnixMilli() != 1_700_000_000_000 || string(in.config) != `{"rules":{"dialect":"2015"}}` {
			t.Errorf("starts at %v with %s", in.start, in.config)
		}
		lines := 0
		for _, err := range in.lines() {
			if err != nil {
				t.Error(err)
			}
			lines++
		}
		if lines != 4 {
			t.Errorf("%d lines, want 4", lines)
		}
		spool := in.file.Name()
		if err := in.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(spool); in.spool != errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", spool, err)
		}
	}
}

func TestInputFaults(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"second line", event + "\n{}\n", `FILE, line 2: "topic" is missing: "events" or "account"`},
		{"empty line", event + "\n\n" + event, `FILE, line 2: the line is empty`},
		{"late config", event + "\n" + `{"config":{}}`, `FILE, line 2: "config" can only be the first line`},
		{"second config", `{"config":{}}` + "\n" + `{"config":{}}`, `FILE, line 2: "config" can only be the first line`},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			name := write(t, tc.text)
			_, err := openInput(name, nil)
			var fault *InputError
			if !errors.As(err, &fault) || strings.ReplaceAll(err.Error(), name, "FILE") != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
		})
	}
	var fault *InputError
	if _, err := openInput(filepath.Join(t.TempDir(), "none.jsonl"), nil); !errors.As(err, &fault) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := openInput(t.TempDir(), nil); err == nil {
		t.Error("a directory was read")
	}
}

func TestLongLines(t *testing.T) {
	long := `{"topic":"events","value":"` + strings.Repeat("x", 5<<20) + `"}`
	in, err := openInput(write(t, long+"\n"+event+"\n"+long+"\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	var lengths []int
	for l, err := range in.lines() {
		if err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, len(l.record.value))
	}
	if len(lengths) != 3 || lengths[0] != 5<<20 || lengths[2] != 5<<20 {
		t.Errorf("values of %v bytes", lengths)
	}
}
