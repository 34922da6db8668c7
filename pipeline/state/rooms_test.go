package state

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tocsin/pipeline"
)

// save makes a change of a room as it is now, and returns the new revision.
func save(t *testing.T, s *Store, change pipeline.RoomChange) (rev string) {
	t.Helper()
	now, err := s.RoomRev(t.Context(), change.RoomID)
	if err != nil {
		t.Fatal(err)
	}
	change.Rev = now
	if rev, err = s.SaveRoom(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	if rev == now {
		t.Errorf("the revision is still %q", rev)
	}
	return rev
}

// load reads a room at once.
func load(ctx context.Context, s *Store, roomID string) (rev string, fields map[string]string, err error) {
	rev, err = s.LoadRoom(ctx, roomID, func(int) func(field, value string) {
		fields = map[string]string{}
		return func(field, value string) { fields[field] = value }
	})
	return rev, fields, err
}

// loaded compares a room with what is wanted, and returns its revision.
func loaded(t *testing.T, s *Store, roomID string, want map[string]string) (rev string) {
	t.Helper()
	rev, got, err := load(t.Context(), s, roomID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("room (-want +got):\n%s", diff)
	}
	if now, err := s.RoomRev(t.Context(), roomID); err != nil || now != rev || (rev == "") != (len(want) == 0) {
		t.Errorf("RoomRev = %q, %v; LoadRoom says %q", now, err, rev)
	}
	return rev
}

func TestRoomReadBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		room := "!odd" + everyByte
		loaded(t, s, room, nil)
		save(t, s, pipeline.RoomChange{RoomID: room, Set: map[string]string{"name": "=n", "m|@a:x": "join 1 A", everyByte: everyByte, "": "nameless"}})
		loaded(t, s, room, map[string]string{"name": "=n", "m|@a:x": "join 1 A", everyByte: everyByte, "": "nameless"})
		save(t, s, pipeline.RoomChange{RoomID: room, Set: map[string]string{"name": "", "m|@a:x": "leave 2 "}})
		fields := map[string]string{"name": "", "m|@a:x": "leave 2 ", everyByte: everyByte, "": "nameless"}
		loaded(t, s, room, fields)
		save(t, s, pipeline.RoomChange{RoomID: room}) // nothing but the revision
		loaded(t, s, room, fields)
		loaded(t, s, "!other:x", nil)
	})
}

func TestStaleSaveChangesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		first := save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"a": "1"}})
		second := save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"a": "2"}})
		number, _, _ := strings.Cut(second, " ")
		for _, rev := range []string{"", first, number, number + " another", "3 x", "nonsense"} {
			rev, err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!r:x", Rev: rev, Set: map[string]string{"a": "stale", "b": "stale"}, Unset: []string{"a"},
				Index: []pipeline.IndexEntry{entry("$stale", 1, "$root", 1)}})
			if !errors.Is(err, pipeline.ErrStale) || rev != "" {
				t.Errorf("saving from revision %q: %q, %v, want ErrStale", rev, rev, err)
			}
		}
		loaded(t, s, "!r:x", map[string]string{"a": "2"})
		if got, err := s.Places(ctx, "!r:x", []string{"$stale"}); err != nil || len(got) != 0 {
			t.Errorf("Places = %v, %v; want none", got, err)
		}
		if _, err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!new:x", Rev: first}); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("saving an unknown room from a revision: %v, want ErrStale", err)
		}
	})
}

// A Redis that lost the last write and went on has a revision of the same number, and it is another one.
func TestRevisionsNeverComeAgain(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		lost := save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"a": "lost"}})
		if err := s.client().Del(ctx, s.keys.room("!r:x")).Err(); err != nil {
			t.Fatal(err)
		}
		now := save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"a": "kept"}})
		if _, err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!r:x", Rev: lost, Set: map[string]string{"a": "wrong"}}); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("saving from %q over %q: %v, want ErrStale", lost, now, err)
		}
		loaded(t, s, "!r:x", map[string]string{"a": "kept"})
	})
}

