package model

// One deployment in small: the real stages over a real store, and everything around them.

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/redis/go-redis/v9"

	"tocsin/clock"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/rules"
)

const server = "hs"

var began = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a deployment, and the model of it.
type world struct {
	homeserver
	rng      *rand.Rand // of the step
	clock    *clock.Virtual
	store    *state.Store
	redis    redis.UniversalClient // past the store
	prefix   string                // of its keys
	shards   int
	backup   *backup
	faults   *faults
	accounts *pipeline.Accounts
	caches   []*pipeline.AccountCache

	events, notices, retries, account *topic
	roomsConsumer, usersConsumer      *consumer
	zombies                           []*zombie // owners who do not know yet that they are none any more
	generation                        int64
	retried                           int64 // retries that were due

	roomIDs, userIDs, others []string // others are not told: remote, or of an application service
	all                      []string // userIDs and others
	streams                  map[string]bool
	holes                    map[string]int64 // stream positions that an earlier event left out
	stream                   int64
	mode                     string // of badges
	sent                     []sent
	future                   map[string][]string // ids of events that were spoken of and have not come, by room
	marks                    []*event
	phones                   map[string]*phone
	told                     map[pushOf]*told
	debts                    []debt
	unsaid                   map[invitation]bool // nobody tells the phone of the last invite
	spoken                   []spoken            // that were sent something in this batch
	flaky                    int                 // one of so many pushes fails; 0: none
	settled                  bool                // everything sent has been handled
	numbers                  int                 // for ids

	failure error
	steps   int // records sent, and faults
	steps0  int // seeds used
	traced  bool
	trace   strings.Builder
}

// sent is something that was written to the events topic, and may be written again.
type sent struct {
	room     string
	value    []byte
	event    *event
	receipts []receipt
}

// zombie is an owner that was replaced.
type zombie struct {
	*consumer
	life int
}

func (w *world) fail(format string, args ...any) {
	w.note("FAIL: "+format, args...)
	if w.failure == nil {
		w.failure = fmt.Errorf(format, args...)
	}
}

func (w *world) note(format string, args ...any) {
	if w.traced {
		fmt.Fprintf(&w.trace, format+"\n", args...)
	}
}

// newWorld makes a world that depends on nothing but the seed and its number.
func newWorld(seed, number uint64, store *state.Store, cfg state.Config, direct redis.UniversalClient) *world {
	w := &world{
		redis: direct, prefix: cfg.KeyPrefix, shards: cfg.Shards,
		homeserver: homeserver{rooms: map[string]*room{}, users: map[string]*user{}}, rng: rand.New(rand.NewPCG(seed, number)), clock: clock.NewVirtual(began), store: store, faults: &faults{},
		streams: map[string]bool{}, holes: map[string]int64{}, future: map[string][]string{}, phones: map[string]*phone{}, unsaid: map[invitation]bool{}, told: map[pushOf]*told{},
	}
	w.accounts = &pipeline.Accounts{Store: store, DeadLetters: w, Log: slog.New(slog.DiscardHandler)}
	topics := pipeline.DefaultTopics()
	w.events, w.notices = newTopic(topics.Events, 1+w.rng.IntN(3)), newTopic(topics.Notifications, 1+w.rng.IntN(3))
	w.retries, w.account = newTopic("retry", 1), newTopic(topics.Account, 1)
	w.mode = []string{pipeline.BadgeRooms, pipeline.BadgeMessages}[w.rng.IntN(2)]
	w.roomsConsumer = &consumer{world: w, topic: w.events, make: w.newRooms}
	w.usersConsumer = &consumer{world: w, topic: w.notices, make: func() stream.Handler { return w.newUsers() }}
	w.flaky = []int{0, 0, 3, 10}[w.rng.IntN(4)]
	for i := range 2 + w.rng.IntN(3) {
		w.userIDs = append(w.userIDs, fmt.Sprintf("@u%d:%s", i, server))
	}
	w.others = []string{"@far:other", "@bot:" + server}
	w.all = slices.Concat(w.userIDs, w.others)
	for i := range 1 + w.rng.IntN(3) {
		id := fmt.Sprintf("!r%d:%s", i, server)
		w.roomIDs = append(w.roomIDs, id)
		w.streams[id] = w.rng.IntN(2) == 0
		w.rooms[id] = &room{id: id, byID: map[string]*event{}, stays: map[string][]stay{}, members: map[string]*member{}}
	}
	for _, id := range w.userIDs {
		w.users[id] = &user{id: id, ignores: map[string]bool{}, mutes: map[string]string{}}
		for range w.rng.IntN(3) {
			w.addPusher(w.users[id])
		}
	}
	w.roomsConsumer.restart()
	w.usersConsumer.restart()
	for _, id := range w.roomIDs {
		w.found(w.rooms[id])
	}
	w.drain()
	return w
}

