package pipeline_test

// The rooms stage against a Redis, embedded or real. What it writes to Kafka is looked at where it leaves the stage.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"tocsin/clock"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/rules"
	"tocsin/test/stack"
)

const (
	roomID = "!r:hs"
	began  = 1_700_000_000_000 // Kafka time of offset 0, ms; each record is a second later
)

// roomsWorld is a rooms stage and what it is told.
type roomsWorld struct {
	*testing.T
	store      *state.Store
	stage      *pipeline.Rooms
	partitions int // of the events topic
	offset     int64
	generation int64
	out        []stream.Message
	fail       error // of the next write
	buried     []stream.Cause
	log        bytes.Buffer
	reader     *sdkmetric.ManualReader
	metrics    *pipeline.Metrics
	ids        map[int64]string // position to event id
}

func newRoomsWorld(t *testing.T) *roomsWorld {
	t.Helper()
	servers := stack.Redis(t)
	w := &roomsWorld{T: t, partitions: 4, ids: map[int64]string{}, reader: sdkmetric.NewManualReader()}
	w.metrics = pipeline.NewMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader)))
	cfg := state.Defaults()
	cfg.Addresses, cfg.KeyPrefix, cfg.Timeout = servers.Addresses, servers.Prefix, 10*time.Second
	store, err := state.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w.store = store
	w.restart()
	return w
}

// restart makes another worker, which knows what Redis knows.
func (w *roomsWorld) restart() {
	w.Helper()
	whole := func(context.Context) error { return nil }
	bots, err := pipeline.CompileAppservices([]string{"@bot"})
	if err != nil {
		w.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&w.log, nil))
	w.stage = pipeline.NewRooms(pipeline.Rooms{
		Store: w.store, Whole: whole, Accounts: pipeline.NewAccountCache(w.store, whole, 1000, rules.Options{}, log), Writer: w, DeadLetters: w, Topics: pipeline.DefaultTopics(),
		Homeserver: pipeline.Homeserver{Name: "hs", Appservices: bots}, Partitions: func() int { return 1 }, EventPartitions: func() int { return w.partitions },
		Clock: clock.System{}, Log: log, Metrics: w.metrics,
	}, 10_000)
	w.generation++
}

// Write implements the stage's writer.
func (w *roomsWorld) Write(_ context.Context, messages ...stream.Message) error {
	if err := w.fail; err != nil {
		w.fail = nil
		return err
	}
	w.out = append(w.out, messages...)
	return nil
}

// Bury implements the stage's undertaker.
func (w *roomsWorld) Bury(_ context.Context, _ *stream.Record, cause stream.Cause) error {
	w.buried = append(w.buried, cause)
	return nil
}

// record is the next record of partition 0; options are changes of it.
func (w *roomsWorld) record(value string, options ...func(*stream.Record)) *stream.Record {
	rec := &stream.Record{
		Topic: "matrix.room-events", Offset: w.offset, Key: []byte(roomID), Value: []byte(value), Time: time.UnixMilli(began + 1000*w.offset), Generation: w.generation, Incarnation: 1,
	}
	w.offset++
	for _, o := range options {
		o(rec)
	}
	return rec
}

func header(name, value string) func(*stream.Record) {
	return func(r *stream.Record) {
		r.Headers = append(r.Headers, stream.Header{Key: name, Value: []byte(value)})
	}
}

func silently(r *stream.Record)  { header("notify", "false")(r) }
func readAgain(r *stream.Record) { r.Again = true }

func later(d time.Duration) func(*stream.Record) {
	return func(r *stream.Record) { r.Time = r.Time.Add(d) }
}

func inPartition(p int) func(*stream.Record) { return func(r *stream.Record) { r.Partition = p } }

func event(id, kind, sender, content string) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":%q,"sender":%q,"content":%s}`, id, roomID, kind, sender, content)
}

func eventMessage(id, sender string) string {
	return event(id, "m.room.message", sender, `{"msgtype":"m.text","body":"hi"}`)
}

func related(id, sender, kind, to string) string {
	return event(id, "m.room.message", sender, fmt.Sprintf(`{"msgtype":"m.text","body":"hi","m.relates_to":{"rel_type":%q,"event_id":%q}}`, kind, to))
}

