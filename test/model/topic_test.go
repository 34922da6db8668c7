package model

// The topics: they keep what was written, so that it can be read again.

import (
	"context"
	"errors"
	"slices"
	"time"

	"tocsin/pipeline/stream"
)

// topic is a log by partition.
type topic struct {
	name        string
	partitions  [][]*stream.Record
	incarnation int64
}

func newTopic(name string, partitions int) *topic {
	return &topic{name: name, partitions: make([][]*stream.Record, partitions), incarnation: 1}
}

// append puts a message at the end of its partition.
func (t *topic) append(m stream.Message, at time.Time) *stream.Record {
	p := m.Partition
	if p == stream.AnyPartition {
		p = stream.PartitionOf(string(m.Key), len(t.partitions))
	}
	rec := &stream.Record{
		Topic: t.name, Partition: p, Offset: int64(len(t.partitions[p])), Key: m.Key, Value: m.Value, Headers: m.Headers, Time: at, Incarnation: t.incarnation,
	}
	t.partitions[p] = append(t.partitions[p], rec)
	return rec
}

// grow gives the topic more partitions.
func (t *topic) grow(partitions int) {
	t.partitions = append(t.partitions, make([][]*stream.Record, partitions-len(t.partitions))...)
}

// consumer is one stage of one worker, and where it is in its topic.
type consumer struct {
	world      *world
	topic      *topic
	make       func() stream.Handler // as after a start of the worker: nothing is in memory
	handler    stream.Handler
	generation int64
	next       []int64      // by partition
	committed  []int64      // by partition: a worker that takes over may begin here, or anywhere from here to next
	again      []int64      // by partition: below it, what is read was done before, and Redis may have lost it
	crashed    bool         // in the middle of something
	meanwhile  func() error // what another owner does at a fault
}

// restart is a new owner of all partitions, in a new generation. It begins somewhere that the last one may have committed.
func (c *consumer) restart() {
	w := c.world
	c.grow()
	for p := range c.next {
		if behind := c.next[p] - c.committed[p]; behind > 0 && w.rng.IntN(3) > 0 {
			c.next[p] -= w.rng.Int64N(min(behind, 25) + 1)
		}
		c.committed[p] = c.next[p]
	}
	w.generation++
	c.generation, c.handler, c.crashed = w.generation, c.make(), false
	w.note("  %s begins anew at %v, what is below %v again", c.topic.name, c.next, c.again)
}

// grow takes up partitions that the topic has got.
func (c *consumer) grow() {
	missing := make([]int64, len(c.topic.partitions)-len(c.next))
	c.next, c.committed, c.again = append(c.next, missing...), append(c.committed, missing...), append(c.again, missing...)
}

// commitAll commits all that is done.
func (c *consumer) commitAll() { c.committed = slices.Clone(c.next) }

// pending says whether there is something to read.
func (c *consumer) pending() bool {
	c.grow()
	for p := range c.next {
		if c.next[p] < int64(len(c.topic.partitions[p])) {
			return true
		}
	}
	return false
}

// step handles some records of one partition. It may end in a crash.
func (c *consumer) step() error {
	c.grow()
	var waiting []int
	for p := range c.next {
		if c.next[p] < int64(len(c.topic.partitions[p])) {
			waiting = append(waiting, p)
		}
	}
	if len(waiting) == 0 {
		return nil
	}
	rng := c.world.rng
	p := waiting[rng.IntN(len(waiting))]
	records := c.topic.partitions[p][c.next[p]:]
	records = records[:min(len(records), 1+rng.IntN(6))]
	batch := make([]*stream.Record, len(records))
	for i, r := range records {
		rec := *r
		rec.Generation, rec.Again = c.generation, r.Offset < c.again[p]
		batch[i] = &rec
	}
	c.world.handing(c, batch)
	if err := c.handle(batch); err != nil {
		return err
	}
	c.next[p] += int64(len(batch))
	if rng.IntN(4) == 0 {
		c.committed[p] = c.next[p]
	}
	return nil
}

// handle does what a stream does with records: it calls again what has failed, unless the worker crashes.
func (c *consumer) handle(batch []*stream.Record) (err error) {
	defer func() {
		if r := recover(); r == errCrash {
			err = errCrash
		} else if r != nil {
			panic(r)
		}
	}()
	ctx := context.Background()
	var tasks []stream.Task
	if err := c.persist(func() (err error) { tasks, err = c.handler.Take(ctx, batch); return err }); err != nil {
		return err
	}
	var lanes []string
	byLane := map[string][]stream.Task{}
	for _, t := range tasks {
		if byLane[t.Lane] == nil {
			lanes = append(lanes, t.Lane)
		}
		byLane[t.Lane] = append(byLane[t.Lane], t)
	}
	c.world.rng.Shuffle(len(lanes), func(i, j int) { lanes[i], lanes[j] = lanes[j], lanes[i] })
	for _, lane := range lanes {
		if err := c.persist(func() error { return c.handler.Do(ctx, lane, byLane[lane]) }); err != nil {
			return err
		}
	}
	return nil
}

// persist calls until it succeeds, or the worker crashes.
func (c *consumer) persist(call func() error) error {
	for tries := 0; ; tries++ {
		err := call()
		switch {
		case err == nil:
			return nil
		case c.world.faults.struck && c.world.faults.crashes:
			c.world.faults.struck = false
			return errCrash
		case tries == 5:
			return err
		}
		c.world.note("  %s tries again: %v", c.topic.name, err)
		c.world.faults.struck = false
	}
}

// errCrash ends a worker.
var errCrash = errors.New("crash")
