package pipeline_test

// Records that are read again after a loss, and by two owners at once: nothing becomes wrong, and nobody is told twice.

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// Redis loses its last writes and goes on; then the lost records are read again. Everything is as if nothing had been lost, and nobody is told twice.
func TestReadingAgain(t *testing.T) {
	t.Parallel()
	values := []string{
		member("$bob", "@bob:hs", "join"), member("$carol", "@carol:hs", "join"), eventMessage("$m1", "@x:other"), related("$t1", "@x:other", "m.thread", "$m1"), receipt("$m3", "@bob:hs", ""),
		related("$t2", "@x:other", "m.reference", "$t1"), receipt("$m4", "@bob:hs", ""), member("$leave", "@carol:hs", "leave"), eventMessage("$m2", "@x:other"), eventMessage("$m3", "@x:other"),
		member("$join", "@carol:hs", "join"), eventMessage("$last", "@x:other"),
	}
	ids := []string{"$bob", "$carol", "$m1", "$m2", "$m3", "$t1", "$t2", "$leave", "$join", "$last"}
	whole := newRoomsWorld(t)
	whole.each(values...)
	want, err := whole.store.Places(t.Context(), roomID, ids)
	if err != nil {
		t.Fatal(err)
	}
	_, wantFields := whole.saved()
	for _, newFirst := range []bool{false, true} { // newFirst: another record was done before anybody noticed
		for kept := range len(values) - 1 {
			w := newRoomsWorld(t)
			w.each(values[:kept]...)
			w.restart()
			w.out = nil
			last := w.record(values[len(values)-1])
			last.Offset = int64(len(values) - 1)
			if newFirst && kept > 0 { // a room that is lost altogether begins anew with what comes first
				w.do(last)
			}
			for i := range len(values) - 1 {
				again := w.record(values[i], readAgain)
				again.Offset, again.Time = int64(i), time.UnixMilli(began+1000*int64(i))
				w.want(w.do(again))
			}
			if len(w.out) > 0 {
				t.Errorf("%d records were written for what is read again", len(w.out))
			}
			w.do(last)
			got, err := w.store.Places(t.Context(), roomID, ids)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%d kept, new first %v: places %v (-want +got):\n%s", kept, newFirst, err, diff)
			}
			_, fields := w.saved()
			for _, volatile := range []map[string]string{fields, wantFields} {
				delete(volatile, "done") // has the time of day
			}
			if diff := cmp.Diff(wantFields, fields); diff != "" {
				t.Errorf("%d kept, new first %v: room (-want +got):\n%s", kept, newFirst, diff)
			}
		}
	}
}

// A room that has moved keeps its state when what it sent from its old partition is read again, a state reset too.
func TestReadingAgainAfterAMove(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	reset := w.record(member("$bob", "@bob:hs", "join"), silently)
	w.do(w.record(member("$bob", "@bob:hs", "join")))
	reset.Offset = w.offset
	w.do(reset)
	w.partitions = 8
	leaves := w.record(member("$left", "@bob:hs", "leave"), inPartition(7), later(time.Since(time.UnixMilli(began))))
	w.do(leaves)
	_, want := w.saved()
	again := *reset
	again.Again = true
	w.restart()
	w.want(w.do(&again))
	if _, got := w.saved(); !cmp.Equal(want, got) {
		t.Errorf("room (-want +got):\n%s", cmp.Diff(want, got))
	}
}

// An old owner that goes on beside the new one makes nothing wrong.
func TestTwoOwners(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.room()
	old := w.stage
	w.restart()
	fresh := w.stage
	var records []*stream.Record
	for i := range 20 {
		records = append(records, w.record(eventMessage(fmt.Sprint("$", i), "@x:other")))
	}
	var told []string
	for i, rec := range records {
		for _, stage := range []*pipeline.Rooms{fresh, old} {
			w.stage = stage
			told = append(told, w.do(rec)...)
			if i%3 == 0 { // and one that comes late
				told = append(told, w.do(records[max(0, i-2)])...)
			}
		}
	}
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("notify bob carol $%d", i))
	}
	w.want(told, want...)
}
