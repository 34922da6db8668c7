package pipeline

// Receipts that came before the event that they name.

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// Bounds of what waits in a room: an event that does not come within the time, or that is pushed out by others, is taken for one that the index no longer has.
const (
	waitingTime  = time.Hour
	waitingCount = 1000
)

// waitingReceipt is a receipt without its event.
type waitingReceipt struct {
	UserID   string `json:"user_id"`
	ThreadID string `json:"thread_id,omitzero"`
	At       int64  `json:"at"` // Kafka time of its record, ms since 1970; what the client says of itself decides nothing
}

// waitingReceipts are those of a room, by the event that they name. The zero value is empty.
type waitingReceipts struct {
	byEvent map[string][]waitingReceipt
	count   int
	oldest  int64           // no receipt is older
	changed map[string]bool // events whose receipts are not saved as they are
}

// load takes over what was saved for an event.
func (w *waitingReceipts) load(event, value string) {
	var saved []waitingReceipt
	if json.Unmarshal([]byte(value), &saved) != nil {
		return
	}
	for _, r := range saved {
		w.put(event, r)
	}
	delete(w.changed, event)
}

// add makes a receipt wait, instead of an earlier one of the same user and thread for that event. It returns how many older ones had to go.
func (w *waitingReceipts) add(event string, r waitingReceipt) (lost int) {
	w.put(event, r)
	for w.count > waitingCount {
		w.evict()
		lost++
	}
	return lost
}

func (w *waitingReceipts) put(event string, r waitingReceipt) {
	if w.byEvent == nil {
		w.byEvent, w.changed = map[string][]waitingReceipt{}, map[string]bool{}
	}
	w.changed[event] = true
	waiting := w.byEvent[event]
	if i := slices.IndexFunc(waiting, func(o waitingReceipt) bool { return o.UserID == r.UserID && o.ThreadID == r.ThreadID }); i >= 0 {
		waiting[i].At = max(waiting[i].At, r.At)
		return
	}
	if w.count == 0 || r.At < w.oldest {
		w.oldest = r.At
	}
	w.byEvent[event] = append(waiting, r)
	w.count++
}

// take returns the receipts that waited for an event.
func (w *waitingReceipts) take(event string) []waitingReceipt {
	waiting := w.byEvent[event]
	if len(waiting) > 0 {
		w.changed[event] = true
		delete(w.byEvent, event)
		w.count -= len(waiting)
	}
	return waiting
}

// expire gives up those that have waited too long at a Kafka time, and returns how many.
func (w *waitingReceipts) expire(now time.Time) (lost int) {
	line := now.Add(-waitingTime).UnixMilli()
	if w.count == 0 || w.oldest >= line {
		return 0
	}
	before := w.count
	w.keep(func(_ string, r waitingReceipt) bool { return r.At >= line })
	return before - w.count
}

// evict gives up the oldest. Of several it is always the same one, whatever the order they are kept in.
func (w *waitingReceipts) evict() {
	var event string
	var first *waitingReceipt
	for e, waiting := range w.byEvent {
		for i := range waiting {
			if r := &waiting[i]; first == nil || cmp.Or(cmp.Compare(r.At, first.At), strings.Compare(e, event), strings.Compare(r.UserID, first.UserID), strings.Compare(r.ThreadID, first.ThreadID)) < 0 {
				event, first = e, r
			}
		}
	}
	gone := *first
	w.keep(func(e string, r waitingReceipt) bool { return e != event || r != gone })
}

// keep drops what is not wanted.
func (w *waitingReceipts) keep(wanted func(event string, r waitingReceipt) bool) {
	w.count, w.oldest = 0, 0
	for event, waiting := range w.byEvent {
		kept := slices.DeleteFunc(waiting, func(r waitingReceipt) bool { return !wanted(event, r) })
		if len(kept) < len(waiting) {
			w.changed[event] = true
		}
		for _, r := range kept {
			if w.count == 0 || r.At < w.oldest {
				w.oldest = r.At
			}
			w.count++
		}
		if w.byEvent[event] = kept; len(kept) == 0 {
			delete(w.byEvent, event)
		}
	}
}

// save notes the fields that have changed since what was saved.
func (w *waitingReceipts) save(set map[string]string) (unset []string) {
	for event := range w.changed {
		waiting := w.byEvent[event]
		if len(waiting) == 0 {
			unset = append(unset, waitingField+event)
			continue
		}
		value, err := json.Marshal(waiting)
		if err != nil {
			panic("a waiting receipt that does not encode: " + err.Error()) // texts that were decoded, and a number
		}
		set[waitingField+event] = string(value)
	}
	clear(w.changed)
	return unset
}