func (w *world) partitions() int { return len(w.notices.partitions) }

func (w *world) cache() *pipeline.AccountCache {
	c := pipeline.NewAccountCache(w.store, whole, 100, rules.Options{}, slog.New(slog.DiscardHandler))
	w.caches = append(w.caches, c)
	return c
}

func whole(context.Context) error { return nil }

func (w *world) newRooms() stream.Handler {
	bots, err := pipeline.CompileAppservices([]string{"@bot:"})
	if err != nil {
		panic(err)
	}
	return pipeline.NewRooms(pipeline.Rooms{
		Store: failing{w.store, w.faults}, Whole: whole, Accounts: w.cache(), Writer: w, DeadLetters: w, Topics: pipeline.DefaultTopics(),
		Homeserver: pipeline.Homeserver{Name: server, Appservices: bots}, Partitions: w.partitions, EventPartitions: func() int { return len(w.events.partitions) },
		Clock: w.clock, Log: slog.New(slog.DiscardHandler),
	}, 10_000)
}

// oddApps count badges the other way.
const oddApps = "odd"

func (w *world) newUsers() stream.Handler {
	other := pipeline.BadgeRooms
	if w.mode == pipeline.BadgeRooms {
		other = pipeline.BadgeMessages
	}
	return &pipeline.Users{
		Counts: failing{w.store, w.faults}, Store: w.store, Accounts: w.cache(), Delivery: w,
		Guard: pipeline.NewGuard(w.store, pipeline.GuardLimits{Rejections: 10, Percent: 10, Window: 10 * time.Minute}, w.clock, slog.New(slog.DiscardHandler)), Removed: w.store,
		LedgerTTL: 26 * time.Hour, Paused: func(string) bool { return false }, Live: func(string) bool { return true }, Writer: w, DeadLetters: w, Topics: pipeline.DefaultTopics(), Tiers: []time.Duration{time.Second},
		Partitions: w.partitions, Badges: pipeline.NewBadges(pipeline.BadgeConfig{Count: w.mode, CountByApp: map[string]string{oddApps: other}, Push: true}), Counting: pipeline.DefaultCounts(),
		Expiry: pipeline.Expiry{Call: time.Minute, Message: 24 * time.Hour}, PushFrom: began, Clock: w.clock, Log: slog.New(slog.DiscardHandler),
	}
}

// Write implements the stages' writer. A write that fails may have written something.
func (w *world) Write(_ context.Context, messages ...stream.Message) error {
	written := 0
	err := w.faults.call("Write", func() error {
		for _, m := range messages {
			w.written(m)
		}
		written = len(messages)
		return nil
	})
	if err == nil {
		return nil
	}
	for ; written < len(messages) && w.rng.IntN(2) == 0; written++ { // some of them may be there all the same
		w.written(messages[written])
	}
	return err
}

const retryPrefix = "tocsin.retry."

func noticeOf(value []byte) (n pipeline.Notice) {
	if err := json.Unmarshal(value, &n); err != nil {
		panic(err)
	}
	return n
}

