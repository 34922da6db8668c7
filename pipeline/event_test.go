package pipeline

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline/stream"
)

func record(value string, headers ...string) *stream.Record {
	rec := &stream.Record{Topic: "matrix.room-events", Key: []byte("!r:hs.example"), Value: []byte(value)}
	for i := 0; i < len(headers); i += 2 {
		rec.Headers = append(rec.Headers, stream.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return rec
}

func TestUnreadableRecords(t *testing.T) {
	t.Parallel()
	event := func(members string) string {
		return `{"room_id":"!r:hs.example","type":"m.room.message",` + members + `}`
	}
	for _, tc := range []struct {
		name   string
		rec    *stream.Record
		reason string
	}{
		{"null", &stream.Record{Key: []byte("!r:hs.example")}, "null"},
		{"empty", record(""), "empty"},
		{"blank", record(" \n"), "empty"},
		{"not JSON", record("hello"), "invalid_json"},
		{"cut off", record(`{"room_id":"!r:hs.example"`), "invalid_json"},
		{"two values", record(event(`"a":1`) + "{}"), "invalid_json"},
		{"not UTF-8", record(event("\"a\":\"\xff\"")), "invalid_json"},
		{"an array", record(`[]`), "not_object"},
		{"a text", record(`"text"`), "not_object"},
		{"null value", record(`null`), "not_object"},
		{"a repeated key", record(event(`"content":{},"content":{}`)), "duplicate_key"},
		{"a repeated key inside", record(event(`"content":{"a":1,"a":2}`)), "duplicate_key"},
		{"a repeated key, escaped", record(event(`"content":{"a":1,"\u0061":2}`)), "duplicate_key"},
		{"no room_id", record(`{"type":"m.room.message"}`), "no_room_id"},
		{"no type", record(`{"room_id":"!r:hs.example"}`), "no_type"},
		{"the wrong case", record(`{"ROOM_ID":"!r:hs.example","type":"m"}`), "no_room_id"},
		{"type is a number", record(`{"room_id":"!r:hs.example","type":7}`), "wrong_type"},
		{"room_id is null", record(`{"room_id":null,"type":"m"}`), "wrong_type"},
		{"sender is an object", record(event(`"sender":{}`)), "wrong_type"},
		{"event_id is a list", record(event(`"event_id":[]`)), "wrong_type"},
		{"state_key is null", record(event(`"state_key":null`)), "wrong_type"},
		{"content is a text", record(event(`"content":"x"`)), "wrong_type"},
		{"content is null", record(event(`"content":null`)), "wrong_type"},
		{"huge", record(event(`"content":{"body":"` + strings.Repeat("x", MaxEventBytes) + `"}`)), "too_large"},
		{"deep", record(event(`"content":` + strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000))), "too_deep"},
		{"deep list", record(event(`"content":{"a":` + strings.Repeat(`[`, 10_000) + strings.Repeat("]", 10_000) + "}")), "too_deep"},
		{"deep and cut off", record(event(`"content":` + strings.Repeat(`{"a":`, 100_000))), "too_deep"},
		{"another room's key", &stream.Record{Key: []byte("!other:hs.example"), Value: []byte(event(`"a":1`))}, "wrong_key"},
		{"a stream position that is none", record(event(`"a":1`), HeaderStreamPosition, "soon"), "stream_position"},
	} {
		_, err := DecodeEvent(tc.rec)
		var u *Unreadable
		if !errors.As(err, &u) || u.Reason != tc.reason {
			t.Errorf("%s: got %v, want reason %s", tc.name, err, tc.reason)
		}
	}
}

func TestReadableRecords(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name  string
		rec   *stream.Record
		check func(*Event) bool
	}{
		{"no event_id, no sender", record(`{"room_id":"!r:hs.example","type":"m"}`), func(e *Event) bool { return e.ID == "" && e.Sender == "" && e.StateKey == nil && !e.IsState() }},
		{"wrong types inside content", record(`{"room_id":"!r:hs.example","type":"m.room.message","content":{"body":7,"m.mentions":"x"}}`), func(e *Event) bool { return e.Content != nil }},
		{"a large number", record(`{"room_id":"!r:hs.example","type":"m","origin_server_ts":123456789012345678901234567890}`), func(e *Event) bool { return true }},
		{"a state event", record(`{"room_id":"!r:hs.example","type":"m.room.name","state_key":"","content":{}}`), func(e *Event) bool { return e.IsState() && *e.StateKey == "" }},
		{"state: false", record(`{"room_id":"!r:hs.example","type":"m.room.name","state_key":""}`, "state", "false"), func(e *Event) bool { return !e.IsState() && !e.Silent }},
		{"notify: false", record(`{"room_id":"!r:hs.example","type":"m.room.name","state_key":""}`, "notify", "false"), func(e *Event) bool { return e.IsState() && e.Silent }},
		{"stream-position", record(`{"room_id":"!r:hs.example","type":"m"}`, HeaderStreamPosition, "17"), func(e *Event) bool { return e.StreamPosition == 17 }},
		{"an old redaction", record(`{"room_id":"!r:hs.example","type":"m.room.redaction","redacts":"$a","content":{}}`), func(e *Event) bool { return e.Redacts == "$a" }},
		{"a redaction of version 11", record(`{"room_id":"!r:hs.example","type":"m.room.redaction","content":{"redacts":"$b"}}`), func(e *Event) bool { return e.Redacts == "$b" }},
		{"1,000 levels", record(`{"room_id":"!r:hs.example","type":"m","content":` + strings.Repeat(`{"a":`, 1000) + "1" + strings.Repeat("}", 1000) + `}`), func(e *Event) bool { return true }},
	} {
		e, err := DecodeEvent(tc.rec)
		if err != nil || !tc.check(e) {
			t.Errorf("%s: got %+v, %v", tc.name, e, err)
		}
	}
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	const content = `{
		"$a":{"m.read":{"@u:x":{"ts":1},"@v:x":{"ts":2,"thread_id":"$root"}},"m.fully_read":{"@w:x":{}},"m.read.private":{"@w:x":{"ts":"soon"},"@x:x":{"thread_id":7}}},
		"$b":7,
		"$c":{"m.read":[],"m.read.private":{"@u:x":"odd"}}}`
	e, err := DecodeEvent(record(`{"room_id":"!r:hs.example","type":"m.receipt","content":` + content + `}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []Receipt{{"@u:x", "$a", ""}, {"@v:x", "$a", "$root"}, {"@w:x", "$a", ""}}
	if diff := cmp.Diff(want, e.Receipts); diff != "" || !e.IsEDU || e.LeftOut != 4 {
		t.Errorf("ephemeral %v, left out %d, receipts (-want +got):\n%s", e.IsEDU, e.LeftOut, diff)
	}
	// A user who sends an event of that type reads in nobody's name.
	e, err = DecodeEvent(record(`{"room_id":"!r:hs.example","type":"m.receipt","sender":"@mallory:x","event_id":"$m","content":` + content + `}`))
	if err != nil || e.IsEDU || e.Receipts != nil {
		t.Errorf("a sent event is taken for a receipt: %+v %v", e, err)
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, s := range []string{`{}`, `{"room_id":"!r:hs.example","type":"m.receipt","content":{"$a":{"m.read":{"@u:x":{}}}}}`, `{"room_id":"!r:hs.example","type":"m.room.member","state_key":"@a:hs.example","content":{"membership":"join"}}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		e, err := DecodeEvent(record(value))
		if err != nil {
			if u := (*Unreadable)(nil); !errors.As(err, &u) || u.Reason == "" {
				t.Fatalf("an error without a reason: %v", err)
			}
			return
		}
		r := NewRoom(e.RoomID, testHomeserver)
		set := map[string]string{}
		r.Fold(e, 1, set)
		Recipients(r, e, 1)
		reloaded(t, e.RoomID, set)
	})
}
