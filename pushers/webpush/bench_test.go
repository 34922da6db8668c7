package webpush_test

import (
	"fmt"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// BenchmarkThroughput is the whole way of notifications to a push service on the same machine, which decrypts each as the browser does, and back; so many of them
// under way at once, and each answered at once or after a while.
func BenchmarkThroughput(b *testing.B) {
	for _, tc := range []struct {
		answered time.Duration
		underWay int
	}{{0, 1}, {0, 64}, {100 * time.Millisecond, 512}} {
		b.Run(fmt.Sprintf("answered_after_%v/%d_under_way", tc.answered, tc.underWay), func(b *testing.B) {
			s := stack.WebPushServer(b, stack.WebPushOptions{Answer: func(stack.WebPushMessage) stack.WebPushAnswer { return stack.WebPushAnswer{Delay: tc.answered} }})
			cfg, _ := app(b)
			sender := newSender(b, cfg, webpush.Options{Network: outbound.Config{Connections: tc.underWay}, Outbound: outbound.Options{Dial: s.Dial}})
			d := to("browser", nil)
			stack.Throughput(b, b.N, tc.underWay, func(int) {
				if o := sender.Send(b.Context(), d); o.Verdict != pushers.Delivered {
					b.Errorf("%+v", o)
				}
			})
		})
	}
}
