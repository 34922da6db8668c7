package fcm_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/fcm"
	"tocsin/test/stack"
)

// BenchmarkBody composes a message with content, and one that is too long.
func BenchmarkBody(b *testing.B) {
	cfg := fcm.Defaults()
	for name, d := range map[string]pushers.Delivery{"ids": message(), "full": message(), "shrunk": long(10_000)} {
		cfg.Content = name != "ids"
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := cfg.Body(&d, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkThroughput is the whole way of messages with content to an FCM on the same machine and back: body, HTTP/2, TLS, verdict; so many of them under way at
// once, and each answered at once or after a while.
func BenchmarkThroughput(b *testing.B) {
	for _, tc := range []struct {
		answered time.Duration
		underWay int
	}{{0, 1}, {0, 64}, {0, 512}, {100 * time.Millisecond, 512}} {
		b.Run(fmt.Sprintf("answered_after_%v/%d_under_way", tc.answered, tc.underWay), func(b *testing.B) {
			server := stack.FCMServer(b, stack.FCMOptions{Answer: func(stack.FCMRequest) stack.FCMAnswer { return stack.FCMAnswer{Delay: tc.answered} }})
			w := &world{FCM: server, file: b.TempDir() + "/account.json", log: &stack.Buffer{}}
			s, d := w.another(b, func(c *fcm.Config, _ *fcm.Options) { c.Content = true }), message()
			stack.Throughput(b, b.N, tc.underWay, func(int) {
				if o := s.Send(context.Background(), d); o.Verdict != pushers.Delivered {
					b.Errorf("%+v", o)
				}
			})
		})
	}
}

// TestSoak sends many notifications to an FCM of which one answer in twenty is a fault, and each again until it is settled, as the dispatcher would: nothing is lost, and
// nothing is taken twice unless an attempt before was uncertain.
func TestSoak(t *testing.T) {
	t.Parallel()
	faults := []stack.FCMAnswer{
		{Status: 500, ErrorCode: "INTERNAL"}, {Status: 503, ErrorCode: "UNAVAILABLE"}, {Status: 429, ErrorCode: "QUOTA_EXCEEDED"}, {Status: 502, Body: "<html>"},
		{Status: 401}, {Status: 403}, {LoseStream: true}, {GoAway: true}, {Fault: stack.CloseUnanswered}, {Fault: stack.Reset}, {Delay: 20 * time.Millisecond},
	}
	asked := 0
	taken, doubtful := map[string]int{}, map[string]int{} // by event
	server := stack.FCMServer(t, stack.FCMOptions{
		TokenLife: 5 * time.Second,
		Answer: func(stack.FCMRequest) stack.FCMAnswer { // one after another
			if asked++; asked%20 != 0 {
				return stack.FCMAnswer{}
			}
			return faults[asked/20%len(faults)]
		},
		Observe: func(r stack.FCMRequest) {
			switch event := r.Message.Data["event_id"]; {
			case r.Problem != "" && r.Status != 401:
				t.Errorf("FCM does not take %s: %s", r.Body, r.Problem)
			case r.Status == 200:
				taken[event]++
			case r.Status == 0:
				doubtful[event]++ // FCM may have taken it
			}
		},
	})
	w := &world{FCM: server, file: t.TempDir() + "/account.json", log: &stack.Buffer{}}
	s := w.another(t, nil)
	n := stack.SoakSize(t)
	uncertain := make([]int, n)
	var next, attempts atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				d := message()
				d.Notification.EventID = "$" + strconv.FormatInt(i, 10)
				for o := s.Send(context.Background(), d); o.Verdict != pushers.Delivered; o = s.Send(context.Background(), d) {
					switch attempts.Add(1); o.Verdict {
					case pushers.Uncertain:
						uncertain[i]++
					case pushers.Retry, pushers.Misconfigured:
					default:
						t.Errorf("%s: %+v", d.Notification.EventID, o)
						return
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	group.Wait()
	twice, doubts := 0, 0
	for i := range n {
		event := "$" + strconv.Itoa(i)
		times := taken[event] + doubtful[event]
		doubts += uncertain[i]
		switch {
		case taken[event] == 0:
			t.Errorf("%s was lost", event)
		case times > 1+uncertain[i]:
			t.Errorf("%s was taken %d times, after %d uncertain attempts", event, times, uncertain[i])
		case times > 1:
			twice++
		}
	}
	t.Logf("%d notifications, %d attempts besides the last, %d of them uncertain; %d notifications may have been taken more than once; %d access tokens", n, attempts.Load(), doubts, twice, server.TokenRequests())
}
