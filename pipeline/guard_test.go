package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tocsin/clock"
	"tocsin/pushers"
)

func TestGuardLimits(t *testing.T) {
	t.Parallel()
	standard := GuardLimits{Rejections: 10, Percent: 10, Window: 10 * time.Minute}
	for _, tc := range []struct {
		limits          GuardLimits
		rejected, tried int64
		want            bool
	}{
		{standard, 0, 0, false},
		{standard, 9, 9, false}, // a few testers with dead phones
		{standard, 10, 10, true},
		{standard, 10, 99, true},
		{standard, 10, 100, false}, // 10 % exactly
		{standard, 11, 109, true},
		{standard, 11, 110, false},
		{standard, 100_000, 1_000_000, false},
		{standard, 100_001, 1_000_000, true},
		{GuardLimits{Rejections: 1, Percent: 0}, 1, 1_000_000, true},
		{GuardLimits{Rejections: 1, Percent: 100}, 1000, 1000, false}, // switched off
		{GuardLimits{Rejections: 2, Percent: 50}, 2, 3, true},
		{GuardLimits{Rejections: 2, Percent: 50}, 2, 4, false},
	} {
		if got := tc.limits.Trips(tc.rejected, tc.tried); got != tc.want {
			t.Errorf("%+v: %d rejected of %d tried: %v, want %v", tc.limits, tc.rejected, tc.tried, got, tc.want)
		}
	}
}

func TestIsHeld(t *testing.T) {
	t.Parallel()
	v := Version{Epoch: 1, Partition: 2, Offset: 3}
	mark := HeldMark("TRIP", v)
	for _, tc := range []struct {
		name    string
		mark    string
		trip    string
		tripped bool
		v       Version
		want    bool
	}{
		{"held", mark, "TRIP", true, v, true},
		{"never marked", "", "TRIP", true, v, false},
		{"the guard was reset", mark, "", false, v, false},
		{"reset, but somebody still has the name", mark, "TRIP", false, v, false},
		{"reset, and tripped again", mark, "NEXT", true, v, false},
		{"set anew", mark, "TRIP", true, Version{Epoch: 1, Partition: 2, Offset: 4}, false},
		{"set anew in another epoch", mark, "TRIP", true, Version{Epoch: 2, Partition: 2, Offset: 3}, false},
		{"set anew in another partition", mark, "TRIP", true, Version{Epoch: 1, Partition: 0, Offset: 3}, false},
		{"no trip has no name", HeldMark("", v), "", true, v, false},
		{"not ours", "TRIP", "TRIP", true, v, false},
	} {
		if got := IsHeld(tc.mark, tc.trip, tc.tripped, tc.v); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Pushers of one user never share a mark, and no mark shows a pushkey.
func TestHeldField(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, p := range [][2]string{{"app", "secret"}, {"app", "secret2"}, {"app2", "secret"}, {"app|secret", ""}, {"app", "|secret"}, {"app|", "secret"}, {"app%7C", "secret"}} {
		field := HeldField(p[0], pushers.NewPushkey(p[1]))
		if other, twice := seen[field]; twice {
			t.Errorf("%q and %q share %s", p, other, field)
		}
		seen[field] = fmt.Sprint(p)
		if !strings.HasPrefix(field, HeldPrefix) || strings.Contains(field, "secret") {
			t.Errorf("%q is marked at %q", p, field)
		}
	}
}

// What waits to be noted is bounded, and counted right by many at once.
func TestTriedKeysBounded(t *testing.T) {
	t.Parallel()
	tried := newTriedKeys()
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() {
			for i := range maxTried/4 + 100 {
				key := pushers.NewPushkey(fmt.Sprint(w, " ", i))
				for range 2 { // each twice
					tried.add(fmt.Sprint("app ", i%3), key)
				}
			}
		})
	}
	workers.Wait()
	select {
	case <-tried.full:
	default:
		t.Error("nobody was told that half of the room is used up")
	}
	one, _, noted := tried.take("app 0")
	tried.putBack("app 0", one)
	noted()
	if again, _, _ := tried.take("app 0"); len(one) < maxTried/4 || len(again) != len(one) {
		t.Errorf("took %d, put back, and took %d", len(one), len(again))
	}
	rest := 0
	all, _ := tried.takeAll()
	for _, keys := range all {
		rest += len(keys)
	}
	if len(one)+rest != maxTried || tried.size != 0 {
		t.Errorf("%d and %d were kept, want %d; %d are left", len(one), rest, maxTried, tried.size)
	}
	tried.add("app", pushers.NewPushkey("k"))
	if got, _ := tried.takeAll(); len(got["app"]) != 1 {
		t.Errorf("afterwards: %v", got)
	}
}

// lateNotes is a store to which notes of what was tried take long.
type lateNotes struct {
	GuardStore
	mu              sync.Mutex
	rejected, tried int
}

func (s *lateNotes) NoteTried(_ context.Context, _ time.Time, _ time.Duration, tried map[string][]string) error {
	time.Sleep(time.Second)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried += len(tried["app"])
	return nil
}

func (s *lateNotes) Reject(_ context.Context, r Rejection, limits GuardLimits) (Ruling, error) {
	if len(r.Tried) > 0 {
		time.Sleep(time.Second)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejected, s.tried = s.rejected+1, s.tried+len(r.Tried)
	if limits.Trips(int64(s.rejected), int64(s.tried)) {
		return Ruling{Hold: true, Trip: Trip{ID: "TRIP"}}, nil
	}
	return Ruling{}, nil
}

// Some of many pushkeys are rejected at the same moment, while a note of what was tried is still on its way: no rejection overtakes it, and the guard does not trip.
func TestRejectionsOvertakeNoNote(t *testing.T) {
	t.Parallel()
	for _, flushed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			g := NewGuard(&lateNotes{}, GuardLimits{Rejections: 10, Percent: 10, Window: 10 * time.Minute}, clock.System{}, slog.New(slog.DiscardHandler))
			for i := range 500 {
				g.Tried("app", pushers.NewPushkey(fmt.Sprint(i)))
			}
			var all sync.WaitGroup
			if flushed {
				all.Go(func() {
					if err := g.Flush(t.Context()); err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
			}
			for i := range 20 {
				all.Go(func() {
					if ruling, err := g.Rejected(t.Context(), "app", pushers.NewPushkey(fmt.Sprint(i))); err != nil || ruling.Hold {
						t.Errorf("20 of 500 were rejected: %+v, %v", ruling, err)
					}
				})
			}
			all.Wait()
			if len(g.tried.notes) > 0 {
				t.Errorf("notes are left: %v", g.tried.notes)
			}
		})
	}
}

// BenchmarkTried is what each attempt to push pays.
func BenchmarkTried(b *testing.B) {
	g := NewGuard(nil, GuardLimits{}, nil, nil)
	keys := make([]pushers.Pushkey, 10_000)
	for i := range keys {
		keys[i] = pushers.NewPushkey(fmt.Sprint("a pushkey of some length, as they come ", i))
	}
	b.RunParallel(func(pb *testing.PB) {
		for i := 0; pb.Next(); i++ {
			g.Tried("im.vector.app.ios.prod", keys[i%len(keys)])
		}
	})
}
