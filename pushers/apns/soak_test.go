package apns

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/test/stack"
)

// faults are what becomes of one push in twenty. Those that end a connection are rare: each concerns all that is under way on it.
func faults(random *rand.Rand) stack.APNsAnswer {
	switch n := random.IntN(10_000); {
	case n < 5:
		return stack.APNsAnswer{Fault: stack.APNsCut}
	case n < 10:
		return stack.APNsAnswer{Fault: stack.APNsGoAwayTaken}
	case n < 20:
		return stack.APNsAnswer{Fault: stack.APNsGoAway}
	case n < 25:
		return stack.APNsAnswer{Fault: stack.APNsSilence}
	case n < 100:
		return stack.APNsAnswer{Fault: stack.APNsReset}
	case n < 200:
		return stack.APNsAnswer{Fault: stack.APNsRefuseStream}
	case n < 300:
		return stack.APNsAnswer{Status: 503, Reason: "ServiceUnavailable"}
	case n < 350:
		return stack.APNsAnswer{Status: 503, Reason: "Shutdown"}
	case n < 400:
		return stack.APNsAnswer{Status: 400, Reason: "IdleTimeout"}
	case n < 450:
		return stack.APNsAnswer{Status: 500, Reason: "InternalServerError"}
	case n < 500:
		return stack.APNsAnswer{Status: 429, Reason: "TooManyRequests"}
	}
	return stack.APNsAnswer{}
}

// told is what became of one delivery.
type told struct {
	taken, uncertain int
	id               string
}

// One push in twenty fails, in one of all ways. Nothing is lost, and nothing comes twice but after an uncertain outcome, and then under the same name.
func TestSoak(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	random, byToken, attempts := rand.New(rand.NewPCG(1, 2)), map[string]*told{}, 0
	b := newBed(t, stack.APNsOptions{
		Answer: func(stack.APNsPush) stack.APNsAnswer {
			mu.Lock()
			defer mu.Unlock()
			return faults(random)
		},
		Observe: func(p stack.APNsPush) {
			mu.Lock()
			defer mu.Unlock()
			attempts++
			d := byToken[p.Token]
			if d.id != "" && d.id != p.ID {
				t.Errorf("a push came as %s and %s", d.id, p.ID)
			}
			if d.id = p.ID; p.Taken {
				d.taken++
			}
		},
	})
	b.cfg.Timeout, b.cfg.Connections = 5*time.Second, 2
	s := b.sender(t, Options{})
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= soaked; i = int(next.Add(1)) {
				d := numbered(i)
				token, _ := b.cfg.deviceToken(d.Notification.Device.Pusher.Pushkey.Reveal())
				mu.Lock()
				status := &told{}
				byToken[token] = status
				mu.Unlock()
				for o := s.Send(t.Context(), d); o.Verdict != pushers.Delivered; o = s.Send(t.Context(), d) {
					mu.Lock()
					switch o.Verdict {
					case pushers.Uncertain:
						status.uncertain++
					case pushers.Retry:
					default:
						t.Errorf("push %d: %+v", i, o)
					}
					mu.Unlock()
					if d.Attempt++; d.Attempt > 50 {
						t.Errorf("push %d is lost: %+v", i, o)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	twice, uncertain := 0, 0
	for token, d := range byToken {
		if d.taken < 1 || d.taken > 1+d.uncertain {
			t.Errorf("%s came %d times, after %d uncertain outcomes", token, d.taken, d.uncertain)
		}
		if d.taken > 1 {
			twice++
		}
		uncertain += d.uncertain
	}
	if len(byToken) != soaked {
		t.Errorf("%d of %d were sent", len(byToken), soaked)
	}
	t.Logf("%d notifications in %d requests on %d connections: %d uncertain outcomes, %d came twice", soaked, attempts, b.apns.Connections(), uncertain, twice)
}