// TestSaveSentTwice sends the very same save again, as the driver does when the answer was lost: it is no conflict with itself.
func TestSaveSentTwice(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		keys := []string{s.keys.room("!r:x"), s.keys.index("!r:x"), s.keys.threads("!r:x")}
		for i, step := range []struct {
			from, name, value string
			want              string
		}{
			{"", "first", "1", "1 first"}, {"", "first", "1", "1 first"}, {"", "other", "x", ""},
			{"1 first", "second", "2", "2 second"}, {"", "first", "1", ""}, {"1 first", "second", "2", "2 second"}, {"1 first", "other", "x", ""}, {"1", "other", "x", ""},
		} {
			answer, err := s.runOne(ctx, "test", saveRoomScript, keys, step.from, step.name, indexSize, 1, 0, 0, "a", step.value)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := answer.Text(); err != nil || got != step.want {
				t.Errorf("step %d: the script answers %q, %v; want %q", i, got, err, step.want)
			}
		}
		loaded(t, s, "!r:x", map[string]string{"a": "2"})
	})
}

// TestRoomOfManyOwners has several owners add each their part as [pipeline.RoomStore] asks: save, and after ErrStale load and do again what is missing.
func TestRoomOfManyOwners(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		const owners, saves = 4, 25
		var all sync.WaitGroup
		s := open(t, cfg)
		for owner := range owners {
			own := open(t, cfg)
			all.Go(func() {
				var rev string
				for n := 0; n < saves; {
					saved, err := own.SaveRoom(t.Context(), pipeline.RoomChange{RoomID: "!r:x", Rev: rev, Set: map[string]string{fmt.Sprintf("%d-%d", owner, n): "1"}})
					switch {
					case err == nil:
						rev, n = saved, n+1
					case errors.Is(err, pipeline.ErrStale):
						if rev, err = own.RoomRev(t.Context(), "!r:x"); err != nil {
							t.Error(err)
							return
						}
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		rev, got, err := load(t.Context(), s, "!r:x")
		if err != nil || !strings.HasPrefix(rev, fmt.Sprint(owners*saves, " ")) || len(got) != owners*saves {
			t.Errorf("%d fields at revision %s, %v; want %d of both", len(got), rev, err, owners*saves)
		}
	})
}

func entry(id string, position int64, thread string, depth int) pipeline.IndexEntry {
	return pipeline.IndexEntry{EventID: id, Place: pipeline.Place{Position: position, Thread: thread, Depth: depth}}
}

func TestUnset(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		set, unset := map[string]string{"stays": "1"}, []string{"never-there"}
		for i := range 1001 {
			set[fmt.Sprint("w|", i)] = "x"
			unset = append(unset, fmt.Sprint("w|", i))
		}
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: set})
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"new": "2"}, Unset: unset})
		loaded(t, s, "!r:x", map[string]string{"stays": "1", "new": "2"})
	})
}

func TestIndex(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Index: []pipeline.IndexEntry{
			entry("$zero", 0, "", 0), entry("$odd"+everyByte, 7, "$root"+everyByte, 5), entry("$far", 1<<53-1, "", 0), entry("$before", -5, "$root", 0),
		}})
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Index: []pipeline.IndexEntry{entry("$far", 3, "", 0), entry("$before", 9, "$other", 1)}}) // they keep their places
		got, err := s.Places(ctx, "!r:x", []string{"$zero", "$odd" + everyByte, "$unknown", "$far", "$before", "$zero"})
		want := map[string]pipeline.Place{"$zero": {}, "$odd" + everyByte: {Position: 7, Thread: "$root" + everyByte, Depth: 5}, "$far": {Position: 1<<53 - 1}, "$before": {Position: -5, Thread: "$root"}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Places: %v (-want +got):\n%s", err, diff)
		}
		if got, err := s.Places(ctx, "!unknown:x", []string{"$zero"}); err != nil || len(got) != 0 {
			t.Errorf("Places of an unknown room = %v, %v", got, err)
		}
	})
}

func TestIndexKeepsTheNewest(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		const events, batch = indexSize + 3000, 4000
		var entries []pipeline.IndexEntry
		want, ids := map[string]pipeline.Place{}, []string{}
		for i := range events {
			e := entry(fmt.Sprintf("$%d", i), int64(i), "", 0)
			if i%2 == 1 {
				e.Thread, e.Depth = fmt.Sprintf("$root%d", i), i%6
			}
			entries, ids = append(entries, e), append(ids, e.EventID)
			if i >= events-indexSize {
				want[e.EventID] = e.Place
			}
		}
		for part := range slices.Chunk(entries, batch) {
			save(t, s, pipeline.RoomChange{RoomID: "!r:x", Index: part})
		}
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Index: []pipeline.IndexEntry{entry("$late", 1, "$root", 1)}}) // older than all that are kept
		size, err := s.client().ZCard(ctx, s.keys.index("!r:x")).Result()
		threads, err2 := s.client().HLen(ctx, s.keys.threads("!r:x")).Result()
		if err != nil || err2 != nil || size != indexSize || threads != indexSize/2 {
			t.Errorf("the index holds %d events, %v, %d in threads, %v; want %d and half of them", size, err, threads, err2, indexSize)
		}
		got, err := s.Places(ctx, "!r:x", append(ids, "$late"))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Places: %v (-want +got):\n%s", err, diff)
		}
	})
}

