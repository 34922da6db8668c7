package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// letter is a record of the dead-letter topic.
func letter(stage, reason, origin, key, value string, more ...string) *stream.Record {
	headers := map[string]string{
		stream.HeaderStage: stage, stream.HeaderReason: reason, stream.HeaderDetail: "the detail", stream.HeaderOriginTopic: origin, stream.HeaderOriginPartition: "5",
		stream.HeaderOriginOffset: "42", stream.HeaderOriginTime: "1700000000000", stream.HeaderAttempts: "3", stream.HeaderTime: "1700000060000", "traceparent": "00-1",
	}
	for i := 0; i < len(more); i += 2 {
		headers[more[i]] = more[i+1]
	}
	rec := &stream.Record{Topic: "tocsin.dead-letter", Partition: 3, Offset: 17, Key: []byte(key), Value: []byte(value), Time: time.UnixMilli(1_700_000_061_000)}
	for name, v := range headers {
		rec.Headers = append(rec.Headers, stream.Header{Key: name, Value: []byte(v)})
	}
	return rec
}

// deadNotice is the value of a delivery that was given up.
func deadNotice(eventType string) string {
	n := &Notice{
		Kind: KindRetry, RoomID: "!r:hs", Position: 7, Since: 1_600_000_000_000, Origin: Origin{"matrix.room-events", 5, 42},
		Event: &NoticeEvent{ID: "$e", Type: eventType, Content: []byte(`{"body":"secret words"}`)}, Verdicts: []Verdict{{Notify: true}}, Users: []Recipient{{ID: "@bob:hs"}},
		Retry: &Attempt{DeliveryID: "id", AppID: "im.app", Pushkey: "bobs-key", Attempts: 9, FirstFailure: 5},
	}
	return string(n.encode())
}

var bobsHash = pushers.NewPushkey("bobs-key").String()

func TestReadDeadLetter(t *testing.T) {
	t.Parallel()
	d := ReadDeadLetter(letter("users", "exhausted", "matrix.room-events", "@bob:hs", deadNotice("m.room.message")))
	if d.ID() != "3@17" || d.Stage != "users" || d.Reason != "exhausted" || d.Detail != "the detail" || d.Attempts != 3 || d.CutFrom != -1 ||
		d.Origin != (Origin{"matrix.room-events", 5, 42}) || d.Buried.UnixMilli() != 1_700_000_060_000 || d.OriginTime.UnixMilli() != 1_700_000_000_000 {
		t.Errorf("%+v", d)
	}
	want := DeadDelivery{ID: "id", UserID: "@bob:hs", RoomID: "!r:hs", EventID: "$e", Type: "m.room.message", AppID: "im.app", Pushkey: pushers.NewPushkey("bobs-key")}
	if diff := cmp.Diff(&want, d.Delivery); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// An event that looks like a notice is an event: anybody can send one.
	if d := ReadDeadLetter(letter("rooms", "wrong_key", "matrix.room-events", "k", deadNotice("m.room.message"))); d.Delivery != nil {
		t.Errorf("made up: %+v", d.Delivery)
	}
	foreign := ReadDeadLetter(&stream.Record{Value: nil, Time: time.UnixMilli(5)})
	if foreign.Delivery != nil || foreign.Origin.Topic != "" || foreign.Buried.UnixMilli() != 5 || foreign.CutFrom != -1 {
		t.Errorf("a record of somebody else: %+v", foreign)
	}
	for _, id := range []string{"", "3", "@", "3@", "@17", "a@1", "3@17@1", "-1@2", "1@-2", "3@17 "} {
		if _, _, err := ParseDeadLetterID(id); err == nil {
			t.Errorf("%q is taken for an id", id)
		}
	}
	if p, o, err := ParseDeadLetterID(d.ID()); p != 3 || o != 17 || err != nil {
		t.Errorf("%d, %d, %v", p, o, err)
	}
}

