package state

// The rejection guard over a Redis: when it trips, what it counts, and until when it holds.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
	"tocsin/pushers"
)

// moment is a clock that a test sets.
type moment struct {
	mu sync.Mutex
	at time.Time
}

func newMoment() *moment { return &moment{at: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)} }

func (m *moment) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.at
}

func (m *moment) pass(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.at = m.at.Add(d)
}

func (m *moment) Until(context.Context, time.Time) error { return errors.New("a guard never waits") }

var standardLimits = pipeline.GuardLimits{Rejections: 10, Percent: 10, Window: 10 * time.Minute}

func newGuard(s *Store, limits pipeline.GuardLimits, m *moment) *pipeline.Guard {
	return pipeline.NewGuard(s, limits, m, slog.New(slog.DiscardHandler))
}

func pushkey(n int) pushers.Pushkey { return pushers.NewPushkey(fmt.Sprint("pushkey ", n)) }

// reject rejects pushkeys and returns the last ruling.
func reject(t *testing.T, g *pipeline.Guard, app string, from, to int) (r pipeline.Ruling) {
	t.Helper()
	for n := from; n < to; n++ {
		var err error
		if r, err = g.Rejected(t.Context(), app, pushkey(n)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func flush(t *testing.T, g *pipeline.Guard) {
	t.Helper()
	if err := g.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestGuardTripsAtItsLimits(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name      string
		tried     int // beside those that are rejected
		removed   int // rejections that remove
		heldAfter bool
	}{
		{"a test installation: nine of nine", 0, 9, false},
		{"the tenth of ten", 0, 9, true},
		{"the tenth of 99", 89, 9, true},
		{"the tenth of 100 is 10 % exactly", 90, 10, false},
		{"the eleventh of 101", 90, 10, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			onEach(t, func(t *testing.T, cfg Config) {
				s, now := open(t, cfg), newMoment()
				g := newGuard(s, standardLimits, now)
				for n := range tc.tried {
					g.Tried("app", pushkey(1000+n))
				}
				if r := reject(t, g, "app", 0, tc.removed); r.Hold || r.Rejected != int64(tc.removed) {
					t.Fatalf("rejection %d: %+v", tc.removed, r)
				}
				if _, tripped := g.Tripped("app"); tripped {
					t.Error("it has tripped")
				}
				if !tc.heldAfter {
					return
				}
				r := reject(t, g, "app", tc.removed, tc.removed+1)
				if want := (pipeline.Trip{ID: r.Trip.ID, At: now.Now(), Rejected: int64(tc.removed + 1), Tried: int64(tc.tried + tc.removed + 1)}); !r.Hold || r.Trip != want || r.Trip.ID == "" {
					t.Errorf("the next rejection: %+v, want trip %+v", r, want)
				}
				if id, tripped := g.Tripped("app"); !tripped || id != r.Trip.ID {
					t.Errorf("it knows trip %q, %v", id, tripped)
				}
			})
		})
	}
}

// The same pushkey again and again is one pushkey, and other apps have nothing to do with it.
func TestGuardCountsPushkeysOfAnApp(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, now := open(t, cfg), newMoment()
		g := newGuard(s, standardLimits, now)
		for range 30 {
			if r := reject(t, g, "app", 0, 9); r.Hold || r.Rejected != 9 || r.Tried != 9 {
				t.Fatalf("nine pushkeys: %+v", r)
			}
			if r := reject(t, g, "other", 100, 109); r.Hold {
				t.Fatalf("another app: %+v", r)
			}
		}
		if r := reject(t, g, "app", 9, 10); !r.Hold {
			t.Errorf("the tenth: %+v", r)
		}
		if r := reject(t, g, "other", 100, 101); r.Hold {
			t.Errorf("another app: %+v", r)
		}
	})
}

func TestGuardWindowSlides(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, now := open(t, cfg), newMoment()
		g := newGuard(s, standardLimits, now)
		for n := range 60 { // one in 70 seconds never makes ten in ten minutes
			if r := reject(t, g, "app", n, n+1); r.Hold || r.Rejected > 9 {
				t.Fatalf("pushkey %d: %+v", n, r)
			}
			now.pass(70 * time.Second)
		}
		now.pass(10 * time.Minute)
		if r := reject(t, g, "app", 100, 109); r.Hold || r.Rejected != 9 {
			t.Fatalf("nine in a new window: %+v", r)
		}
		now.pass(10*time.Minute - time.Millisecond) // they are just within it
		if r := reject(t, g, "app", 109, 110); !r.Hold {
			t.Errorf("the tenth at the end of the window: %+v", r)
		}

		// What was tried long ago does not excuse rejections of now.
		for n := range 500 {
			g.Tried("busy", pushkey(n))
		}
		flush(t, g)
		if r := reject(t, g, "busy", 0, 20); r.Hold || r.Tried < 490 || r.Tried > 510 {
			t.Fatalf("20 of 500: %+v", r)
		}
		now.pass(11 * time.Minute)
		if r := reject(t, g, "busy", 0, 9); r.Hold || r.Tried != 9 {
			t.Fatalf("nine of nine: %+v", r)
		}
		if r := reject(t, g, "busy", 9, 10); !r.Hold {
			t.Errorf("the tenth of ten: %+v", r)
		}
	})
}

