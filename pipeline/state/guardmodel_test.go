package state

// The rejection guard against lists of everything that happened.

import (
	"context"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/pipeline"
)

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
