package pipeline

// A room is what its state events make of it, whatever order they come in, saved and loaded too.

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
	"tocsin/pushers"
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
	nowhere := func(*pushers.Pusher) string { return "" }
	Explain(&out, r, &Account{UserID: "@bot:hs.example"}, &Event{Type: "m.room.message", Sender: "@x:x"}, nowhere)
	for _, want := range []string{"history visibility invited", "which names !new:x", "belongs to an application service", "1 joined, of them 0 users"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q:\n%s", want, &out)
		}
	}
}

// Rooms are kept by what they weigh, weighed again when they have grown, and none is too large to be kept.
func TestRoomsAreKeptByWeight(t *testing.T) {
	t.Parallel()
	s := NewRooms(Rooms{}, 1000)
	room := func(id string, from, members int, r *Room) *Room {
		if r == nil {
			r = NewRoom(id, testHomeserver)
		}
		for i := range members {
			user := fmt.Sprintf("@u%d:hs.example", from+i)
			r.Fold(join(user, ""), int64(from+i+1), map[string]string{})
		}
		s.keep(r)
		s.rooms.CleanUp()
		return r
	}
	small := room("!small:x", 0, 10, nil)
	if got := s.rooms.WeightedSize(); got != roomWeight+10 {
		t.Errorf("a room of 10 weighs %d", got)
	}
	room("!small:x", 10, 90, small)
	if got := s.rooms.WeightedSize(); got != roomWeight+100 {
		t.Errorf("when it has grown to 100 it weighs %d", got)
	}
	room("!large:x", 0, 5000, nil)
	if _, kept := s.rooms.GetIfPresent("!large:x"); !kept {
		t.Error("a large room is not kept")
	}
	for i := range 50 {
		room(fmt.Sprintf("!%d:x", i), 0, 100, nil)
	}
	if got := s.rooms.WeightedSize(); got > 1000 {
		t.Errorf("all rooms weigh %d, more than 1000", got)
	}
}

// BenchmarkLargeRoom is what one event costs in a room of 100,000 local members: to name the room when it has no name, to find whom the event concerns, and to fold a join or a leave.
func BenchmarkLargeRoom(b *testing.B) {
	r := NewRoom("!r:hs.example", testHomeserver)
	for i := range 100_000 {
		r.Fold(join(fmt.Sprintf("@u%d:hs.example", i), "Somebody"), int64(i+1), map[string]string{})
	}
	r.LocalJoined()
	position := int64(200_000)
	b.Run("name", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if n := r.names(); n.Members != 100_000 {
				b.Fatal(n.Members)
			}
		}
	})
	b.Run("recipients", func(b *testing.B) {
		b.ReportAllocs()
		e := &Event{Type: "m.room.message", Sender: "@u7:hs.example"}
		for b.Loop() {
			if got := Recipients(r, e, position); len(got) != 99_999 {
				b.Fatal(len(got))
			}
		}
	})
	b.Run("leave and join", func(b *testing.B) {
		b.ReportAllocs()
		changed := map[string]string{}
		for i := 0; b.Loop(); i++ {
			user := fmt.Sprintf("@u%d:hs.example", i%1000) // the oldest, by whom the room is named
			for _, e := range []*Event{leave(user), join(user, "Somebody")} {
				position++
				r.Fold(e, position, changed)
				if n := r.names(); len(r.LocalJoined()) < 99_999 || n.Members < 99_999 {
					b.Fatal(n.Members)
				}
			}
		}
	})
}
