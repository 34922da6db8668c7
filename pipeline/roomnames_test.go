package pipeline

// What rooms and their members are called, and what a redaction takes away.

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestRoomNames(t *testing.T) {
	t.Parallel()
	member := func(i int) *Event {
		id := fmt.Sprintf("@u%d:hs.example", i)
		return newStateEvent("m.room.member", id, id, fmt.Sprintf(`{"membership":"join","displayname":"U%d"}`, i))
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
		r := NewRoom("!r:hs.example", testHomeserver)
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
	r := NewRoom("!r:hs.example", testHomeserver)
	foldAll(r, newStateEvent("m.room.name", "@a:hs.example", "", `{"name":"`+long+`"}`))
	if len(r.Name) > maxText || !strings.HasPrefix(long, r.Name) || len(r.Name) < maxText-3 {
		t.Errorf("the name has %d bytes", len(r.Name))
	}
}

func TestRedactedNames(t *testing.T) {
	t.Parallel()
	r, set := NewRoom("!r:hs.example", testHomeserver), map[string]string{}
	named := func(id string, e *Event) *Event { e.ID = id; return e }
	r.Fold(named("$name", newStateEvent("m.room.name", "@a:hs.example", "", `{"name":"Rude"}`)), 1, set)
	r.Fold(named("$alias", newStateEvent("m.room.canonical_alias", "@a:hs.example", "", `{"alias":"#rude:x"}`)), 2, set)
	r.Fold(named("$first", join("@a:hs.example", "Rude")), 3, set)
	r.Fold(named("$rude", join("@b:hs.example", "Ruder")), 4, set)
	r.Fold(named("$second", join("@a:hs.example", "Polite")), 5, set)
	for _, id := range []string{"$first", "$unknown", "", "$rude", "$rude", "$name", "$alias"} {
		before := maps.Clone(set)
		r.Redact(id, set)
		if nothing := id == "$first" || id == "$unknown" || id == ""; nothing != maps.Equal(before, set) && id != "$rude" {
			t.Errorf("after the redaction of %q: %v", id, set)
		}
	}
	for i, room := range []*Room{r, reloaded(t, r.ID, set)} {
		a, b := room.Members["@a:hs.example"], room.Members["@b:hs.example"]
		if room.Name != "" || room.Alias != "" || a.DisplayName != "Polite" || b.DisplayName != "" || b.Membership != Join || b.Position != 4 || room.Rules.MemberCount != 2 {
			t.Errorf("loaded %v: name %q, alias %q, members %+v", i == 1, room.Name, room.Alias, room.Members)
		}
	}
	// What comes from before the redaction does not bring the name back; what is newer than the event does, though it is older than the redaction.
	r.Fold(named("$late", join("@b:hs.example", "Late")), 3, set)
	if got := r.Members["@b:hs.example"].DisplayName; got != "" {
		t.Errorf("an older event named the member %q", got)
	}
	r.Fold(named("$later", join("@b:hs.example", "Later")), 6, set)
	if got := r.Members["@b:hs.example"].DisplayName; got != "Later" {
		t.Errorf("a newer event named the member %q", got)
	}
}
