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

// Throughput sends notifications, so many of them under way at once, and reports how many of them went through in a second and what processor time each of them took,
// of this process as a whole: sender and service. The latter is what can be compared on a machine that does other things, too: two cores do no more than
// 2,000,000 / cpu-µs/op in a second. n of them are measured, out of the midst of more, when connections are there and as long as nobody has come to an end;
// they begin spread over the time that one of them takes, as traffic does. send must be safe for concurrent use; i tells calls apart.
func Throughput(b B, n, underWay int, send func(i int)) {
	b.Helper()
	b.ReportAllocs()
	send(0) // waits for a connection
	began := time.Now()
	send(1)
	apart := time.Since(began) / time.Duration(underWay)
	m := measurement{b: b, first: 2 * underWay, last: 2*underWay + n}
	var next atomic.Int64
	var sending sync.WaitGroup
	for worker := range underWay {
		sending.Go(func() {
			time.Sleep(time.Duration(worker) * apart)
			for i := int(next.Add(1)); i < m.last+underWay; i = int(next.Add(1)) {
				send(i)
				m.done()
			}
		})
	}
	sending.Wait()
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "notifications/s")
	b.ReportMetric(float64(m.used.Microseconds())/float64(n), "cpu-µs/op")
}

// measurement is of what is done behind the first, up to the last.
type measurement struct {
	b           B
	first, last int

	mu    sync.Mutex
	count int
	used  time.Duration // processor time
}

func (m *measurement) done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch m.count++; m.count {
	case m.first:
		m.used = -processorTime(m.b)
		m.b.ResetTimer()
	case m.last:
		m.b.StopTimer()
		m.used += processorTime(m.b)
	}
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
