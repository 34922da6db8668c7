package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline/stream"
)

const testServer = "hs.example"

func stateEvent(kind, sender, key, content string) *Event {
	return &Event{ID: "$" + kind + key, RoomID: "!r:hs.example", Type: kind, Sender: sender, StateKey: &key, Content: []byte(content), StreamPosition: -1}
}

func foldAll(r *Room, events ...*Event) map[string]string {
	set := map[string]string{}
	for i, e := range events {
		r.Fold(e, int64(i+1), set)
	}
	return set
}

// A room that is loaded from what was saved is the room that was folded.
func TestFoldedRoomSurvivesSaving(t *testing.T) {
	t.Parallel()
	r := NewRoom("!r:hs.example", testServer)
	set := foldAll(r,
		stateEvent("m.room.create", "@a:hs.example", "", `{"room_version":"10","creator":"@a:hs.example"}`),
		stateEvent("m.room.member", "@a:hs.example", "@a:hs.example", `{"membership":"join","displayname":"Alice of the  Lake"}`),
		stateEvent("m.room.power_levels", "@a:hs.example", "", `{ "users": {"@a:hs.example": 100}, "notifications": {"room": 20} }`),
		stateEvent("m.room.name", "@a:hs.example", "", `{"name":"The Lake"}`),
		stateEvent("m.room.canonical_alias", "@a:hs.example", "", `{"alias":"#lake:hs.example"}`),
		stateEvent("m.room.member", "@a:hs.example", "@b:other", `{"membership":"invite"}`),
		stateEvent("m.room.member", "@c:hs.example", "@c:hs.example", `{"membership":"join","displayname":7}`),
		stateEvent("m.room.member", "@d:hs.example", "@d:hs.example", `{"membership":"join"}`),
		stateEvent("m.room.member", "@d:hs.example", "@d:hs.example", `{"membership":"leave"}`),
		stateEvent("m.room.topic", "@a:hs.example", "", `{"topic":"nobody asks"}`),
		stateEvent("m.room.member", "@e:hs.example", "@e:hs.example", `{"membership":"asleep"}`),
		stateEvent("m.room.name", "@a:hs.example", "not empty", `{"name":"nobody asks"}`),
	)
	back := LoadRoom(r.ID, testServer, RoomRecord{Fields: set})
	for _, room := range []*Room{r, back} {
		if room.Name != "The Lake" || room.Alias != "#lake:hs.example" || room.Rules.Version != "10" || room.Rules.MemberCount != 2 {
			t.Errorf("got name %q alias %q version %q members %d", room.Name, room.Alias, room.Rules.Version, room.Rules.MemberCount)
		}
		want := map[string]Member{
			"@a:hs.example": {Join, "Alice of the  Lake", 2}, "@b:other": {Invite, "", 6}, "@c:hs.example": {Join, "", 7},
		}
		if diff := cmp.Diff(want, room.Members); diff != "" {
			t.Errorf("members (-want +got):\n%s", diff)
		}
		if got := room.LocalJoined(); !slices.Equal(got, []string{"@a:hs.example", "@c:hs.example"}) {
			t.Errorf("local joined %v", got)
		}
		if !slices.Equal(room.Rules.Creators, []string{"@a:hs.example"}) {
			t.Errorf("creators %v", room.Rules.Creators)
		}
	}
	if _, ok := set["m|@d:hs.example"]; !ok {
		t.Error("who left must be remembered, or an import could bring them back")
	}
}

// Folding the same events again changes nothing.
func TestFoldIsIdempotent(t *testing.T) {
	t.Parallel()
	r := NewRoom("!r:hs.example", testServer)
	join := stateEvent("m.room.member", "@a:hs.example", "@a:hs.example", `{"membership":"join"}`)
	first := foldAll(r, join)
	second := foldAll(r, join)
	if !maps.Equal(first, second) || r.Rules.MemberCount != 1 {
		t.Errorf("first %v, then %v with %d members", first, second, r.Rules.MemberCount)
	}
}

