package state

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
)

// adding is a change that adds a number to a set, saved as sorted 32 bit numbers: idempotent, as changes must be.
func adding(userID, roomID string, number uint32) pipeline.CountChange {
	return pipeline.CountChange{UserID: userID, RoomID: roomID, Apply: func(saved []byte) []byte {
		set := numbers(saved)
		if at, found := slices.BinarySearch(set, number); !found {
			set = slices.Insert(set, at, number)
		}
		var out []byte
		for _, n := range set {
			out = binary.BigEndian.AppendUint32(out, n)
		}
		return out
	}}
}

func numbers(saved []byte) (set []uint32) {
	for ; len(saved) >= 4; saved = saved[4:] {
		set = append(set, binary.BigEndian.Uint32(saved))
	}
	return set
}

// replacing is a change that sets a value.
func replacing(userID, roomID, value string) pipeline.CountChange {
	return pipeline.CountChange{UserID: userID, RoomID: roomID, Apply: func([]byte) []byte { return []byte(value) }}
}

func change(t *testing.T, s *Store, changes ...pipeline.CountChange) {
	t.Helper()
	if err := s.ChangeCounts(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

func counted(t *testing.T, s *Store, userIDs []string, want []map[string][]byte) {
	t.Helper()
	counts, err := s.Counts(t.Context(), userIDs)
	var got []map[string][]byte
	for _, c := range counts {
		got = append(got, c.Rooms)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); err != nil || diff != "" {
		t.Errorf("Counts: %v (-want +got):\n%s", err, diff)
	}
}

func TestCountsReadBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		odd := "@odd" + everyByte
		change(t, s,
			replacing("@a:x", "!1:x", "one"), replacing("@a:x", "!2:x", "two"),
			replacing(odd, "!"+everyByte, everyByte), replacing("@none:x", "!1:x", ""))
		counted(t, s, []string{odd, "@none:x", "@a:x", odd}, []map[string][]byte{
			{"!" + everyByte: []byte(everyByte)}, {}, {"!1:x": []byte("one"), "!2:x": []byte("two")}, {"!" + everyByte: []byte(everyByte)},
		})
		change(t, s, replacing("@a:x", "!1:x", ""), replacing("@a:x", "!2:x", "\x00"))
		counted(t, s, []string{"@a:x"}, []map[string][]byte{{"!2:x": {0}}})
		change(t, s, replacing("@a:x", "!2:x", ""))
		if n, err := s.client().Exists(t.Context(), s.keys.counts("@a:x")).Result(); err != nil || n != 0 {
			t.Errorf("a user with nothing unread has a key: %d, %v", n, err)
		}
	})
}

// TestChangesOfOneRoom has several changes of one value in one call: each gets what the one before it returned.
func TestChangesOfOneRoom(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		change(t, s, replacing("@a:x", "!r:x", "saved"))
		var seen []string
		extend := func(userID, by string) pipeline.CountChange {
			return pipeline.CountChange{UserID: userID, RoomID: "!r:x", Apply: func(saved []byte) []byte {
				if userID == "@a:x" {
					seen = append(seen, string(saved))
				}
				return append(saved, by...) // in place, where there is room
			}}
		}
		change(t, s, extend("@a:x", "+1"), extend("@b:x", "+b"), extend("@a:x", "+2"), extend("@a:x", "+3"))
		if want := []string{"saved", "saved+1", "saved+1+2"}; !slices.Equal(seen, want) {
			t.Errorf("the changes saw %q, want %q", seen, want)
		}
		counted(t, s, []string{"@a:x", "@b:x"}, []map[string][]byte{{"!r:x": []byte("saved+1+2+3")}, {"!r:x": []byte("+b")}})
	})
}

func TestNothingSavedIsNil(t *testing.T) {
	t.Parallel()
	s := open(t, single(t))
	called := false
	change(t, s, pipeline.CountChange{UserID: "@a:x", RoomID: "!r:x", Apply: func(saved []byte) []byte {
		called = true
		if saved != nil {
			t.Errorf("Apply got %q, want nil", saved)
		}
		return saved
	}})
	if !called {
		t.Error("Apply was not called")
	}
}

// TestChangeInPlace is about an Apply that changes the bytes that it got.
func TestChangeInPlace(t *testing.T) {
	t.Parallel()
	s := open(t, single(t))
	change(t, s, replacing("@a:x", "!r:x", "abc"))
	change(t, s, pipeline.CountChange{UserID: "@a:x", RoomID: "!r:x", Apply: bytes.ToUpper})
	change(t, s, pipeline.CountChange{UserID: "@a:x", RoomID: "!r:x", Apply: func(saved []byte) []byte {
		saved[0] = 'x'
		return saved
	}})
	counted(t, s, []string{"@a:x"}, []map[string][]byte{{"!r:x": []byte("xBC")}})
}

func TestCountsOfManyUsers(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		const users, rooms = 700, 3
		var changes []pipeline.CountChange
		var ids []string
		var want []map[string][]byte
		for u := range users {
			id := fmt.Sprintf("@user%d:x", u)
			ids, want = append(ids, id), append(want, map[string][]byte{})
			for r := range rooms {
				room, value := fmt.Sprintf("!room%d:x", r), fmt.Sprintf("%d of %d", r, u)
				changes = append(changes, replacing(id, room, value))
				want[u][room] = []byte(value)
			}
		}
		want[5]["!room1:x"] = bytes.Repeat([]byte("large"), maxCallBytes)
		changes[5*rooms+1] = replacing(ids[5], "!room1:x", string(want[5]["!room1:x"]))
		change(t, s, changes...)
		counted(t, s, ids, want)
		change(t, s, changes...)
		counted(t, s, ids, want)
	})
}

