package pipeline_test

// The rooms stage against a Redis, embedded or real. What it writes to Kafka is looked at where it leaves the stage.

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
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
	w := &roomsWorld{T: t, store: openStore(t, stack.Redis(t)), partitions: 4, ids: map[int64]string{}, reader: sdkmetric.NewManualReader()}
	w.metrics = pipeline.NewMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(w.reader)))
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

func silently(r *stream.Record) { header("notify", "false")(r) }

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