func TestCreators(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, content string
		want          []string
	}{
		{"version 1 by default", `{"creator":"@c:x"}`, []string{"@c:x"}},
		{"version 10", `{"room_version":"10","creator":"@c:x"}`, []string{"@c:x"}},
		{"version 10 without creator", `{"room_version":"10"}`, []string{"@s:x"}},
		{"version 11: the sender", `{"room_version":"11","creator":"@c:x"}`, []string{"@s:x"}},
		{"version 11 has no additional ones", `{"room_version":"11","additional_creators":["@b:x"]}`, []string{"@s:x"}},
		{"version 12", `{"room_version":"12","additional_creators":["@b:x",7,"@d:x"]}`, []string{"@s:x", "@b:x", "@d:x"}},
		{"unknown version", `{"room_version":"org.example.odd","creator":"@c:x"}`, []string{"@s:x"}},
	} {
		if _, got := creators("@s:x", []byte(tc.content)); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestIsLocal(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]bool{
		"@a:hs.example": true, "@a:other": false, "@a:evil.hs.example": false, "@:hs.example": false, "a:hs.example": false, "": false, "@hs.example": false,
		"@a:b:hs.example": false, // the server's name begins at the first colon
	} {
		if got := IsLocal(id, testServer); got != want {
			t.Errorf("IsLocal(%q) = %v, want %v", id, got, want)
		}
	}
	if !IsLocal("@a:hs.example:8448", "hs.example:8448") {
		t.Error("a server's name may have a port")
	}
}

// Positions rise whatever happens to the source that they come from.
func TestOrderNeverRunsBackwards(t *testing.T) {
	t.Parallel()
	var o order
	last := int64(0)
	for i, step := range []struct {
		position  int64
		partition int
		life      int64
		offset    int64
	}{
		{-1, 0, 0, 10}, {-1, 0, 0, 11}, // offsets
		{500, 0, 0, 12}, {501, 0, 0, 13}, // stream positions from now on
		{-1, 0, 0, 14},               // and offsets again
		{-1, 3, 0, 2}, {-1, 3, 0, 3}, // repartitioned: lower offsets
		{-1, 3, 1, 0}, // the topic made anew
	} {
		o = parseOrder(o.String()) // as saved and loaded
		got := o.next(&Event{StreamPosition: step.position}, &stream.Record{Partition: step.partition, Incarnation: step.life, Offset: step.offset})
		if got <= last {
			t.Fatalf("step %d: position %d after %d", i, got, last)
		}
		last = got
	}
}

func TestDoneMark(t *testing.T) {
	t.Parallel()
	mark := parseDone(markOf(&stream.Record{Partition: 2, Incarnation: 1, Offset: 7}).String())
	for _, tc := range []struct {
		rec  stream.Record
		want bool
	}{
		{stream.Record{Partition: 2, Incarnation: 1, Offset: 7}, true},
		{stream.Record{Partition: 2, Incarnation: 1, Offset: 3}, true},
		{stream.Record{Partition: 2, Incarnation: 1, Offset: 8}, false},
		{stream.Record{Partition: 3, Incarnation: 1, Offset: 3}, false},
		{stream.Record{Partition: 2, Incarnation: 2, Offset: 3}, false},
	} {
		if got := mark.covers(&tc.rec); got != tc.want {
			t.Errorf("%v covers %+v: %v, want %v", mark, tc.rec, got, tc.want)
		}
	}
	if parseDone("").covers(&stream.Record{}) {
		t.Error("a room without a mark covers nothing")
	}
}

