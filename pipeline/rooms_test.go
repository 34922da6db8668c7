package pipeline_test

// What the rooms stage tells of events, receipts, calls and state, in whatever order and however often they come.

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tocsin/clock"
	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

func TestNotices(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.want(w.each(
		member("$invite", "@bob:hs", "invite"), member("$bob", "@bob:hs", "join"), member("$carol", "@carol:hs", "join"), member("$0", "@botty:hs", "join"), member("$1", "@eve:other", "join"),
		eventMessage("$m1", "@bob:hs"), eventMessage("$m2", "@eve:other"), member("$leave", "@carol:hs", "ban"), member("$2", "@botty:hs", "leave"),
	),
		"invite bob $invite", "notify bob $invite", "join bob $bob", "join carol $carol", "notify carol $m1", "notify bob carol $m2", "leave carol $leave")

	w.want(w.each(
		eventMessage("$root", "@eve:other"),
		related("$t1", "@eve:other", "m.thread", "$root"),
		related("$t2", "@eve:other", "m.reference", "$t1"),
		event("$redact", "m.room.redaction", "@eve:other", `{"redacts":"$t2"}`),
		event("$3", "m.room.redaction", "@eve:other", `{"redacts":"$nowhere"}`),
		receipt("$t2", "@bob:hs", "$root"), receipt("$t1", "@bob:hs", "main"), receipt("$t1", "@bob:hs", ""), receipt("$t1", "@botty:hs", ""), receipt("$t1", "@eve:other", ""),
	),
		"notify bob $root", "notify bob $t1 in $root", "notify bob $t2 in $root", "redact bob $t2 in $root",
		"read bob $t2 in $root", "read bob $t1 in main", "read bob $t1")
}

// What comes silently changes counts and state, and is pushed to nobody.
func TestSilentEvents(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	var got []string
	for _, value := range []string{
		member("$bob", "@bob:hs", "join"), member("$invite", "@carol:hs", "invite"), eventMessage("$m1", "@x:other"), event("$answer", "m.call.answer", "@bob:hs", `{"call_id":"c"}`),
		event("$redact", "m.room.redaction", "@x:other", `{"redacts":"$m1"}`), member("$leave", "@bob:hs", "leave"),
	} {
		got = append(got, w.do(w.record(value, silently))...)
	}
	w.want(got, "join bob $bob silently", "invite carol $invite silently", "call bob $answer call c silently", "redact bob $m1 silently", "leave bob $leave silently")
	w.want(w.do(w.record(event("$redact2", "m.room.redaction", "@x:other", `{"redacts":"$m1"}`), header("state", "false")))) // soft-failed
}

func TestCalls(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.room()
	w.want(w.each(
		event("$call", "m.call.invite", "@x:other", `{"call_id":"c","version":"1"}`),
		event("$call2", "m.call.invite", "@x:other", `{"call_id":12345,"version":0}`),
		event("$call3", "m.call.invite", "@x:other", `{"call_id":"d","invitee":"@carol:hs"}`),
		event("$0", "m.call.invite", "@x:other", `{"call_id":"e","invitee":"@y:other"}`),
		event("$1", "m.call.invite", "@x:other", `{"call_id":1.5}`),
		event("$answer", "m.call.answer", "@bob:hs", `{"call_id":"c"}`),
		event("$hangup", "m.call.hangup", "@carol:hs", `{"call_id":12345}`),
		event("$reject", "m.call.reject", "@carol:hs", `{"call_id":"d"}`),
		event("$2", "m.call.hangup", "@x:other", `{"call_id":"c"}`),
		event("$3", "m.call.hangup", "@bob:hs", `{}`),
	),
		"notify bob carol $call call c", "notify bob carol $call2 call 12345", "notify bob $call3", "notify carol $call3 call d", "notify bob carol $0", "notify bob carol $1",
		"call bob $answer call c", "call carol $hangup call 12345", "call carol $reject call d")
}

