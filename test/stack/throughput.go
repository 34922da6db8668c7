//go:build unix

package stack

// How benchmarks measure what goes through a sender.

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// B is the part of [testing.B] that [Throughput] uses.
type B interface {
	TB
	ReportAllocs()
	ResetTimer()
	StopTimer()
	Elapsed() time.Duration
	ReportMetric(n float64, unit string)
}

// Throughput sends n notifications, so many of them under way at once, and reports how many went through in a second and what processor time each of them took,
// of this process as a whole: sender and service. The latter is what can be compared on a machine that does other things, too: two cores do no more than
// 2,000,000 / cpu-µs/op in a second. Connections are there before it begins. send must be safe for concurrent use; i tells calls apart.
func Throughput(b B, n, underWay int, send func(i int)) {
	b.Helper()
	atOnce(underWay, underWay, send)
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	atOnce(n, underWay, send)
	b.StopTimer()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "notifications/s")
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(n), "cpu-µs/op")
}

func atOnce(n, underWay int, send func(i int)) {
	var next atomic.Int64
	var sending sync.WaitGroup
	for range underWay {
		sending.Go(func() {
			for i := int(next.Add(1)); i <= n; i = int(next.Add(1)) {
				send(i)
			}
		})
	}
	sending.Wait()
}

// processorTime is what this process has used so far.
func processorTime(b B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatalf("%v", err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