func TestRecipients(t *testing.T) {
	t.Parallel()
	r := NewRoom("!r:hs.example", testServer)
	foldAll(r,
		stateEvent("m.room.member", "@a:hs.example", "@a:hs.example", `{"membership":"join"}`),
		stateEvent("m.room.member", "@b:hs.example", "@b:hs.example", `{"membership":"join"}`),
		stateEvent("m.room.member", "@c:other", "@c:other", `{"membership":"join"}`),
		stateEvent("m.room.member", "@d:hs.example", "@d:hs.example", `{"membership":"invite"}`),
	)
	for _, tc := range []struct {
		name  string
		event *Event
		want  []string
	}{
		{"a message: local joined users but the sender", &Event{Type: "m.room.message", Sender: "@a:hs.example"}, []string{"@b:hs.example"}},
		{"of a remote user", &Event{Type: "m.room.message", Sender: "@c:other"}, []string{"@a:hs.example", "@b:hs.example"}},
		{"an invite: its target", stateEvent("m.room.member", "@a:hs.example", "@e:hs.example", `{"membership":"invite"}`), []string{"@e:hs.example"}},
		{"an invite of a remote user", stateEvent("m.room.member", "@a:hs.example", "@e:other", `{"membership":"invite"}`), nil},
		{"a kick: its target", stateEvent("m.room.member", "@a:hs.example", "@b:hs.example", `{"membership":"leave"}`), []string{"@b:hs.example"}},
		{"a ban of somebody outside", stateEvent("m.room.member", "@a:hs.example", "@e:hs.example", `{"membership":"ban"}`), nil},
		{"one's own leaving", stateEvent("m.room.member", "@b:hs.example", "@b:hs.example", `{"membership":"leave"}`), nil},
		{"a member event that is no state", &Event{Type: "m.room.member", Sender: "@a:hs.example", Content: []byte(`{"membership":"invite"}`)}, []string{"@b:hs.example"}},
	} {
		if got := Recipients(r, tc.event); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestRoomNames(t *testing.T) {
	t.Parallel()
	member := func(i int) *Event {
		id := fmt.Sprintf("@u%d:hs.example", i)
		return stateEvent("m.room.member", id, id, fmt.Sprintf(`{"membership":"join","displayname":"U%d"}`, i))
	}
	for _, tc := range []struct {
		name    string
		members int
		user    string
		want    string
	}{
		{"alone", 1, "@u1:hs.example", "Empty Room"},
		{"with one other: the sender's name says it", 2, "@u1:hs.example", ""},
		{"with two others", 3, "@u2:hs.example", "U1 and U3"},
		{"with three others", 4, "@u1:hs.example", "U2 and 2 others"},
		{"with three others, not among the first", 4, "@u4:hs.example", "U1 and 2 others"},
		{"with nine others", 10, "@u9:hs.example", "U1 and 8 others"},
	} {
		r := NewRoom("!r:hs.example", testServer)
		for i := 1; i <= tc.members; i++ {
			r.Fold(member(i), int64(i), map[string]string{})
		}
		names := r.names()
		if got := names.For(tc.user, false, true); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
	named := RoomNames{Name: "N", Alias: "#a:x"}
	aliased := RoomNames{Alias: "#a:x"}
	odd := RoomNames{Alias: "not an alias", Members: 1, Heroes: []Hero{{ID: "@u:x"}}}
	for _, tc := range []struct {
		got, want string
	}{
		{named.For("@u:x", false, true), "N"}, {aliased.For("@u:x", false, true), "#a:x"}, {odd.For("@u:x", false, true), "Empty Room"},
		{odd.For("@u:x", true, true), ""}, {odd.For("@u:x", true, false), "Room Invite"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestNamesAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", maxText)
	r := NewRoom("!r:hs.example", testServer)
	foldAll(r, stateEvent("m.room.name", "@a:hs.example", "", `{"name":"`+long+`"}`))
	if len(r.Name) > maxText || !strings.HasPrefix(long, r.Name) || len(r.Name) < maxText-3 {
		t.Errorf("the name has %d bytes", len(r.Name))
	}
}