// TestManyCountersLoseNothing has many writers change the same few users at once, each adding numbers of its own.
func TestManyCountersLoseNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		const writers, rounds, users = 8, 15, 3
		s := open(t, cfg)
		var all sync.WaitGroup
		for w := range writers {
			own := s
			if w%2 == 1 {
				own = open(t, cfg) // another worker
			}
			all.Go(func() {
				for r := range rounds {
					var changes []pipeline.CountChange
					for u := range users {
						changes = append(changes, adding(fmt.Sprintf("@%d:x", u), "!r:x", uint32(w*rounds+r)))
					}
					for own.ChangeCounts(t.Context(), changes) != nil { // an error says: call again
						if t.Context().Err() != nil {
							return
						}
					}
				}
			})
		}
		all.Wait()
		counts, err := s.Counts(t.Context(), []string{"@0:x", "@1:x", "@2:x"})
		if err != nil {
			t.Fatal(err)
		}
		for u, saved := range counts {
			if set := numbers(saved.Rooms["!r:x"]); len(set) != writers*rounds {
				t.Errorf("user %d has %d of %d numbers", u, len(set), writers*rounds)
			}
		}
	})
}

// TestContendedCountsGiveUp has somebody else change a value before each try.
func TestContendedCountsGiveUp(t *testing.T) {
	t.Parallel()
	s := open(t, single(t))
	other := open(t, single(t))
	other.keys = s.keys
	if !onRealServers() {
		other.link.Store(s.client())
	}
	tries := 0
	err := s.ChangeCounts(t.Context(), []pipeline.CountChange{{UserID: "@a:x", RoomID: "!r:x", Apply: func(saved []byte) []byte {
		tries++
		if err := other.ChangeCounts(context.Background(), []pipeline.CountChange{replacing("@a:x", "!r:x", fmt.Sprint("other ", tries))}); err != nil {
			t.Error(err)
		}
		return append(saved, '!')
	}}})
	if !errors.Is(err, errContended) || tries != maxRounds {
		t.Errorf("after %d tries: %v; want %d and errContended", tries, err, maxRounds)
	}
	counted(t, s, []string{"@a:x"}, []map[string][]byte{{"!r:x": fmt.Appendf(nil, "other %d", maxRounds)}})
}

// TestCountsSentTwice sends the very same script call again, as the driver does when the answer was lost.
func TestCountsSentTwice(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		key := []string{s.keys.counts("@a:x")}
		for i, step := range []struct {
			from, to string
			want     []any
		}{
			{"", "one", []any{}}, {"", "one", []any{}}, {"", "two", []any{int64(0), "one"}},
			{"one", "two", []any{}}, {"", "one", []any{int64(0), "two"}}, {"two", "", []any{}}, {"two", "", []any{}}, {"two", "three", []any{int64(0), ""}},
		} {
			answer, err := s.runOne(t.Context(), "test", changeCountsScript, key, 1, "!r:x", step.from, step.to)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(step.want, answer.Val()); diff != "" {
				t.Errorf("step %d (-want +got):\n%s", i, diff)
			}
		}
	})
}

func tell(t *testing.T, s *Store, want []string, changes ...pipeline.ToldChange) {
	t.Helper()
	saved, err := s.Tell(t.Context(), changes)
	if diff := cmp.Diff(want, saved); err != nil || diff != "" {
		t.Errorf("Tell: %v (-want +got):\n%s", err, diff)
	}
}

// TestTold is about what pushers were told: beside the rooms, whatever these are called, and never over what somebody else has saved.
func TestTold(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		change(t, s, replacing("@a:x", "told", "a room"), replacing("@a:x", "ÿphone", "another"))
		tell(t, s, []string{"one", "two", "three"},
			pipeline.ToldChange{UserID: "@a:x", Pusher: "phone", To: "one"}, pipeline.ToldChange{UserID: "@b:x", Pusher: "phone", To: "two"}, pipeline.ToldChange{UserID: "@a:x", Pusher: "told", To: "three"})
		tell(t, s, []string{"one"}, pipeline.ToldChange{UserID: "@a:x", Pusher: "phone", To: "one"}) // sent twice
		tell(t, s, []string{"one", "four"}, pipeline.ToldChange{UserID: "@a:x", Pusher: "phone", From: "", To: "five"}, pipeline.ToldChange{UserID: "@b:x", Pusher: "phone", From: "two", To: "four"})
		tell(t, s, []string{"", ""}, pipeline.ToldChange{UserID: "@a:x", Pusher: "told", From: "three"}, pipeline.ToldChange{UserID: "@a:x", Pusher: "never", From: "", To: ""})
		got, err := s.Counts(t.Context(), []string{"@a:x", "@b:x"})
		want := []pipeline.SavedCounts{
			{Rooms: map[string][]byte{"told": []byte("a room"), "ÿphone": []byte("another")}, Told: map[string]string{"phone": "one"}},
			{Rooms: map[string][]byte{}, Told: map[string]string{"phone": "four"}},
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Counts: %v (-want +got):\n%s", err, diff)
		}
	})
}