func TestFillRoom(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		fill := func(fields map[string]string, want int) {
			t.Helper()
			if got, err := s.FillRoom(ctx, "!r:x", fields); err != nil || got != want {
				t.Fatalf("FillRoom = %d, %v; want %d", got, err, want)
			}
		}
		fill(map[string]string{"a": "0 1", "b": "12 " + everyByte}, 2)
		rev := loaded(t, s, "!r:x", map[string]string{"a": "0 1", "b": "12 " + everyByte})
		fill(map[string]string{"a": "0 1", "b": "9 older"}, 0)
		if now := loaded(t, s, "!r:x", map[string]string{"a": "0 1", "b": "12 " + everyByte}); now != rev {
			t.Errorf("nothing was set, and the revision is %q instead of %q", now, rev)
		}
		fill(map[string]string{"a": "0 2", "b": "100 newer"}, 2)
		rev = loaded(t, s, "!r:x", map[string]string{"a": "0 2", "b": "100 newer"})
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"c": "3 x"}})
		fill(map[string]string{"c": "0 imported", "d": "0 4"}, 1)
		fill(map[string]string{"far": "9007199254740991 x"}, 1)
		fill(map[string]string{"far": "9007199254740990 y"}, 0)
		loaded(t, s, "!r:x", map[string]string{"a": "0 2", "b": "100 newer", "c": "3 x", "d": "0 4", "far": "9007199254740991 x"})
		// An owner who has the room in memory hears of it.
		if _, err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!r:x", Rev: rev}); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("saving from before the filling: %v, want ErrStale", err)
		}
	})
}

func TestLargeRoom(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		want := map[string]string{}
		for i := range 12_345 {
			want[fmt.Sprintf("m|@user%d:example.org", i)] = fmt.Sprintf("%d join 0 0 - - Somebody", i)
		}
		if filled, err := s.FillRoom(ctx, "!filled:x", want); err != nil || filled != len(want) {
			t.Fatalf("FillRoom = %d, %v; want %d", filled, err, len(want))
		}
		save(t, s, pipeline.RoomChange{RoomID: "!saved:x", Set: want})
		for _, room := range []string{"!filled:x", "!saved:x"} {
			loaded(t, s, room, want)
		}
	})
}

// A room that changes while it is read is read anew, and what was read before is forgotten.
func TestRoomChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, other := open(t, cfg), open(t, cfg)
		fields := map[string]string{}
		for i := range 3000 {
			fields[fmt.Sprint("m|", i)] = "1 x"
		}
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: fields})
		begun, changes := 0, 2
		_, whole, err := s.loadOnce(t.Context(), "!r:x", func(int) func(string, string) {
			begun++
			return func(string, string) {
				if changes > 0 {
					changes--
					save(t, other, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"m|0": "2 y"}})
				}
			}
		})
		if onePage := !onRealServers(); err != nil || whole != onePage || begun != 1 { // an embedded server gives everything as one page
			t.Errorf("whole %v, begun %d times, %v", whole, begun, err)
		}
		fields["m|0"] = "2 y"
		loaded(t, s, "!r:x", fields)
	})
}

func TestRevisionIsNoField(t *testing.T) {
	t.Parallel()
	s := open(t, single(t))
	_, err1 := s.SaveRoom(t.Context(), pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"rev": "9"}})
	_, err2 := s.FillRoom(t.Context(), "!r:x", map[string]string{"rev": "9"})
	for _, err := range []error{err1, err2} {
		if err == nil || !strings.Contains(err.Error(), `"rev" is taken`) {
			t.Errorf("setting a field rev: %v", err)
		}
	}
	loaded(t, s, "!r:x", nil)
}
