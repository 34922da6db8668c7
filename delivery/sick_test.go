package delivery_test

// One sick gateway among ten, in the time of a bubble: what it costs the others is counted exactly.

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
	"tocsin/delivery"
	"tocsin/pushers"
)

// TestDeliverPastASickGateway has workers that serve ten gateways in turn for a minute and a half, and one of those hangs from the beginning, or in the midst of work, for one
// minute. The other nine lose no more than 5 % of what they get while it is well, and none of their notifications is held up.
func TestDeliverPastASickGateway(t *testing.T) {
	t.Parallel()
	whole := serve(t, -1)
	for _, from := range []time.Duration{0, 15 * time.Second} {
		t.Run(fmt.Sprint("from ", from), func(t *testing.T) {
			t.Parallel()
			got := serve(t, from)
			if share := float64(got.others) / float64(whole.others); share < 0.95 {
				t.Errorf("%d notifications to the others, %d without the sick one: %.1f %%", got.others, whole.others, 100*share)
			}
			if got.slowest >= 100*time.Millisecond {
				t.Errorf("a notification to another took %v", got.slowest)
			}
			if got.held > sickWorkers/2 {
				t.Errorf("the sick one held %d workers of %d", got.held, sickWorkers)
			}
			if got.recovered == 0 {
				t.Error("nothing was sent to the sick one after it had recovered")
			}
			t.Logf("%d to the others (%d without the sick one), the slowest in %v; %d requests hung, %d at once; %d turned away, %d when it was back",
				got.others, whole.others, got.slowest, got.hung, got.held, got.turnedAway, got.recovered)
		})
	}
}

const (
	sickWorkers = 32
	sickTest    = 90 * time.Second
	answerTime  = 40 * time.Millisecond
)

type served struct {
	others, hung, turnedAway, recovered int
	held                                int           // requests to the sick gateway at once, at most
	slowest                             time.Duration // notification to another one
}

// serve counts what workers get done. One gateway hangs for a minute from that time on; none if it is negative.
func serve(t *testing.T, from time.Duration) (got served) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		hanging := 0
		count := func(change func()) {
			mu.Lock()
			defer mu.Unlock()
			change()
		}
		d := delivery.New(delivery.Defaults(), sendFunc(func(_ context.Context, n pushers.Notification) pushers.Outcome {
			since := time.Since(start) - from
			if !strings.HasPrefix(n.Device.Pusher.URL, "https://gw0.") || from < 0 || since < 0 || since >= time.Minute {
				time.Sleep(answerTime)
				return pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}
			}
			count(func() { got.hung++; hanging++; got.held = max(got.held, hanging) })
			defer count(func() { hanging-- })
			time.Sleep(10 * time.Second)
			return pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"}
		}), clock.System{}, delivery.Options{Log: slog.New(slog.DiscardHandler)})
		var group sync.WaitGroup
		for w := range sickWorkers {
			group.Go(func() {
				for i := w; time.Since(start) < sickTest; i++ {
					gateway := i % 10
					began := time.Now()
					step := d.Deliver(t.Context(), pushers.Delivery{
						UserID: fmt.Sprint("@", w), Notification: to(fmt.Sprintf("https://gw%d.example/_matrix/push/v1/notify", gateway)), Since: began, Expires: began.Add(time.Hour),
					})
					took := time.Since(began)
					count(func() {
						switch {
						case gateway > 0 && step.Action == pushers.Settle:
							got.others++
							got.slowest = max(got.slowest, took)
						case gateway > 0:
							t.Errorf("a notification to another came to %+v", step)
						case step.Unsent:
							got.turnedAway++
						case step.Action == pushers.Settle && from >= 0 && time.Since(start) > from+time.Minute:
							got.recovered++
						}
					})
					if step.Unsent && gateway == 0 {
						time.Sleep(time.Millisecond) // a worker does something for it, too: it writes to the retry topic
					}
				}
			})
		}
		group.Wait()
	})
	return got
}
