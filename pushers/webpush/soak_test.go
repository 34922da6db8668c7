package webpush_test

// Very many notifications through a push service that fails now and then.

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// failing are answers of a push service on a bad day. Whether the browser got the message that a fault is about, nobody knows.
var failing = []stack.WebPushAnswer{
	{Status: 429, Header: map[string]string{"Retry-After": "1"}}, {Status: 503}, {Status: 500}, {Status: 406},
	{Fault: stack.Reset}, {Fault: stack.CloseUnanswered}, {Fault: stack.ResetInHeader}, {Delay: 20 * time.Millisecond},
}

// TestSoak holds that with 5 % faults nothing is lost, and that nothing comes twice unless an attempt was uncertain.
func TestSoak(t *testing.T) {
	t.Parallel()
	const workers = 64
	soakSize := stack.SoakSize(t)
	reached := make([]atomic.Int32, soakSize) // how often each may have reached its browser
	service := &service{}
	service.WebPush = stack.WebPushServer(t, stack.WebPushOptions{
		Answer: func(stack.WebPushMessage) stack.WebPushAnswer {
			if rand.IntN(100) < 5 {
				return failing[rand.IntN(len(failing))]
			}
			return stack.WebPushAnswer{}
		},
		Observe: func(m stack.WebPushMessage) {
			var told struct {
				EventID string `json:"event_id"`
			}
			var n int
			if err := json.Unmarshal(m.Text, &told); err != nil || m.Fault != nil {
				t.Errorf("%v, %v in %s", m.Fault, err, m.Text)
			} else if _, err := fmt.Sscanf(told.EventID, "$%d", &n); err != nil {
				t.Error(err)
			} else if m.Status == 201 || m.Status == 0 {
				reached[n].Add(1)
			}
		},
	})
	cfg, _ := app(t)
	sender := newSender(t, cfg, webpush.Options{
		Network: outbound.Config{Timeout: 20 * time.Second, Connections: workers}, Outbound: outbound.Options{Dial: service.Dial},
	})
	var next, attempts, uncertain, twice atomic.Int64
	began := time.Now()
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for n := next.Add(1) - 1; n < int64(soakSize); n = next.Add(1) - 1 {
				d := to(fmt.Sprint("browser", n%100), nil)
				d.Notification.EventID = fmt.Sprint("$", n)
				unsure := int32(0) // attempts of this one after which nobody knows
				for attempt := 1; ; attempt++ {
					o := sender.Send(t.Context(), d)
					attempts.Add(1)
					if o.Verdict == pushers.Delivered {
						break
					}
					if o.Verdict == pushers.Uncertain || o.Reason == "stale_connection" {
						unsure++
						uncertain.Add(1)
					} else if o.Verdict != pushers.Retry {
						t.Errorf("notification %d, attempt %d: %+v", n, attempt, o)
						break
					}
					if attempt == 50 {
						t.Errorf("notification %d: %+v after %d attempts", n, o, attempt)
						break
					}
				}
				switch got := reached[n].Load(); {
				case got == 0:
					t.Errorf("notification %d is lost", n)
				case got > 1+unsure:
					t.Errorf("notification %d came %d times, and %d attempts were uncertain", n, got, unsure)
				case got > 1:
					twice.Add(1)
				}
			}
		})
	}
	working.Wait()
	took := time.Since(began)
	t.Logf("%d notifications in %v (%.0f/s): %d attempts, %d uncertain, %d may have come more than once", soakSize, took.Round(time.Millisecond), float64(soakSize)/took.Seconds(),
		attempts.Load(), uncertain.Load(), twice.Load())
}