// Once tripped, everything is held, also what other workers have in flight and ask about at once; until it is reset. Then it begins anew.
func TestGuardHoldsUntilReset(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx, now := open(t, cfg), t.Context(), newMoment()
		g, other := newGuard(s, standardLimits, now), newGuard(open(t, cfg), standardLimits, now)
		if _, was, err := s.ResetGuard(ctx, "app", now.Now(), standardLimits.Window); was || err != nil {
			t.Errorf("a reset of what has not tripped: %v, %v", was, err)
		}
		first := reject(t, g, "app", 0, 10)
		for n := range 5000 { // a healthy crowd does not help any more
			other.Tried("app", pushkey(n))
		}
		inFlight, err := other.Rejected(ctx, "app", pushkey(77))
		if err != nil || !inFlight.Hold || inFlight.Trip != first.Trip {
			t.Errorf("a request in flight: %+v, %v; want %+v", inFlight, err, first.Trip)
		}
		now.pass(48 * time.Hour)
		if r := reject(t, other, "app", 78, 79); !r.Hold || r.Trip != first.Trip {
			t.Errorf("two days later: %+v", r)
		}
		trips, err := s.Trips(ctx)
		if diff := cmp.Diff(map[string]pipeline.Trip{"app": first.Trip}, trips); err != nil || diff != "" {
			t.Errorf("trips: %v (-want +got)\n%s", err, diff)
		}
		if held, err := s.RejectedSince(ctx, []string{"app", "other"}); err != nil || !cmp.Equal(held, []int64{3, 0}) {
			t.Errorf("held: %v, %v", held, err)
		}

		// Rejections of the last minutes are forgotten with the reset, and what was tried, too.
		trip, was, err := s.ResetGuard(ctx, "app", now.Now(), standardLimits.Window)
		if err != nil || !was || trip != first.Trip {
			t.Errorf("reset: %+v, %v, %v", trip, was, err)
		}
		if err := errors.Join(g.Poll(ctx), other.Poll(ctx)); err != nil {
			t.Fatal(err)
		}
		for i, worker := range []*pipeline.Guard{g, other} {
			if _, tripped := worker.Tripped("app"); tripped {
				t.Errorf("worker %d has not heard of the reset", i)
			}
		}
		if r := reject(t, g, "app", 0, 9); r.Hold || r.Rejected != 9 || r.Tried != 9 {
			t.Errorf("nine after the reset: %+v", r)
		}
		second := reject(t, other, "app", 9, 10)
		if !second.Hold || second.Trip.ID == first.Trip.ID {
			t.Errorf("ten after the reset: %+v", second)
		}
		v := version(1, 2, 3)
		if id, tripped := other.Tripped("app"); pipeline.IsHeld(pipeline.HeldMark(first.Trip.ID, v), id, tripped, v) || !pipeline.IsHeld(pipeline.HeldMark(second.Trip.ID, v), id, tripped, v) {
			t.Error("what the first trip held is held by the second one")
		}
	})
}

// Two workers at once see one deployment: exactly nine of their rejections remove.
func TestGuardOfTwoWorkers(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		now := newMoment()
		var mu sync.Mutex
		removed, trips := 0, map[string]bool{}
		var workers sync.WaitGroup
		for w := range 2 {
			g := newGuard(open(t, cfg), standardLimits, now)
			for part := range 4 {
				workers.Go(func() {
					for n := range 20 {
						g.Tried("app", pushkey(w*1000+part*100+n))
						r, err := g.Rejected(t.Context(), "app", pushkey(w*1000+part*100+n))
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						if r.Hold {
							trips[r.Trip.ID] = true
						} else {
							removed++
						}
						mu.Unlock()
					}
				})
			}
		}
		workers.Wait()
		if removed != 9 || len(trips) != 1 {
			t.Errorf("%d rejections removed, %d trips; want 9 and 1", removed, len(trips))
		}
	})
}

// Users name apps as they like: when too many guards have tripped, nothing more is noted, and still nothing is removed in a wave.
func TestGuardsBounded(t *testing.T) {
	t.Parallel()
	s, now := open(t, single(t)), newMoment()
	limits := pipeline.GuardLimits{Rejections: 1, Percent: 0, Window: time.Minute}
	g := newGuard(s, limits, now)
	for n := range maxTrips {
		if r := reject(t, g, fmt.Sprint("app ", n), 0, 1); !r.Hold || r.Trip.ID == "" {
			t.Fatalf("app %d: %+v", n, r)
		}
	}
	for range 2 {
		if r := reject(t, g, "one more", 0, 2); !r.Hold || r.Trip.ID != "" {
			t.Errorf("one more: %+v", r)
		}
	}
	if trips, err := s.Trips(t.Context()); err != nil || len(trips) != maxTrips {
		t.Errorf("%d trips, %v", len(trips), err)
	}
	if _, tripped := g.Tripped("one more"); tripped {
		t.Error("one more is noted")
	}
}

// A crowd of pushkeys is estimated, within a few percent.
func TestGuardOfACrowd(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, now := open(t, cfg), newMoment()
		g := newGuard(s, standardLimits, now)
		const crowd = 30_000
		for n := range crowd {
			g.Tried("app", pushkey(n))
			if n == crowd/2 {
				flush(t, g)
				now.pass(5 * time.Minute)
			}
		}
		r := reject(t, g, "app", 0, 1) // with more than fits into one call
		if r.Hold || r.Tried < crowd*95/100 || r.Tried > crowd*105/100 {
			t.Errorf("one of %d: %+v", crowd, r)
		}
	})
}
