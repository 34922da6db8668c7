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
	"pgregory.net/rapid"

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
	cfg := state.Defaults()
	cfg.Addresses, cfg.KeyPrefix, cfg.Timeout = redis.Addresses, redis.Prefix, 10*time.Second
	store, err := state.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
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

func TestBadgeIsToldWhenItChanges(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.pusher("quiet", `,"events_only":true`)
	d.pusher("none", `,"disable_badge_count":true`)
	d.handle(message(garden, "$1", 1), message(garden, "$2", 2), message(arbour, "$3", 1))
	d.got("phone", "$1 1", "$2 1", "$3 2")
	d.got("quiet", "$1 1", "$2 1", "$3 2")
	d.got("none", "$1 0", "$2 0", "$3 0")
	d.handle(read(garden, 1)) // one is left
	d.got("phone")
	d.handle(redact(garden, 2), redact(garden, 2), read(garden, 2))
	d.got("phone", "1")
	d.handle(pipeline.Notice{Kind: pipeline.KindLeave, RoomID: arbour, Position: 5})
	d.got("phone", "0")
	d.handle(pipeline.Notice{Kind: pipeline.KindInvite, RoomID: arbour, Position: 6, Sender: "@alice:other"})
	d.got("phone") // the invite's own notification tells it
	invite := message(arbour, "$invite", 6)
	key := bob
	invite.Event.Type, invite.Event.StateKey, invite.Event.Content = "m.room.member", &key, []byte(`{"membership":"invite"}`)
	d.handle(invite, pipeline.Notice{Kind: pipeline.KindJoin, RoomID: arbour, Position: 7})
	d.got("phone", "$invite 1", "0")
	d.got("quiet", "$invite 1")
	d.got("none", "$invite 0")
}

// TestInvitedIsNotInTheRoom has a state reset that makes an invite of a join: what was unread counts no more, whoever invites.
func TestInvitedIsNotInTheRoom(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.account(bob+"|m.ignored_user_list", `{"ignored_users":{"@mallory:other":{}}}`)
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.got("phone", "$1 1", "$2 2")
	d.handle(pipeline.Notice{Kind: pipeline.KindInvite, RoomID: garden, Position: 2, Sender: "@alice:other", Silent: true})
	d.handle(pipeline.Notice{Kind: pipeline.KindInvite, RoomID: arbour, Position: 2, Sender: "@mallory:other", Silent: true})
	d.handle(pipeline.Notice{Kind: pipeline.KindJoin, RoomID: garden, Position: 3})
	d.got("phone", "0")
}

// TestSameOffsetIsAnotherEvent has two events without ids that came at one offset, before and after their topic was made anew.
func TestSameOffsetIsAnotherEvent(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.handle(message(garden, "", 1), message(garden, "", 2000), message(garden, "", 2000))
	d.got("phone", "1", "1")
}

// TestNoNewsIsNotPushed has what changes counts, and is no news.
func TestNoNewsIsNotPushed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1))
	d.got("phone", "$1 1")
	silent := redact(garden, 1)
	silent.Silent = true
	d.handle(silent)
	d.got("phone")
	again := d.record(message(garden, "$2", 2))
	again.Again = true
	d.do(d.take(again))
	old := message(garden, "$3", 3)
	old.Since = start.Add(-time.Second).UnixMilli()
	d.handle(old)
	oldRead := read(garden, 2)
	oldRead.Since = start.Add(-time.Second).UnixMilli()
	d.handle(oldRead)
	d.got("phone")
	d.handle(message(arbour, "$4", 1)) // all of it was counted: 3 is unread in the garden
	d.got("phone", "$4 2")
	d.account(bob+"|account", `{"deactivated":true}`)
	d.handle(read(garden, 9), message(arbour, "$5", 2))
	d.got("phone")
}

