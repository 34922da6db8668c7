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
	tooSlow  = 2 * time.Second // what an attempt may take before newcomers go elsewhere
	patience = 5 * time.Second // what the attempts before it may take together; a pusher in good health takes milliseconds for each
)

// backlog counts the errands in the lanes of pushers. The zero value is empty. It is safe for concurrent use.
type backlog struct {
	mu         sync.Mutex
	lanes      map[string]*laneLoad
	generation int64 // the newest seen
}

// laneLoad is what waits in one lane.
type laneLoad struct {
	waiting int           // admitted, not ended
	since   time.Time     // when the attempt under way began; zero if there is none
	spent   time.Duration // on attempts
}

// admit says whether an errand may wait in its lane, and counts it if so.
func (b *backlog) admit(generation int64, e *errand) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lanes == nil || generation > b.generation {
		b.lanes, b.generation = map[string]*laneLoad{}, generation // what waited was dropped with its partition
	}
	l := b.lanes[e.lane]
	if l == nil {
		l = &laneLoad{}
		b.lanes[e.lane] = l
	}
	if !l.since.IsZero() && time.Since(l.since) > tooSlow {
		return false
	}
	l.waiting++
	e.spentBefore, e.load = l.spent, l
	return true
}

// begin notes that an attempt is being made.
func (b *backlog) begin(e *errand) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	e.load.since = now
	e.overdue = e.load.spent-e.spentBefore > patience
	return now
}

// end notes that it was made, and whether the errand is finished with it.
func (b *backlog) end(e *errand, began time.Time, finished bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := e.load
	l.since = time.Time{}
	l.spent += time.Since(began)
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
