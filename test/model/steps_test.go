package model

// What happens in a world: one step is one record that is sent and handled, or one fault.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// step does what the seed says, and compares.
func (w *world) step(seed uint64) {
	w.rng = rand.New(rand.NewPCG(seed, 0))
	w.clock.Advance(w.clock.Now().Add(time.Duration(1+w.rng.IntN(2000)) * time.Millisecond))
	w.steps++
	switch n := w.rng.IntN(1000); {
	case n < 30:
		w.crash()
	case n < 50:
		w.replace()
	case n < 80:
		w.changeAccount()
	case n < 83:
		w.repartitionEvents()
	case n < 86:
		w.repartitionNotices()
	case n < 88:
		w.remakeEvents()
	case n < 100 && len(w.retries.partitions[0]) > 0:
		w.repeatRetry()
	case n < 125 && w.backup == nil:
		w.backUp()
	case n < 110:
		w.lose()
	case n < 112:
		w.clock.Advance(w.clock.Now().Add(61 * time.Minute))
		w.note("an hour goes by")
	default:
		w.happen()
	}
	w.drain()
	w.due(3)
	*w.faults = faults{}
	w.drain()
	w.compare()
}

// happen lets the homeserver send something, mostly one record.
func (w *world) happen() {
	w.drawFault()
	for range max(1, w.rng.IntN(20)-15) {
		w.settled = false
		w.sendSomething(w.rooms[pick(w.rng, w.roomIDs)])
		w.steps++
		if w.rng.IntN(3) == 0 {
			w.advance(w.roomsConsumer)
		}
	}
	w.steps--
}

// drawFault makes something fail, or not.
func (w *world) drawFault() {
	if w.rng.IntN(8) > 0 {
		return
	}
	*w.faults = faults{countdown: 1 + w.rng.IntN(12), kind: []fault{failBefore, failAfter}[w.rng.IntN(2)], crashes: w.rng.IntN(2) == 0}
	if len(w.zombies) > 0 && w.rng.IntN(2) == 0 {
		w.faults.kind, w.faults.meanwhile = interrupt, func() {
			w.zombie(w.zombies[w.rng.IntN(len(w.zombies))])
		}
	}
	w.note("fault %d at call %d, crashes %v", w.faults.kind, w.faults.countdown, w.faults.crashes)
}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// crash ends a worker between records.
func (w *world) crash() {
	n := w.rng.IntN(3)
	w.note("crash")
	if n != 0 {
		w.roomsConsumer.restart()
	}
	if n != 1 {
		w.usersConsumer.restart()
	}
	w.drawFault()
}

// replace gives the partitions to a new owner, while the old one goes on for a while.
func (w *world) replace() {
	c := pick(w.rng, []*consumer{w.roomsConsumer, w.usersConsumer})
	w.note("a new owner of %s, while the old one goes on", c.topic.name)
	old := *c
	old.next, old.committed, old.again = slices.Clone(c.next), slices.Clone(c.committed), slices.Clone(c.again)
	w.zombies = append(w.zombies, &zombie{&old, 1 + w.rng.IntN(5)})
	c.restart()
}

// commitAll commits everything, and lets old owners end: what follows is done on a drained deployment.
func (w *world) commitAll() {
	w.roomsConsumer.commitAll()
	w.usersConsumer.commitAll()
	w.zombies, w.backup = nil, nil
}

