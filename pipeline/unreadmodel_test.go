package pipeline

// Unread against a slow and obvious model that keeps all that ever happened.

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

var unreadSeed = flag.Uint64("unread.seed", 1, "the random rooms of TestUnreadEqualsModelForLong")

// change is one thing that happens to a room's counts.
type change struct {
	kind      string
	position  int64
	thread    string // of notify and readThread
	highlight bool   // of notify
	call      string // of call and answer
}

func (c change) apply(u *Unread) {
	switch c.kind {
	case "notify":
		u.Notify(c.position, c.thread, c.highlight)
	case "read":
		u.Read(c.position)
	case "readThread":
		u.ReadThread(c.thread, c.position)
	case "redact":
		u.Redact(c.position)
	case "call":
		u.Call(c.position, c.call)
	case "answer":
		u.AnswerCall(c.position, c.call)
	case "invite":
		u.Invite(c.position)
	case "join":
		u.Join(c.position)
	case "leave":
		u.Leave(c.position)
	case "seen":
		u.Seen(c.position)
	default:
		panic(c.kind)
	}
}

// unreadModel is all that happened.
type unreadModel struct {
	happened map[change]bool
}

func (m *unreadModel) apply(c change) {
	if m.happened == nil {
		m.happened = map[change]bool{}
	}
	m.happened[c] = true
}

// furthest is the highest position of these kinds.
func (m *unreadModel) furthest(kinds ...string) (position int64) {
	for c := range m.happened {
		if slices.Contains(kinds, c.kind) {
			position = max(position, c.position)
		}
	}
	return position
}

// unreadAnswers is what one asks of counts.
type unreadAnswers struct {
	Threads map[string][2]int // notifications and highlights
	All     [2]int
	Missed  int
	Invited bool
	Seen    int64
}

// lines are the positions up to which each thread is passed, without what is redacted.
func (m *unreadModel) lines() func(thread string) int64 {
	lines := map[string]int64{}
	for c := range m.happened {
		if c.kind == "readThread" {
			lines[main(c.thread)] = max(lines[main(c.thread)], c.position)
		}
	}
	all := m.furthest("read", "leave")
	return func(thread string) int64 { return max(all, lines[main(thread)]) }
}

func main(thread string) string {
	if thread == "" {
		return "main"
	}
	return thread
}

func (m *unreadModel) redacted(position int64) bool {
	return m.happened[change{kind: "redact", position: position}]
}

func (m *unreadModel) answers(threads []string) unreadAnswers {
	line := m.lines()
	notified := map[int64]change{}
	missed := map[change]bool{}
	for c := range m.happened {
		switch {
		case c.kind == "notify" && c.position > line(c.thread) && !m.redacted(c.position):
			c.highlight = c.highlight || notified[c.position].highlight
			notified[c.position] = c
		case c.kind == "call" && c.position > line("main") && !m.redacted(c.position):
			missed[c] = true
		}
	}
	for c := range m.happened {
		if c.kind == "answer" {
			maps.DeleteFunc(missed, func(call change, _ bool) bool { return call.call == c.call && call.position < c.position })
		}
	}
	a := unreadAnswers{
		Threads: map[string][2]int{}, Missed: len(missed), Seen: m.furthest("seen"),
		Invited: m.furthest("invite") > m.furthest("join", "leave"),
	}
	for _, t := range threads {
		a.Threads[t] = [2]int{}
	}
	for _, c := range notified {
		n := [2]int{1, int(bit(c.highlight))}
		t := a.Threads[main(c.thread)]
		a.Threads[main(c.thread)] = [2]int{t[0] + n[0], t[1] + n[1]}
		a.All = [2]int{a.All[0] + n[0], a.All[1] + n[1]}
	}
	return a
}

func (u *Unread) answersOf(threads []string) unreadAnswers {
	pair := func(n, h int) [2]int { return [2]int{n, h} }
	a := unreadAnswers{Threads: map[string][2]int{}, All: pair(u.Count()), Missed: u.MissedCalls(), Invited: u.PendingInvite(), Seen: u.LastSeen()}
	for _, t := range threads {
		a.Threads[t] = pair(u.CountThread(t))
	}
	return a
}

