package stream

// The watchdog: calls of a handler that take too long are named, in the log and to whoever asks.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Stuck is work of a handler that is not done after Config.StuckAfter: a call that doesn't return, or one that is made again and again because it fails. Nothing is
// given up because of that; but somebody should look.
type Stuck struct {
	Group, Topic string
	Partition    int
	Offset       int64         // of the first record that is held up
	Lane         string        // whose Do it is; "" if it is Take
	For          time.Duration // since the first call for it
}

// String names it for people.
func (s Stuck) String() string {
	return fmt.Sprintf("group %s is stuck at %s/%d@%d in %s for %v", s.Group, s.Topic, s.Partition, s.Offset, s.call(), s.For.Round(time.Second))
}

func (s Stuck) call() string {
	if s.Lane == "" {
		return "Take"
	}
	return fmt.Sprintf("lane %q", s.Lane)
}

// place tells the same stuck call at two times from two calls.
type place struct {
	partition int
	offset    int64
	lane      string
}

// taking is a call of Take that is under way, or is made again and again.
type taking struct {
	offset int64
	since  time.Time
}

// watchdog knows the calls of Take of one consumer; those of Do its lanes know. It is safe for concurrent use.
type watchdog struct {
	mu    sync.Mutex
	takes map[*partition]taking
}

// watch notes that a partition's handler takes records, and returns what ends that.
func (w *watchdog) watch(p *partition, offset int64) (done func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.takes == nil {
		w.takes = map[*partition]taking{}
	}
	w.takes[p] = taking{offset: offset, since: time.Now()}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.takes, p)
	}
}

// Stuck names the handler's calls that take longer than Config.StuckAfter, those for partitions that this consumer has lost meanwhile too, the longest first.
func (c *Consumer) Stuck() []Stuck {
	now := time.Now()
	var found []Stuck
	add := func(partition int, offset int64, lane string, since time.Time) {
		if d := now.Sub(since); d >= c.cluster.cfg.StuckAfter {
			found = append(found, Stuck{Group: c.cfg.Group, Topic: c.cfg.Topic, Partition: partition, Offset: offset, Lane: lane, For: d})
		}
	}
	c.watchdog.mu.Lock()
	for p, t := range c.watchdog.takes {
		add(p.id, t.offset, "", t.since)
	}
	c.watchdog.mu.Unlock()
	c.lanes.mu.Lock()
	for _, ln := range c.lanes.byName {
		if !ln.since.IsZero() && len(ln.queue) > 0 {
			add(ln.queue[0].part.id, ln.queue[0].task.Record.Offset, ln.name, ln.since)
		}
	}
	c.lanes.mu.Unlock()
	slices.SortFunc(found, func(a, b Stuck) int {
		return cmp.Or(cmp.Compare(b.For, a.For), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.Offset, b.Offset), cmp.Compare(a.Lane, b.Lane))
	})
	return found
}

// Many calls are stuck at once when a server hangs: so many of them are named in the log, the others counted.
const namedStuck = 20

// patrol says in the log which calls are stuck, once each, and when they go on. The returned function ends that, and nothing else does: what hangs although everything was cut off is
// to be named, too.
func (c *Consumer) patrol() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		said := map[place]Stuck{}
		for sleep(ctx, c.cluster.cfg.StuckAfter/8) {
			c.sayStuck(said, c.Stuck())
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// sayStuck says what has changed since the last time, which said remembers.
func (c *Consumer) sayStuck(said map[place]Stuck, now []Stuck) {
	still := map[place]bool{}
	unnamed := 0
	for _, s := range now {
		at := place{s.Partition, s.Offset, s.Lane}
		still[at] = true
		if _, known := said[at]; !known && len(said) >= namedStuck {
			unnamed++
			continue
		} else if !known {
			c.log.Error("a handler is stuck: its records are held up", "partition", s.Partition, "offset", s.Offset, "call", s.call(), "for", s.For.Round(time.Millisecond))
		}
		said[at] = s
	}
	for at, s := range said {
		if !still[at] {
			c.log.Info("a handler is no longer stuck", "partition", s.Partition, "offset", s.Offset, "call", s.call(), "after", s.For.Round(time.Millisecond))
			delete(said, at)
		}
	}
	if unnamed > 0 {
		c.unnamed.of(fmt.Errorf("%d lanes are stuck besides those that were named", unnamed))
	} else {
		c.unnamed.over()
	}
}
