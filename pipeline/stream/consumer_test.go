package stream

// What a consumer promises its stage.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/clock"
)

func TestConsumeInOrderAndResume(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("order", 2, nil)
	b.write(numbered(topic, AnyPartition, 0, 100)...)

	first := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: first.do}})
	eventually(t, "100 records", func() bool { return first.len() == 100 })
	c.stop()
	wantNumbers(t, first.all(), 0, 100)

	b.write(numbered(topic, AnyPartition, 100, 150)...)
	second := &seen{}
	c = b.consume(ConsumerConfig{Topic: topic, Handler: work{do: second.do}})
	eventually(t, "all that is left", func() bool { return idle(c) })
	if p := c.Progress(); len(p) != 2 || !c.Ready() {
		t.Errorf("progress %v, ready %v; want 2 partitions and ready", p, c.Ready())
	}
	c.stop()
	wantNumbers(t, second.all(), 100, 150)
	if c.Ready() || c.Progress() != nil {
		t.Error("a consumer that has stopped is ready or has progress")
	}
}

// idle reports whether a consumer has done all there is.
func idle(c *running) bool {
	progress := c.Progress()
	for _, p := range progress {
		if p.Position < 0 || p.Watermark != p.End {
			return false
		}
	}
	return len(progress) > 0
}

func wantNumbers(t *testing.T, got []string, from, to int) {
	t.Helper()
	var want []string
	for i := from; i < to; i++ {
		want = append(want, fmt.Sprint(i))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %d to %d", got, from, to)
	}
}

// What fails is done again, with the same records, and nothing is skipped.
func TestErrorsAreRetried(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("errors", 1, nil)
	b.write(numbered(topic, 0, 0, 50)...)
	var mu sync.Mutex
	var takes, does int
	var failed []*Record
	done := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{
		take: func(_ context.Context, batch []*Record) ([]Task, error) {
			mu.Lock()
			defer mu.Unlock()
			if failed != nil && !slices.Equal(failed, batch) {
				t.Errorf("a batch of %d failed, then one of %d came", len(failed), len(batch))
			}
			if takes++; takes <= 3 {
				failed = batch
				return nil, errors.New("a server is away")
			}
			failed = nil
			return byKey(batch), nil
		},
		do: func(ctx context.Context, lane string, tasks []Task) error {
			mu.Lock()
			does++
			fail := does <= 3
			mu.Unlock()
			if fail {
				return errors.New("another one is away")
			}
			return done.do(ctx, lane, tasks)
		},
	}})
	eventually(t, "50 records", func() bool { return idle(c) })
	c.stop()
	wantNumbers(t, done.all(), 0, 50)
}

// A record is done when all its tasks are, or at once if it has none; only then is it committed.
func TestRecordWithManyTasks(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("tasks", 1, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	release := make(chan struct{})
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{
		take: func(_ context.Context, batch []*Record) (tasks []Task, err error) {
			for _, r := range batch {
				switch r.Offset {
				case 3, 4:
					tasks = append(tasks, Task{Lane: "a", Record: r}, Task{Lane: "b", Record: r}, Task{Lane: "slow", Record: r})
				}
			}
			return tasks, nil
		},
		do: func(ctx context.Context, lane string, _ []Task) error {
			if lane == "slow" {
				<-release
			}
			return nil
		},
	}})
	group := "g-" + b.run
	committed := func() int64 {
		offsets, err := b.Committed(t.Context(), group, topic)
		if err != nil {
			t.Fatal(err)
		}
		return offsets[0].Offset
	}
	eventually(t, "commit of 3", func() bool { return committed() == 3 })
	if p := c.Progress()[0]; p.Position != 10 || p.Watermark != 3 {
		t.Errorf("position %d, watermark %d; want 10 and 3", p.Position, p.Watermark)
	}
	close(release)
	eventually(t, "commit of 10", func() bool { return committed() == 10 })
}

