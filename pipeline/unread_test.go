package pipeline

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// change is one thing that happens to a room's counts.
type change struct {
	kind      string
	position  int64
	highlight bool
}

func (c change) apply(u *Unread) {
	switch c.kind {
	case "notify":
		u.Notify(c.position, "", c.highlight)
	case "read":
		u.Read(c.position)
	case "redact":
		u.Redact(c.position)
	case "invite":
		u.Invite(c.position)
	case "join":
		u.Join(c.position)
	case "leave":
		u.Leave(c.position)
	}
}

// model is the obvious form: everything that ever happened, evaluated at the end.
func model(changes []change) (unread map[int64]bool, invite bool) {
	unread = map[int64]bool{}
	var line, invited, answered int64
	redacted := map[int64]bool{}
	for _, c := range changes {
		switch c.kind {
		case "notify":
			unread[c.position] = c.highlight
		case "read":
			line = max(line, c.position)
		case "redact":
			redacted[c.position] = true
		case "invite":
			invited = max(invited, c.position)
		case "join":
			answered = max(answered, c.position)
		case "leave":
			line, answered = max(line, c.position), max(answered, c.position)
		}
	}
	maps.DeleteFunc(unread, func(p int64, _ bool) bool { return p <= line || redacted[p] })
	return unread, invited > answered
}

func TestUnreadEqualsModelInAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		var changes []change
		for range n {
			position := rapid.Int64Range(1, 30).Draw(t, "position")
			changes = append(changes, change{
				kind:     rapid.SampledFrom([]string{"notify", "notify", "notify", "read", "redact", "invite", "join", "leave"}).Draw(t, "kind"),
				position: position,
				// what an event does is a fact of the event: the same at each repetition
				highlight: position%3 == 0,
			})
		}
		want, wantInvite := model(changes)
		// repeated and in another order
		again := append(slices.Clone(changes), changes...)
		seed := rapid.Uint64().Draw(t, "seed")
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		var u Unread
		for _, c := range again {
			c.apply(&u)
			back, err := DecodeUnread(u.Encode())
			if err != nil {
				t.Fatalf("after %v: %v", c, err)
			}
			u = back
		}
		got := map[int64]bool{}
		for _, m := range u.notified {
			got[m.position] = m.highlight
		}
		if !maps.Equal(got, want) || u.PendingInvite() != wantInvite {
			t.Fatalf("got %v invite %v, want %v invite %v\nchanges %v", got, u.PendingInvite(), want, wantInvite, again)
		}
		for p := range want {
			if u.Passed(p, "") {
				t.Fatalf("%d is unread and passed", p)
			}
		}
	})
}

func TestUnreadTrimKeepsTheNewest(t *testing.T) {
	t.Parallel()
	var u Unread
	for p := int64(1); p <= 10; p++ {
		u.Notify(p, "", p > 8)
	}
	u.Trim(4)
	if n, h := u.Count(); n != 4 || h != 2 {
		t.Errorf("got %d with %d highlights, want 4 with 2", n, h)
	}
	if got := len(u.Encode()); got > 12 {
		t.Errorf("four neighbours take %d bytes, want at most 12", got)
	}
}

func FuzzDecodeUnread(f *testing.F) {
	var u Unread
	u.Notify(7, "", true)
	u.Notify(9, "", false)
	u.Redact(8)
	u.Read(3)
	u.Invite(2)
	f.Add(u.Encode())
	f.Add([]byte{1, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := DecodeUnread(b)
		if err != nil {
			return
		}
		back, err := DecodeUnread(u.Encode())
		if err != nil || !slices.Equal(back.notified, u.notified) || !slices.Equal(back.redacted, u.redacted) || back.read != u.read || back.floor != u.floor {
			t.Fatalf("%x decodes to %v, encodes and decodes to %v, %v", b, u, back, err)
		}
	})
}
