package state

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
)

func save(t *testing.T, s *Store, change pipeline.RoomChange) {
	t.Helper()
	if err := s.SaveRoom(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

func loaded(t *testing.T, s *Store, roomID string, want pipeline.RoomRecord) {
	t.Helper()
	got, err := s.LoadRoom(t.Context(), roomID)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Fields) == 0 {
		got.Fields = nil
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("room (-want +got):\n%s", diff)
	}
	if rev, err := s.RoomRev(t.Context(), roomID); err != nil || rev != want.Rev {
		t.Errorf("RoomRev = %d, %v; want %d", rev, err, want.Rev)
	}
}

func TestRoomReadBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		room := "!odd" + everyByte
		loaded(t, s, room, pipeline.RoomRecord{})
		save(t, s, pipeline.RoomChange{RoomID: room, Set: map[string]string{"name": "=n", "m|@a:x": "join 1 A", everyByte: everyByte, "": "nameless"}})
		loaded(t, s, room, pipeline.RoomRecord{Rev: 1, Fields: map[string]string{"name": "=n", "m|@a:x": "join 1 A", everyByte: everyByte, "": "nameless"}})
		save(t, s, pipeline.RoomChange{RoomID: room, Rev: 1, Set: map[string]string{"name": "", "m|@a:x": "leave 2 "}})
		fields := map[string]string{"name": "", "m|@a:x": "leave 2 ", everyByte: everyByte, "": "nameless"}
		loaded(t, s, room, pipeline.RoomRecord{Rev: 2, Fields: fields})
		save(t, s, pipeline.RoomChange{RoomID: room, Rev: 2}) // nothing but the revision
		loaded(t, s, room, pipeline.RoomRecord{Rev: 3, Fields: fields})
		loaded(t, s, "!other:x", pipeline.RoomRecord{})
	})
}

func TestStaleSaveChangesNothing(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"a": "1"}})
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Rev: 1, Set: map[string]string{"a": "2"}})
		for _, rev := range []int64{0, 1, 3, 20, -1} {
			err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!r:x", Rev: rev, Set: map[string]string{"a": "stale", "b": "stale"}, Index: []pipeline.IndexEntry{{EventID: "$stale", Position: 1}}})
			if !errors.Is(err, pipeline.ErrStale) {
				t.Errorf("saving from revision %d: %v, want ErrStale", rev, err)
			}
		}
		loaded(t, s, "!r:x", pipeline.RoomRecord{Rev: 2, Fields: map[string]string{"a": "2"}})
		if got, err := s.Positions(ctx, "!r:x", []string{"$stale"}); err != nil || len(got) != 0 {
			t.Errorf("Positions = %v, %v; want none", got, err)
		}
		if err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!new:x", Rev: 1}); !errors.Is(err, pipeline.ErrStale) {
			t.Errorf("saving an unknown room from revision 1: %v, want ErrStale", err)
		}
	})
}

// TestSaveSentTwice sends the very same save again, as the driver does when the answer was lost: it is no conflict with itself.
func TestSaveSentTwice(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		keys := []string{s.keys.room("!r:x"), s.keys.index("!r:x")}
		send := func(rev int64, name, value string) int {
			t.Helper()
			answer, err := s.runOne(ctx, "test", saveRoomScript, keys, rev, name, indexSize, 1, "a", value)
			if err != nil {
				t.Fatal(err)
			}
			n, _ := answer.Int()
			return n
		}
		for i, step := range []struct {
			rev         int64
			name, value string
			want        int
		}{
			{0, "first", "1", 1}, {0, "first", "1", 1}, {0, "other", "x", 0},
			{1, "second", "2", 1}, {0, "first", "1", 0}, {1, "second", "2", 1}, {1, "first", "x", 0},
		} {
			if got := send(step.rev, step.name, step.value); got != step.want {
				t.Errorf("step %d: the script answers %d, want %d", i, got, step.want)
			}
		}
		loaded(t, s, "!r:x", pipeline.RoomRecord{Rev: 2, Fields: map[string]string{"a": "2"}})
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
				var rev int64
				for n := 0; n < saves; {
					err := own.SaveRoom(t.Context(), pipeline.RoomChange{RoomID: "!r:x", Rev: rev, Set: map[string]string{fmt.Sprintf("%d-%d", owner, n): "1"}})
					switch {
					case err == nil:
						rev, n = rev+1, n+1
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
		got, err := s.LoadRoom(t.Context(), "!r:x")
		if err != nil || got.Rev != owners*saves || len(got.Fields) != owners*saves {
			t.Errorf("%d fields at revision %d, %v; want %d of both", len(got.Fields), got.Rev, err, owners*saves)
		}
	})
}

