package delivery

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fill takes n rooms at host.
func fill(t *testing.T, b *bulkheads, host string, n int) (leave []func()) {
	t.Helper()
	for range n {
		l, ok := b.enter(t.Context(), host)
		if !ok {
			t.Fatalf("no room at %s", host)
		}
		leave = append(leave, l)
	}
	return leave
}

func TestBulkheadSlowGateway(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBulkheads(100, 4)
		hanging := fill(t, b, "slow", 4)
		time.Sleep(patience)
		start := time.Now()
		if _, ok := b.enter(t.Context(), "slow"); ok {
			t.Error("room for more than there is")
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v for a gateway that is slow", waited)
		}
		for _, leave := range fill(t, b, "healthy", 4) {
			leave()
		}
		for _, leave := range hanging {
			leave()
		}
		for _, leave := range fill(t, b, "slow", 4) { // there is room again
			leave()
		}
	})
}

func TestBulkheadBurst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBulkheads(1000, 4)
		var workers sync.WaitGroup
		for range 50 { // workers, with 20 requests each that take 10 ms
			workers.Go(func() {
				for range 20 {
					leave, ok := b.enter(t.Context(), "healthy")
					if !ok {
						t.Error("turned away from a gateway that answers")
						return
					}
					time.Sleep(10 * time.Millisecond)
					leave()
				}
			})
		}
		workers.Wait()
	})
}

func TestBulkheadWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBulkheads(100, 1)
		leave := fill(t, b, "hangs", 1)[0]
		start := time.Now()
		if _, ok := b.enter(t.Context(), "hangs"); ok || time.Since(start) != patience {
			t.Errorf("took room %v after %v, want none after %v", ok, time.Since(start), patience)
		}
		leave()
		leave = fill(t, b, "hangs", 1)[0]
		ctx, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		start = time.Now()
		if _, ok := b.enter(ctx, "hangs"); ok || time.Since(start) != patience/2 {
			t.Errorf("took room %v after %v, want none after %v", ok, time.Since(start), patience/2)
		}
		leave()
	})
}

func TestBulkheadOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBulkheads(3, 2)
		leave := append(fill(t, b, "a", 2), fill(t, b, "b", 1)...)
		if _, ok := b.enter(t.Context(), "c"); ok {
			t.Error("room for more than there is")
		}
		leave[0]()
		leave[0] = fill(t, b, "c", 1)[0]
		for _, l := range leave {
			l()
		}
	})
}

// TestBulkheadForgets holds that gateways take no memory when nobody sends to them: users make up their names.
func TestBulkheadForgets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBulkheads(10, 1)
		var workers sync.WaitGroup
		for i := range 1000 {
			workers.Go(func() {
				if leave, ok := b.enter(t.Context(), fmt.Sprint(i%20)); ok {
					time.Sleep(time.Duration(i%7) * time.Second)
					leave()
				}
			})
		}
		workers.Wait()
		if len(b.gateways) != 0 || b.inFlight != 0 {
			t.Errorf("%d gateways and %d requests are left", len(b.gateways), b.inFlight)
		}
	})
}
