package demo

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
	"tocsin/test/stack"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC // the screen shows local time, the golden file one of them
	goleak.VerifyTestMain(m)
}

// watch runs the demo until all of the lines have been seen.
func watch(t *testing.T, data string, lines ...string) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	seen, ended := &stack.Buffer{}, make(chan error, 1)
	go func() {
		ended <- Run(ctx, t.Context(), Options{Data: data, Output: seen, Log: slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})})
	}()
	for len(lines) > 0 && ctx.Err() == nil {
		for len(lines) > 0 && strings.Contains(seen.String(), lines[0]) {
			lines = lines[1:]
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it did not end well: %v", err)
	}
	if len(lines) > 0 {
		t.Errorf("never seen: %q\n%s", lines, seen)
	}
}

func TestDemoShowsPushesAndStops(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	watch(t, "", "Kafka    127.0.0.1:", "→  pushed         by .m.rule.message                bob's laptop    unread 1", "✕  rejected       the device is gone                erin's phone",
		"·  not pushed     by no garden                      carol", "by .m.rule.room_one_to_one        alice's phone")
	if left, err := os.ReadDir(temporary); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestDemoGoesOn starts twice on the same folder: the broker's records stay, the embedded Redis begins empty.
func TestDemoGoesOn(t *testing.T) {
	data := t.TempDir()
	for range 2 {
		watch(t, data, "→  pushed         by .m.rule.message                bob's phone     unread 1")
	}
}

func TestDemoNeedsItsFolder(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), t.Context(), Options{Data: file, Output: &stack.Buffer{}, Log: slog.DiscardHandler}); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("a file as folder: %v", err)
	}
}
