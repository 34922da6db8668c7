package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"pgregory.net/rapid"

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

// TestGuardAgainstModel rejects, tries and lets time pass at random, with two workers, and compares with lists of everything that happened.
func TestGuardAgainstModel(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, other, round := open(t, cfg), open(t, cfg), 0
		rapid.Check(t, func(t *rapid.T) {
			round++
			app, now := fmt.Sprint("app ", round), newMoment()
			limits := pipeline.GuardLimits{Rejections: rapid.IntRange(1, 6).Draw(t, "rejections"), Percent: rapid.IntRange(0, 100).Draw(t, "percent"), Window: time.Duration(rapid.IntRange(1, 4).Draw(t, "window")) * time.Minute}
			guards := []*pipeline.Guard{newGuard(s, limits, now), newGuard(other, limits, now)}
			rejected, triedAt := map[int]time.Time{}, []map[int]time.Time{{}, {}, {}} // of each worker what is not noted, and what is
			within := func(times map[int]time.Time, window time.Duration) int64 {
				n := int64(0)
				for _, at := range times {
					if at.After(now.Now().Add(-window)) {
						n++
					}
				}
				return n
			}
			noted := func(w int) {
				for n := range triedAt[w] {
					triedAt[2][n] = now.Now()
				}
				clear(triedAt[w])
			}
			trip := ""
			for range rapid.IntRange(1, 30).Draw(t, "steps") {
				w, n := rapid.IntRange(0, 1).Draw(t, "worker"), rapid.IntRange(0, 20).Draw(t, "pushkey")
				switch rapid.SampledFrom([]string{"reject", "reject", "reject", "try", "try", "try", "flush", "pass", "reset"}).Draw(t, "step") {
				case "try":
					guards[w].Tried(app, pushkey(n))
					triedAt[w][n] = now.Now()
				case "flush":
					if err := guards[w].Flush(context.Background()); err != nil {
						t.Fatal(err)
					}
					noted(w)
				case "pass":
					now.pass(time.Duration(rapid.IntRange(1, 100_000).Draw(t, "ms")) * time.Millisecond)
				case "reset":
					if _, was, err := s.ResetGuard(context.Background(), app, now.Now(), limits.Window); err != nil || was != (trip != "") {
						t.Fatalf("reset: %v, %v", was, err)
					}
					trip = ""
					clear(rejected)
					clear(triedAt[2])
				case "reject":
					r, err := guards[w].Rejected(context.Background(), app, pushkey(n))
					if err != nil {
						t.Fatal(err)
					}
					noted(w)
					triedAt[2][n] = now.Now()
					if trip != "" {
						if !r.Hold || r.Trip.ID != trip {
							t.Fatalf("after it has tripped as %s: %+v", trip, r)
						}
						continue
					}
					rejected[n] = now.Now()
					least, most := within(triedAt[2], limits.Window), within(triedAt[2], limits.Window+time.Minute) // by whole minutes
					if want := within(rejected, limits.Window); r.Rejected != want || r.Tried < least || r.Tried > most {
						t.Fatalf("%d rejected of %d to %d: %+v", want, least, most, r)
					}
					if r.Hold != limits.Trips(r.Rejected, r.Tried) {
						t.Fatalf("limits %+v: %+v", limits, r)
					}
					trip = r.Trip.ID
				}
			}
		})
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

// Run learns what others decided, notes what was tried, and leaves nothing behind when it ends.
func TestGuardRuns(t *testing.T) {
	t.Parallel()
	cfg := single(t)
	s, now := open(t, cfg), newMoment()
	g, other := newGuard(s, standardLimits, now), newGuard(s, standardLimits, now)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	trip := reject(t, other, "app", 0, 10).Trip
	eventually(t, "the other's trip", func() bool { id, ok := g.Tripped("app"); return ok && id == trip.ID })
	g.Tried("quiet", pushkey(0))
	eventually(t, "the tried pushkey", func() bool {
		n, err := s.client().PFCount(ctx, s.triedKey("quiet", now.Now())).Result()
		return err == nil && n == 1
	})
	if _, _, err := s.ResetGuard(ctx, "app", now.Now(), standardLimits.Window); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reset", func() bool { _, ok := g.Tripped("app"); return !ok })
	stop()
	g.Tried("quiet", pushkey(1))
	running.Wait()
	if n, err := s.client().PFCount(t.Context(), s.triedKey("quiet", now.Now())).Result(); err != nil || n != 2 {
		t.Errorf("after the end %d pushkeys are noted, %v; want 2", n, err)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}

// What Redis does not answer is kept, and the guard goes by what it knew.
func TestGuardWithoutRedis(t *testing.T) {
	t.Parallel()
	s, now := open(t, single(t)), newMoment()
	var said strings.Builder
	g := pipeline.NewGuard(s, standardLimits, now, slog.New(slog.NewTextHandler(&said, nil)))
	trip := reject(t, g, "app", 0, 10).Trip
	g.Tried("quiet", pushkey(0))
	broken, cancel := context.WithCancel(t.Context())
	cancel()
	if g.Flush(broken) == nil || g.Poll(broken) == nil {
		t.Error("no error without Redis")
	}
	if _, err := g.Rejected(broken, "quiet", pushkey(1)); err == nil {
		t.Error("a ruling without Redis")
	}
	if id, ok := g.Tripped("app"); !ok || id != trip.ID {
		t.Error("it has forgotten the trip")
	}
	if r := reject(t, g, "quiet", 1, 2); r.Tried != 2 {
		t.Errorf("later: %+v", r)
	}
	if text := said.String(); strings.Count(text, "has tripped") != 1 || !strings.Contains(text, "app_id=app") || strings.Contains(text, "pushkey ") {
		t.Errorf("said:\n%s", text)
	}
}

// The metric that an alert watches rises when a guard trips, and falls when it is reset.
func TestGuardInstrument(t *testing.T) {
	t.Parallel()
	s, ctx, now := open(t, single(t)), t.Context(), newMoment()
	g := newGuard(s, standardLimits, now)
	reader := metric.NewManualReader()
	instrument, err := g.Instrument(metric.NewMeterProvider(metric.WithReader(reader)))
	if err != nil {
		t.Fatal(err)
	}
	tripped := func(want int64) {
		t.Helper()
		var all metricdata.ResourceMetrics
		if err := errors.Join(g.Poll(ctx), reader.Collect(ctx, &all)); err != nil {
			t.Fatal(err)
		}
		gauge, ok := all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Gauge[int64])
		if name := all.ScopeMetrics[0].Metrics[0].Name; !ok || name != "tocsin.guard.tripped" || gauge.DataPoints[0].Value != want || gauge.DataPoints[0].Attributes.Len() != 0 {
			t.Errorf("%s: %+v, want %d", name, gauge, want)
		}
	}
	tripped(0)
	reject(t, g, "app", 0, 10)
	reject(t, g, "other", 0, 10)
	tripped(2)
	if _, _, err := s.ResetGuard(ctx, "app", now.Now(), standardLimits.Window); err != nil {
		t.Fatal(err)
	}
	tripped(1)
	if err := instrument.Unregister(); err != nil {
		t.Fatal(err)
	}
}

// TestUnreadableTrip is about a value that is not ours: it must be an error, never "nothing has tripped".
func TestUnreadableTrip(t *testing.T) {
	t.Parallel()
	s, ctx := open(t, single(t)), t.Context()
	for _, text := range []string{"x", "", " 1 2 3", "a 1 2", "a b 2 3", "a 1 2 3 4"} {
		if err := s.client().HSet(ctx, s.keys.tripped(), "app", text).Err(); err != nil {
			t.Fatal(err)
		}
		if trips, err := s.Trips(ctx); err == nil {
			t.Errorf("%q is read as %v", text, trips)
		}
	}
	if _, _, err := s.ResetGuard(ctx, "app", time.Unix(0, 0), time.Minute); err == nil {
		t.Error("no error")
	}
	if trips, err := s.Trips(ctx); err != nil || len(trips) != 0 {
		t.Errorf("after a reset: %v, %v", trips, err)
	}
}
