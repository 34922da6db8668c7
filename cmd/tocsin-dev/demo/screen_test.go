package demo

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden file anew")

// TestScreen shows each kind of line once, by the worker's log alone.
func TestScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, log bytes.Buffer
		screen := NewScreen(&out, false, func(_ *shown, user string) string { return "by " + localpart(user)[:1] + "…" })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { screen.Run(ctx); close(ended) }()
		worker := slog.New(NewHandler(screen, slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))).With("stage", "users")
		push := func(event, user, app, action, reason string, attempt int) {
			worker.Info(settledMessage, "event_id", event, "user_id", user, "app_id", app, "rule", ".m.rule.message", "action", action, "reason", reason, "detail", "http_503", "unread", 2, "attempt", attempt)
		}
		evaluated := func(event string) { worker.Debug(evaluatedMessage, "event_id", event) }

		screen.expect("$one", shown{room: "Garden", sender: alice, text: "A line that is far too long to be shown on a terminal of the usual width, so it is cut", members: []string{alice, bob, carol, dave}})
		screen.expect("$two", shown{room: "Den", sender: bob, text: "short", members: []string{alice, bob, "@anna:" + server}})
		evaluated("$one")
		push("$one", bob, phone, "settle", "", 1)
		push("$one", bob, laptop, "retry", "", 1)
		time.Sleep(quiet + time.Millisecond) // nobody else is pushed: time to say why
		evaluated("$of-the-room's-making")
		evaluated("$two")
		push("$two", alice, phone, "drop", "read", 1)
		screen.note("a remark")
		time.Sleep(5 * time.Second)
		push("$one", bob, laptop, "settle", "", 2)
		push("$two", alice, phone, "dead_letter", "expired", 3)
		push("$two", alice, phone, "remove", "rejected", 3)
		push("$forgotten", alice, phone, "settle", "", 1)
		worker.Warn("Kafka is away")
		worker.Debug("nobody wants to know")
		synctest.Wait()
		stop()
		<-ended
		push("$two", alice, phone, "settle", "", 4) // after the end: dropped, and nobody is held up

		const golden = "testdata/screen.golden"
		got := out.String() + "\nlog:\n" + log.String()
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWhyNot(t *testing.T) {
	message := func(content string) *shown {
		return &shown{sender: alice, members: []string{alice, bob, carol}, raw: []byte(`{"type":"m.room.message","room_id":"` + garden + `","sender":"` + alice + `","content":` + content + `}`)}
	}
	for _, tc := range []struct {
		event *shown
		user  string
		want  string
	}{
		{message(`{"msgtype":"m.notice","body":"x"}`), bob, "by .m.rule.suppress_notices"},
		{message(`{"msgtype":"m.text","body":"x"}`), carol, "by no garden"},
		{message(`{"msgtype":"m.text","body":"x"}`), dave, "by " + garden},
		{message(`{"msgtype":"m.text","body":"x"}`), erin, "the device is gone"},
		{message(`{"msgtype":"m.text","body":"x"}`), rita, "of another homeserver"},
		{message(`{"msgtype":"m.text","body":"x"}`), robot, "no device"},
		{&shown{sender: alice, raw: []byte(`{"type":"m.room.topic","room_id":"!x","state_key":"","content":{}}`)}, alice, "no rule matches"},
		{&shown{sender: alice, raw: []byte(`{"type":"m.room.member","room_id":"!x","state_key":"@x:y","content":{"membership":"invite"}}`)}, bob, "an invite is for one alone"},
		{&shown{sender: alice, raw: []byte(`{`)}, bob, "the event can't be read"},
	} {
		if got := whyNot(tc.event, tc.user); got != tc.want {
			t.Errorf("%s, %s: %q, want %q", tc.event.raw, tc.user, got, tc.want)
		}
	}
}

func TestPaint(t *testing.T) {
	if got := (paint{true}).green("go"); got != "\x1b[32mgo\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := (paint{}).green("go"); got != "go" {
		t.Errorf("%q", got)
	}
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if Colours(file) {
		t.Error("a file is no terminal")
	}
	if got := clip("grün und gut", 5); got != "grün…" {
		t.Errorf("%q", got)
	}
}
