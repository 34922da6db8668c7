package pushers_test

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
)

const secret = "correct-horse"

// TestPushkeyNeverPrints tries every verb, flag and encoder on a pushkey, alone and inside what may hold one.
func TestPushkeyNeverPrints(t *testing.T) {
	t.Parallel()
	key := pushers.NewPushkey(secret)
	pusher := pushers.Pusher{AppID: "app", Pushkey: key}
	type hidden struct {
		key    pushers.Pushkey
		pusher *pushers.Pusher
	}
	delivery := pushers.Delivery{Notification: pushers.Notification{Device: pushers.Device{Pusher: pusher}}}
	hex := fmt.Sprintf("%x", secret)
	for name, v := range map[string]any{
		"key": key, "pointer": &key, "pusher": pusher, "unexported": hidden{key, &pusher}, "delivery": delivery, "slice": []pushers.Pushkey{key},
		"map": map[pushers.Pushkey]int{key: 1}, "error": errors.Join(fmt.Errorf("about %v", key)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for verb := '!'; verb <= '~'; verb++ {
				for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "40", ".60"} {
					format := "%" + flags + string(verb)
					holdsNot(t, format, fmt.Sprintf(format, v), secret, hex)
				}
			}
			for _, handler := range []func(*bytes.Buffer) slog.Handler{
				func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
				func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
			} {
				var log bytes.Buffer
				slog.New(handler(&log)).Info("m", "v", v)
				holdsNot(t, "slog", log.String(), secret, hex)
			}
			encoded, _ := json.Marshal(v) // an error is as good
			holdsNot(t, "json", string(encoded), secret, hex)
			encoded, _ = stdjson.Marshal(v)
			holdsNot(t, "encoding/json", string(encoded), secret, hex)
		})
	}
}

func holdsNot(t *testing.T, what, s string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		if strings.Contains(s, secret) {
			t.Errorf("%s shows the key: %s", what, s)
		}
	}
}

func TestPushkey(t *testing.T) {
	t.Parallel()
	key, same, other := pushers.NewPushkey(secret), pushers.NewPushkey(strings.Clone(secret)), pushers.NewPushkey("battery-staple")
	if key != same || !key.Equal(same) || key == other || key.Hash() == other.Hash() {
		t.Error("equal texts must be equal keys, others not")
	}
	if got := key.Reveal(); got != secret {
		t.Errorf("revealed %q", got)
	}
	if none := pushers.NewPushkey(""); !none.IsZero() || none != (pushers.Pushkey{}) || none.Reveal() != "" {
		t.Error("no text is no key")
	}
	if got, want := fmt.Sprint(key), "pushkey#9dca666eb547"; got != want {
		t.Errorf("prints as %s, want %s", got, want)
	}
}
