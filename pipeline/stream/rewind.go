package stream

// Rewind: what was done lately is read again when the store that holds it may have lost its last writes.
//
// A handler saves what it does in a store of its own, and that may go back in time: a server that restarts, or whose replica takes over, answers without the last second or so of
// what it had acknowledged. Kafka's offset says that the work is done, and nobody would ever do it again. So each commit also remembers which memory the work went to
// ([ConsumerConfig.Memory]), and a safe offset: below it, all had been done when that memory was seen well for the last [ConsumerConfig.Rewind]. Where a
// partition begins with another memory than the commit names, it begins at the safe offset, and the records that had been done come with [Record.Again].

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"
)

// errOtherMemory ends a generation whose work went to a memory that is not in use any more.
var errOtherMemory = errors.New("what the handler saves goes elsewhere now")

// history follows how far all was done at moments when the memory was well. Its answer lags behind by the time to rewind.
type history struct {
	rewind  time.Duration
	moments []moment // rising in both
	safe    int64    // offset below which all was done long enough ago
}

// moment is how far all was done at a time.
type moment struct {
	at   time.Time
	done int64
}

// historySteps is into how many parts the time to rewind is divided: moments that lie closer are not told apart.
const historySteps = 32

// saw notes that the memory was well at a time at which all below done was done. Only that lets time pass: while a memory is away, nothing that it
// has been told becomes any safer.
func (h *history) saw(at time.Time, done int64) {
	for len(h.moments) > 0 && at.Sub(h.moments[0].at) >= h.rewind {
		h.safe = max(h.safe, h.moments[0].done)
		h.moments = h.moments[1:]
	}
	if n := len(h.moments); n == 0 || at.Sub(h.moments[n-1].at) >= h.rewind/historySteps {
		h.moments = append(h.moments, moment{at, done})
	}
}

// rewinds says where to begin when the memory may have changed since the commit: at the committed place, or below it.
func (p *partition) rewinds(taking context.Context, committed commit, at resumption) (offset int64) {
	lost := p.memory != "" && committed.note.memory != "" && p.memory != committed.note.memory
	if !lost || at.verdict != goesOn && at.verdict != wasCut {
		return at.offset // and where the log begins anew, so does the work
	}
	offset = max(min(committed.note.safe, at.offset), at.bounds.First)
	level := slog.LevelWarn
	if offset == at.offset {
		level = slog.LevelDebug
	}
	p.log.Log(taking, level, "what was saved of the last records may be lost: they are read again, and nobody is told of them a second time", "records", at.offset-offset, "offset", offset, "committed", at.offset)
	return offset
}

// remember makes the partition's new beginning known to its commits. p.mu is held.
func (p *partition) remember(committed commit, at resumption, begin int64) {
	if at.verdict != hasGap || p.again <= at.offset { // else it stays in the middle of a rewind
		p.again, p.before = at.offset, committed.note
	}
	p.history = history{rewind: p.consumer.cfg.Rewind, safe: begin}
	if committed.note.memory != "" && (at.verdict == goesOn || at.verdict == wasCut) {
		p.history.safe = min(committed.note.safe, begin)
	}
}

// annotate adds to the note of a commit which memory the work below done went to. Until the work has come back to where it was, that is the earlier one:
// who takes over in the middle begins there once more. p.mu is held.
func (p *partition) annotate(n *note, done int64) {
	switch {
	case p.consumer.cfg.Memory == nil:
	case done < p.again:
		n.memory, n.safe = p.before.memory, p.before.safe
	default:
		n.memory, n.safe = cmp.Or(p.memory, p.before.memory), p.history.safe
	}
}

// recall asks which memory is in use, until it is told.
func (g *generation) recall(taking context.Context) bool {
	c := g.consumer
	return c.cfg.Memory == nil || persist(taking, &complaint{log: c.log, what: "ask where the work is saved", patience: networkPatience}, func() (err error) {
		g.memory, err = c.cfg.Memory(taking)
		return err
	})
}

// witness looks whether the memory is well, and lets the histories of the partitions go on if it is.
func (g *generation) witness(taking context.Context) {
	c := g.consumer
	if c.cfg.Memory == nil {
		return
	}
	for sleep(taking, c.cluster.cfg.CommitInterval) {
		now := time.Now()
		sights := make([]sight, len(g.parts))
		for i, p := range g.parts {
			sights[i] = p.look()
		}
		switch memory, err := c.cfg.Memory(taking); {
		case err != nil: // whoever works says what is wrong with it
		case memory != g.memory:
			g.lapse(errOtherMemory)
			return
		default:
			for i, p := range g.parts {
				p.saw(now, sights[i])
			}
		}
	}
}

// sight is how far a partition had come by one of its watermarks.
type sight struct {
	mark *watermark // nil: it was not known where to begin
	done int64
}

func (p *partition) look() sight {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mark == nil {
		return sight{}
	}
	_, done, _ := p.mark.marks()
	return sight{p.mark, done}
}

// saw lets the history go on, unless the partition began anew meanwhile.
func (p *partition) saw(at time.Time, s sight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.mark != nil && s.mark == p.mark {
		p.history.saw(at, s.done)
	}
}

// Restart makes the consumer give its partitions up, as a rebalance does, and join its group again. The channel is closed when the work of the assignment that there was
// has ended; at once if there was none. An assignment that comes later asks [ConsumerConfig.Memory] anew.
func (c *Consumer) Restart(cause error) (drained <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == nil {
		over := make(chan struct{})
		close(over)
		return over
	}
	c.live.lapse(cause)
	return c.live.over
}