func (w *world) written(m stream.Message) {
	switch {
	case m.Topic == w.notices.name:
		w.notices.append(m, w.clock.Now())
	case strings.HasPrefix(m.Topic, retryPrefix):
		w.retries.append(stream.Message{Key: m.Key, Value: m.Value}, w.clock.Now())
	}
}

// Bury implements the stages' undertaker: nothing here is unreadable.
func (w *world) Bury(_ context.Context, rec *stream.Record, cause stream.Cause) error {
	w.fail("%s/%d@%d is buried: %s, %s", rec.Topic, rec.Partition, rec.Offset, cause.Reason, cause.Detail)
	return nil
}

// handing notes what a stage gets.
func (w *world) handing(c *consumer, batch []*stream.Record) {
	for _, rec := range batch {
		w.note("  %s/%d@%d again %v: %s", rec.Topic, rec.Partition, rec.Offset, rec.Again, rec.Value)
		if c.topic == w.notices {
			n := noticeOf(rec.Value)
			w.except(&n)
			for _, recipient := range n.Users {
				for _, p := range w.users[recipient.ID].pushers {
					if rec.Again { // what it was told because of this may be lost
						p.unsure()
					}
				}
			}
		}
	}
}

// except notes what changes counts without news: what is silent, and an invite that a user's rules say nothing of, which shows with the next thing that is told.
func (w *world) except(n *pipeline.Notice) {
	for _, recipient := range n.Users {
		for _, p := range w.users[recipient.ID].pushers {
			if n.Silent || n.Kind == pipeline.KindInvite && w.unsaid[invitation{n.RoomID, p}] {
				p.unread.excepted, p.calls.excepted = true, true
			}
		}
	}
}

// invitation is a phone whose user is invited to a room.
type invitation struct {
	room  string
	phone *phone
}

// drain lets the stages handle everything, with the zombies between them.
func (w *world) drain() {
	for w.failure == nil && (w.roomsConsumer.pending() || w.usersConsumer.pending()) {
		c := w.roomsConsumer
		if !c.pending() || w.usersConsumer.pending() && w.rng.IntN(2) == 0 {
			c = w.usersConsumer
		}
		w.advance(c)
		for _, z := range w.zombies {
			if w.failure == nil && w.rng.IntN(3) == 0 {
				w.zombie(z)
			}
		}
	}
	w.zombies = slices.DeleteFunc(w.zombies, func(z *zombie) bool { z.life--; return z.life < 0 })
}

// advance lets a stage handle some records.
func (w *world) advance(c *consumer) {
	w.spoken = nil
	switch err := c.step(); {
	case err == errCrash:
		w.note("  crash of %s", c.topic.name)
		for _, s := range w.spoken { // nobody may have noted what they were told
			s.phone.unsure()
			w.toldOf(s.pushOf).allowed++
		}
		c.restart()
		if w.rng.IntN(3) == 0 { // the worker had both stages
			w.other(c).restart()
		}
	case err != nil:
		w.fail("%s: %v", c.topic.name, err)
	}
}

func (w *world) other(c *consumer) *consumer {
	if c == w.roomsConsumer {
		return w.usersConsumer
	}
	return w.roomsConsumer
}

// zombie lets an owner that was replaced go on.
func (w *world) zombie(z *zombie) {
	w.note("  zombie of %s", z.topic.name)
	before := *w.faults
	w.faults.countdown = 0
	if err := z.step(); err != nil {
		w.fail("zombie of %s: %v", z.topic.name, err)
	}
	before.struck = w.faults.struck
	*w.faults = before
}

// due lets retries come back, all or some of them.
func (w *world) due(share int) {
	log := w.retries.partitions[0]
	for w.failure == nil && w.retried < int64(len(log)) && w.rng.IntN(share) == 0 {
		rec := log[w.retried]
		w.retried++
		w.notices.append(stream.Message{Partition: stream.PartitionOf(string(rec.Key), w.partitions()), Key: rec.Key, Value: rec.Value}, w.clock.Now())
		w.drain()
		log = w.retries.partitions[0]
	}
}

