package pipeline

// Whom an event concerns.

import (
	"fmt"
	"slices"
	"testing"
)

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
