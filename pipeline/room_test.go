package pipeline

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tocsin/pipeline/stream"
	"tocsin/rules"
)

const testServer = "hs.example"

var testHomeserver = Homeserver{Name: testServer}

// saved are the fields of a room.
type saved map[string]string

// LoadRoom implements roomLoader.
func (s saved) LoadRoom(_ context.Context, _ string, begin func(int) func(field, value string)) (string, error) {
	take := begin(len(s))
	for field, value := range s {
		take(field, value)
		take(field, value) // as Redis may
	}
	return "1 test", nil
}

func reloaded(t *testing.T, id string, fields map[string]string) *Room {
	t.Helper()
	r, err := LoadRoom(t.Context(), saved(fields), id, testHomeserver)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func newStateEvent(kind, sender, key, content string) *Event {
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
	r := NewRoom("!r:hs.example", testHomeserver)
	set := foldAll(r,
		newStateEvent("m.room.create", "@a:hs.example", "", `{"room_version":"10","creator":"@a:hs.example"}`),
		newStateEvent("m.room.member", "@a:hs.example", "@a:hs.example", `{"membership":"join","displayname":"Alice of the  Lake"}`),
		newStateEvent("m.room.power_levels", "@a:hs.example", "", `{ "users": {"@a:hs.example": 100}, "notifications": {"room": 20} }`),
		newStateEvent("m.room.name", "@a:hs.example", "", `{"name":"The Lake"}`),
		newStateEvent("m.room.canonical_alias", "@a:hs.example", "", `{"alias":"#lake:hs.example"}`),
		newStateEvent("m.room.member", "@a:hs.example", "@b:other", `{"membership":"invite"}`),
		newStateEvent("m.room.member", "@c:hs.example", "@c:hs.example", `{"membership":"join","displayname":7}`),
		newStateEvent("m.room.member", "@d:hs.example", "@d:hs.example", `{"membership":"join"}`),
		newStateEvent("m.room.member", "@d:hs.example", "@d:hs.example", `{"membership":"leave"}`),
		newStateEvent("m.room.topic", "@a:hs.example", "", `{"topic":"nobody asks"}`),
		newStateEvent("m.room.member", "@e:hs.example", "@e:hs.example", `{"membership":"asleep"}`),
		newStateEvent("m.room.name", "@a:hs.example", "not empty", `{"name":"nobody asks"}`),
	)
	back := reloaded(t, r.ID, set)
	for _, room := range []*Room{r, back} {
		if room.Name != "The Lake" || room.Alias != "#lake:hs.example" || room.Rules.Version != "10" || room.Rules.MemberCount != 2 {
			t.Errorf("got name %q alias %q version %q members %d", room.Name, room.Alias, room.Rules.Version, room.Rules.MemberCount)
		}
		want := map[string]Member{
			"@a:hs.example": {Join, "Alice of the  Lake", 2, 2, 2, never, hashOf("$m.room.member@a:hs.example")},
			"@b:other":      {Invite, "", 6, 6, never, 6, hashOf("$m.room.member@b:other")},
			"@c:hs.example": {Join, "", 7, 7, 7, never, hashOf("$m.room.member@c:hs.example")},
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
	r := NewRoom("!r:hs.example", testHomeserver)
	join := newStateEvent("m.room.member", "@a:hs.example", "@a:hs.example", `{"membership":"join"}`)
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

func TestRecipients(t *testing.T) {
	t.Parallel()
	r := NewRoom("!r:hs.example", testHomeserver)
	foldAll(r,
		newStateEvent("m.room.member", "@a:hs.example", "@a:hs.example", `{"membership":"join"}`),
		newStateEvent("m.room.member", "@b:hs.example", "@b:hs.example", `{"membership":"join"}`),
		newStateEvent("m.room.member", "@c:other", "@c:other", `{"membership":"join"}`),
		newStateEvent("m.room.member", "@d:hs.example", "@d:hs.example", `{"membership":"invite"}`),
	)
	for _, tc := range []struct {
		name  string
		event *Event
		want  []string
	}{
		{"a message: local joined users but the sender", &Event{Type: "m.room.message", Sender: "@a:hs.example"}, []string{"@b:hs.example"}},
		{"of a remote user", &Event{Type: "m.room.message", Sender: "@c:other"}, []string{"@a:hs.example", "@b:hs.example"}},
		{"an invite: its target", newStateEvent("m.room.member", "@a:hs.example", "@e:hs.example", `{"membership":"invite"}`), []string{"@e:hs.example"}},
		{"an invite of a remote user", newStateEvent("m.room.member", "@a:hs.example", "@e:other", `{"membership":"invite"}`), nil},
		{"a kick: its target", newStateEvent("m.room.member", "@a:hs.example", "@b:hs.example", `{"membership":"leave"}`), []string{"@b:hs.example"}},
		{"a ban of somebody outside", newStateEvent("m.room.member", "@a:hs.example", "@e:hs.example", `{"membership":"ban"}`), nil},
		{"one's own leaving", newStateEvent("m.room.member", "@b:hs.example", "@b:hs.example", `{"membership":"leave"}`), nil},
		{"a member event that is no state", &Event{Type: "m.room.member", Sender: "@a:hs.example", Content: []byte(`{"membership":"invite"}`)}, []string{"@b:hs.example"}},
	} {
		if got := Recipients(r, tc.event, 100); !slices.Equal(got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

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

func join(user, name string) *Event {
	return newStateEvent("m.room.member", user, user, fmt.Sprintf(`{"membership":"join","displayname":%q}`, name))
}

func leave(user string) *Event {
	return newStateEvent("m.room.member", user, user, `{"membership":"leave"}`)
}

// Whatever order state events come in, and however often, those of the highest positions are the room's state; saved and loaded, too.
func TestStateIsComparedByPosition(t *testing.T) {
	t.Parallel()
	text := func(kind, content string) *Event { return newStateEvent(kind, "@a:hs.example", "", content) }
	type step struct {
		at    int64
		event *Event
	}
	for _, tc := range []struct {
		name  string
		steps []step
		want  func(r *Room) bool
	}{
		{"a name that comes late", []step{{9, text("m.room.name", `{"name":"new"}`)}, {3, text("m.room.name", `{"name":"old"}`)}}, func(r *Room) bool { return r.Name == "new" }},
		{"a name taken away", []step{{9, text("m.room.name", `{}`)}, {3, text("m.room.name", `{"name":"old"}`)}}, func(r *Room) bool { return r.Name == "" }},
		{"a join that comes after the leave", []step{{9, leave("@b:hs.example")}, {3, join("@b:hs.example", "B")}}, func(r *Room) bool { return len(r.Members) == 0 && r.Rules.MemberCount == 0 }},
		{"a leave that comes after a later join", []step{{9, join("@b:hs.example", "B")}, {3, leave("@b:hs.example")}}, func(r *Room) bool { return r.Rules.MemberCount == 1 }},
		{"an import", []step{{9, text("m.room.canonical_alias", `{"alias":"#new:x"}`)}, {0, text("m.room.canonical_alias", `{"alias":"#old:x"}`)}}, func(r *Room) bool { return r.Alias == "#new:x" }},
		{"an import of what is not known", []step{{0, join("@b:hs.example", "B")}}, func(r *Room) bool { return r.Rules.MemberCount == 1 && r.Members["@b:hs.example"].Joined == 0 }},
		{"visibility", []step{{9, text("m.room.history_visibility", `{"history_visibility":"joined"}`)}, {3, text("m.room.history_visibility", `{"history_visibility":"shared"}`)}}, func(r *Room) bool { return r.Visibility == VisibleJoined }},
		{"an odd visibility", []step{{9, text("m.room.history_visibility", `{"history_visibility":7}`)}}, func(r *Room) bool { return r.Visibility == VisibleShared }},
		{"a tombstone", []step{{9, text("m.room.tombstone", `{"replacement_room":"!n:x"}`)}}, func(r *Room) bool { return r.Tombstone != nil && *r.Tombstone == "!n:x" }},
		{"a tombstone that names nothing", []step{{9, text("m.room.tombstone", `{}`)}}, func(r *Room) bool { return r.Tombstone != nil && *r.Tombstone == "" }},
		{"power levels", []step{{9, text("m.room.power_levels", `{"users_default":9}`)}, {3, text("m.room.power_levels", `{"users_default":3}`)}}, func(r *Room) bool {
			return reflect.DeepEqual(r.Rules.PowerLevels, rules.ParsePowerLevels([]byte(`{"users_default":9}`)))
		}},
		{"a rename keeps the stay", []step{{3, newStateEvent("m.room.member", "@a:x", "@b:hs.example", `{"membership":"invite"}`)}, {5, join("@b:hs.example", "B")}, {9, join("@b:hs.example", "C")}},
			func(r *Room) bool {
				m := r.Members["@b:hs.example"]
				return m.Invited == 3 && m.Joined == 5 && m.Since == 9 && m.DisplayName == "C"
			}},
		{"a new stay is a new one", []step{{3, newStateEvent("m.room.member", "@a:x", "@b:hs.example", `{"membership":"invite"}`)}, {5, join("@b:hs.example", "B")}, {6, leave("@b:hs.example")}, {9, join("@b:hs.example", "B")}},
			func(r *Room) bool { m := r.Members["@b:hs.example"]; return m.Invited == never && m.Joined == 9 }},
	} {
		r, set := NewRoom("!r:hs.example", testHomeserver), map[string]string{}
		for range 2 { // the second time nothing changes
			for _, s := range tc.steps {
				r.Fold(s.event, s.at, set)
			}
		}
		for i, room := range []*Room{r, reloaded(t, r.ID, set)} {
			if !tc.want(room) {
				t.Errorf("%s (loaded: %v): %+v", tc.name, i == 1, room)
			}
		}
	}
}

// A state reset makes an old event the state again, at a new position; who was there longer is still there longer.
func TestStateReset(t *testing.T) {
	t.Parallel()
	r, set := NewRoom("!r:hs.example", testHomeserver), map[string]string{}
	old := join("@a:hs.example", "A")
	r.Fold(old, 1, set)
	r.Fold(join("@b:hs.example", "B"), 2, set)
	r.Fold(leave("@a:hs.example"), 3, set)
	r.fold(old, 4, 1, set)
	for i, room := range []*Room{r, reloaded(t, r.ID, set)} {
		m := room.Members["@a:hs.example"]
		if m.Membership != Join || m.Position != 4 || m.Since != 1 || m.Joined != 4 || room.names().Heroes[0].ID != "@a:hs.example" {
			t.Errorf("loaded %v: %+v, heroes %v", i == 1, m, room.names().Heroes)
		}
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

// What a room keeps at hand is what its members say.
func TestRoomKeepsUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := NewRoom("!r:hs.example", testHomeserver)
		r.LocalJoined()
		r.byEvent()
		users := rapid.IntRange(1, 200).Draw(t, "users")
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			user := fmt.Sprintf("@u%d:%s", rapid.IntRange(1, users).Draw(t, "user"), rapid.SampledFrom([]string{testServer, "other"}).Draw(t, "server"))
			content := rapid.SampledFrom([]string{`{"membership":"join","displayname":"N"}`, `{"membership":"join"}`, `{"membership":"leave"}`, `{"membership":"invite"}`, `{"membership":"ban"}`}).Draw(t, "content")
			e := newStateEvent("m.room.member", user, user, content)
			e.ID = fmt.Sprint("$", user, rapid.Int().Draw(t, "id"))
			r.Fold(e, int64(rapid.IntRange(1, 1000).Draw(t, "position")), map[string]string{})
			if rapid.IntRange(0, 9).Draw(t, "ask") == 0 {
				r.names()
			}
		}
		var local, present []string
		joined, named := 0, map[eventHash]string{}
		for user, m := range r.Members {
			if m.Membership == Join {
				if joined++; IsLocal(user, testServer) {
					local = append(local, user)
				}
			}
			if isPresent(m) {
				present = append(present, user)
			}
			if m.DisplayName != "" {
				named[m.Event] = user
			}
		}
		slices.Sort(local)
		slices.SortFunc(present, func(a, b string) int {
			return older(seniority{a, r.Members[a].Since}, seniority{b, r.Members[b].Since})
		})
		names := r.names()
		var heroes []string
		for _, h := range names.Heroes {
			heroes = append(heroes, h.ID)
		}
		if !slices.Equal(local, r.LocalJoined()) || r.Rules.MemberCount != joined || names.Members != len(present) || !slices.Equal(heroes, present[:min(len(present), heroCount)]) || !maps.Equal(named, r.named) {
			t.Errorf("local %v, want %v; joined %d, want %d; heroes %v of %d, want %v", r.LocalJoined(), local, r.Rules.MemberCount, joined, heroes, names.Members, present)
		}
	})
}

func TestHistoryVisibility(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		visibility string
		at         int64
		want       []string
	}{
		{"joined", 100, []string{"@guest:hs.example", "@late:hs.example", "@old:hs.example"}},
		{"joined", 25, []string{"@old:hs.example"}},
		{"invited", 25, []string{"@guest:hs.example", "@old:hs.example"}},
		{"invited", 15, []string{"@old:hs.example"}},
		{"shared", 5, []string{"@guest:hs.example", "@late:hs.example", "@old:hs.example"}},
		{"world_readable", 5, []string{"@guest:hs.example", "@late:hs.example", "@old:hs.example"}},
		{"", 5, []string{"@guest:hs.example", "@late:hs.example", "@old:hs.example"}},
	} {
		r, set := NewRoom("!r:hs.example", testHomeserver), map[string]string{}
		if tc.visibility != "" {
			r.Fold(newStateEvent("m.room.history_visibility", "@x:x", "", fmt.Sprintf(`{"history_visibility":%q}`, tc.visibility)), 1, set)
		}
		r.Fold(join("@old:hs.example", ""), 0, set) // imported: there before everything
		r.Fold(newStateEvent("m.room.member", "@old:hs.example", "@guest:hs.example", `{"membership":"invite"}`), 20, set)
		r.Fold(join("@guest:hs.example", ""), 30, set)
		r.Fold(join("@late:hs.example", ""), 40, set)
		r.Fold(join("@old:hs.example", "renamed"), 50, set)
		for i, room := range []*Room{r, reloaded(t, r.ID, set)} {
			if got := Recipients(room, &Event{Type: "m.room.message", Sender: "@x:x"}, tc.at); !slices.Equal(got, tc.want) {
				t.Errorf("%s, event at %d, loaded %v: recipients %v, want %v", tc.visibility, tc.at, i == 1, got, tc.want)
			}
		}
	}
}

// A room that was rebuilt from its changelog goes on far above what it has given before.
func TestRebuiltRoom(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		fields saved
		above  int64
	}{
		{"rebuilt", saved{"name": "77 - Name", "m|@a:hs.example": "99 join 0 0 - - A"}, 99 + rebuiltGap},
		{"imported only", saved{"name": "0 - Name"}, 0},
		{"with its order", saved{"name": "77 - Name", "order": order{last: 100, start: 1, base: 1, source: "offset 0 0"}.String()}, 0},
	} {
		r := reloaded(t, "!r:hs.example", tc.fields)
		r.order = parseOrder(r.order.String())
		got := r.order.next(&Event{StreamPosition: -1}, &stream.Record{Offset: 5})
		if got <= tc.above || tc.above == 0 && got > 10_000 || got >= maxPosition {
			t.Errorf("%s: the next position is %d, want one above %d", tc.name, got, tc.above)
		}
	}
}

func TestExplainTellsOfTheRoom(t *testing.T) {
	t.Parallel()
	r := NewRoom("!r:hs.example", Homeserver{Name: testServer, Appservices: mustCompile(t, "@bot")})
	foldAll(r, join("@bot:hs.example", ""), newStateEvent("m.room.tombstone", "@x:x", "", `{"replacement_room":"!new:x"}`), newStateEvent("m.room.history_visibility", "@x:x", "", `{"history_visibility":"invited"}`))
	var out strings.Builder
	Explain(&out, r, &Account{UserID: "@bot:hs.example"}, &Event{Type: "m.room.message", Sender: "@x:x"})
	for _, want := range []string{"history visibility invited", "which names !new:x", "belongs to an application service", "1 joined, of them 0 users"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q:\n%s", want, &out)
		}
	}
}
