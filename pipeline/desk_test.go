package pipeline_test

// The users stage over a Redis, with a delivery that does as it is told.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"tocsin/clock"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
	"tocsin/rules"
	"tocsin/test/stack"
)

// phone is what one pusher got.
type phone struct {
	steps []pushers.Step // what comes of the next attempts; delivered when there are none left
	got   []string       // in the order of the attempts: "$event 2", or "2" of counts alone; missed calls after a plus
}

// desk is a users stage and everything around it.
type desk struct {
	testing.TB
	users    *pipeline.Users
	counts   *faultyCounts
	store    *state.Store
	accounts *pipeline.Accounts
	clock    *clock.Virtual
	phones   map[string]*phone
	written  []stream.Message
	buried   []stream.Cause
	offset   int64
}

// faultyCounts fails as often as is asked.
type faultyCounts struct {
	pipeline.CountStore
	failTell int // countdown: at 1 Tell or Settle fails
}

func (c *faultyCounts) fails() error {
	if c.failTell > 0 {
		if c.failTell--; c.failTell == 0 {
			return errors.New("the server is away")
		}
	}
	return nil
}

func (c *faultyCounts) Tell(ctx context.Context, changes []pipeline.ToldChange) ([]string, error) {
	if err := c.fails(); err != nil {
		return nil, err
	}
	return c.CountStore.Tell(ctx, changes)
}

func (c *faultyCounts) Settle(ctx context.Context, settled pipeline.Settlement) ([]string, error) {
	if err := c.fails(); err != nil {
		return nil, err
	}
	return c.CountStore.Settle(ctx, settled)
}

const (
	bob    = "@bob:hs.example"
	garden = "!garden:hs.example"
	arbour = "!arbour:hs.example"
)

var start = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

func newDesk(t testing.TB, change func(*pipeline.Users)) *desk {
	t.Helper()
	return newDeskAt(t, stack.Redis(t), change)
}

func newDeskAt(t testing.TB, redis stack.RedisServers, change func(*pipeline.Users)) *desk {
	t.Helper()
	store := openStore(t, redis)
	d := &desk{TB: t, store: store, counts: &faultyCounts{CountStore: store}, clock: clock.NewVirtual(start), phones: map[string]*phone{}}
	d.accounts = &pipeline.Accounts{Store: store, DeadLetters: d, Log: slog.New(slog.DiscardHandler)}
	d.restart(change)
	return d
}

// restart makes the stage anew, as after a crash: nothing is in memory.
func (d *desk) restart(change func(*pipeline.Users)) {
	whole := func(context.Context) error { return nil }
	log := slog.New(slog.DiscardHandler)
	d.users = &pipeline.Users{
		Counts: d.counts, Store: d.store, Accounts: pipeline.NewAccountCache(d.store, whole, 100, rules.Options{}, log), Delivery: d, Guard: pipeline.NewGuard(d.store, pipeline.GuardLimits{Rejections: 10, Percent: 10, Window: 10 * time.Minute}, d.clock, log), Removed: d.store, Writer: d, DeadLetters: d,
		Topics: pipeline.DefaultTopics(), Tiers: []time.Duration{time.Second}, Partitions: func() int { return 1 }, Badges: pipeline.NewBadges(pipeline.DefaultBadge()), Counting: pipeline.DefaultCounts(),
		Expiry: pipeline.Expiry{Call: time.Minute, Message: 24 * time.Hour}, PushFrom: start, Clock: d.clock, Log: log,
		LedgerTTL: 26 * time.Hour, Paused: func(string) bool { return false }, Live: func(string) bool { return true },
	}
	if change != nil {
		change(d.users)
	}
}

// Deliver is the push service.
func (d *desk) Deliver(_ context.Context, what pushers.Delivery) pushers.Step {
	n := what.Notification
	p := d.phones[n.Device.Pusher.Pushkey.Reveal()]
	line := strings.TrimSpace(fmt.Sprintf("%s %d", n.EventID, n.Counts.Unread))
	if n.Counts.MissedCalls > 0 || n.NoMissedCalls {
		line += fmt.Sprintf("+%d", n.Counts.MissedCalls)
	}
	p.got = append(p.got, line)
	if len(p.steps) == 0 {
		return pushers.Step{Action: pushers.Settle}
	}
	step := p.steps[0]
	p.steps = p.steps[1:]
	return step
}