// differs says in what u is not as the model, at these positions and in these threads.
func (m *unreadModel) differs(u *Unread, threads []string, positions ...int64) error {
	if got, want := u.answersOf(threads), m.answers(threads); !reflect.DeepEqual(got, want) {
		return fmt.Errorf("got  %+v\nwant %+v", got, want)
	}
	line, all, answered := m.lines(), m.furthest("read", "leave"), m.furthest("join", "leave")
	for _, p := range positions {
		for _, t := range threads {
			if got, want := u.Passed(p, t), p <= line(t) || m.redacted(p); got != want {
				return fmt.Errorf("Passed(%d, %q) = %v", p, t, got)
			}
		}
		if got, want := u.Redacted(p), p > all && m.redacted(p); got != want {
			return fmt.Errorf("Redacted(%d) = %v", p, got)
		}
		if got, want := u.InvitePending(p), p > answered; got != want {
			return fmt.Errorf("InvitePending(%d) = %v", p, got)
		}
	}
	return nil
}

// savedAndRead is what the store makes of u.
func savedAndRead(u Unread) (Unread, error) {
	b := u.Encode()
	back, err := DecodeUnread(b)
	switch {
	case err != nil:
		return u, fmt.Errorf("%+v was saved as %x, which can't be read: %w", u, b, err)
	case !bytes.Equal(back.Encode(), b):
		return u, fmt.Errorf("%+v was saved as %x and read as %+v, which is saved as %x", u, b, back, back.Encode())
	}
	return back, nil
}

func TestUnreadEqualsModelInAnyOrder(t *testing.T) {
	t.Parallel()
	threads := []string{"main", "$root", "$other"}
	kinds := []string{"notify", "notify", "notify", "notify", "read", "readThread", "readThread", "redact", "call", "call", "answer", "invite", "join", "leave", "seen"}
	rapid.Check(t, func(t *rapid.T) {
		highest := rapid.SampledFrom([]int64{5, 30, 1000, maxPosition - 1}).Draw(t, "highest")
		var changes []change
		var positions []int64
		for range rapid.IntRange(0, 40).Draw(t, "n") {
			c := change{kind: rapid.SampledFrom(kinds).Draw(t, "kind"), position: rapid.Int64Range(1, highest).Draw(t, "position")}
			switch c.kind {
			case "notify": // what an event is does not change: the same at each repetition
				c.thread = append(threads, "")[c.position%4]
				c.highlight = rapid.Bool().Draw(t, "highlight")
			case "readThread":
				c.thread = rapid.SampledFrom(threads).Draw(t, "thread")
			case "call", "answer":
				c.call = rapid.SampledFrom([]string{"a", "b", ""}).Draw(t, "call")
			case "seen":
				c.position = min(c.position, maxDay)
			}
			changes, positions = append(changes, c), append(positions, c.position, c.position+1)
		}
		var once, u Unread
		var m unreadModel
		for _, c := range changes {
			c.apply(&once)
			m.apply(c)
		}
		// repeated and in another order
		again := append(slices.Clone(changes), changes...)
		seed := rapid.Uint64().Draw(t, "seed")
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(again), func(i, j int) { again[i], again[j] = again[j], again[i] })
		for _, c := range again {
			c.apply(&u)
			var err error
			if u, err = savedAndRead(u); err != nil {
				t.Fatalf("after %v: %v", c, err)
			}
		}
		if err := m.differs(&u, threads, positions...); err != nil {
			t.Fatalf("%v\nchanges %+v", err, again)
		}
		if a, b := once.Encode(), u.Encode(); !bytes.Equal(a, b) {
			t.Fatalf("equal sets are saved as %x and %x\nchanges %+v", a, b, again)
		}
	})
}

