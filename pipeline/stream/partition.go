package stream

// One partition, for as long as one generation owns it: fetch, wait until due, take, hand on to the lanes.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// partition is the work on one partition in one generation. One goroutine runs it; the rest is safe for concurrent use.
type partition struct {
	consumer   *Consumer
	id         int
	generation int64
	handling   context.Context // of the handler's calls; outlives the taking by the time to drain
	kick       func()          // asks the generation to commit now
	log        *slog.Logger
	fetches    *complaint
	takes      *complaint

	committed commit        // as the group had it at the beginning
	memory    string        // where the handler saves what it does; "" if unknown
	drained   chan struct{} // closed when the partition is given up and no lane has anything of it

	jobs    int  // in lanes, waiting or running; guarded by lanes.mu
	givenUp bool // nothing is submitted any more; guarded by lanes.mu
	halted  bool // nothing is submitted any more; guarded by lanes.mu

	mu          sync.Mutex
	mark        *watermark // nil until it is known where to begin
	incarnation int64
	saved       int64 // what is committed; -1 if nothing
	savedNote   note  // with it
	again       int64 // records below it had been done before
	before      note  // of the commit that said so
	history     history
	resave      bool      // commit even if the offset has not moved
	gone        bool      // the topic was missing: what it has now may be another log, to which our commits do not belong
	announced   int64     // what ConsumerConfig.Committed was told; -1 if nothing
	end         int64     // of the log, as last seen
	seen        time.Time // when that was
	waitsUntil  time.Time // when the record at hand is due
	stopped     error     // why nothing more is taken
	halt        context.CancelFunc
}

// Take gets so many records at once at most.
const maxTake = 500

// run works on the partition until taking ends.
func (p *partition) run(taking context.Context) {
	taking, cancel := context.WithCancel(taking)
	defer cancel()
	p.mu.Lock()
	p.halt = cancel
	p.mu.Unlock()

	offset, ok := p.begin(taking, p.committed)
	for ok {
		var got fetched
		if got, ok = p.fetch(taking, offset); !ok {
			return
		}
		if got.outside {
			offset, ok = p.begin(taking, p.standing(offset))
			continue
		}
		for pending := got.records; ok && len(pending) > 0; {
			var n int
			if n, ok = p.admit(taking, pending); ok {
				ok = p.take(taking, pending[:n])
				pending = pending[n:]
			}
		}
		if ok {
			offset = got.next
			p.mark.skip(offset)
		}
	}
}

// fetch fetches until that succeeds, or until it is clear that the offset has to be looked at again.
func (p *partition) fetch(taking context.Context, offset int64) (got fetched, ok bool) {
	ok = persist(taking, p.fetches, func() (err error) {
		got, err = p.consumer.cluster.fetch(taking, p.consumer.cfg.Topic, p.id, offset)
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case errors.Is(err, errOutside), err == nil && p.gone:
			got = fetched{outside: true}
			return nil
		case isMissing(err):
			p.gone = true
		case err == nil:
			p.end, p.seen = got.end, time.Now()
		}
		return err
	})
	return got, ok
}

// begin finds out where to begin, or to begin anew.
func (p *partition) begin(taking context.Context, committed commit) (offset int64, ok bool) {
	cfg := p.consumer.cfg
	ok = persist(taking, &complaint{log: p.log, what: "find where to begin", patience: networkPatience}, func() error {
		at, err := p.consumer.cluster.locate(taking, cfg.Topic, p.id, committed)
		if err != nil {
			return err
		}
		offset = at.offset
		if p.mark != nil && at.verdict == goesOn { // it was a broker's passing opinion
			p.mu.Lock()
			p.gone = false
			p.mu.Unlock()
			sleep(taking, metadataTTL/4)
			return nil
		}
		p.tell(committed, at)
		offset = p.rewinds(taking, committed, at)
		if cfg.Start != nil {
			known := offset
			if at.verdict == isFresh {
				known = -1
			}
			from, err := cfg.Start(taking, cfg.Topic, p.id, known)
			if err != nil {
				return fmt.Errorf("start of partition %d: %w", p.id, err)
			}
			offset = min(max(from, at.bounds.First), at.bounds.End)
		}
		p.reset(committed, at, offset)
		return nil
	})
	return offset, ok
}

// reset begins at an offset. Records of an earlier numbering that are still in work finish by their own watermark: they could not be read again,
// so the commit need not wait for them.
func (p *partition) reset(committed commit, at resumption, offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remember(committed, at, offset)
	p.mark = newWatermark(offset, p.consumer.cluster.cfg.MaxInFlight, p.consumer.cluster.cfg.MaxInFlightBytes)
	p.incarnation, p.saved, p.savedNote, p.announced = at.incarnation, p.again, committed.note, -1
	p.end, p.gone = at.bounds.End, false
	if at.verdict != goesOn {
		p.resave = true
		p.kick()
	}
}

// standing is what would be committed if all below offset were done.
func (p *partition) standing(offset int64) commit {
	p.mu.Lock()
	defer p.mu.Unlock()
	return commit{offset: offset, note: p.note(), suspect: p.gone}
}

// tell reports a beginning that is not where the last one ended.
func (p *partition) tell(committed commit, at resumption) {
	attrs := []any{"committed", committed.offset, "offset", at.offset}
	switch at.verdict {
	case goesOn:
	case isFresh:
		p.log.Debug("begin with the first record: "+string(at.verdict), attrs...)
	case hasGap:
		p.log.Error(string(at.verdict)+": the topic's retention is shorter than the time that this group was behind", append(attrs, "lost", at.gap)...)
	default:
		p.log.Error(string(at.verdict), append(attrs, "committed_time", committed.note.time)...)
	}
}

