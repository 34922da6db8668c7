package credential

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

const visible = "hunter2"

// Nothing but Reveal shows a secret, however it is held and whatever is done with it.
func TestSecretIsNotShown(t *testing.T) {
	t.Parallel()
	type holder struct {
		Exported Secret
		hidden   Secret
		List     []Secret
		ByName   map[string]*Secret
	}
	s := NewSecret(visible)
	h := holder{s, s, []Secret{s}, map[string]*Secret{"a": &s}}
	var shown bytes.Buffer
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %t %f %c %p %U %08.3s %T") {
		fmt.Fprintf(&shown, verb+"\n", s)
		fmt.Fprintf(&shown, verb+"\n", &s)
		fmt.Fprintf(&shown, verb+"\n", h)
		fmt.Fprintf(&shown, verb+"\n", &h)
	}
	fmt.Fprintln(&shown, s, h, fmt.Errorf("login as %v: %w", s, fmt.Errorf("%s", h.hidden)))
	for _, encode := range []func(any) ([]byte, error){json.Marshal, yaml.Marshal} {
		for _, v := range []any{s, &s, h, map[Secret]int{s: 1}} {
			b, err := encode(v)
			if err != nil {
				t.Fatal(err)
			}
			shown.Write(b)
		}
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("login", "secret", s, "pointer", &s, "holder", h)
	}
	for _, form := range []string{visible, fmt.Sprintf("%x", visible), fmt.Sprintf("%X", visible), fmt.Sprint([]byte(visible))} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("%q was shown:\n%s", form, shown.String())
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	var zero Secret
	if !zero.IsZero() || zero.Reveal() != "" || zero.String() != "" || zero != NewSecret("") {
		t.Error("the zero secret is not empty")
	}
	a, b := NewSecret(visible), NewSecret("other")
	if a.IsZero() || a.Reveal() != visible || a.String() != "<redacted>" || fmt.Sprintf("%d", a) != "<redacted>" {
		t.Errorf("got %q, shown as %q", a.Reveal(), a.String())
	}
	if a == b || a != NewSecret("hunter"+"2") || !cmp.Equal(a, NewSecret(visible)) || cmp.Equal(a, b) {
		t.Error("secrets are not compared by their text")
	}
}

func TestUnmarshalSecret(t *testing.T) {
	t.Parallel()
	var s Secret
	if err := json.Unmarshal([]byte(`"`+visible+`"`), &s); err != nil || s.Reveal() != visible {
		t.Errorf("got %q, %v", s.Reveal(), err)
	}
	if err := s.UnmarshalText([]byte(visible + "\x00")); err == nil || strings.Contains(err.Error(), visible) {
		t.Errorf("a NUL character: %v", err)
	}
}
