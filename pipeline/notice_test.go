package pipeline

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline/stream"
)

// Every user is told once, in the partition that is theirs, with their own verdict, however the notice is split.
func TestSpreadKeepsEveryUsersVerdict(t *testing.T) {
	t.Parallel()
	const users, partitions = 3000, 4
	n := Notice{Kind: KindNotify, RoomID: "!r:hs.example", Event: &NoticeEvent{Type: "m.room.message"}}
	var told []Recipient
	for i := range users {
		n.Verdicts = append(n.Verdicts, Verdict{Rule: fmt.Sprint("rule", i), Notify: true})
		u := Recipient{ID: fmt.Sprintf("@u%d:hs.example", i), Verdict: i}
		if i%7 == 0 {
			u.Tags = map[string]int{"work": (i + 1) % users}
		}
		told = append(told, u)
	}
	n.Verdicts = n.Verdicts[:users]
	seen := map[string]bool{}
	for _, m := range spread(n, told, "topic", partitions, nil, time.Now()) {
		if len(m.Value) > 128<<10 {
			t.Errorf("a record has %d bytes", len(m.Value))
		}
		got, err := decodeNotice(&stream.Record{Value: m.Value})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range got.Users {
			var i int
			if _, err := fmt.Sscanf(u.ID, "@u%d:", &i); err != nil || seen[u.ID] || stream.PartitionOf(u.ID, partitions) != m.Partition {
				t.Fatalf("%s is told twice or in partition %d", u.ID, m.Partition)
			}
			seen[u.ID] = true
			if rule := got.Verdicts[u.Verdict].Rule; rule != fmt.Sprint("rule", i) {
				t.Errorf("%s got %s", u.ID, rule)
			}
			if tag, ok := u.Tags["work"]; ok != (i%7 == 0) || ok && got.Verdicts[tag].Rule != fmt.Sprint("rule", (i+1)%users) {
				t.Errorf("%s got another tag's verdict", u.ID)
			}
		}
	}
	if len(seen) != users {
		t.Errorf("%d of %d users are told", len(seen), users)
	}
}

func TestDecodeNotice(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, value, reason string }{
		{"not ours", `hello`, "invalid_json"},
		{"no version", `{"kind":"notify"}`, "invalid_json"},
		{"no event", `{"v":1,"kind":"notify","room_id":"!r","since":1,"origin":{},"users":[]}`, "invalid_notice"},
		{"no verdict", `{"v":1,"kind":"notify","room_id":"!r","since":1,"origin":{},"event":{"type":"m","room":{}},"users":[{"id":"@u:x","verdict":0}]}`, "invalid_notice"},
		{"a negative verdict", `{"v":1,"kind":"notify","room_id":"!r","since":1,"origin":{},"event":{"type":"m","room":{}},"verdicts":[{}],"users":[{"id":"@u:x","verdict":-1}]}`, "invalid_notice"},
		{"a tag's verdict that is missing", `{"v":1,"kind":"notify","room_id":"!r","since":1,"origin":{},"event":{"type":"m","room":{}},"verdicts":[{}],"users":[{"id":"@u:x","verdict":0,"tags":{"t":3}}]}`, "invalid_notice"},
		{"a retry of nothing", `{"v":1,"kind":"retry","room_id":"!r","since":1,"origin":{},"event":{"type":"m","room":{}},"users":[]}`, "invalid_notice"},
	} {
		_, err := decodeNotice(&stream.Record{Value: []byte(tc.value)})
		var u *Unreadable
		if !errors.As(err, &u) || u.Reason != tc.reason {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.reason)
		}
	}
	// What a newer version wrote is not bad: the partition waits for a newer worker.
	_, err := decodeNotice(&stream.Record{Topic: "topic", Partition: 3, Offset: 7, Value: []byte(`{"v":2,"kind":"unheard-of","users":"of another form"}`)})
	if !errors.Is(err, stream.ErrStop) || !strings.Contains(err.Error(), "topic/3@7") || !strings.Contains(err.Error(), "upgrade") {
		t.Errorf("got %v, want to be told where a newer version wrote", err)
	}
}

func TestNoticeSurvivesEncoding(t *testing.T) {
	t.Parallel()
	key := ""
	n := Notice{
		Version: noticeVersion, Kind: KindRetry, RoomID: "!r:hs.example", Position: 7, Since: 1700000000000, Origin: Origin{Topic: "t", Partition: 1, Offset: 2},
		Event:    &NoticeEvent{ID: "$e", Type: "m", Sender: "@a:x", SenderName: "A <b>", SenderKnown: true, StateKey: &key, Content: []byte(`{"a":1.50}`), Room: RoomNames{Alias: "#a:x", Heroes: []Hero{{"@b:x", "B"}}, Members: 2}},
		Verdicts: []Verdict{{Rule: "r", Notify: true, Highlight: true, Sound: true, Tweaks: []byte(`{"sound":"x"}`)}}, Users: []Recipient{{ID: "@u:x"}},
		Retry: &Attempt{DeliveryID: "d", AppID: "a", Pushkey: "k", Attempts: 2, FirstFailure: 3},
	}
	back, err := decodeNotice(&stream.Record{Value: n.encode()})
	if diff := cmp.Diff(&n, back); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// Users who share a partition, each with rules of their own for each of their pushers, can't make a record so large that nobody is told.
func TestSpreadBoundsWhatUsersSet(t *testing.T) {
	t.Parallel()
	tweaks := []byte(`{"sound":"` + strings.Repeat("x", noticeTweaks-20) + `"}`)
	n := Notice{Kind: KindNotify, RoomID: "!r:hs.example", Event: &NoticeEvent{Type: "m.room.message"}}
	var told []Recipient
	for i := range 2 * noticeUsers {
		u := Recipient{ID: fmt.Sprintf("@u%d:hs.example", i), Verdict: len(n.Verdicts), Tags: map[string]int{}}
		for tag := range 1 + maxTags {
			if tag > 0 {
				u.Tags[fmt.Sprint("tag", tag)] = len(n.Verdicts)
			}
			n.Verdicts = append(n.Verdicts, Verdict{Rule: fmt.Sprint(i, tag), Notify: true, Tweaks: tweaks})
		}
		told = append(told, u)
	}
	users := 0
	for _, m := range spread(n, told, "topic", 1, nil, time.Now()) {
		if len(m.Value) > noticeBytes {
			t.Errorf("a record has %d bytes", len(m.Value))
		}
		got, err := decodeNotice(&stream.Record{Value: m.Value})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range got.Users {
			if rule := got.Verdicts[u.Verdict].Rule; rule != fmt.Sprint(users, 0) {
				t.Errorf("%s got %s", u.ID, rule)
			}
			users++
		}
	}
	if users != len(told) {
		t.Errorf("%d of %d users are told", users, len(told))
	}
}