func TestDeadLetterFilter(t *testing.T) {
	t.Parallel()
	delivery := ReadDeadLetter(letter("users", "exhausted", "matrix.room-events", "@bob:hs", deadNotice("m.room.message")))
	record := ReadDeadLetter(letter("rooms", "invalid_json", "matrix.room-events", "!r:hs", "{"))
	at := delivery.Buried
	apps := func(pattern string) pushers.AppPattern {
		p, err := pushers.CompileApps(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, tc := range []struct {
		name             string
		filter           DeadLetterFilter
		delivery, record bool
	}{
		{"all", DeadLetterFilter{}, true, true},
		{"reason", DeadLetterFilter{Reasons: []string{"expired", "exhausted"}}, true, false},
		{"stage", DeadLetterFilter{Stages: []string{"rooms"}}, false, true},
		{"topic", DeadLetterFilter{Topics: []string{"matrix.account"}}, false, false},
		{"app", DeadLetterFilter{Apps: apps("im.*")}, true, false},
		{"another app", DeadLetterFilter{Apps: apps("im.app.*")}, false, false},
		{"since then", DeadLetterFilter{Since: at}, true, true},
		{"since later", DeadLetterFilter{Since: at.Add(1)}, false, false},
		{"until then", DeadLetterFilter{Until: at}, false, false},
		{"until later", DeadLetterFilter{Until: at.Add(1)}, true, true},
		{"all at once", DeadLetterFilter{Reasons: []string{"exhausted"}, Stages: []string{"users"}, Topics: []string{"matrix.room-events"}, Apps: apps("*"), Since: at, Until: at.Add(1)}, true, false},
	} {
		if tc.filter.Matches(delivery) != tc.delivery || tc.filter.Matches(record) != tc.record {
			t.Errorf("%s: delivery %v, record %v", tc.name, tc.filter.Matches(delivery), tc.filter.Matches(record))
		}
	}
}

// A delivery begins anew, and is the same delivery.
func TestReplayDelivery(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_800_000_000_000)
	r := Replay{Topics: DefaultTopics(), Partitions: func(string) int { return 12 }}
	before := ReadDeadLetter(letter("users", "exhausted", "matrix.room-events", "@bob:hs", deadNotice("m.room.message"), "notify", "false"))
	m, err := r.Message(before, now)
	if err != nil {
		t.Fatal(err)
	}
	if m.Topic != "tocsin.notifications" || m.Partition != stream.AnyPartition || string(m.Key) != "@bob:hs" || !m.Time.Equal(now) || len(m.Headers) != 1 || m.Headers[0].Key != "traceparent" {
		t.Errorf("%+v", m)
	}
	n, err := decodeNotice(&stream.Record{Value: m.Value})
	if err != nil {
		t.Fatal(err)
	}
	if n.Kind != KindRetry || n.Retry.Attempts != 0 || n.Retry.FirstFailure != 0 || n.Since != now.UnixMilli() || n.Retry.DeliveryID != "id" || n.Retry.Pushkey != "bobs-key" {
		t.Errorf("%s", m.Value)
	}
	p := &RegisteredPusher{Pusher: pushers.Pusher{AppID: n.Retry.AppID, Pushkey: pushers.NewPushkey(n.Retry.Pushkey)}}
	if bob := (Recipient{ID: "@bob:hs"}); newErrand(n, bob, p).deliveryID() != newErrand(before.notice, bob, p).deliveryID() {
		t.Error("the ledger would take it for another delivery")
	}
	if again, err := r.Message(before, now); err != nil || string(again.Value) != string(m.Value) {
		t.Errorf("a second time: %s, %v", again.Value, err)
	}
}

func TestReplayRecord(t *testing.T) {
	t.Parallel()
	topics := DefaultTopics()
	state, event := `{"type":"m.room.name","state_key":""}`, `{"type":"m.room.message"}`
	for _, tc := range []struct {
		name   string
		rec    *stream.Record
		force  bool
		topic  string // where it goes; "" if it doesn't
		refuse string // what is said then
	}{
		{"an event", letter("rooms", "invalid_json", topics.Events, "!r:hs", event), false, topics.Events, ""},
		{"an event that can't be read", letter("rooms", "invalid_json", topics.Events, "!r:hs", "{"), false, topics.Events, ""},
		{"a state event", letter("rooms", "wrong_key", topics.Events, "!r:hs", state), false, "", "state event"},
		{"a state event, by force", letter("rooms", "wrong_key", topics.Events, "!r:hs", state), true, topics.Events, ""},
		{"a state event that has its place", letter("rooms", "wrong_key", topics.Events, "!r:hs", state, "stream-position", "5"), false, topics.Events, ""},
		{"an account record", letter("accounts", "invalid_json", topics.Account, "@bob:hs|pusher|a|k", "{"), false, "", "account record"},
		{"an account record, by force", letter("accounts", "invalid_json", topics.Account, "@bob:hs|pusher|a|k", "{"), true, topics.Account, ""},
		{"a notice", letter("users", "invalid_json", topics.Notifications, "!r:hs", "{"), false, topics.Notifications, ""},
		{"a notice of a partition that is no more", letter("users", "invalid_json", topics.Notifications, "!r:hs", "{", stream.HeaderOriginPartition, "6"), true, "", "no partition 6"},
		{"a retry", letter("retry", "too_large", "tocsin.retry.5s", "@bob:hs", "{"), false, "tocsin.retry.5s", ""},
		{"a retry of a tier that is no more", letter("retry", "too_large", "tocsin.retry.9s", "@bob:hs", "{"), false, "", "does not exist"},
		{"a topic of somebody else", letter("rooms", "invalid_json", "payroll", "k", "{"), true, "", "does not read"},
		{"cut", letter("rooms", "too_large", topics.Events, "k", "{", stream.HeaderOriginalSize, "5000000"), true, "", "cut from 5000000 bytes to 1"},
		{"a delivery that was cut", letter("users", "expired", topics.Events, "k", deadNotice("m.room.message"), stream.HeaderOriginalSize, "5000000"), true, "", "cut"},
		{"a call", letter("users", "expired", topics.Events, "k", deadNotice("m.call.invite")), false, "", "call"},
		{"a call, by force", letter("users", "expired", topics.Events, "k", deadNotice("m.call.invite")), true, topics.Notifications, ""},
		{"of a newer version", letter("users", "expired", topics.Events, "k", `{"v":99}`), true, "", "newer version"},
		{"a delivery that can't be read", letter("users", "expired", topics.Events, "k", `{"v":1}`), true, "", "no delivery"},
		{"a stage that reads something else", letter("rooms", "invalid_json", topics.Notifications, "k", "{"), true, "", "does not read"},
		{"of nobody", &stream.Record{}, true, "", "where it came from"},
	} {
		r := Replay{Topics: topics, Force: tc.force, Partitions: func(topic string) int {
			if topic == "tocsin.retry.9s" {
				return 0
			}
			return 6
		}}
		m, err := r.Message(ReadDeadLetter(tc.rec), time.UnixMilli(1))
		if err == nil && (m.Topic != tc.topic || tc.refuse != "") || err != nil && (tc.refuse == "" || !strings.Contains(err.Error(), tc.refuse)) {
			t.Errorf("%s: to %q, %v", tc.name, m.Topic, err)
			continue
		}
		if err != nil || tc.rec.Value[0] != '{' || strings.Contains(tc.name, "call") {
			continue
		}
		ours := slices.ContainsFunc(m.Headers, func(h stream.Header) bool { return strings.HasPrefix(h.Key, "tocsin-") })
		if string(m.Key) != string(tc.rec.Key) || string(m.Value) != string(tc.rec.Value) || ours || len(m.Headers) != len(tc.rec.Headers)-9 {
			t.Errorf("%s: key %s, value %s, headers %v", tc.name, m.Key, m.Value, m.Headers)
		}
		if want := map[bool]int{true: 5, false: stream.AnyPartition}[tc.topic == topics.Notifications]; m.Partition != want {
			t.Errorf("%s: partition %d, want %d", tc.name, m.Partition, want)
		}
	}
}

// No pushkey is shown, wherever it stands, and what can't be searched for one is not shown at all.
func TestDeadLetterShowsNoPushkey(t *testing.T) {
	t.Parallel()
	key := func(rec *stream.Record) string { return ReadDeadLetter(rec).Key() }
	for in, want := range map[string]string{
		"@bob:hs|pusher|im.app|bobs-key": "@bob:hs|pusher|im.app|" + bobsHash,
		"@bob:hs|m.push_rules":           "@bob:hs|m.push_rules",
		"@bob:hs|pusher|bobs-key":        "@bob:hs|pusher|" + bobsHash,
		"bobs-key":                       bobsHash,
	} {
		if got := key(letter("accounts", "x", "matrix.account", in, "")); got != want {
			t.Errorf("key %s is shown as %s, want %s", in, got, want)
		}
	}
	for _, tc := range []struct{ name, stage, topic, value, want string }{
		{"an account record", "accounts", "matrix.account", `{"content":{"pushkey":"bobs-key","data":{"Auth":"bobs-key","url":"u"}},"list":[{"pushkey":"bobs-key"}]}`,
			fmt.Sprintf(`{"content":{"pushkey":%q,"data":{"Auth":%q,"url":"u"}},"list":[{"pushkey":%q}]}`, bobsHash, bobsHash, bobsHash)},
		{"a pushkey that is no text", "accounts", "matrix.account", `{"pushkey":["bobs-key"]}`, fmt.Sprintf(`{"pushkey":%q}`, pushers.NewPushkey(`["bobs-key"]`).String())},
		{"escaped and twice", "accounts", "matrix.account", `{"pushke\u0079":"bobs-key","pushkey":"bobs-key"}`, fmt.Sprintf(`{"pushkey":%q,"pushkey":%q}`, bobsHash, bobsHash)},
		{"no JSON", "accounts", "matrix.account", `{"pushkey":"bobs-key"`, ""},
		{"two", "accounts", "matrix.account", `{}{"pushkey":"bobs-key"}`, ""},
		{"a tombstone", "accounts", "matrix.account", ``, "-"},
		{"a notice that was cut", "users", "tocsin.notifications", `{"retry":{"pushkey":"bobs-key"`, ""},
		{"a delivery that was cut", "users", "matrix.room-events", `{"retry":{"pushkey":"bobs-key"`, ""},
		{"an event that is no JSON", "rooms", "matrix.room-events", `{"body":`, `{"body":`},
	} {
		got, err := ReadDeadLetter(letter(tc.stage, "x", tc.topic, "k", tc.value)).Value()
		if strings.TrimSuffix(tc.want, "-") != string(got) || (tc.want == "") != (err != nil) {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
	}
	if v, err := ReadDeadLetter(letter("users", "expired", "matrix.room-events", "@bob:hs", deadNotice("m.room.message"))).Value(); err != nil || strings.Contains(string(v), "bobs-key") || !strings.Contains(string(v), "secret words") {
		t.Errorf("%s, %v", v, err)
	}
}