// TestCrashLosesNoBadge ends the process between what belongs together.
func TestCrashLosesNoBadge(t *testing.T) {
	t.Parallel()
	t.Run("after counting", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		d.handle(message(garden, "$1", 1)) // before there is a pusher
		d.pusher("phone", "")
		rec := d.record(read(garden, 1))
		d.take(rec)
		d.restart(nil)
		d.do(d.take(rec))
		d.got("phone", "0")
		d.do(d.take(rec))
		d.got("phone")
	})
	t.Run("after sending a notification", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		d.pusher("phone", "")
		rec := d.record(message(garden, "$1", 1))
		d.counts.failTell = 2 // what was told can't be noted
		if err := d.users.Do(t.Context(), "lane", d.take(rec)); err == nil {
			t.Fatal("Tell did not fail")
		}
		d.got("phone", "$1 1")
		d.restart(nil)
		d.do(d.take(rec, d.record(read(garden, 1)))) // read meanwhile: it is not sent again, but the badge shows 1
		d.got("phone", "0")
	})
	t.Run("after sending the counts alone", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		d.pusher("phone", "")
		d.handle(message(garden, "$1", 1))
		rec := d.record(read(garden, 1))
		d.counts.failTell = 2
		tasks := d.take(rec)
		if err := d.users.Do(t.Context(), "lane", tasks); err == nil {
			t.Fatal("Tell did not fail")
		}
		d.do(tasks) // what failed is done again, not the attempt
		d.got("phone", "$1 1", "0")
		d.handle(read(garden, 1))
		d.got("phone")
	})
}

func TestBadgeRetries(t *testing.T) {
	t.Parallel()
	messages := func(u *pipeline.Users) {
		u.Badges = pipeline.NewBadges(pipeline.BadgeConfig{Count: pipeline.BadgeMessages, Push: true})
	}
	begin := func(t *testing.T) *desk {
		t.Parallel()
		d := newDesk(t, messages)
		d.pusher("phone", "")
		d.handle(message(garden, "$1", 1), message(garden, "$2", 2), message(garden, "$3", 3))
		d.got("phone", "$1 1", "$2 2", "$3 3")
		return d
	}
	fails := func(d *desk, steps ...pushers.Step) { d.phones["phone"].steps = steps }
	t.Run("recomputed", func(t *testing.T) {
		d := begin(t)
		fails(d, failed, busy)
		d.handle(read(garden, 1))
		d.due()
		silent := redact(garden, 2)
		silent.Silent = true
		d.handle(silent)
		d.due()
		d.got("phone", "2", "2", "1")
	})
	t.Run("newest wins", func(t *testing.T) {
		d := begin(t)
		fails(d, failed, failed)
		d.handle(read(garden, 1), read(garden, 2))
		d.due()
		d.got("phone", "2", "1", "1")
		d.due()
		d.got("phone")
	})
	t.Run("superseded by a notification", func(t *testing.T) {
		d := begin(t)
		fails(d, failed)
		d.handle(read(garden, 3), message(garden, "$4", 4))
		d.due()
		d.got("phone", "0", "$4 1")
	})
	t.Run("back where it was", func(t *testing.T) {
		d := begin(t)
		fails(d, failed)
		d.handle(read(garden, 1))
		d.got("phone", "2")
		silent := message(garden, "$4", 4)
		silent.Silent = true
		d.handle(silent)
		d.due() // it shows 3 still
		d.got("phone")
	})
	t.Run("uncertain", func(t *testing.T) {
		d := begin(t)
		fails(d, uncertain)
		d.handle(read(garden, 1))
		silent := message(garden, "$4", 4)
		silent.Silent = true
		d.handle(silent)
		d.due() // 2 or 3: it is told
		d.got("phone", "2", "3")
	})
	t.Run("given up", func(t *testing.T) {
		d := begin(t)
		fails(d, pushers.Step{Action: pushers.Bury, Reason: "refused"})
		d.handle(read(garden, 1))
		if len(d.written)+len(d.buried) > 0 {
			t.Errorf("%d records written, buried: %v", len(d.written), d.buried)
		}
		d.handle(read(garden, 1))
		d.got("phone", "2", "2")
	})
	t.Run("rejected", func(t *testing.T) {
		d := begin(t)
		fails(d, pushers.Step{Action: pushers.Remove, Reason: "rejected"})
		d.handle(read(garden, 1), read(garden, 2))
		d.got("phone", "2")
		if len(d.written) != 1 || d.written[0].Topic != "tocsin.pusher-feedback" {
			t.Errorf("written: %v", d.written)
		}
		saved, err := d.store.Counts(t.Context(), []string{bob})
		if err != nil || len(saved[0].Told) != 0 {
			t.Errorf("told: %v, %v", saved[0].Told, err)
		}
	})
	t.Run("pusher gone", func(t *testing.T) {
		d := begin(t)
		fails(d, failed)
		d.handle(read(garden, 1))
		d.account(bob+"|pusher|app|phone", "")
		d.due()
		d.got("phone", "2")
	})
}