// changeAccount changes a user's rules, ignored users or pushers.
func (w *world) changeAccount() {
	w.commitAll()
	u := w.users[pick(w.rng, w.userIDs)]
	w.debts = slices.DeleteFunc(w.debts, func(d debt) bool { return d.user == u }) // nobody says what becomes of what waits
	w.note("%s changes something", u.id)
	switch w.rng.IntN(6) {
	case 0:
		toggle(u.ignores, pick(w.rng, w.all))
		delete(u.ignores, u.id)
		ignored := map[string]any{}
		for id := range u.ignores {
			ignored[id] = map[string]any{}
		}
		w.note("  ignored %v", u.ignores)
		w.matrixAccount(map[string]any{"ignored_users": ignored}, u.id, "m.ignored_user_list")
		return
	case 1:
		w.addPusher(u)
		return
	case 2:
		if len(u.pushers) > 0 {
			i := w.rng.IntN(len(u.pushers))
			p := u.pushers[i]
			p.disconnected = true
			w.note("  removes %s", p)
			w.matrixAccount(nil, u.id, "pusher", p.app, p.key)
			u.pushers = slices.Delete(u.pushers, i, i+1)
			return
		}
	case 3:
		room := pick(w.rng, w.roomIDs)
		if u.mutes[room] = pick(w.rng, []string{"", muteAll, muteMessages}); u.mutes[room] == "" {
			delete(u.mutes, room)
		}
	case 4:
		u.members = !u.members
	case 5:
		u.keyword = !u.keyword
	}
	u.bothTags = w.rng.IntN(4) > 0
	w.note("  rules %+v", *u)
	w.matrixAccount(rulesOf(u), u.id, "m.push_rules")
}

func toggle(set map[string]bool, key string) {
	if set[key] {
		delete(set, key)
	} else {
		set[key] = true
	}
}

// addPusher sets a pusher, or one that is there anew: what it was told before is forgotten.
func (w *world) addPusher(u *user) {
	var p *phone
	if len(u.pushers) >= 2 || len(u.pushers) > 0 && w.rng.IntN(3) == 0 {
		p = pick(w.rng, u.pushers)
		p.told, p.unread, p.calls = false, number{}, number{}
		w.note("  sets %s again", p)
	} else {
		w.numbers++
		p = &phone{user: u, app: pick(w.rng, []string{"app", "app", oddApps}), key: fmt.Sprintf("phone%d", w.numbers), tag: pick(w.rng, []string{"", "", "hush", "loud", "other"})}
		p.eventsOnly, p.noCounts = w.rng.IntN(8) == 0, w.rng.IntN(10) == 0
		p.messages = (p.app == oddApps) == (w.mode == pipeline.BadgeRooms)
		w.phones[p.key] = p
		u.pushers = append(u.pushers, p)
		w.note("  adds %+v", *p)
	}
	w.matrixAccount(map[string]any{
		"kind": "http", "app_id": p.app, "pushkey": p.key, "profile_tag": p.tag,
		"data": map[string]any{"url": "https://push.example/_matrix/push/v1/notify", "events_only": p.eventsOnly, "disable_badge_count": p.noCounts},
	}, u.id, "pusher", p.app, p.key)
}

// repartitionEvents gives the drained events topic more partitions: rooms move.
func (w *world) repartitionEvents() {
	w.commitAll()
	if n := len(w.events.partitions); n < 6 {
		w.events.grow(n + 1 + w.rng.IntN(2))
		w.note("events get %d partitions", len(w.events.partitions))
	}
}

// repartitionNotices gives the notifications topic more partitions: users move. It is drained, or the stages send on what lies where it does not belong.
func (w *world) repartitionNotices() {
	w.commitAll()
	if n := len(w.notices.partitions); n < 6 {
		if w.rng.IntN(2) == 0 {
			w.settled = false
			w.sendSomething(w.rooms[pick(w.rng, w.roomIDs)])
			w.advance(w.roomsConsumer)
		}
		w.notices.grow(n + 1 + w.rng.IntN(2))
		w.note("notifications get %d partitions", len(w.notices.partitions))
	}
}

// remakeEvents makes the drained events topic anew: offsets begin again.
func (w *world) remakeEvents() {
	w.commitAll()
	w.events.partitions = make([][]*stream.Record, len(w.events.partitions))
	w.events.incarnation += 1000
	c := w.roomsConsumer
	c.next, c.committed, c.again = nil, nil, nil
	c.restart()
	w.note("events are made anew")
}

// repeatRetry lets a retry come back a second time, as after a crash of the retry stage.
func (w *world) repeatRetry() {
	w.note("a retry comes again")
	log := w.retries.partitions[0][:w.retried]
	if len(log) == 0 {
		return
	}
	rec := log[len(log)-1-w.rng.IntN(min(len(log), 5))]
	w.notices.append(stream.Message{Partition: stream.PartitionOf(string(rec.Key), w.partitions()), Key: rec.Key, Value: rec.Value}, w.clock.Now())
}
