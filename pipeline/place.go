package pipeline

// The place of an event in its room: its position, and the thread that it is in.

import (
	"fmt"
	"strconv"
	"strings"

	"tocsin/pipeline/stream"
)

// Place is where an event stands in its room. The zero value is nowhere: positions begin at 1.
type Place struct {
	Position int64  // < 2^53
	Thread   string // root of its thread; "": the main timeline
	Depth    int    // relations between the event and that of its thread: 0 for one that is in the thread itself
}

// maxDepth is over how many other relations the thread of an event is looked for (as Synapse: what is further away is in the main timeline).
const maxDepth = 5

// threadOf is the thread of an event (Client-Server API, "Threading"): that of its m.thread relation, else that of the event that it relates to. A reply alone is no relation.
func threadOf(e *Event, known map[string]Place) (thread string, depth int) {
	if e.RelatesTo == "" || e.RelType == relThread {
		return e.RelatesTo, 0
	}
	parent := known[e.RelatesTo] // an unknown one is in the main timeline
	if parent.Thread == "" || parent.Depth >= maxDepth {
		return "", 0
	}
	return parent.Thread, parent.Depth + 1
}

const relThread = "m.thread"

// order gives each event of a room its position: the homeserver's stream position if it sends one, else the offset. Which of the two is latched; when it changes, or
// the numbers begin again (another partition, a topic made anew), a new epoch opens above all earlier positions, so that positions never run backwards. It depends on
// nothing but what is saved and the record: a record that is handled once more gets the same position.
type order struct {
	source string // "stream INCARNATION", or "offset INCARNATION PARTITION"; "": none yet
	base   int64  // added to what the source says
	start  int64  // the first position of the epoch
	last   int64  // the highest position given
}

// epochSlack leaves room below the first event of an epoch, for stream positions that come a little out of order.
const epochSlack = 1000

// rebuiltGap is how many positions a room may have given that its state does not tell of: messages have none, and those that were notified may still wait in the retry topics.
const rebuiltGap = 1 << 34

// rebuiltOrder begins an epoch far above the highest position that is known of a room whose order was lost: whatever was given before lies below it, and counts as older.
func rebuiltOrder(highest int64) order { return order{last: highest + rebuiltGap} }

// next is the position of the event.
func (o *order) next(e *Event, rec *stream.Record) int64 {
	source, raw := fmt.Sprintf("offset %d %d", rec.Incarnation, rec.Partition), rec.Offset
	if e.StreamPosition >= 0 {
		source, raw = fmt.Sprintf("stream %d", rec.Incarnation), e.StreamPosition
	}
	switch {
	case source == o.source:
	case o.source == "" && o.last == 0: // the first epoch of all says what the source says, whatever its first record is: if that was lost, the next one still gets the same position as before
		o.source, o.start, o.base = source, 1, 1 // position 0 is before everything
	default:
		o.source = source
		o.start = o.last + 1
		o.base = o.start + epochSlack - raw
	}
	position := max(o.base+raw, o.start)
	o.last = max(o.last, position)
	return position
}

// nextAfter is a position for an event that has its own already, and becomes state once more: above its own, even if the homeserver says the same stream position again.
func (o *order) nextAfter(own int64, e *Event, rec *stream.Record) int64 {
	if position := o.next(e, rec); position > own {
		return position
	}
	o.last++
	return o.last
}

// String is the order as it is saved. The highest position stands first: of two, the one that has given more wins.
func (o order) String() string { return fmt.Sprintf("%d %d %d %s", o.last, o.start, o.base, o.source) }

func parseOrder(s string) order {
	var o order
	fields := strings.SplitN(s, " ", 4)
	if len(fields) < 4 {
		return o
	}
	for i, n := range []*int64{&o.last, &o.start, &o.base} {
		*n, _ = strconv.ParseInt(fields[i], 10, 64)
	}
	o.source = fields[3]
	return o
}

// doneMark is the last record of a room that is folded in, with all that follows from it durable.
type doneMark struct {
	incarnation int64
	partition   int
	offset      int64
	partitions  int   // that the topic had then
	at          int64 // when it was handled, ms since 1970
	known       bool
}

// covers says whether rec was folded in before. Offsets of another partition or of an earlier life of the topic can't be compared: a record from there is new.
func (d *doneMark) covers(rec *stream.Record) bool {
	return d.sameNumbering(rec) && rec.Offset <= d.offset
}

func (d *doneMark) sameNumbering(rec *stream.Record) bool {
	return d.known && d.incarnation == rec.Incarnation && d.partition == rec.Partition
}

// passed says whether rec, which is read once more, is from before the room came to the partition of its last record: that one was written when all before it was saved. Offsets don't tell, so
// the times do: there is a drain between the two.
func (d *doneMark) passed(rec *stream.Record) bool {
	return rec.Again && d.known && !d.sameNumbering(rec) && rec.Time.UnixMilli() <= d.at
}

// misplaced says whether rec can't be where it is: a room moves to another partition only when the topic was given more of them, or was made anew, after its last record was done.
// partitions is the number that the topic has now.
func (d *doneMark) misplaced(rec *stream.Record, partitions int) bool {
	return d.known && !rec.Again && rec.Partition != d.partition && max(partitions, rec.Partition+1) <= d.partitions && rec.Incarnation <= d.at
}

// advance notes at a time (ms since 1970) that rec is done.
func (d *doneMark) advance(rec *stream.Record, partitions int, at int64) {
	if !d.covers(rec) {
		*d = doneMark{incarnation: rec.Incarnation, partition: rec.Partition, offset: rec.Offset, partitions: max(partitions, rec.Partition+1), at: at, known: true}
	}
}

func (d doneMark) String() string {
	return fmt.Sprintf("%d %d %d %d %d", d.incarnation, d.partition, d.offset, d.partitions, d.at)
}

func parseDone(s string) doneMark {
	var d doneMark
	n, err := fmt.Sscanf(s, "%d %d %d %d %d", &d.incarnation, &d.partition, &d.offset, &d.partitions, &d.at)
	d.known = err == nil && n == 5
	return d
}
