package stream

// The watermark of a partition: how far everything is done.

import (
	"sync"
	"time"
)

// watermark follows the records of one partition that are in work. Committing an offset acknowledges all below it, and lanes finish out of order, so
// what may be committed is the lowest offset that is not done. It is safe for concurrent use.
type watermark struct {
	maxRecords, maxBytes int
	freed                chan struct{} // has an element when room may have been made

	mu      sync.Mutex
	entries []*entry // begun and at or above the watermark, by offset; those before head are forgotten
	head    int
	next    int64 // next offset to be begun
	open    int   // records begun and not done
	bytes   int   // their bytes
	highest int64 // offset that is done; -1 if none is
	newest  time.Time
}

// entry is one record in work.
type entry struct {
	record *Record // nil when done
	size   int
	left   int // tasks that are not done
}

// A record that is done but lies above one that is not has to be remembered, and would be repeated after a crash. So the records above the watermark are
// bounded too, by so many times the bound of those in work.
const spanFactor = 8

func newWatermark(next int64, maxRecords, maxBytes int) *watermark {
	return &watermark{next: next, highest: -1, maxRecords: maxRecords, maxBytes: maxBytes, freed: make(chan struct{}, 1)}
}

// room is how many of the records may begin now; at least one if nothing is in work.
func (w *watermark) room(records []*Record) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	open, bytes, span := w.open, w.bytes, len(w.entries)-w.head
	for n, r := range records {
		size := r.size()
		if open > 0 && (open >= w.maxRecords || bytes+size > w.maxBytes || span >= spanFactor*w.maxRecords) {
			return n
		}
		open, bytes, span = open+1, bytes+size, span+1
	}
	return len(records)
}

// begin takes records into work. They must rise in offset, also from call to call.
func (w *watermark) begin(records []*Record) []*entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	begun := make([]*entry, len(records))
	for i, r := range records {
		begun[i] = &entry{record: r, size: r.size(), left: 1} // one for Take
		w.open++
		w.bytes += begun[i].size
		w.next = r.Offset + 1
	}
	w.entries = append(w.entries, begun...)
	return begun
}

// skip moves on to an offset when nothing that is left lies below it.
func (w *watermark) skip(to int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next = max(w.next, to)
}

// add adds a task to an entry that is not done.
func (w *watermark) add(e *entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.left++
}

// finish takes one task off each entry.
func (w *watermark) finish(entries ...*entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range entries {
		if e.left--; e.left > 0 {
			continue
		}
		w.open--
		w.bytes -= e.size
		w.highest = max(w.highest, e.record.Offset)
		if e.record.Time.After(w.newest) {
			w.newest = e.record.Time
		}
		e.record = nil
	}
	for w.head < len(w.entries) && w.entries[w.head].record == nil {
		w.entries[w.head] = nil
		w.head++
	}
	if w.head > 1024 && w.head*2 > len(w.entries) {
		w.entries = append(w.entries[:0:0], w.entries[w.head:]...)
		w.head = 0
	}
	select {
	case w.freed <- struct{}{}:
	default:
	}
}

// marks are the next offset to be begun, the offset below which all is done, and the time of the newest record that is done.
func (w *watermark) marks() (next, done int64, newest time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	done = w.next
	if w.head < len(w.entries) {
		done = w.entries[w.head].record.Offset
	}
	return w.next, done, w.newest
}

// highestDone is the highest offset that is done, perhaps above others that are not; -1 if none is.
func (w *watermark) highestDone() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.highest
}
