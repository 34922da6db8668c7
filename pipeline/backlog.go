package pipeline

// Pushers that are too slow for what they are to be told.

import (
	"sync"
	"time"

	"tocsin/pipeline/stream"
)

// A record is done only when all its errands are, and a partition takes a bounded number of records at once. So the errands that wait for one slow pusher would in the end hold up everybody
// in its partition. They are bounded instead: what would have to wait too long goes to the first retry tier and waits there.
const (
	maxWaiting = 100             // errands that one lane holds
	tooSlow    = 2 * time.Second // what an attempt may take before others stop waiting for it
)

// backlog counts the errands in the lanes of pushers. The zero value is empty. It is safe for concurrent use.
type backlog struct {
	mu    sync.Mutex
	lanes map[string]*laneLoad
}

// laneLoad is what waits in one lane.
type laneLoad struct {
	generation int64     // of the records that wait: those of an earlier one were dropped with their partition
	waiting    int       // admitted, not ended
	since      time.Time // when the attempt under way began; zero if there is none
	slowEnd    time.Time // when the last attempt ended that was too slow
}

// admit says whether an errand may wait in its lane, and counts it if so.
func (b *backlog) admit(generation int64, e *errand) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes == nil {
		b.lanes = map[string]*laneLoad{}
	}
	l := b.lanes[e.lane]
	if l == nil || l.generation < generation {
		l = &laneLoad{generation: generation}
		b.lanes[e.lane] = l
	}
	now := time.Now()
	if l.waiting >= maxWaiting || !l.since.IsZero() && now.Sub(l.since) > tooSlow {
		return false
	}
	l.waiting++
	e.admitted, e.load = now, l
	return true
}

// begin notes that an attempt is being made.
func (b *backlog) begin(e *errand) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	e.load.since = now
	e.overdue = e.overdue || e.admitted.Before(e.load.slowEnd)
	return now
}

// end notes that it was made, and whether the errand is finished with it.
func (b *backlog) end(e *errand, began time.Time, finished bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l, now := e.load, time.Now()
	l.since = time.Time{}
	if now.Sub(began) > tooSlow {
		l.slowEnd = now
	}
	if finished {
		b.drop(e)
	}
}

// forget takes back what was admitted for tasks that come to nothing.
func (b *backlog) forget(tasks []stream.Task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range tasks {
		b.drop(t.Work.(*errand))
	}
}

// drop takes an errand off its lane. b.mu is held.
func (b *backlog) drop(e *errand) {
	if e.load.waiting--; e.load.waiting == 0 && b.lanes[e.lane] == e.load {
		delete(b.lanes, e.lane)
	}
}