// TestDroppedRetryTellsTheBadge is about a notification that nobody wants any more when its retry is due.
func TestDroppedRetryTellsTheBadge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		step pushers.Step
		want []string
	}{
		{"it never arrived", failed, nil},
		{"it may have arrived", uncertain, []string{"1"}},
	} {
		d := newDesk(t, nil)
		d.pusher("phone", "")
		d.handle(message(arbour, "$1", 1))
		d.phones["phone"].steps = []pushers.Step{tc.step}
		d.handle(message(garden, "$2", 2))
		d.got("phone", "$1 1", "$2 2")
		silent := redact(garden, 2)
		silent.Silent = true // nothing is pushed because of it
		d.handle(silent)
		d.due()
		d.got("phone", tc.want...)
		d.due()
		d.got("phone")
	}
}

func TestPusherSetAgainForgetsTheNumber(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.pusher("gone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.account(bob+"|pusher|app|gone", "")
	d.pusher("phone", `,"x":1`)
	silent := read(garden, 1)
	silent.Silent = true
	d.handle(silent, read(garden, 1))
	d.got("phone", "$1 1", "$2 2") // what it shows now is as good as told
	d.handle(read(arbour, 1))
	d.got("phone", "0")
	saved, err := d.store.Counts(t.Context(), []string{bob})
	if err != nil || len(saved[0].Told) != 1 {
		t.Errorf("told: %q, %v, want that of the pusher that there is", saved[0].Told, err)
	}
}

// TestProfileTags has a pusher whose own rules say nothing of what the global ones count.
func TestProfileTags(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.account(bob+"|pusher|app|work", `{"kind":"http","app_id":"app","pushkey":"work","profile_tag":"work","data":{"url":"https://push.example/"}}`)
	d.phones["work"] = &phone{}
	n := message(garden, "$1", 1)
	n.Verdicts = append(n.Verdicts, pipeline.Verdict{Rule: "own"})
	n.Users = []pipeline.Recipient{{ID: bob, Tags: map[string]int{"work": 1}}}
	d.handle(n)
	d.got("phone", "$1 1")
	d.got("work", "1")
}

func TestMissedCalls(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	call := message(garden, "$call", 1)
	call.Event.Type, call.Call = "m.call.invite", "c"
	answer := pipeline.Notice{Kind: pipeline.KindCall, RoomID: garden, Position: 2, Call: "c"}
	d.handle(call, answer, answer, message(arbour, "$1", 1), read(arbour, 1))
	d.got("phone", "$call 1+1", "1+0", "$1 2", "1")
}

func TestIdleRoomsKeepLittle(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(u *pipeline.Users) { u.Counting.MaxUnread, u.Counting.IdleMaxUnread = 5, 2 })
	count := func() int {
		saved, err := d.store.Counts(t.Context(), []string{bob})
		if err != nil {
			t.Fatal(err)
		}
		u, err := pipeline.DecodeUnread(saved[0].Rooms[garden])
		if err != nil {
			t.Fatal(err)
		}
		n, _ := u.Count()
		return n
	}
	step := func(what string, want int, at time.Duration, n pipeline.Notice) {
		t.Helper()
		d.clock.Advance(start.Add(at))
		d.handle(n)
		if got := count(); got != want {
			t.Errorf("%s: %d are kept, want %d", what, got, want)
		}
	}
	const day = 24 * time.Hour
	for i := range int64(6) {
		d.handle(message(garden, "", i+1))
	}
	step("as many as there may be", 5, 30*day, message(garden, "", 7))
	step("nothing was read for more than 30 days", 2, 31*day, message(garden, "", 8))
	step("still", 2, 32*day, message(garden, "", 9))
	step("a receipt: all of it counts again", 2, 33*day, read(garden, 7))
	step("from then on", 3, 63*day, message(garden, "", 10))
	d.pusher("phone", "")
	step("with a pusher all of it counts", 4, 400*day, message(garden, "", 11))
}