func member(id, user, membership string) string {
	return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.member","sender":"@x:other","state_key":%q,"content":{"membership":%q,"displayname":"N"}}`, id, roomID, user, membership)
}

func receipt(event, user, thread string) string {
	if thread != "" {
		thread = fmt.Sprintf(`"thread_id":%q`, thread)
	}
	return fmt.Sprintf(`{"room_id":%q,"type":"m.receipt","content":{%q:{"m.read":{%q:{%s}}}}}`, roomID, event, user, thread)
}

// do has the stage handle records as one batch and returns what is told of users, each notice as a line.
func (w *roomsWorld) do(records ...*stream.Record) []string {
	w.Helper()
	if err := w.try(records...); err != nil {
		w.Fatal(err)
	}
	return w.told()
}

func (w *roomsWorld) try(records ...*stream.Record) error {
	tasks, err := w.stage.Take(w.Context(), records)
	if err != nil || len(tasks) == 0 {
		return err
	}
	return w.stage.Do(w.Context(), roomID, tasks)
}

// each does the records one by one.
func (w *roomsWorld) each(values ...string) (told []string) {
	w.Helper()
	for _, value := range values {
		told = append(told, w.do(w.record(value))...)
	}
	return told
}

// told takes what was written: "kind users event", and what else the notice says. Positions are told by the events that have them.
func (w *roomsWorld) told() (lines []string) {
	w.Helper()
	for _, m := range w.out {
		if m.Topic != pipeline.DefaultTopics().Notifications {
			continue
		}
		var n pipeline.Notice
		if err := json.Unmarshal(m.Value, &n); err != nil {
			w.Fatal(err)
		}
		line := string(n.Kind)
		for _, u := range n.Users {
			line += " " + strings.TrimSuffix(strings.TrimPrefix(u.ID, "@"), ":hs")
			if n.Kind == pipeline.KindRead {
				line += " " + w.at(u.Position)
				if u.ThreadID != "" {
					line += " in " + u.ThreadID
				}
			}
		}
		if n.Kind != pipeline.KindRead {
			line += " " + w.at(n.Position)
		}
		for _, flag := range []struct {
			is   bool
			text string
		}{{n.Thread != "", " in " + n.Thread}, {n.Call != "", " call " + n.Call}, {n.Silent, " silently"}} {
			if flag.is {
				line += flag.text
			}
		}
		lines = append(lines, line)
	}
	w.out = nil
	return lines
}

// at names a position by its event.
func (w *roomsWorld) at(position int64) string {
	w.Helper()
	if w.ids[position] == "" {
		var ids []string
		for _, name := range strings.Fields("invite join leave bob carol old m1 m2 m3 m4 root t1 t2 t3 edit call call2 call3 answer hangup reject redact first last late create reset") {
			ids = append(ids, "$"+name)
		}
		for i := range 20 {
			ids = append(ids, "$"+strconv.Itoa(i))
		}
		places, err := w.store.Places(w.Context(), roomID, ids)
		if err != nil {
			w.Fatal(err)
		}
		for id, place := range places {
			w.ids[place.Position] = id
		}
	}
	if w.ids[position] == "" {
		return "elsewhere"
	}
	return w.ids[position]
}

// counted is the value of a counter.
func (w *roomsWorld) counted(name string) int64 {
	w.Helper()
	var all metricdata.ResourceMetrics
	if err := w.reader.Collect(w.Context(), &all); err != nil {
		w.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			if sum, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == name && len(sum.DataPoints) > 0 {
				return sum.DataPoints[0].Value
			}
		}
	}
	return 0
}

func (w *roomsWorld) want(got []string, want ...string) {
	w.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		w.Errorf("notices (-want +got):\n%s", diff)
	}
}

// room makes a room with @bob and @carol.
func (w *roomsWorld) room() {
	w.Helper()
	w.each(member("$bob", "@bob:hs", "join"), member("$carol", "@carol:hs", "join"))
}

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

// saved is the room as Redis has it.
func (w *roomsWorld) saved() (rev string, fields map[string]string) {
	w.Helper()
	rev, err := w.store.LoadRoom(w.Context(), roomID, func(int) func(field, value string) {
		fields = map[string]string{}
		return func(field, value string) { fields[field] = value }
	})
	if err != nil {
		w.Fatal(err)
	}
	return rev, fields
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
