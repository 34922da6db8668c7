package stream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// bench is a set of lanes with a handler that checks the promises of lanes.
type bench struct {
	t     *testing.T
	lanes *lanes
	do    func(ctx context.Context, lane string, tasks []Task) error

	mu      sync.Mutex
	active  map[string]bool
	workers int
	done    map[string][]int64 // offsets by lane, as they were done
	failed  map[string][]int64 // the tasks that must come next in a lane, because they failed
}

func newBench(t *testing.T, workers int) *bench {
	b := &bench{t: t, active: map[string]bool{}, done: map[string][]int64{}, failed: map[string][]int64{}}
	b.lanes = newLanes(workers, &complaint{log: testLog(t), what: "do tasks"}, func(ctx context.Context, lane string, tasks []Task) error {
		b.mu.Lock()
		b.workers++
		if b.active[lane] {
			t.Errorf("lane %s runs twice at once", lane)
		}
		if b.workers > workers {
			t.Errorf("%d workers, want at most %d", b.workers, workers)
		}
		b.active[lane] = true
		var offsets []int64
		for _, task := range tasks {
			offsets = append(offsets, task.Record.Offset)
		}
		if again := b.failed[lane]; again != nil && !slices.Equal(again, offsets) {
			t.Errorf("lane %s: tasks %v failed, next are %v", lane, again, offsets)
		}
		b.mu.Unlock()
		err := b.do(ctx, lane, tasks)
		b.mu.Lock()
		defer b.mu.Unlock()
		b.workers--
		b.active[lane] = false
		if err == nil {
			delete(b.failed, lane)
			b.done[lane] = append(b.done[lane], offsets...)
		} else {
			b.failed[lane] = offsets
		}
		return err
	})
	return b
}

// part is a partition in which n records are begun, spread over so many lanes.
func (b *bench) part(handling context.Context, first int64, n, lanes int) (*partition, []job) {
	p := &partition{handling: handling, drained: make(chan struct{}), log: testLog(b.t), halt: func() {}, mark: newWatermark(first, 1e6, 1e9)}
	var records []*Record
	for i := range n {
		records = append(records, &Record{Offset: first + int64(i)})
	}
	var jobs []job
	for i, e := range p.mark.begin(records) {
		jobs = append(jobs, job{task: Task{Lane: fmt.Sprint(i % lanes), Record: records[i]}, entry: e, mark: p.mark, part: p})
	}
	return p, jobs
}

func TestLanesKeepOrderAndRepeatFailures(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			number := func(below int) int {
				mu.Lock()
				defer mu.Unlock()
				return rng.IntN(below)
			}
			b := newBench(t, 1+number(4))
			b.do = func(context.Context, string, []Task) error {
				if number(100) < 70 {
					time.Sleep(time.Millisecond)
				}
				if number(100) < 20 {
					return errors.New("a server is away")
				}
				return nil
			}
			const n, lanes = 300, 7
			p, jobs := b.part(t.Context(), 0, n, lanes)
			for len(jobs) > 0 {
				some := min(len(jobs), 1+number(20))
				b.lanes.submit(jobs[:some])
				jobs = jobs[some:]
				time.Sleep(time.Duration(number(3)) * time.Millisecond)
			}
			time.Sleep(time.Hour) // all pauses
			synctest.Wait()
			if _, done, _ := p.mark.marks(); done != n {
				t.Errorf("seed %d: watermark %d, want %d", seed, done, n)
			}
			for lane, offsets := range b.done {
				if !slices.IsSorted(offsets) {
					t.Errorf("seed %d: lane %s was done in the order %v", seed, lane, offsets)
				}
			}
			b.lanes.close()
			if len(b.lanes.byName) != 0 {
				t.Errorf("seed %d: %d lanes are left", seed, len(b.lanes.byName))
			}
		})
	}
}

// A lane that fails or hangs must not keep others from the workers.
func TestLanesDoNotHoldUpOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2)
		b.do = func(ctx context.Context, lane string, _ []Task) error {
			switch lane {
			case "0":
				<-ctx.Done()
				return ctx.Err()
			case "1":
				return errors.New("fails for ever")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		p, jobs := b.part(ctx, 0, 100, 10)
		b.lanes.submit(jobs)
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(b.done); n != 8 {
			t.Errorf("%d lanes are done, want 8", n)
		}
		cancel()
		b.lanes.giveUp(false, p)
		b.lanes.close()
	})
}