// Records wait for their time on the configured clock; the first that is not due holds up its partition, and no other.
func TestDueOnVirtualClock(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	virtual := clock.NewVirtual(start)
	b := newBroker(t, func(c *Config) { c.Clock = virtual })
	topic := b.topic("due", 1, nil)
	for i, after := range []time.Duration{0, time.Second, time.Second, time.Hour} {
		b.write(Message{Topic: topic, Value: fmt.Append(nil, i), Time: start.Add(after)})
	}
	done := &seen{}
	const delay = 5 * time.Second
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: done.do}, Due: func(r *Record) time.Time {
		if late := virtual.Now().Add(delay); r.Time.Add(delay).After(late) {
			return late
		}
		return r.Time.Add(delay)
	}})
	waiting := func(position int64, until time.Time) func() bool {
		return func() bool {
			p := c.Progress()
			return len(p) == 1 && p[0].Position == position && p[0].WaitsUntil.Equal(until)
		}
	}
	eventually(t, "waiting for the first", waiting(0, start.Add(delay)))
	asleep := func() bool { next, ok := virtual.Next(); return ok && next.Equal(start.Add(delay)) }
	eventually(t, "it sleeps until then", asleep)
	virtual.Advance(start.Add(delay - 1))
	if !asleep() || done.len() != 0 {
		t.Fatalf("it was woken too early; done: %v", done.all())
	}
	virtual.Advance(start.Add(delay))
	eventually(t, "waiting for the second", waiting(1, start.Add(delay+time.Second)))
	virtual.Advance(start.Add(delay + time.Second))
	// The last claims to be of the future; it waits for its delay from now on.
	eventually(t, "waiting for the last", waiting(3, start.Add(2*delay+time.Second)))
	wantNumbers(t, done.all(), 0, 3)
	virtual.Advance(start.Add(2*delay + time.Second))
	eventually(t, "all done", func() bool { return idle(c) })
	if next, ok := virtual.Next(); ok {
		t.Errorf("somebody waits for %v", next)
	}
	if p := c.Progress()[0]; !p.WaitsUntil.IsZero() {
		t.Errorf("the partition still waits until %v", p.WaitsUntil)
	}
}

// ErrStop leaves the partition where it is; the others go on, and the next owner meets the record again.
func TestStop(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("stop", 2, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	done := &seen{}
	handler := work{take: func(_ context.Context, batch []*Record) ([]Task, error) {
		for i, r := range batch {
			if r.Partition == 0 && r.Offset == 5 {
				if i > 0 {
					return byKey(batch[:0]), fmt.Errorf("version 9 at %d: %w", r.Offset, ErrStop)
				}
				return nil, fmt.Errorf("version 9: %w", ErrStop)
			}
		}
		return byKey(batch), nil
	}, do: done.do}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: handler})
	stopped := func() bool {
		p := c.Progress()
		return len(p) == 2 && errors.Is(p[0].Stopped, ErrStop) && strings.Contains(p[0].Stopped.Error(), "version 9")
	}
	eventually(t, "stopped", stopped)
	b.write(numbered(topic, 1, 100, 103)...)
	eventually(t, "the other partition", func() bool { return done.len() == 3 })
	if p := c.Progress()[1]; p.Stopped != nil {
		t.Errorf("the other partition is stopped: %v", p.Stopped)
	}
	c.stop()
	all := &seen{}
	c = b.consume(ConsumerConfig{Topic: topic, Handler: work{do: all.do}}) // a newer version
	eventually(t, "the rest", func() bool { return idle(c) })
	wantNumbers(t, all.all(), 0, 10)
}

// Start chooses where to begin; Committed hears what is committed, at least once.
func TestStartAndCommitted(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("hooks", 1, nil)
	b.write(numbered(topic, 0, 0, 20)...)
	var mu sync.Mutex
	var started, heard []int64
	tries := 0
	begin := func(committed int64) int64 { return committed }
	done := &seen{}
	cfg := ConsumerConfig{Topic: topic, Handler: work{do: done.do},
		Start: func(_ context.Context, _ string, _ int, committed int64) (int64, error) {
			mu.Lock()
			defer mu.Unlock()
			if tries++; tries == 1 {
				return 0, errors.New("Redis is away")
			}
			started = append(started, committed)
			return begin(committed), nil
		},
		Committed: func(_ context.Context, _ string, _ int, mark Mark) error {
			mu.Lock()
			defer mu.Unlock()
			if tries++; tries == 3 {
				return errors.New("Redis is away")
			}
			heard = append(heard, mark.Offset)
			return nil
		},
	}
	last := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		if len(heard) == 0 {
			return -1
		}
		return heard[len(heard)-1]
	}
	c := b.consume(cfg)
	eventually(t, "20 committed", func() bool { return last() == 20 })
	c.stop()
	wantNumbers(t, done.all(), 0, 20)
	if !slices.Equal(started, []int64{-1}) || !slices.IsSorted(heard) {
		t.Errorf("started at %v, heard of %v; want -1 and a rising sequence", started, heard)
	}

	// Rewound: the records come again, but the commit does not go back; what is told is no more than what has been done again.
	started, heard = nil, nil
	begin = func(committed int64) int64 { return committed - 5 }
	c = b.consume(cfg)
	eventually(t, "again", func() bool { return done.len() == 25 && last() == 20 })
	c.stop()
	wantNumbers(t, done.all()[20:], 15, 20)
	if !slices.Equal(started, []int64{20}) || !slices.IsSorted(heard) || heard[0] < 15 {
		t.Errorf("started at %v, heard of %v; want 20, and a rising sequence from 15 or above", started, heard)
	}

	// Out of bounds: clamped.
	begin = func(int64) int64 { return 1 << 40 }
	c = b.consume(cfg)
	eventually(t, "at the end", func() bool { return idle(c) })
	b.write(numbered(topic, 0, 20, 21)...)
	eventually(t, "the next record", func() bool { return last() == 21 })
	wantNumbers(t, done.all()[25:], 20, 21)
}

