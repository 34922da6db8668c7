package apns

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/test/stack"
)

// BenchmarkThroughput is the whole way of notifications through a Sender to the embedded service on the same machine and back: payload, HTTP/2, TLS, verdict; so many
// of them under way at once, and each answered at once or after a while.
func BenchmarkThroughput(b *testing.B) {
	for _, tc := range []struct {
		form     string
		answered time.Duration
		underWay int
	}{
		{FormEventIDOnly, 0, 1}, {FormEventIDOnly, 0, 64}, {FormEventIDOnly, 0, 512}, {FormFull, 0, 64}, {FormEventIDOnly, 100 * time.Millisecond, 512},
	} {
		b.Run(fmt.Sprintf("%s/answered_after_%v/%d_under_way", tc.form, tc.answered, tc.underWay), func(b *testing.B) {
			bed := newBed(b, stack.APNsOptions{
				Observe: func(stack.APNsPush) {},
				Answer:  func(stack.APNsPush) stack.APNsAnswer { return stack.APNsAnswer{Delay: tc.answered} },
			})
			bed.cfg.Form = tc.form
			s, ds := bed.sender(b, Options{}), deliveries(1024, tc.form)
			stack.Throughput(b, b.N, tc.underWay, func(i int) {
				if o := s.Send(context.Background(), ds[i%len(ds)]); o.Verdict != pushers.Delivered {
					b.Errorf("%+v", o)
				}
			})
		})
	}
}

// deliveries are notifications of one event to as many devices.
func deliveries(number int, form string) []pushers.Delivery {
	n := elements()
	if form == FormFull {
		n = message()
	}
	ds := make([]pushers.Delivery, number)
	for i := range ds {
		ds[i] = numbered(i)
		key := ds[i].Notification.Device.Pusher.Pushkey
		ds[i].Notification = n
		ds[i].Notification.Device.Pusher.Pushkey = key
	}
	return ds
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
