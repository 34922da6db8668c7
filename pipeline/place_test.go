package pipeline

import (
	"fmt"
	"testing"

	"tocsin/pipeline/stream"
)

// Positions rise whatever happens to the source that they come from.
func TestOrderNeverRunsBackwards(t *testing.T) {
	t.Parallel()
	var o order
	last := int64(0)
	for i, step := range []struct {
		position  int64
		partition int
		life      int64
		offset    int64
	}{
		{-1, 0, 0, 10}, {-1, 0, 0, 11}, // offsets
		{500, 0, 0, 12}, {501, 0, 0, 13}, // stream positions from now on
		{-1, 0, 0, 14},               // and offsets again
		{-1, 3, 0, 2}, {-1, 3, 0, 3}, // repartitioned: lower offsets
		{-1, 3, 1, 0}, // the topic made anew
	} {
		o = parseOrder(o.String()) // as saved and loaded
		got := o.next(&Event{StreamPosition: step.position}, &stream.Record{Partition: step.partition, Incarnation: step.life, Offset: step.offset})
		if got <= last {
			t.Fatalf("step %d: position %d after %d", i, got, last)
		}
		last = got
	}
}

func TestDoneMark(t *testing.T) {
	t.Parallel()
	mark := doneAt(stream.Record{Partition: 2, Incarnation: 1, Offset: 7}, 8, 0)
	for _, tc := range []struct {
		rec  stream.Record
		want bool
	}{
		{stream.Record{Partition: 2, Incarnation: 1, Offset: 7}, true},
		{stream.Record{Partition: 2, Incarnation: 1, Offset: 3}, true},
		{stream.Record{Partition: 2, Incarnation: 1, Offset: 8}, false},
		{stream.Record{Partition: 3, Incarnation: 1, Offset: 3}, false},
		{stream.Record{Partition: 2, Incarnation: 2, Offset: 3}, false},
	} {
		if got := mark.covers(&tc.rec); got != tc.want {
			t.Errorf("%v covers %+v: %v, want %v", mark, tc.rec, got, tc.want)
		}
	}
	if none := parseDone(""); none.covers(&stream.Record{}) {
		t.Error("a room without a mark covers nothing")
	}
}

func doneAt(rec stream.Record, partitions int, at int64) doneMark {
	var d doneMark
	d.advance(&rec, partitions, at)
	return parseDone(d.String())
}

func TestDoneMarkNeverGoesBack(t *testing.T) {
	t.Parallel()
	d := doneAt(stream.Record{Partition: 2, Incarnation: 1, Offset: 7}, 8, 0)
	before := d
	d.advance(&stream.Record{Partition: 2, Incarnation: 1, Offset: 5}, 8, 1)
	if d != before {
		t.Errorf("%v after %v", d, before)
	}
}

