package apns

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/test/stack"
)

// BenchmarkSend is the whole way of a notification through a Sender to the embedded service on the same machine and back: payload, HTTP/2, TLS, verdict.
func BenchmarkSend(b *testing.B) {
	for _, form := range []string{FormEventIDOnly, FormFull} {
		for _, inFlight := range []int{1, 16, 64, 512} {
			b.Run(fmt.Sprintf("%s/%d", form, inFlight), func(b *testing.B) {
				bed := newBed(b, stack.APNsOptions{Observe: func(stack.APNsPush) {}})
				bed.cfg.Form = form
				benchmark(b, bed, inFlight)
			})
		}
	}
}

// BenchmarkSlowService is the same with a service that takes its time.
func BenchmarkSlowService(b *testing.B) {
	bed := newBed(b, stack.APNsOptions{Observe: func(stack.APNsPush) {}, Answer: func(stack.APNsPush) stack.APNsAnswer { return stack.APNsAnswer{Delay: 100 * time.Millisecond} }})
	benchmark(b, bed, 512)
}

func benchmark(b *testing.B, bed *bed, inFlight int) {
	s := bed.sender(b, Options{})
	n := message()
	if bed.cfg.Form == FormEventIDOnly {
		n = elements()
	}
	ds := make([]pushers.Delivery, 1024)
	for i := range ds {
		ds[i] = numbered(i)
		key := ds[i].Notification.Device.Pusher.Pushkey
		ds[i].Notification = n
		ds[i].Notification.Device.Pusher.Pushkey = key
	}
	if o := s.Send(context.Background(), ds[0]); o.Verdict != pushers.Delivered {
		b.Fatalf("%+v", o)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	for range inFlight {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if o := s.Send(context.Background(), ds[i%int64(len(ds))]); o.Verdict != pushers.Delivered {
					b.Errorf("%+v", o)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "notifications/s")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op") // of both ends: what remains comparable on a busy machine
}

// processorTime is what this process has used so far.
func processorTime(b *testing.B) time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkPayload is the payload alone, as it is and cut.
func BenchmarkPayload(b *testing.B) {
	cfg := Defaults()
	for name, n := range map[string]pushers.Notification{"event_id_only": elements(), "full": message(), "cut": long()} {
		cfg.Form = FormFull
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				cfg.Payload(&n)
			}
		})
	}
}

// long is a message that must be cut.
func long() pushers.Notification {
	n := message()
	body := make([]rune, 1024)
	for i := range body {
		body[i] = '\U0001F514'
	}
	n.Content = asJSON(map[string]any{"msgtype": "m.text", "body": string(body)})
	return n
}