func (d *desk) Write(_ context.Context, messages ...stream.Message) error {
	d.written = append(d.written, messages...)
	return nil
}

func (d *desk) Bury(_ context.Context, _ *stream.Record, cause stream.Cause) error {
	d.buried = append(d.buried, cause)
	return nil
}

// account applies a record of matrix.account.
func (d *desk) account(key, content string) {
	d.Helper()
	parts := strings.Split(key, "|")
	value := []byte(fmt.Sprintf(`{"user_id":%q,"type":%q,"content":%s}`, parts[0], parts[1], content))
	if content == "" {
		value = nil
	}
	d.offset++
	rec := &stream.Record{Topic: "account", Offset: d.offset, Key: []byte(key), Value: value, Time: start, Incarnation: 1}
	if _, err := d.accounts.Take(d.Context(), []*stream.Record{rec}); err != nil {
		d.Fatal(err)
	}
	d.users.Accounts.Saw(rec)
}

// pusher sets a pusher of Bob's.
func (d *desk) pusher(pushkey, data string) {
	d.Helper()
	d.account(bob+"|pusher|app|"+pushkey, fmt.Sprintf(`{"kind":"http","app_id":"app","pushkey":%q,"data":{"url":"https://push.example/"%s}}`, pushkey, data))
	if d.phones[pushkey] == nil {
		d.phones[pushkey] = &phone{}
	}
}

// record is a notice as the users stage reads it.
func (d *desk) record(n pipeline.Notice) *stream.Record {
	d.Helper()
	n.Version = 1
	if n.Since == 0 {
		n.Since = d.clock.Now().UnixMilli()
	}
	if n.Users == nil {
		n.Users = []pipeline.Recipient{{ID: bob}}
	}
	value, err := json.Marshal(n)
	if err != nil {
		d.Fatal(err)
	}
	return d.fetched(value)
}

func (d *desk) fetched(value []byte) *stream.Record {
	d.offset++
	return &stream.Record{Topic: "notifications", Offset: d.offset, Value: value, Time: d.clock.Now(), Generation: 1}
}

// take counts records, and leaves what is to be sent.
func (d *desk) take(records ...*stream.Record) []stream.Task {
	d.Helper()
	tasks, err := d.users.Take(d.Context(), records)
	if err != nil {
		d.Fatal(err)
	}
	return tasks
}

// do sends it.
func (d *desk) do(tasks []stream.Task) {
	d.Helper()
	for _, t := range tasks {
		if err := d.users.Do(d.Context(), t.Lane, []stream.Task{t}); err != nil {
			d.Fatal(err)
		}
	}
}

// handle is one notice from end to end, each in a record of its own.
func (d *desk) handle(notices ...pipeline.Notice) {
	d.Helper()
	for _, n := range notices {
		d.do(d.take(d.record(n)))
	}
}

// due lets everything come back from the retry topics.
func (d *desk) due() {
	d.Helper()
	waiting := d.written
	d.written = nil
	for _, m := range waiting {
		if strings.HasPrefix(m.Topic, "tocsin.retry") {
			d.do(d.take(d.fetched(m.Value)))
		}
	}
}

// got says what a phone has got since it was asked last.
func (d *desk) got(pushkey string, want ...string) {
	d.Helper()
	if diff := cmp.Diff(want, d.phones[pushkey].got); diff != "" {
		d.Errorf("%s (-want +got):\n%s", pushkey, diff)
	}
	d.phones[pushkey].got = nil
}

func message(room, id string, position int64) pipeline.Notice {
	return pipeline.Notice{
		Kind: pipeline.KindNotify, RoomID: room, Position: position, Event: &pipeline.NoticeEvent{ID: id, Type: "m.room.message", Sender: "@alice:other"},
		Verdicts: []pipeline.Verdict{{Rule: ".m.rule.message", Notify: true}},
	}
}

func read(room string, position int64) pipeline.Notice {
	return pipeline.Notice{Kind: pipeline.KindRead, RoomID: room, Users: []pipeline.Recipient{{ID: bob, Position: position}}}
}

func redact(room string, position int64) pipeline.Notice {
	return pipeline.Notice{Kind: pipeline.KindRedact, RoomID: room, Position: position}
}

var (
	failed    = pushers.Step{Action: pushers.Again}
	uncertain = pushers.Step{Action: pushers.Again, Verdict: pushers.Uncertain}
	busy      = pushers.Step{Action: pushers.Again, Unsent: true}
)