// A room may move to another partition only when the topic got more of them, or was made anew.
func TestMisplacedRecords(t *testing.T) {
	t.Parallel()
	done := doneAt(stream.Record{Partition: 2, Incarnation: 1000, Offset: 7}, 8, 5000)
	for _, tc := range []struct {
		name       string
		rec        stream.Record
		partitions int
		want       bool
	}{
		{"its partition", stream.Record{Partition: 2, Incarnation: 1000}, 8, false},
		{"another, of as many", stream.Record{Partition: 3, Incarnation: 900}, 8, true},
		{"another, and how many there are is not known", stream.Record{Partition: 3, Incarnation: 900}, 0, true},
		{"another, of more", stream.Record{Partition: 3, Incarnation: 900}, 12, false},
		{"a new one, though nobody has said so", stream.Record{Partition: 9, Incarnation: 4000}, 8, false},
		{"of a topic made anew since", stream.Record{Partition: 1, Incarnation: 6000}, 4, false},
		{"read again", stream.Record{Partition: 3, Incarnation: 900, Again: true}, 8, false},
	} {
		if got := done.misplaced(&tc.rec, tc.partitions); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	if none := (doneMark{}); none.misplaced(&stream.Record{Partition: 3}, 8) {
		t.Error("a new room can't be misplaced")
	}
}

// Handled once more from what was saved before, a record gets the same position.
func TestPositionsAreDeterministic(t *testing.T) {
	t.Parallel()
	type step struct{ position, offset int64 }
	steps := []step{{-1, 10}, {-1, 12}, {500, 13}, {499, 14}, {501, 17}, {-1, 20}, {7, 21}}
	for from := range steps {
		var first, second order
		for i, s := range steps {
			if i == from {
				second = parseOrder(first.String())
			}
			rec, e := &stream.Record{Offset: s.offset}, &Event{StreamPosition: s.position}
			want := first.next(e, rec)
			if i >= from {
				if got := second.next(e, rec); got != want {
					t.Errorf("from step %d, step %d: position %d, then %d", from, i, want, got)
				}
			}
		}
	}
}

func TestPositionOfAReset(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		position int64 // of the stream, in the second record
		want     int64 // above the event's own
	}{
		{"with a position of its own", 120, 20}, {"with that of the event", 100, 11}, {"without", -1, 11},
	} {
		var o order
		own := o.next(&Event{StreamPosition: 100}, &stream.Record{Offset: 1})
		o.next(&Event{StreamPosition: 110}, &stream.Record{Offset: 2})
		got := o.nextAfter(own, &Event{StreamPosition: tc.position}, &stream.Record{Offset: 3})
		if tc.position >= 0 && got != own+tc.want || got <= own || o.last < got {
			t.Errorf("%s: %d after %d", tc.name, got, own)
		}
	}
}

// The thread of an event is found over up to five other relations.
func TestThreads(t *testing.T) {
	t.Parallel()
	event := func(relates string) *Event {
		e, err := parseEvent(fmt.Appendf(nil, `{"room_id":"!r:x","type":"m.room.message","content":{"m.relates_to":%s}}`, relates))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	known := map[string]Place{}
	place := func(id, relates string) Place {
		thread, depth := threadOf(event(relates), known)
		known[id] = Place{Position: 1, Thread: thread, Depth: depth}
		return known[id]
	}
	place("$root", `{}`)
	place("$0", `{"rel_type":"m.thread","event_id":"$root"}`)
	for depth := range 8 {
		got := place(fmt.Sprint("$", depth+1), fmt.Sprintf(`{"rel_type":"m.annotation","event_id":"$%d"}`, depth))
		want := Place{Position: 1, Thread: "$root", Depth: depth + 1}
		if depth+1 > 5 {
			want = Place{Position: 1}
		}
		if got != want {
			t.Errorf("%d relations away: %+v, want %+v", depth+1, got, want)
		}
	}
	for _, tc := range []struct{ name, relates, want string }{
		{"in a thread", `{"rel_type":"m.thread","event_id":"$root"}`, "$root"},
		{"in a thread whose root is not known", `{"rel_type":"m.thread","event_id":"$unknown"}`, "$unknown"},
		{"a reply in a thread", `{"rel_type":"m.thread","event_id":"$root","is_falling_back":true,"m.in_reply_to":{"event_id":"$5"}}`, "$root"},
		{"a reply alone", `{"m.in_reply_to":{"event_id":"$0"}}`, ""},
		{"to the root", `{"rel_type":"m.replace","event_id":"$root"}`, ""},
		{"to an unknown event", `{"rel_type":"m.replace","event_id":"$unknown"}`, ""},
		{"without type", `{"event_id":"$0"}`, ""},
		{"type is no text", `{"rel_type":7,"event_id":"$0"}`, ""},
		{"event id is no text", `{"rel_type":"m.thread","event_id":7}`, ""},
		{"no object", `"m.thread"`, ""},
	} {
		if got, _ := threadOf(event(tc.relates), known); got != tc.want {
			t.Errorf("%s: thread %q, want %q", tc.name, got, tc.want)
		}
	}
}
