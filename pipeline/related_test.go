package pipeline

import (
	"fmt"
	"testing"
)

func TestRelatedEvents(t *testing.T) {
	t.Parallel()
	event := func(id, relates string) *Event {
		e, err := parseEvent(fmt.Appendf(nil, `{"room_id":"!r:x","type":"m.room.message","event_id":%q,"sender":"@a:x","content":{"m.relates_to":%s}}`, id, relates))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	var recent recentEvents
	for i := range maxRecent + 1 {
		recent.add(event(fmt.Sprintf("$%d", i), `{}`))
		recent.add(event(fmt.Sprintf("$%d", i), `{}`)) // again
	}
	for _, tc := range []struct {
		name, relates string
		want          string
	}{
		{"a thread", `{"rel_type":"m.thread","event_id":"$7"}`, "m.thread=$7 "},
		{"a reply", `{"m.in_reply_to":{"event_id":"$8"}}`, "m.in_reply_to=$8 "},
		{"a reply in a thread for old clients", `{"rel_type":"m.thread","event_id":"$7","is_falling_back":true,"m.in_reply_to":{"event_id":"$8"}}`, "m.in_reply_to=$8 (falling back) m.thread=$7 "},
		{"to the oldest, which is forgotten", `{"m.in_reply_to":{"event_id":"$0"}}`, ""},
		{"wrong types", `{"rel_type":7,"event_id":"$7","m.in_reply_to":"$8"}`, ""},
		{"no object", `[]`, ""},
	} {
		related := recent.of(event("$new", tc.relates))
		got := ""
		for _, kind := range []string{"m.in_reply_to", "m.thread"} {
			if r, ok := related[kind]; ok {
				got += kind + "=" + r.Event.ID() + " "
				if r.IsFallingBack {
					got += "(falling back) "
				}
			}
		}
		if got != tc.want || len(recent.ids) != maxRecent || len(recent.byID) != maxRecent {
			t.Errorf("%s: got %q, want %q; %d events are kept", tc.name, got, tc.want, len(recent.ids))
		}
	}
}
