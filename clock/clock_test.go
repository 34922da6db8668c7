package clock_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"tocsin/clock"
)

func TestSystemUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := (clock.System{}).Until(t.Context(), start.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		if got := time.Since(start); got != time.Hour {
			t.Errorf("waited %v, want 1h", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := (clock.System{}).Until(ctx, time.Now().Add(time.Hour)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the context's error", err)
		}
	})
}

func TestVirtual(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.UnixMilli(1000)
		v := clock.NewVirtual(start)
		var woke []string
		wait := func(name string, d time.Duration) {
			go func() {
				if v.Until(t.Context(), start.Add(d)) == nil {
					woke = append(woke, name)
				}
			}()
		}
		wait("late", time.Minute)
		wait("early", time.Second)
		synctest.Wait()
		if next, ok := v.Next(); !ok || !next.Equal(start.Add(time.Second)) {
			t.Fatalf("next is %v %v, want the earlier one", next, ok)
		}
		v.Advance(start.Add(time.Second))
		synctest.Wait()
		if len(woke) != 1 || woke[0] != "early" {
			t.Fatalf("woke %v, want only the early one", woke)
		}
		v.Advance(start) // never back
		if got := v.Now(); !got.Equal(start.Add(time.Second)) {
			t.Errorf("the clock went back to %v", got)
		}
		v.Advance(start.Add(time.Hour))
		synctest.Wait()
		if _, ok := v.Next(); ok || len(woke) != 2 {
			t.Errorf("woke %v, want both and nobody waiting", woke)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := v.Until(ctx, start.Add(2*time.Hour)); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		if _, ok := v.Next(); ok {
			t.Error("a wait that was given up still counts")
		}
	})
}