// Many tasks that wait are done together, but not too many.
func TestLanesBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		var sizes []int
		b.do = func(_ context.Context, _ string, tasks []Task) error {
			sizes = append(sizes, len(tasks))
			time.Sleep(time.Second)
			synctest.Wait()
			return nil
		}
		_, jobs := b.part(t.Context(), 0, 251, 1)
		b.lanes.submit(jobs[:1])
		synctest.Wait()
		b.lanes.submit(jobs[1:])
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []int{1, 100, 100, 50}; !slices.Equal(sizes, want) {
			t.Errorf("batches of %v, want %v", sizes, want)
		}
		b.lanes.close()
	})
}

// When a partition is given up, what runs goes on, what waits or is parked is dropped, and the next generation's tasks of the lane begin only after what runs.
func TestLanesGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 4)
		release := make(chan struct{})
		b.do = func(_ context.Context, lane string, tasks []Task) error {
			if tasks[0].Record.Offset >= 100 {
				return nil
			}
			if lane == "0" {
				<-release
				return nil
			}
			return errors.New("fails for ever")
		}
		old, jobs := b.part(t.Context(), 0, 20, 2)
		b.lanes.submit(jobs[:1])
		synctest.Wait() // lane 0 runs with one task
		b.lanes.submit(jobs[1:])
		synctest.Wait() // lane 1 is parked
		b.lanes.giveUp(false, old)
		b.mu.Lock()
		clear(b.failed)
		b.mu.Unlock()
		next, jobs := b.part(t.Context(), 100, 20, 2)
		b.lanes.submit(jobs)
		synctest.Wait()
		if got := len(b.done["1"]); got != 10 {
			t.Errorf("%d tasks of the new generation are done in the lane that was parked, want 10", got)
		}
		if got := b.done["0"]; got != nil {
			t.Errorf("tasks %v were done while the old generation's task runs", got)
		}
		close(release)
		<-old.drained
		time.Sleep(time.Second)
		synctest.Wait()
		if got := b.done["0"]; len(got) != 11 || got[0] != 0 || got[1] != 100 {
			t.Errorf("lane 0 did %v, want the old generation's one task and then the new one's ten", got)
		}
		if _, done, _ := old.mark.marks(); done != 1 {
			t.Errorf("watermark of the old generation %d, want 1", done)
		}
		if _, done, _ := next.mark.marks(); done != 120 {
			t.Errorf("watermark of the new generation %d, want 120", done)
		}
		b.lanes.close()
	})
}

// Before a partition is given up, what lies below something that is done is done too: else that would have to be done again.
func TestLanesFillUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1)
		b.do = func(_ context.Context, lane string, _ []Task) error {
			time.Sleep(time.Second)
			return nil
		}
		p, jobs := b.part(t.Context(), 0, 20, 5)
		p.mark.finish(jobs[7].entry) // had no task of its own: done when it was taken
		jobs = slices.Delete(jobs, 7, 8)
		b.lanes.submit(jobs)
		synctest.Wait() // lane 0 runs, with the offsets 0, 5, 10, 15
		b.lanes.giveUp(true, p)
		<-p.drained
		if _, done, _ := p.mark.marks(); done != 16 {
			t.Errorf("watermark %d, want 16: all below 15, which ran, and nothing above", done)
		}
		if n := len(b.done["0"]) + len(b.done["1"]) + len(b.done["2"]) + len(b.done["3"]) + len(b.done["4"]); n != 15 {
			t.Errorf("%d tasks are done, want 15", n)
		}
		b.lanes.close()
	})
}

// After ErrStop nothing that follows in the lane may overtake; other lanes finish what was taken.
func TestLanesStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 4)
		b.do = func(_ context.Context, lane string, tasks []Task) error {
			if lane == "1" {
				return fmt.Errorf("version 9: %w", ErrStop)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			return nil
		}
		p, jobs := b.part(t.Context(), 0, 20, 2)
		b.lanes.submit(jobs[:18])
		time.Sleep(time.Minute)
		synctest.Wait()
		b.lanes.submit(jobs[18:]) // a Take that was under way
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := len(b.done["0"]); got != 9 {
			t.Errorf("%d tasks of the other lane are done, want the 9 that were taken before", got)
		}
		if b.done["1"] != nil {
			t.Errorf("the stopped lane did %v", b.done["1"])
		}
		if !errors.Is(p.stopped, ErrStop) {
			t.Errorf("the partition is not stopped: %v", p.stopped)
		}
		if _, done, _ := p.mark.marks(); done != 1 {
			t.Errorf("watermark %d, want 1: that is the first record of the stopped lane", done)
		}
		b.lanes.close()
	})
}