func TestIndex(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Index: []pipeline.IndexEntry{
			{EventID: "$zero", Position: 0}, {EventID: "$odd" + everyByte, Position: 7}, {EventID: "$far", Position: 1<<53 - 1}, {EventID: "$before", Position: -5},
		}})
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Rev: 1, Index: []pipeline.IndexEntry{{EventID: "$far", Position: 3}}}) // it keeps its position
		got, err := s.Positions(ctx, "!r:x", []string{"$zero", "$odd" + everyByte, "$unknown", "$far", "$before", "$zero"})
		want := map[string]int64{"$zero": 0, "$odd" + everyByte: 7, "$far": 1<<53 - 1, "$before": -5}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Positions: %v (-want +got):\n%s", err, diff)
		}
		if got, err := s.Positions(ctx, "!unknown:x", []string{"$zero"}); err != nil || len(got) != 0 {
			t.Errorf("Positions of an unknown room = %v, %v", got, err)
		}
	})
}

func TestIndexKeepsTheNewest(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		const events, batch = indexSize + 3000, 4000
		var entries []pipeline.IndexEntry
		for i := range events {
			entries = append(entries, pipeline.IndexEntry{EventID: fmt.Sprintf("$%d", i), Position: int64(i)})
		}
		var rev int64
		for from := 0; from < events; from += batch {
			save(t, s, pipeline.RoomChange{RoomID: "!r:x", Rev: rev, Index: entries[from:min(events, from+batch)]})
			rev++
		}
		size, err := s.client().ZCard(ctx, s.keys.index("!r:x")).Result()
		if err != nil || size != indexSize {
			t.Errorf("the index holds %d events, %v; want %d", size, err, indexSize)
		}
		got, err := s.Positions(ctx, "!r:x", []string{"$0", fmt.Sprintf("$%d", events-indexSize-1), fmt.Sprintf("$%d", events-indexSize), fmt.Sprintf("$%d", events-1)})
		want := map[string]int64{fmt.Sprintf("$%d", events-indexSize): events - indexSize, fmt.Sprintf("$%d", events-1): events - 1}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Positions: %v (-want +got):\n%s", err, diff)
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
		fill(map[string]string{"a": "1", "b": everyByte}, 2)
		loaded(t, s, "!r:x", pipeline.RoomRecord{Rev: 1, Fields: map[string]string{"a": "1", "b": everyByte}})
		fill(map[string]string{"a": "2", "b": "2"}, 0)
		loaded(t, s, "!r:x", pipeline.RoomRecord{Rev: 1, Fields: map[string]string{"a": "1", "b": everyByte}})
		save(t, s, pipeline.RoomChange{RoomID: "!r:x", Rev: 1, Set: map[string]string{"c": "3"}})
		fill(map[string]string{"c": "4", "d": "4"}, 1)
		loaded(t, s, "!r:x", pipeline.RoomRecord{Rev: 3, Fields: map[string]string{"a": "1", "b": everyByte, "c": "3", "d": "4"}})
		// An owner who has the room in memory hears of it.
		if err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!r:x", Rev: 2}); !errors.Is(err, pipeline.ErrStale) {
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
			want[fmt.Sprintf("m|@user%d:example.org", i)] = fmt.Sprintf("join %d Somebody", i)
		}
		if filled, err := s.FillRoom(ctx, "!filled:x", want); err != nil || filled != len(want) {
			t.Fatalf("FillRoom = %d, %v; want %d", filled, err, len(want))
		}
		save(t, s, pipeline.RoomChange{RoomID: "!saved:x", Set: want})
		for _, room := range []string{"!filled:x", "!saved:x"} {
			got, err := s.LoadRoom(ctx, room)
			if diff := cmp.Diff(want, got.Fields); err != nil || diff != "" {
				t.Fatalf("%s: %v (-want +got):\n%s", room, err, diff)
			}
		}
	})
}

func TestRevisionIsNoField(t *testing.T) {
	t.Parallel()
	s := open(t, single(t))
	err1 := s.SaveRoom(t.Context(), pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"rev": "9"}})
	_, err2 := s.FillRoom(t.Context(), "!r:x", map[string]string{"rev": "9"})
	for _, err := range []error{err1, err2} {
		if err == nil || !strings.Contains(err.Error(), `"rev" is taken`) {
			t.Errorf("setting a field rev: %v", err)
		}
	}
	loaded(t, s, "!r:x", pipeline.RoomRecord{})
}