// admit waits until the first record is due and there is room for it, and tells how many may be taken with it.
func (p *partition) admit(ctx context.Context, records []*Record) (n int, ok bool) {
	records = records[:min(len(records), maxTake)]
	if due := p.consumer.cfg.Due; due != nil {
		clock := p.consumer.cluster.clock
		if at := due(records[0]); at.After(clock.Now()) {
			p.setWait(at)
			if clock.Until(ctx, at) != nil {
				return 0, false
			}
		}
		now := clock.Now()
		n = 1
		for n < len(records) && !due(records[n]).After(now) {
			n++
		}
		records = records[:n]
	}
	for {
		if n = p.mark.room(records); n > 0 {
			return n, true
		}
		select {
		case <-p.mark.freed:
		case <-ctx.Done():
			return 0, false
		}
	}
}

// take has the handler take records, again and again until it does, and hands their tasks to the lanes.
func (p *partition) take(taking context.Context, records []*Record) bool {
	p.mu.Lock()
	for _, r := range records {
		r.Generation, r.Incarnation, r.Again = p.generation, p.incarnation, r.Offset < p.again
	}
	entries := p.mark.begin(records)
	p.waitsUntil = time.Time{}
	p.mu.Unlock()

	defer p.consumer.watchdog.watch(p, records[0].Offset)()
	var tasks []Task
	var stop error
	if !persist(taking, p.takes, func() (err error) {
		tasks, err = p.consumer.cfg.Handler.Take(p.handling, records)
		if errors.Is(err, ErrStop) {
			stop, err = err, nil
		}
		return err
	}) {
		return false
	}
	if stop != nil {
		p.stop(stop)
		return false
	}
	jobs := make([]job, len(tasks))
	for n, t := range tasks {
		i, found := slices.BinarySearchFunc(records, t.Record, func(r, of *Record) int { return cmp.Compare(r.Offset, of.Offset) })
		if !found {
			panic("stream: Take returned a task of a record that it was not given")
		}
		p.mark.add(entries[i])
		jobs[n] = job{task: t, entry: entries[i], mark: p.mark, part: p}
	}
	p.mark.finish(entries...)
	p.consumer.lanes.submit(jobs)
	return true
}

// forget takes jobs off the count of what the lanes have. lanes.mu is held.
func (p *partition) forget(jobs int) {
	if p.jobs -= jobs; p.jobs == 0 && p.givenUp {
		close(p.drained)
	}
}

// highest is the highest offset that is done; -1 if none is.
func (p *partition) highest() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mark == nil {
		return -1
	}
	return p.mark.highestDone()
}

// stop leaves the partition where it is, until it is assigned anew.
func (p *partition) stop(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped == nil {
		p.stopped = err
		p.log.Error("partition is left alone until it is assigned anew", "error", err)
		p.halt()
	}
}

func (p *partition) setWait(until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waitsUntil = until
}

// lastSeen is when the end of the log was seen last.
func (p *partition) lastSeen() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen
}

// sawEnd notes where the log ends.
func (p *partition) sawEnd(end int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end, p.seen = end, time.Now()
}

// progress is what a dashboard shows of the partition.
func (p *partition) progress() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := Progress{Group: p.consumer.cfg.Group, Topic: p.consumer.cfg.Topic, Partition: p.id, Position: -1, Watermark: -1, End: -1, Stopped: p.stopped}
	if p.mark != nil {
		g.Position, g.Watermark, _ = p.mark.marks()
		g.End, g.WaitsUntil = max(p.end, g.Position), p.waitsUntil
	}
	return g
}

// due is the commit that is to be made: if the offset moved, or if it is wanted anyway.
func (p *partition) due(anyway bool) (offset int64, n note, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mark == nil || p.gone {
		return 0, note{}, false
	}
	_, done, _ := p.mark.marks()
	offset, n = max(done, p.saved), p.note() // after a rewind the commit waits until the work has come back to it
	moved := offset != p.saved || n.memory != p.savedNote.memory || n.safe == offset && n.safe != p.savedNote.safe
	return offset, n, moved || p.resave || anyway
}

// note is what a commit of now remembers. p.mu is held.
func (p *partition) note() note {
	n := note{incarnation: p.incarnation, time: p.committed.note.time}
	_, done, newest := p.mark.marks()
	if newest.After(n.time) {
		n.time = newest
	}
	p.annotate(&n, done)
	if now := milliseconds(p.consumer.cluster.clock.Now()); n.time.IsZero() || n.time.After(now) {
		n.time = now
	}
	return n
}

// save notes that an offset was committed, unless the partition began anew meanwhile.
func (p *partition) save(offset int64, n note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.incarnation == p.incarnation {
		p.saved, p.savedNote, p.resave = offset, n, false
	}
}

// news is the mark that [ConsumerConfig.Committed] was not told of: what is committed, and after a rewind no more than has been done again.
func (p *partition) news() (m Mark, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mark == nil || p.resave {
		return Mark{}, false
	}
	_, done, _ := p.mark.marks()
	m = Mark{Incarnation: p.incarnation, Offset: min(p.saved, done)}
	return m, m.Offset != p.announced
}

func (p *partition) announce(offset int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.announced = offset
}