// An event is folded, counted and pushed once, wherever it comes from the second time.
func TestEventsAreToldOnce(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.room()
	w.want(w.do(w.record(eventMessage("$m1", "@x:other")), w.record(eventMessage("$m1", "@x:other")), w.record(member("$leave", "@carol:hs", "leave")), w.record(member("$carol", "@carol:hs", "join"))),
		"notify bob carol $m1", "leave carol $leave")
	w.want(w.do(w.record(eventMessage("$m1", "@x:other")), w.record(eventMessage("$m1", "@x:other"), header("stream-position", "900")), w.record(eventMessage("$m1", "@x:other"), inPartition(2))))
	w.restart()
	w.want(w.do(w.record(eventMessage("$m1", "@x:other")), w.record(member("$carol", "@carol:hs", "join")), w.record(eventMessage("$m2", "@x:other"))), "notify bob $m2")
	redaction := event("$redact", "m.room.redaction", "@x:other", `{"redacts":"$m1"}`)
	w.want(w.each(redaction, redaction), "redact bob $m1")

	// What failed was not told, however often it was tried.
	batch := []*stream.Record{w.record(eventMessage("$m3", "@x:other")), w.record(eventMessage("$m3", "@x:other")), w.record(receipt("$m4", "@bob:hs", "")), w.record(eventMessage("$m4", "@x:other"))}
	w.fail = errors.New("kafka is away")
	if err := w.try(batch...); err == nil {
		t.Fatal("a failed write is no error")
	}
	w.want(w.do(batch...), "notify bob $m3", "read bob $m4", "notify bob $m4")
	w.want(w.do(batch...)) // delivered once more: done
	w.restart()
	w.want(w.do(batch...))
}

// A state reset: the winning state comes again, silently.
func TestStateResetIsFolded(t *testing.T) {
	t.Parallel()
	for _, ofStream := range []bool{false, true} {
		w := newRoomsWorld(t)
		w.room()
		again := w.record(member("$bob", "@bob:hs", "join"), silently)
		if ofStream {
			header("stream-position", "1")(again) // that of the event, as it was first
		}
		w.want(w.each(member("$leave", "@bob:hs", "leave"), eventMessage("$m1", "@x:other")), "leave bob $leave", "notify carol $m1")
		again.Offset = w.offset
		w.offset++
		w.want(w.do(again), "join bob elsewhere silently")
		w.want(w.each(eventMessage("$m2", "@x:other")), "notify bob carol $m2")
		w.restart()
		w.want(w.each(eventMessage("$m3", "@x:other"), receipt("$bob", "@carol:hs", "")), "notify bob carol $m3", "read carol $bob")
	}
}

// Stream positions come out of order: state is that of the highest position, and who joined after an event of a room that hides its history does not see it.
func TestStreamPositionsOutOfOrder(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	at := func(position int, value string) []string {
		t.Helper()
		return w.do(w.record(value, header("stream-position", strconv.Itoa(position))))
	}
	at(100, `{"event_id":"$create","room_id":"!r:hs","type":"m.room.history_visibility","sender":"@x:other","state_key":"","content":{"history_visibility":"joined"}}`)
	at(101, member("$bob", "@bob:hs", "join"))
	at(110, member("$carol", "@carol:hs", "join"))
	w.want(at(105, eventMessage("$m1", "@x:other")), "notify bob $m1")
	w.want(at(111, eventMessage("$m2", "@x:other")), "notify bob carol $m2")
	w.want(at(120, member("$leave", "@bob:hs", "leave")), "leave bob $leave")
	w.want(at(115, member("$old", "@bob:hs", "join")), "join bob $old")
	w.want(at(121, eventMessage("$m3", "@x:other")), "notify carol $m3")
}

