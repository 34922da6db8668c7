package delivery_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tocsin/delivery"
	"tocsin/pushers"
	"tocsin/pushers/gateway"
)

// BenchmarkDeliver compares deliveries to a gateway on this machine with a bare loop that posts the same body: deliveries/s and bare/s, and
// ratio of the two. They take turns, so that a noisy machine disturbs both. cpu-ratio is that of the processor time that they take, gateway included, which neighbours
// disturb less.
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
	var delivering, posting, deliveringCPU, postingCPU time.Duration
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for done := 0; done < b.N; done += round {
		n := min(round, b.N-done)
		took, cpu := timed(concurrency, n, deliver)
		delivering, deliveringCPU = delivering+took, deliveringCPU+cpu
		b.StopTimer()
		took, cpu = timed(concurrency, n, post)
		posting, postingCPU = posting+took, postingCPU+cpu
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N)/delivering.Seconds(), "deliveries/s")
	b.ReportMetric(float64(b.N)/posting.Seconds(), "bare/s")
	b.ReportMetric(posting.Seconds()/delivering.Seconds(), "ratio")
	b.ReportMetric(postingCPU.Seconds()/deliveringCPU.Seconds(), "cpu-ratio")
}

// BenchmarkDeliverPastASickGateway has workers that push to ten gateways on this machine in turn, which answer in 20 ms, so that workers are what is scarce: all of them are well for a
// while, then one hangs for a minute, then it is well again for a while. well/s and others/s are what the other nine get without and with the sick one, share is the ratio of the two, and cpu-share that of what they get for a second of
// processor time, which neighbours disturb less; well-p99-ms and p99-ms are what the slowest hundredth of theirs took, and held is the most requests that hung at once. Run it with
// -benchtime 1x; -short makes the minute 15 seconds.
func BenchmarkDeliverPastASickGateway(b *testing.B) {
	const workers = 64
	lasts := time.Minute
	if testing.Short() {
		lasts = 15 * time.Second
	}
	var sick atomic.Bool
	var hanging, held atomic.Int64
	cfg := delivery.Defaults()
	answer := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(20 * time.Millisecond)
		io.WriteString(w, `{"rejected":[]}`)
	}
	d, first := newReal(b, cfg, func(w http.ResponseWriter, r *http.Request) {
		if !sick.Load() {
			answer(w, r)
			return
		}
		io.Copy(io.Discard, r.Body)
		held.Store(max(held.Load(), hanging.Add(1)))
		<-r.Context().Done()
		hanging.Add(-1)
	})
	urls := []string{first}
	for range 9 {
		_, url := newReal(b, cfg, answer)
		urls = append(urls, url)
	}
	for b.Loop() {
		var well, others rate
		for _, phase := range []struct {
			sick  bool
			lasts time.Duration
			of    *rate
		}{{false, lasts / 4, &well}, {true, lasts, &others}, {false, lasts / 4, &well}} {
			sick.Store(phase.sick)
			phase.of.add(pushTo(b, d, urls, workers, phase.lasts))
		}
		b.ReportMetric(well.perSecond(), "well/s")
		b.ReportMetric(others.perSecond(), "others/s")
		b.ReportMetric(others.perSecond()/well.perSecond(), "share")
		b.ReportMetric(others.perCPUSecond()/well.perCPUSecond(), "cpu-share")
		b.ReportMetric(well.p99(), "well-p99-ms")
		b.ReportMetric(others.p99(), "p99-ms")
		b.ReportMetric(float64(held.Load()), "held")
	}
}

// rate is what was delivered in a time.
type rate struct {
	took      []time.Duration // each delivery
	time, cpu time.Duration
}

func (r *rate) add(more rate) {
	r.took, r.time, r.cpu = append(r.took, more.took...), r.time+more.time, r.cpu+more.cpu
}

func (r *rate) perSecond() float64    { return float64(len(r.took)) / r.time.Seconds() }
func (r *rate) perCPUSecond() float64 { return float64(len(r.took)) / r.cpu.Seconds() }

// p99 is in milliseconds.
func (r *rate) p99() float64 {
	slices.Sort(r.took)
	return float64(r.took[len(r.took)*99/100]) / float64(time.Millisecond)
}

// pushTo has workers push to all URLs in turn for that long. It says what came to all but the first.
func pushTo(b *testing.B, d *delivery.Dispatcher, urls []string, workers int, lasts time.Duration) rate {
	start, startCPU := time.Now(), processorTime()
	times := make([][]time.Duration, workers)
	ctx, cancel := context.WithTimeout(b.Context(), lasts)
	defer cancel()
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			for i := w; ctx.Err() == nil; i++ {
				began := time.Now()
				step := d.Deliver(b.Context(), pushers.Delivery{UserID: strconv.Itoa(w), Notification: to(urls[i%len(urls)]), Since: began, Expires: began.Add(time.Hour)})
				if i%len(urls) == 0 {
					continue
				}
				if step.Action != pushers.Settle {
					b.Errorf("to a gateway that is well: %+v", step)
				}
				times[w] = append(times[w], time.Since(began))
			}
		})
	}
	group.Wait()
	return rate{slices.Concat(times...), time.Since(start), processorTime() - startCPU}
}

// timed does n things, as many at once as concurrency says.
func timed(concurrency, n int, do func()) (took, cpu time.Duration) {
	var begun atomic.Int64
	var workers sync.WaitGroup
	start, startCPU := time.Now(), processorTime()
	for range concurrency {
		workers.Go(func() {
			for begun.Add(1) <= int64(n) {
				do()
			}
		})
	}
	workers.Wait()
	return time.Since(start), processorTime() - startCPU
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
