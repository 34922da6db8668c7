package pipeline

import (
	"testing"
	"time"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

func removed(app, pushkey string, at time.Time) *RemovedPusher {
	return &RemovedPusher{UserID: "@a:x", Field: pusherFieldOf(app, pushkey), At: at, Reason: "rejected"}
}

func TestPusherIdentity(t *testing.T) {
	t.Parallel()
	for _, p := range [][2]string{{"im.vector.app", "k"}, {"a|b", "c|d"}, {"50%", "%7C"}, {"", ""}, {"ü", "\x00 \n"}} {
		app, key, ok := PusherIdentity(pusherFieldOf(p[0], p[1]))
		if !ok || app != p[0] || key != pushers.NewPushkey(p[1]) {
			t.Errorf("%q is read as %q, %q, %v", p, app, key.Reveal(), ok)
		}
	}
	for _, field := range []string{"", "m.push_rules", "pusher|", "pusher|app", "pusher|app|%", "pusher|%zz|k"} {
		if _, _, ok := PusherIdentity(field); ok {
			t.Errorf("%q has an identity", field)
		}
	}
}

func TestRemovedFilter(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		pattern string
		since   time.Time
		removed *RemovedPusher
		want    bool
	}{
		{"*", time.Time{}, removed("any", "k", noon), true},
		{"*", noon, removed("any", "k", noon), true},
		{"*", noon, removed("any", "k", noon.Add(-1)), false},
		{"im.vector.app.*", noon, removed("im.vector.app.ios.prod", "k", noon.Add(1)), true},
		{"im.vector.app.*", noon, removed("im.vector.app", "k", noon), false},
		{"im.vector.app", noon, removed("im.vector.app", "k", noon), true},
		{"im.vector.app", noon, removed("im.vector.apple", "k", noon), false},
		{"IM.*", noon, removed("im.vector.app", "k", noon), false},
		{"web/*", noon, removed("web/app/one", "k", noon), true},
		{"{ios,android}.prod", noon, removed("android.prod", "k", noon), true},
		{"*", noon, &RemovedPusher{Field: "m.push_rules", At: noon}, false},
	} {
		apps, err := pushers.CompileApps(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := (RemovedFilter{Apps: apps, Since: tc.since}).Match(tc.removed); got != tc.want {
			t.Errorf("%q since %v: %+v: %v, want %v", tc.pattern, tc.since, tc.removed, got, tc.want)
		}
	}
	if (RemovedFilter{}).Match(removed("app", "k", noon)) {
		t.Error("no pattern matches")
	}
}

// The record that the restore tool writes is one that a worker understands, and a homeserver.
func TestRestoredMessage(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_700_000_000_123)
	m, err := RestoredMessage("feedback", removed("app", "key|1", at), at)
	if want := `{"user_id":"@a:x","app_id":"app","pushkey":"key|1","reason":"restored","at":1700000000123}`; err != nil || string(m.Value) != want || string(m.Key) != "@a:x" || m.Topic != "feedback" {
		t.Errorf("%s %v: %s", m.Key, err, m.Value)
	}
	if user, ok := FeedbackUser(&stream.Record{Value: m.Value}); !ok || user != "@a:x" {
		t.Errorf("it is about %q, %v", user, ok)
	}
	if _, err := RestoredMessage("feedback", &RemovedPusher{UserID: "@a:x", Field: "m.push_rules"}, at); err == nil {
		t.Error("rules are restored as a pusher")
	}
	for _, bad := range []string{"", "x", "[]", `{"user_id":1}`, `{"user_id":"a"}`, `{}`, `{"user_id":"@a:x","user_id":"@b:x"}`} {
		if user, ok := FeedbackUser(&stream.Record{Value: []byte(bad)}); ok {
			t.Errorf("%s is about %s", bad, user)
		}
	}
	if _, ok := FeedbackUser(&stream.Record{}); ok {
		t.Error("a tombstone is about somebody")
	}
}