func TestCountsOfUsersWithoutPushers(t *testing.T) {
	t.Parallel()
	unread := func(d *desk) string {
		saved, err := d.store.Counts(t.Context(), []string{bob})
		if err != nil {
			t.Fatal(err)
		}
		rooms := map[string]int{}
		for room, b := range saved[0].Rooms {
			u, err := pipeline.DecodeUnread(b)
			if err != nil {
				t.Fatal(err)
			}
			rooms[room], _ = u.Count()
		}
		return fmt.Sprint(rooms)
	}
	for _, tc := range []struct{ users, before, kept, after string }{
		{pipeline.CountAll, "map[!garden:hs.example:1]", "map[!arbour:hs.example:1 !garden:hs.example:1]", "map[!arbour:hs.example:1 !garden:hs.example:0]"},
		{pipeline.CountPushers, "map[]", "map[!garden:hs.example:1]", "map[!garden:hs.example:0]"},
	} {
		d := newDesk(t, func(u *pipeline.Users) { u.Counting.Users = tc.users })
		d.handle(message(garden, "$1", 1))
		if got := unread(d); got != tc.before {
			t.Errorf("%s, without a pusher: %s, want %s", tc.users, got, tc.before)
		}
		d.pusher("phone", "")
		d.handle(read(garden, 1), message(garden, "$2", 2))
		d.account(bob+"|pusher|app|phone", "")
		d.handle(message(arbour, "$3", 1))
		if got := unread(d); got != tc.kept {
			t.Errorf("%s, the pusher is gone: %s, want %s", tc.users, got, tc.kept)
		}
		d.handle(read(garden, 2), redact(arbour, 9), pipeline.Notice{Kind: pipeline.KindJoin, RoomID: arbour, Position: 1})
		if got := unread(d); got != tc.after {
			t.Errorf("%s, read: %s, want %s", tc.users, got, tc.after)
		}
	}
}

// TestPhonesShowTheBadge lets a phone be told of random news over a service that fails at random, with crashes in between. Whenever all is quiet, the phone shows what is unread; and
// while nobody doubts what it shows, it is never told alone what it shows already.
func TestPhonesShowTheBadge(t *testing.T) {
	t.Parallel()
	redis := stack.Redis(t)
	prefix, runs := redis.Prefix, 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		redis.Prefix = fmt.Sprint(prefix, runs, ":")
		d := newDeskAt(t, redis, nil)
		p := &shownPhone{desk: d, r: r}
		d.users.Delivery = p
		mode := rapid.SampledFrom([]string{pipeline.BadgeRooms, pipeline.BadgeMessages}).Draw(r, "mode")
		settings := func(u *pipeline.Users) {
			u.Delivery, u.Badges = p, pipeline.NewBadges(pipeline.BadgeConfig{Count: mode, Push: true})
		}
		settings(d.users)
		d.pusher("phone", "")
		rooms := []string{garden, arbour}
		positions := map[string]int64{}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			room := rapid.SampledFrom(rooms).Draw(r, "room")
			at := rapid.Int64Range(1, positions[room]+1).Draw(r, "position")
			var n pipeline.Notice
			switch rapid.SampledFrom([]string{"message", "message", "read", "redact", "leave"}).Draw(r, "kind") {
			case "message":
				positions[room]++
				n = message(room, fmt.Sprint("$", room, positions[room]), positions[room])
			case "read":
				n = read(room, min(at, positions[room]))
			case "redact":
				n = redact(room, at)
			case "leave":
				positions[room]++
				n = pipeline.Notice{Kind: pipeline.KindLeave, RoomID: room, Position: positions[room]}
			}
			rec := d.record(n)
			tasks := d.take(rec)
			if rapid.IntRange(0, 5).Draw(r, "crash") == 0 { // somewhere on the way; the record is read again
				p.unsure, p.crash = true, true
				if d.counts.failTell = rapid.IntRange(0, 3).Draw(r, "at"); d.counts.failTell > 0 {
					for _, task := range tasks {
						_ = d.users.Do(t.Context(), task.Lane, []stream.Task{task})
					}
					d.counts.failTell = 0
				}
				d.restart(settings)
				p.crash = false
				tasks = d.take(rec)
			}
			d.do(tasks)
			if rapid.Bool().Draw(r, "due") {
				d.due()
			}
		}
		for p.well = true; len(d.written) > 0; {
			d.due()
		}
		if saved := d.unread(mode); p.shows != nil && *p.shows != saved {
			r.Fatalf("the phone shows %d, unread are %d: %v", *p.shows, saved, p.story)
		}
	})
}