// TestUnreadEqualsModelForLong lets many rooms live one after another, 100,000 steps in all: their changes come mostly in order, some early, some late, some again, and
// at times a whole stretch is read again. After each step the counts are those of the model.
func TestUnreadEqualsModelForLong(t *testing.T) {
	t.Parallel()
	const want = 100_000
	steps := 0
	for room := uint64(0); steps < want; room++ {
		rng := rand.New(rand.NewPCG(*unreadSeed, room))
		threads := []string{"main", "$root", "$other", "$third"}[:1+rng.IntN(4)]
		changes := roomLife(rng, threads)
		delivered := delivery(rng, changes)
		steps += len(delivered)
		if err := liveThrough(rng, threads, changes, delivered); err != nil {
			t.Fatalf("seed %d (repeat it with -unread.seed=%[1]d), room %d, %v", *unreadSeed, room, err)
		}
	}
	t.Logf("seed %d: %d steps", *unreadSeed, steps)
}

func liveThrough(rng *rand.Rand, threads []string, changes, delivered []change) (err error) {
	var u, inOrder Unread
	var m unreadModel
	var positions []int64
	for i, c := range delivered {
		c.apply(&u)
		m.apply(c)
		positions = append(positions, c.position)
		if u, err = savedAndRead(u); err == nil {
			err = m.differs(&u, threads, c.position, c.position+1, positions[rng.IntN(len(positions))])
		}
		if err != nil {
			return fmt.Errorf("step %d of %+v:\n%w", i, delivered[:i+1], err)
		}
	}
	if err := m.differs(&u, threads, positions...); err != nil {
		return fmt.Errorf("after %+v:\n%w", delivered, err)
	}
	for _, c := range changes {
		c.apply(&inOrder)
	}
	if a, b := inOrder.Encode(), u.Encode(); !bytes.Equal(a, b) {
		return fmt.Errorf("%+v\nin order is saved as %x, as delivered %x", delivered, a, b)
	}
	return nil
}

// roomLife is what happens in a room to one user, in order.
func roomLife(rng *rand.Rand, threads []string) (changes []change) {
	gap := []int64{1, 3, 500, 1 << 40}[rng.IntN(4)]
	positions := []int64{1}
	for day := int64(0); len(changes) < 30+rng.IntN(70); day++ {
		position := positions[len(positions)-1] + 1 + rng.Int64N(gap)
		earlier := positions[max(0, len(positions)-1-rng.IntN(12))]
		thread := threads[rng.IntN(len(threads))]
		call := []string{"a", "b", "c"}[rng.IntN(3)]
		happens := func(c change) {
			positions = append(positions, position)
			changes = append(changes, c)
		}
		switch n := rng.IntN(100); {
		case n < 50:
			happens(change{kind: "notify", position: position, thread: thread, highlight: rng.IntN(4) == 0})
		case n < 56:
			happens(change{kind: "notify", position: position, thread: "main"})
			happens(change{kind: "call", position: position, call: call})
		case n < 62:
			happens(change{kind: "answer", position: position, call: call})
		case n < 67:
			happens(change{kind: "read", position: earlier})
		case n < 80:
			happens(change{kind: "readThread", position: earlier, thread: thread})
		case n < 90:
			happens(change{kind: "redact", position: earlier})
		case n < 93:
			happens(change{kind: "invite", position: position})
		case n < 96:
			happens(change{kind: "join", position: position})
		case n < 98:
			happens(change{kind: "leave", position: position})
		default:
			happens(change{kind: "seen", position: 20_000 + day})
		}
	}
	return changes
}

// delivery is how the changes come: all of them, some several times, not all in order.
func delivery(rng *rand.Rand, changes []change) (delivered []change) {
	changes = slices.Clone(changes)
	for at := 0; at < len(changes); {
		switch n := rng.IntN(100); {
		case n < 10 && at > 0: // again
			delivered = append(delivered, changes[rng.IntN(at)])
			continue
		case n < 12 && at > 0: // a stretch again
			at -= rng.IntN(min(at, 20))
			continue
		case n < 30: // early, and the other late
			other := min(at+rng.IntN(8), len(changes)-1)
			changes[at], changes[other] = changes[other], changes[at]
		}
		delivered = append(delivered, changes[at])
		at++
	}
	return delivered
}
