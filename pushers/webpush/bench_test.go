package webpush_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// BenchmarkSend tells how many notifications a second come through to browsers, with a push service on the same machine that decrypts each; the last one answers in
// 100 ms, with 512 requests under way. cpu-µs is the processor time of each, push service included, which neighbours disturb less.
func BenchmarkSend(b *testing.B) {
	for _, tc := range []struct {
		workers int
		delay   time.Duration
	}{{1, 0}, {16, 0}, {64, 0}, {512, 100 * time.Millisecond}} {
		b.Run(fmt.Sprintf("workers=%d/answer=%v", tc.workers, tc.delay), func(b *testing.B) {
			s := stack.WebPushServer(b, stack.WebPushOptions{Answer: func(stack.WebPushMessage) stack.WebPushAnswer { return stack.WebPushAnswer{Delay: tc.delay} }})
			cfg, _ := app(b)
			sender := newSender(b, cfg, webpush.Options{Network: outbound.Config{Connections: tc.workers}, Outbound: outbound.Options{Dial: s.Dial}})
			d := to("browser", nil)
			b.ReportAllocs()
			before := used(b)
			b.ResetTimer()
			var next atomic.Int64
			var working sync.WaitGroup
			for range tc.workers {
				working.Go(func() {
					for next.Add(1) <= int64(b.N) {
						if o := sender.Send(b.Context(), d); o.Verdict != pushers.Delivered {
							b.Errorf("%+v", o)
						}
					}
				})
			}
			working.Wait()
			b.ReportMetric(float64((used(b)-before).Microseconds())/float64(b.N), "cpu-µs")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
		})
	}
}

// used is the processor time that this process has used.
func used(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBody is what it costs to say what is to be said.
func BenchmarkBody(b *testing.B) {
	d := to("browser", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := webpush.Body(&d.Notification, webpush.MaxBody); err != nil {
			b.Fatal(err)
		}
	}
}