// unread is the badge as it should be.
func (d *desk) unread(mode string) int {
	saved, err := d.store.Counts(d.Context(), []string{bob})
	if err != nil {
		d.Fatal(err)
	}
	rooms := map[string]pipeline.Unread{}
	for room, b := range saved[0].Rooms {
		if rooms[room], err = pipeline.DecodeUnread(b); err != nil {
			d.Fatal(err)
		}
	}
	return pipeline.Sum(rooms).Badge(mode).Unread
}

// shownPhone is a phone behind a service that fails at random.
type shownPhone struct {
	*desk
	r      *rapid.T
	shows  *int // nil until it is told
	unsure bool // nobody can know what it shows
	crash  bool // what is answered now may not be noted
	well   bool // nothing fails any more
	story  []string
}

func (p *shownPhone) Deliver(_ context.Context, what pushers.Delivery) pushers.Step {
	n := what.Notification
	step, arrives := pushers.Step{Action: pushers.Settle}, true
	if !p.well {
		switch rapid.SampledFrom([]string{"delivered", "delivered", "failed", "busy", "uncertain", "uncertain, arrives"}).Draw(p.r, "answer") {
		case "failed":
			step, arrives = failed, false
		case "busy":
			step, arrives = busy, false
		case "uncertain":
			step, arrives = uncertain, false
		case "uncertain, arrives":
			step = uncertain
		}
	}
	p.story = append(p.story, fmt.Sprintf("%s %d: %v %v", n.EventID, n.Counts.Unread, step, arrives))
	if arrives && (n.CountsOnly() || n.Counts.Unread > 0) {
		if n.CountsOnly() && !p.unsure && p.shows != nil && *p.shows == n.Counts.Unread {
			p.r.Fatalf("the phone is told %d, which it shows: %v", n.Counts.Unread, p.story)
		}
		p.shows = &n.Counts.Unread
	}
	p.unsure = p.crash || step.Verdict == pushers.Uncertain || p.unsure && step.Action != pushers.Settle
	return step
}

// TestNotificationTellsTheBadge has what lowers the badge and what notifies in one batch: the notification that comes after it tells the number, unless it comes to nothing or has no number to tell.
func TestNotificationTellsTheBadge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.got("phone", "$1 1", "$2 2")
	d.do(d.take(d.record(read(garden, 1)), d.record(message(arbour, "$3", 2))))
	d.got("phone", "$3 1")
	d.do(d.take(d.record(message(garden, "$4", 2)), d.record(read(garden, 2)), d.record(message(arbour, "$5", 3))))
	d.got("phone", "$5 1") // the garden's was read before it was sent
	tasks := d.take(d.record(read(arbour, 2)), d.record(message(garden, "$6", 3)))
	d.handle(read(arbour, 3), read(garden, 3)) // and nothing is left before it is sent
	d.got("phone", "0")
	d.do(tasks)
	d.got("phone")
	leave, kicked := pipeline.Notice{Kind: pipeline.KindLeave, RoomID: garden, Position: 9}, message(garden, "$kick", 9)
	key := bob
	kicked.Event.Type, kicked.Event.StateKey, kicked.Event.Content = "m.room.member", &key, []byte(`{"membership":"leave"}`)
	d.handle(message(garden, "$7", 8))
	d.do(d.take(d.record(leave), d.record(kicked)))
	d.got("phone", "$7 1", "0", "$kick 0")
}

