package rules

import (
	"fmt"
	"runtime"
	"testing"
)

// BenchmarkBulk evaluates the events of the workload in turn for all recipients,
// parsing included. It reports the time for each recipient and how many of them
// are notified.
func BenchmarkBulk(b *testing.B) {
	w := loadWorkload(b)
	room := w.room()
	for _, n := range []int{1, 100, 10_000} {
		recipients := w.recipients(n)
		b.Run(fmt.Sprintf("recipients=%d", n), func(b *testing.B) {
			var e Evaluator
			var out []Decision
			events, notified := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				ev, err := ParseEvent(w.Events[events%len(w.Events)])
				if err != nil {
					b.Fatal(err)
				}
				out = e.Evaluate(ev, room, recipients, out)
				for i := range out {
					if out[i].Notify {
						notified++
					}
				}
				events++
			}
			total := float64(events * len(recipients))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/total, "ns/recipient")
			b.ReportMetric(float64(notified)/total, "notified/recipient")
		})
	}
}

// BenchmarkReference is the one-recipient evaluator on the same workload.
func BenchmarkReference(b *testing.B) {
	w := loadWorkload(b)
	room := w.room()
	recipients := w.recipients(1000)
	n := 0
	for b.Loop() {
		ev, _ := ParseEvent(w.Events[n%len(w.Events)])
		for i := range recipients {
			recipients[i].Rules.Evaluate(ev, room, &recipients[i])
		}
		n++
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*len(recipients)), "ns/recipient")
}

// BenchmarkParseEvent parses the events of the workload.
func BenchmarkParseEvent(b *testing.B) {
	w := loadWorkload(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := ParseEvent(w.Events[n%len(w.Events)]); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkCompile compiles rules of the workload.
func BenchmarkCompile(b *testing.B) {
	w := loadWorkload(b)
	c := NewCompiler(Options{})
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		c.Compile([]byte(`{"global":` + string(w.Recipients[n%len(w.Recipients)].Global) + `}`))
		n++
	}
}

// BenchmarkMemory reports what a million recipients with equal rules hold, beyond
// their ids and names.
func BenchmarkMemory(b *testing.B) {
	const n = 1_000_000
	c := NewCompiler(Options{})
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("@user%d:hs", i)
	}
	for b.Loop() {
		before := heap()
		recipients := make([]Recipient, n)
		for i := range recipients {
			rs, _ := c.Compile(nil)
			recipients[i] = Recipient{UserID: ids[i], DisplayName: ids[i], Rules: rs}
		}
		b.ReportMetric(float64(heap()-before)/n, "B/recipient")
		runtime.KeepAlive(recipients)
	}
	runtime.KeepAlive(ids)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