// What runs may finish; what has not begun is left to the next owner. Nothing is repeated and nothing is missing.
func TestDrainOnStop(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("drain", 1, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	done := &seen{}
	begun, release := make(chan struct{}, 100), make(chan struct{})
	lanePerRecord := func(_ context.Context, batch []*Record) (tasks []Task, err error) {
		for _, r := range batch {
			tasks = append(tasks, Task{Lane: string(r.Value), Record: r})
		}
		return tasks, nil
	}
	c := b.consume(ConsumerConfig{Topic: topic, Workers: 1, Handler: work{
		take: lanePerRecord,
		do: func(ctx context.Context, lane string, tasks []Task) error {
			begun <- struct{}{}
			<-release
			return done.do(ctx, lane, tasks)
		},
	}})
	<-begun
	eventually(t, "ready", c.Ready)
	c.mu.Lock()
	part := c.current.parts[0]
	c.mu.Unlock()
	stopped := make(chan struct{})
	go func() { defer close(stopped); c.stop() }()
	eventually(t, "the partition is given up", func() bool {
		c.lanes.mu.Lock()
		defer c.lanes.mu.Unlock()
		return part.givenUp
	})
	close(release)
	<-stopped
	wantNumbers(t, done.all(), 0, 1)
	c = b.consume(ConsumerConfig{Topic: topic, Workers: 1, Handler: work{take: lanePerRecord, do: done.do}})
	eventually(t, "the rest", func() bool { return idle(c) })
	wantNumbers(t, done.all(), 0, 10)
}

// When the time to drain is over, handlers are called off; what they had is done by the next owner.
func TestDrainDeadline(t *testing.T) {
	b := newBroker(t, func(c *Config) { c.DrainTimeout = 200 * time.Millisecond })
	topic := b.topic("deadline", 1, nil)
	b.write(numbered(topic, 0, 0, 3)...)
	begun := make(chan struct{})
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: func(ctx context.Context, _ string, _ []Task) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}}})
	<-begun
	start := time.Now()
	c.stop()
	if took := time.Since(start); took < 200*time.Millisecond || took > 3*time.Second {
		t.Errorf("stopping took %v, want a little more than 200ms", took)
	}
	rest := &seen{}
	c = b.consume(ConsumerConfig{Topic: topic, Handler: work{do: rest.do}})
	eventually(t, "all", func() bool { return idle(c) })
	wantNumbers(t, rest.all(), 0, 3)
}

// The hard context ends a stop that takes too long.
func TestHardStop(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("hard", 1, nil)
	b.write(numbered(topic, 0, 0, 3)...)
	begun := make(chan struct{})
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: func(ctx context.Context, _ string, _ []Task) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}}})
	<-begun
	start := time.Now()
	c.cut()
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("a hard stop took %v", took)
	}
}

// Backpressure: no more is taken than may be in work.
func TestMaxInFlight(t *testing.T) {
	b := newBroker(t, func(c *Config) { c.MaxInFlight = 7 })
	topic := b.topic("inflight", 1, nil)
	b.write(numbered(topic, 0, 0, 100)...)
	release := make(chan struct{})
	var taken, most atomic.Int64
	var finished atomic.Int64
	c := b.consume(ConsumerConfig{Topic: topic, Workers: 100, Handler: work{
		take: func(_ context.Context, batch []*Record) (tasks []Task, err error) {
			most.Store(max(most.Load(), taken.Add(int64(len(batch)))-finished.Load()))
			for _, r := range batch {
				tasks = append(tasks, Task{Lane: fmt.Sprint(r.Offset), Record: r})
			}
			return tasks, nil
		},
		do: func(context.Context, string, []Task) error {
			<-release
			finished.Add(1)
			return nil
		},
	}})
	eventually(t, "7 taken", func() bool { return taken.Load() == 7 })
	time.Sleep(50 * time.Millisecond) // for more to be taken, if it would
	if n := taken.Load(); n != 7 {
		t.Errorf("%d are taken, want 7", n)
	}
	close(release)
	eventually(t, "all", func() bool { return idle(c) })
	if most.Load() > 7 {
		t.Errorf("%d were in work at once, want at most 7", most.Load())
	}
}

// Batch bounds what a call of Do gets.
func TestBatch(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("batch", 1, nil)
	b.write(numbered(topic, 0, 0, 20)...)
	done := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Batch: 3, Handler: work{do: func(ctx context.Context, lane string, tasks []Task) error {
		if len(tasks) > 3 {
			t.Errorf("%d tasks at once, want at most 3", len(tasks))
		}
		return done.do(ctx, lane, tasks)
	}}})
	eventually(t, "20 records", func() bool { return idle(c) })
	wantNumbers(t, done.all(), 0, 20)
}