// TestWhatEndedIsNotSentAgain repeats records, as a crash, a rebalance or a replay of dead letters does.
func TestWhatEndedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	rec := d.record(message(garden, "$1", 1))
	d.do(d.take(rec))
	d.got("phone", "$1 1")
	d.restart(nil)
	d.do(d.take(rec))
	d.got("phone")

	d.phones["phone"].steps = []pushers.Step{failed}
	rec = d.record(message(garden, "$2", 2))
	d.do(d.take(rec))
	d.restart(nil)
	d.do(d.take(rec)) // it went to a retry topic, and there is no end yet
	d.got("phone", "$2 1", "$2 1")
	d.due()
	d.got("phone") // the retry of the first attempt finds that the second one was delivered

	d.phones["phone"].steps = []pushers.Step{{Action: pushers.Remove, Reason: "rejected"}}
	rec = d.record(message(garden, "$3", 3))
	d.do(d.take(rec))
	d.pusher("phone", "") // set again
	d.do(d.take(rec))
	d.got("phone", "$3 1")
}

// TestGuardHoldsPushers has a wave of rejections: from the tenth on, pushers are held, and nobody is told to delete them.
func TestGuardHoldsPushers(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	rejected := pushers.Step{Action: pushers.Remove, Reason: "rejected"}
	for i := range 12 {
		key := fmt.Sprintf("phone%d", i)
		d.pusher(key, "")
		d.phones[key].steps = []pushers.Step{rejected}
	}
	d.handle(message(garden, "$1", 1))
	removed := 0
	for _, m := range d.written {
		if m.Topic == "tocsin.pusher-feedback" {
			removed++
		}
	}
	if removed != 9 {
		t.Errorf("%d pushers were removed before the guard tripped, want 9", removed)
	}
	told := func() (n int) {
		for _, p := range d.phones {
			n += len(p.got)
			p.got = nil
		}
		return n
	}
	if n := told(); n != 12 {
		t.Errorf("%d were tried, want 12", n)
	}
	d.handle(message(garden, "$2", 2))
	if n := told(); n != 0 {
		t.Errorf("%d are pushed to while they are held", n)
	}
	d.restart(nil)
	if err := d.users.Guard.(*pipeline.Guard).Poll(t.Context()); err != nil { // as a worker does before its first notification
		t.Fatal(err)
	}
	d.handle(message(garden, "$3", 3))
	if n := told(); n != 0 {
		t.Errorf("%d are pushed to by another worker while they are held", n)
	}
	d.pusher("phone9", `,"set":"anew"`) // one of those that are held: phone7, phone8 and phone9 were the last
	d.handle(message(garden, "$4", 4))
	d.got("phone9", "$4 1")
	if _, ok, err := d.store.ResetGuard(t.Context(), "app", d.clock.Now(), 10*time.Minute); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := d.users.Guard.(*pipeline.Guard).Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.handle(message(garden, "$5", 5))
	if n := told(); n != 3 {
		t.Errorf("%d are pushed to after the reset, want the 3 that were never removed", n)
	}
}

// TestPausedWaits has an operator who holds sending: what comes is counted, waits in the retry topics, and is sent with the counts of then.
func TestPausedWaits(t *testing.T) {
	t.Parallel()
	paused := true
	d := newDesk(t, func(u *pipeline.Users) { u.Paused = func(app string) bool { return paused && app == "app" } })
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.got("phone")
	d.due()
	d.got("phone")
	paused = false
	d.handle(read(garden, 1))
	d.due()
	d.got("phone", "1", "$2 1")
}

// TestShadowSendsNothing does everything but the request, and what nobody was told is not noted as told.
func TestShadowSendsNothing(t *testing.T) {
	t.Parallel()
	live := false
	d := newDesk(t, func(u *pipeline.Users) { u.Live = func(string) bool { return live } })
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1), read(arbour, 1))
	d.got("phone")
	if len(d.written)+len(d.buried) > 0 {
		t.Errorf("written %v, buried %v", d.written, d.buried)
	}
	live = true
	d.handle(message(garden, "$3", 2))
	d.got("phone", "$3 1")
}