func TestReceiptsBeforeTheirEvents(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.room()
	w.want(w.each(receipt("$m1", "@bob:hs", ""), receipt("$m1", "@bob:hs", "$root"), receipt("$m1", "@bob:hs", ""), receipt("$m1", "@eve:other", ""), receipt("$m2", "@carol:hs", "main")))
	w.restart()
	w.want(w.each(eventMessage("$m1", "@x:other")), "read bob $m1 bob $m1 in $root", "notify bob carol $m1")
	w.want(w.do(w.record(receipt("$m3", "@bob:hs", "")), w.record(eventMessage("$m3", "@x:other"))), "read bob $m3", "notify bob carol $m3")
	w.want(w.do(w.record(receipt("$m3", "@bob:hs", ""))), "read bob $m3")
	if got := w.counted("tocsin.receipts.unresolved"); got != 0 {
		t.Errorf("%d receipts are unresolved", got)
	}
	// $m2 comes after more than an hour, by Kafka's time.
	w.want(w.do(w.record(eventMessage("$m2", "@x:other"), later(2*time.Hour))), "notify bob carol $m2")
	if got := w.counted("tocsin.receipts.unresolved"); got != 1 {
		t.Errorf("%d receipts are unresolved, want 1", got)
	}
	_, fields := w.saved()
	for field := range fields {
		if strings.HasPrefix(field, "w|") {
			t.Errorf("%s is still saved", field)
		}
	}
	// More than a room may hold.
	for i := range 1010 {
		w.do(w.record(receipt(fmt.Sprint("$never", i), "@bob:hs", ""), later(3*time.Hour)))
	}
	if got := w.counted("tocsin.receipts.unresolved"); got != 11 {
		t.Errorf("%d receipts are unresolved, want 11", got)
	}
	w.restart()
	w.want(w.do(w.record(eventMessage("$never9", "@x:other"), later(3*time.Hour)), w.record(eventMessage("$never10", "@x:other"), later(3*time.Hour))),
		"notify bob carol elsewhere", "read bob elsewhere", "notify bob carol elsewhere")
}

func TestMisplacedRoomsRaiseTheAlarm(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.room()
	w.partitions = 8 // drained: more partitions
	w.want(w.do(w.record(eventMessage("$m1", "@x:other"), inPartition(5))), "notify bob carol $m1")
	if got := w.counted("tocsin.records.misplaced"); got != 0 || strings.Contains(w.log.String(), "ERROR") {
		t.Errorf("%d records are misplaced after a drain", got)
	}
	w.want(w.do(w.record(eventMessage("$m2", "@x:other")), w.record(eventMessage("$m3", "@x:other"), inPartition(5))), "notify bob carol $m2", "notify bob carol $m3")
	if got := w.counted("tocsin.records.misplaced"); got != 2 || strings.Count(w.log.String(), "level=ERROR") != 1 {
		t.Errorf("%d records are misplaced, want 2; one error in\n%s", got, &w.log)
	}
	places, err := w.store.Places(t.Context(), roomID, []string{"$m1", "$m2", "$m3"})
	if err != nil || !(places["$m1"].Position < places["$m2"].Position && places["$m2"].Position < places["$m3"].Position) {
		t.Errorf("positions %v, %v", places, err)
	}
}

// What was there before the stream began is known, and what the stream says is newer.
func TestImportedRoomIsKnown(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	imp := &pipeline.Import{Store: w.store, Writer: w, Topic: "room-state", Clock: clock.System{}, Batch: 10}
	for _, line := range []string{member("$bob", "@bob:hs", "join"), member("$carol", "@carol:hs", "join"), member("$bob", "@bob:hs", "join")} {
		if err := imp.Add(t.Context(), []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := imp.Flush(t.Context()); err != nil || imp.Filled() != 2 {
		t.Fatal(imp.Filled(), err)
	}
	w.out = nil
	w.want(w.each(eventMessage("$m1", "@x:other"), member("$leave", "@carol:hs", "leave")), "notify bob carol $m1", "leave carol $leave")
	if err := imp.Add(t.Context(), []byte(member("$carol", "@carol:hs", "join"))); err != nil {
		t.Fatal(err)
	}
	if err := imp.Flush(t.Context()); err != nil || imp.Filled() != 2 {
		t.Errorf("an import brought somebody back: %d, %v", imp.Filled(), err)
	}
	w.out = nil
	w.want(w.each(eventMessage("$m2", "@x:other")), "notify bob $m2")
	if got := slices.Collect(strings.Lines(w.log.String())); len(got) > 0 {
		t.Errorf("the log says %q", got)
	}
}