// compare looks whether the saved counts are those of the model.
func (w *world) compare() {
	if w.failure != nil {
		return
	}
	saved, err := w.store.Counts(context.Background(), w.userIDs)
	if err != nil {
		w.fail("%v", err)
		return
	}
	for i, id := range w.userIDs {
		for room := range saved[i].Rooms {
			if w.rooms[room] == nil {
				w.fail("%s has counts in a room %q", id, room)
			}
		}
		for _, roomID := range w.roomIDs {
			w.compareRoom(id, w.rooms[roomID], saved[i].Rooms[roomID])
		}
	}
	w.settled = w.failure == nil
	if w.retried == int64(len(w.retries.partitions[0])) {
		w.checkPhones()
	}
}

func (w *world) compareRoom(userID string, r *room, saved []byte) {
	got, err := pipeline.DecodeUnread(saved)
	if err != nil {
		w.fail("%v", err)
		return
	}
	want := r.unread(userID)
	threads := map[string]bool{"": true}
	highlights := 0
	for _, e := range r.events {
		threads[e.thread] = true
	}
	for thread := range threads {
		n, h := got.CountThread(thread)
		if t := want.Threads[thread]; t != [2]int{n, h} {
			w.fail("%s has %d unread, %d highlights in %s, thread %q; the model %d, %d", userID, n, h, r.id, thread, t[0], t[1])
		}
		highlights += want.Threads[thread][1]
	}
	if n, h := got.Count(); n != want.all() || h != highlights {
		w.fail("%s has %d unread, %d highlights in all of %s; the model %d, %d", userID, n, h, r.id, want.all(), highlights)
	}
	if got.MissedCalls() != want.Missed || got.PendingInvite() != want.Invited {
		w.fail("%s has missed %d calls of %s, invited %v; the model %d, %v", userID, got.MissedCalls(), r.id, got.PendingInvite(), want.Missed, want.Invited)
	}
}

// matrixAccount writes a record of matrix.account and applies it.
func (w *world) matrixAccount(content any, parts ...string) {
	value := []byte(nil)
	if content != nil {
		value = marshal(map[string]any{"user_id": parts[0], "type": parts[1], "content": content})
	}
	rec := w.account.append(stream.Message{Partition: 0, Key: []byte(pipeline.AccountKey(parts...)), Value: value}, w.clock.Now())
	if _, err := w.accounts.Take(context.Background(), []*stream.Record{rec}); err != nil {
		w.fail("%v", err)
	}
	for _, c := range w.caches {
		c.Saw(rec)
	}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return b
}

// rulesOf is the content of m.push_rules.
func rulesOf(u *user) any {
	rule := func(id string, actions []any, conditions ...any) map[string]any {
		return map[string]any{"rule_id": id, "default": false, "enabled": true, "conditions": append([]any{}, conditions...), "actions": actions}
	}
	match := func(key, pattern string) any {
		return map[string]any{"kind": "event_match", "key": key, "pattern": pattern}
	}
	notify, nothing := []any{"notify"}, []any{}
	override, room, content := []any{}, []any{}, []any{}
	for _, id := range slices.Sorted(maps.Keys(u.mutes)) {
		if u.mutes[id] == muteAll {
			override = append(override, rule("mute"+id, nothing, match("room_id", id)))
		} else {
			room = append(room, map[string]any{"rule_id": id, "default": false, "enabled": true, "actions": nothing})
		}
	}
	if u.members {
		override = append(override, rule("members", notify, match("type", "m.room.member")))
	}
	if u.keyword {
		content = append(content, map[string]any{"rule_id": "tea", "default": false, "enabled": true, "pattern": "tea", "actions": []any{"notify", map[string]any{"set_tweak": "highlight"}}})
	}
	all := map[string]any{"global": map[string]any{"override": override, "room": room, "content": content}}
	if u.bothTags {
		all["device"] = map[string]any{
			"hush": map[string]any{"override": []any{rule("hush", nothing)}},
			"loud": map[string]any{"override": []any{rule("loud", notify)}},
		}
	}
	return all
}
