package stream

// Lanes: tasks of one lane one after another, those of different lanes side by side.

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// lanes runs tasks by a bounded number of workers. It outlives the generations of its consumer: a lane that an earlier generation still works in
// does not begin for the next one. It is safe for concurrent use.
type lanes struct {
	do     func(ctx context.Context, lane string, tasks []Task) error
	most   int // workers
	batch  int // tasks that do gets at once at most
	report *complaint

	mu      sync.Mutex
	byName  map[string]*lane
	ready   []*lane // lanes that have work and no worker, in the order to be served
	workers int
	closed  bool
	wg      sync.WaitGroup
}

// lane is a queue of jobs. It exists while it has any.
type lane struct {
	name    string
	queue   []job
	running int         // jobs at the front of the queue that a worker has
	again   int         // jobs at the front of the queue that failed, to be tried again together
	parked  *time.Timer // until they are tried again
	pauses  *backoff.ExponentialBackOff
	since   time.Time // of the first call for the front of the queue; zero if there was none
}

// job is a task in its lane.
type job struct {
	task  Task
	entry *entry
	mark  *watermark // that the entry is of
	part  *partition
}

// Do gets so many tasks at once at most, where the consumer does not say.
const maxTasks = 100

func newLanes(workers int, report *complaint, do func(context.Context, string, []Task) error) *lanes {
	return &lanes{do: do, most: max(workers, 1), batch: maxTasks, report: report, byName: map[string]*lane{}}
}

// submit queues jobs, all of one partition. Those of a partition that is given up are dropped.
func (l *lanes) submit(jobs []job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, j := range jobs {
		if l.closed || j.part.givenUp || j.part.halted {
			return
		}
		ln := l.byName[j.task.Lane]
		if ln == nil {
			ln = &lane{name: j.task.Lane}
			l.byName[ln.name] = ln
			l.enqueue(ln)
		}
		ln.queue = append(ln.queue, j)
		j.part.jobs++
	}
}

// enqueue serves a lane as soon as a worker is free. l.mu is held.
func (l *lanes) enqueue(ln *lane) {
	if l.closed {
		return
	}
	l.ready = append(l.ready, ln)
	if l.workers < l.most {
		l.workers++
		l.wg.Go(l.work)
	}
}

// work serves ready lanes until there is none.
func (l *lanes) work() {
	for {
		ln, jobs := l.next()
		if ln == nil {
			return
		}
		tasks := make([]Task, len(jobs))
		for i, j := range jobs {
			tasks[i] = j.task
		}
		part := jobs[0].part
		l.settle(ln, part, jobs, l.do(part.handling, ln.name, tasks))
	}
}

// next hands the front of a ready lane to a worker: as many jobs as there are of one partition.
func (l *lanes) next() (*lane, []job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) > 0 {
		ln := l.ready[0]
		l.ready[0] = nil
		l.ready = l.ready[1:]
		if len(ln.queue) == 0 { // all its work was dropped
			delete(l.byName, ln.name)
			continue
		}
		part, n := ln.queue[0].part, 1
		for n < len(ln.queue) && n < l.batch && ln.queue[n].part == part && (ln.again == 0 || n < ln.again) {
			n++
		}
		ln.running = n
		if ln.again == 0 {
			ln.since = time.Now()
		}
		return ln, ln.queue[:n:n]
	}
	l.workers--
	return nil, nil
}

// settle takes jobs off their lane that are done, or parks the lane to try them again.
func (l *lanes) settle(ln *lane, part *partition, jobs []job, err error) {
	if err == nil {
		for _, j := range jobs {
			j.mark.finish(j.entry)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	ln.running = 0
	switch {
	case err == nil:
		ln.queue = ln.queue[len(jobs):]
		ln.again, ln.pauses, ln.since = 0, nil, time.Time{}
		part.forget(len(jobs))
	case errors.Is(err, ErrStop):
		part.stop(err)
		part.halted = true
		ln.drop(part) // what follows in this lane must not overtake; other lanes go on
	case part.givenUp || part.handling.Err() != nil:
		ln.drop(part) // not done: the partition's next owner does them
	default:
		l.report.of(err)
		ln.again = len(jobs)
		if ln.pauses == nil {
			ln.pauses = newPauses()
		}
		ln.parked = time.AfterFunc(ln.pauses.NextBackOff(), func() { l.unpark(ln) })
		return
	}
	if len(ln.queue) == 0 {
		delete(l.byName, ln.name)
		return
	}
	l.enqueue(ln)
}

// drop takes all of a partition off a lane that does not run.
func (ln *lane) drop(part *partition) {
	ln.queue = slices.DeleteFunc(slices.Clone(ln.queue), func(j job) bool {
		if j.part == part {
			part.forget(1)
		}
		return j.part == part
	})
	ln.again, ln.pauses, ln.since = 0, nil, time.Time{}
}

// unpark serves a lane again whose pause is over.
func (l *lanes) unpark(ln *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln.parked != nil && !l.closed {
		ln.parked = nil
		l.enqueue(ln)
	}
}

// giveUp takes nothing more of partitions that are about to be given up. What runs goes on. What has not begun is dropped, except, if fill is set, where
// something above it in its partition is done or runs: without it, that would have to be done again, because nothing above the lowest record that is
// not done can be committed. partition.drained is closed when nothing is left.
func (l *lanes) giveUp(fill bool, parts ...*partition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	highest := map[*partition]int64{} // below which is filled up
	for _, p := range parts {
		highest[p] = -1
		if fill {
			highest[p] = p.highest()
		}
		if !p.givenUp {
			p.givenUp = true
			p.forget(0)
		}
	}
	if fill {
		for _, ln := range l.byName {
			for _, j := range ln.queue[:ln.running] {
				highest[j.part] = max(highest[j.part], j.task.Record.Offset)
			}
		}
	}
	for _, ln := range l.byName {
		l.keep(ln, func(j job) bool {
			high, given := highest[j.part]
			return !given || j.task.Record.Offset < high && ln.again == 0
		})
	}
}

// keep drops the jobs of a lane that do not run and are not to be kept. l.mu is held.
func (l *lanes) keep(ln *lane, wanted func(job) bool) {
	kept := ln.queue[:ln.running:ln.running]
	parkedLost := false
	for i, j := range ln.queue[ln.running:] {
		if wanted(j) {
			kept = append(kept, j)
			continue
		}
		j.part.forget(1)
		parkedLost = parkedLost || ln.running == 0 && i < ln.again
	}
	ln.queue = kept
	if parkedLost {
		ln.again, ln.pauses, ln.since = 0, nil, time.Time{}
		if ln.parked != nil {
			ln.parked.Stop()
			ln.parked = nil
			l.enqueue(ln)
		}
	}
}

// close drops everything and waits for what runs.
func (l *lanes) close() {
	l.mu.Lock()
	l.closed, l.ready = true, nil
	for _, ln := range l.byName {
		if ln.parked != nil {
			ln.parked.Stop()
			ln.parked = nil
		}
	}
	l.mu.Unlock()
	l.wg.Wait()
}
