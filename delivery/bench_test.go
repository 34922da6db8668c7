package delivery_test

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/delivery"
	"tocsin/pushers"
	"tocsin/pushers/gateway"
)

// BenchmarkDeliver compares deliveries to a gateway on this machine with a bare loop that posts the same body: deliveries/s and bare/s, and
// ratio of the two. They take turns, so that a noisy machine disturbs both.
func BenchmarkDeliver(b *testing.B) {
	const concurrency, round = 64, 2000
	d, url := newReal(b, delivery.Defaults(), func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"rejected":[]}`)
	})
	what := pushers.Delivery{Notification: to(url), Expires: time.Now().Add(24 * time.Hour)}
	body, err := gateway.Body(&what.Notification)
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}}
	defer client.CloseIdleConnections()
	post := func() {
		resp, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			b.Error(err)
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	deliver := func() {
		if step := d.Deliver(b.Context(), what); step.Action != pushers.Settle {
			b.Error(step)
		}
	}
	var delivering, posting time.Duration
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for done := 0; done < b.N; done += round {
		n := min(round, b.N-done)
		delivering += timed(concurrency, n, deliver)
		b.StopTimer()
		posting += timed(concurrency, n, post)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)/delivering.Seconds(), "deliveries/s")
	b.ReportMetric(float64(b.N)/posting.Seconds(), "bare/s")
	b.ReportMetric(posting.Seconds()/delivering.Seconds(), "ratio")
}

// timed does n things, as many at once as concurrency says.
func timed(concurrency, n int, do func()) time.Duration {
	var begun atomic.Int64
	var workers sync.WaitGroup
	start := time.Now()
	for range concurrency {
		workers.Go(func() {
			for begun.Add(1) <= int64(n) {
				do()
			}
		})
	}
	workers.Wait()
	return time.Since(start)
}
