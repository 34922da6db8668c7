package state

// The rejection guard in a worker: what it learns and notes as time goes by, without Redis and with what it can't read, and what it shows.

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"tocsin/pipeline"
)

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
