package model

// What happens in a world: one step is one record that is sent and handled, or one fault.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
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

// id is a new name.
func (w *world) id() string {
	w.numbers++
	return "$" + strconv.Itoa(w.numbers)
}

// found makes a room: its creator joins.
func (w *world) found(r *room) {
	creator := pick(w.rng, w.all)
	w.send(r, &event{kind: "m.room.create", sender: creator, stateKey: ptr("")}, nil)
	w.member(r, creator, creator, "join")
	for _, id := range w.all {
		if !r.joined(id) && w.rng.IntN(2) == 0 {
			w.member(r, id, id, "join")
		}
	}
}

func ptr[T any](v T) *T { return &v }

func (r *room) with(users []string, memberships ...string) (found []string) {
	for _, id := range users {
		if slices.Contains(memberships, r.membership(id)) {
			found = append(found, id)
		}
	}
	return found
}

// sendSomething writes one record of a room.
func (w *world) sendSomething(r *room) {
	joined := r.with(w.all, "join")
	if len(joined) == 0 {
		id := pick(w.rng, w.all)
		w.member(r, id, id, "join")
		return
	}
	sender := pick(w.rng, joined)
	switch n := w.rng.IntN(100); {
	case n < 40:
		w.sendMessage(r, sender)
	case n < 64:
		w.sendReceipt(r)
	case n < 71:
		w.sendRedaction(r, sender)
	case n < 82:
		w.changeMembership(r, sender)
	case n < 89:
		w.sendCall(r, sender)
	case n < 94:
		w.repeat(r)
	case n < 97:
		w.reset(r)
	default:
		w.send(r, &event{kind: pick(w.rng, []string{"m.room.topic", "m.room.tombstone"}), sender: sender, stateKey: ptr("")}, w.headers(r, true))
	}
}

// names are display names.
var names = []string{"Ada", "Ben", "Cyd", ""}

func (w *world) sendMessage(r *room, sender string) {
	e := &event{kind: "m.room.message", sender: sender, msgtype: "m.text", body: "hi"}
	switch w.rng.IntN(12) {
	case 0:
		e.msgtype = "m.notice"
	case 1:
		e.kind, e.msgtype, e.body = "m.room.encrypted", "", ""
	case 2:
		e.mentionsAny, e.mentions = true, []string{pick(w.rng, w.all)}
	case 3:
		e.mentionsAny, e.mentionsRoom = true, true
	case 4:
		e.body = "hi " + pick(w.rng, names)
	case 5:
		e.body = "tea ?"
	}
	if known := r.ids(); len(known) > 0 {
		to := known[max(0, len(known)-1-w.rng.IntN(12))]
		switch w.rng.IntN(8) {
		case 0:
			e.relType, e.relates = "m.thread", to
		case 1, 2:
			e.relType, e.relates = "m.thread", r.root(w.rng, to)
		case 3:
			e.relType, e.relates = "m.replace", to
		case 4, 5: // what relates to what relates to something in a thread, and so on
			e.kind, e.msgtype, e.body, e.relType, e.relates = "m.reaction", "", "", "m.annotation", r.furthest()
			if w.rng.IntN(2) == 0 {
				e.kind, e.msgtype, e.body, e.relType = "m.room.message", "m.text", "about that", "org.example.about"
			}
		}
	}
	if w.rng.IntN(60) == 0 {
		e.relType, e.relates = "m.annotation", "$never"
	}
	if ids := w.future[r.id]; len(ids) > 0 && w.rng.IntN(2) == 0 {
		e.id, w.future[r.id] = ids[0], ids[1:]
	}
	headers := w.headers(r, false)
	if p, ok := w.holes[r.id]; ok && w.streams[r.id] && w.rng.IntN(2) == 0 {
		delete(w.holes, r.id)
		headers = slices.DeleteFunc(headers, func(h stream.Header) bool { return h.Key == pipeline.HeaderStreamPosition })
		headers = append(headers, stream.Header{Key: pipeline.HeaderStreamPosition, Value: strconv.AppendInt(nil, p, 10)})
	}
	w.send(r, e, headers)
}

// ids are those of the events that have one.
func (r *room) ids() (ids []string) {
	for _, e := range r.events {
		if e.id != "" {
			ids = append(ids, e.id)
		}
	}
	return ids
}

// root is one of the threads that the room has, or a new one.
func (r *room) root(rng *rand.Rand, other string) string {
	var roots []string
	for _, e := range r.events {
		if e.thread != "" && !slices.Contains(roots, e.thread) {
			roots = append(roots, e.thread)
		}
	}
	if len(roots) == 0 || rng.IntN(8) == 0 {
		return other
	}
	return roots[max(0, len(roots)-1-rng.IntN(3))]
}

// furthest is the one of the last events that is furthest away from its thread.
func (r *room) furthest() (id string) {
	depth := -1
	for _, e := range r.events[max(0, len(r.events)-10):] {
		if d := e.depth + min(1, len(e.thread)); e.id != "" && d >= depth {
			id, depth = e.id, d
		}
	}
	return id
}

func (w *world) sendReceipt(r *room) {
	known := r.ids()
	var rs []receipt
	content := map[string]any{}
	for range 1 + w.rng.IntN(3) {
		rc := receipt{user: pick(w.rng, w.all), at: w.clock.Now(), event: known[max(0, len(known)-1-w.rng.IntN(15))]}
		switch w.rng.IntN(12) {
		case 0:
			if len(w.future[r.id]) == 0 {
				w.future[r.id] = append(w.future[r.id], w.id())
			}
			rc.event = w.future[r.id][0]
		case 1:
			rc.event = "$never"
		}
		rc.thread = pick(w.rng, []string{"", "", "main", r.root(w.rng, rc.event)})
		kind := pick(w.rng, []string{"m.read", "m.read", "m.read.private", "m.fully_read"})
		if content[rc.event] != nil {
			continue
		}
		data := map[string]any{"ts": rc.at.UnixMilli()}
		if rc.thread != "" {
			data["thread_id"] = rc.thread
		}
		content[rc.event] = map[string]any{kind: map[string]any{rc.user: data}}
		if kind != "m.fully_read" {
			rs = append(rs, rc)
		}
	}
	value := marshal(map[string]any{"type": "m.receipt", "room_id": r.id, "content": content})
	w.sent = append(w.sent, sent{room: r.id, value: value, receipts: rs})
	w.events.append(stream.Message{Partition: stream.AnyPartition, Key: []byte(r.id), Value: value}, w.clock.Now())
	w.note("%s: receipts %s", r.id, value)
	for _, rc := range rs {
		if w.users[rc.user] != nil {
			r.read(rc)
		}
	}
}

func (w *world) sendRedaction(r *room, sender string) {
	known := r.ids()
	e := &event{kind: "m.room.redaction", sender: sender, redacts: known[max(0, len(known)-1-w.rng.IntN(12))]}
	if w.rng.IntN(8) == 0 {
		e.redacts = "$never"
	}
	w.send(r, e, w.headers(r, w.rng.IntN(10) == 0))
}

func (w *world) sendCall(r *room, sender string) {
	e := &event{kind: pick(w.rng, []string{"m.call.invite", "m.call.invite", "m.call.answer", "m.call.hangup", "m.call.reject"}), sender: sender, call: pick(w.rng, []string{"c1", "c2", "c3"})}
	if e.kind == "m.call.invite" && w.rng.IntN(3) == 0 {
		e.invitee = pick(w.rng, w.all)
	}
	w.send(r, e, w.headers(r, false))
}

// changeMembership is a membership event that the room's state allows.
func (w *world) changeMembership(r *room, sender string) {
	target := pick(w.rng, w.all)
	switch r.membership(target) {
	case "join":
		switch w.rng.IntN(4) {
		case 0:
			w.member(r, target, target, "join") // another name
		case 1:
			w.member(r, target, target, "leave")
		case 2:
			w.member(r, sender, target, "leave")
		case 3:
			w.member(r, sender, target, "ban")
		}
	case "invite":
		switch w.rng.IntN(5) {
		case 0, 1, 2:
			w.member(r, target, target, "join")
		case 3:
			w.member(r, pick(w.rng, []string{sender, target}), target, "leave")
		case 4:
			w.member(r, sender, target, "invite")
		}
	case "ban":
		w.member(r, sender, target, "leave")
	default:
		switch w.rng.IntN(6) {
		case 0:
			w.member(r, target, target, "knock")
		case 1, 2:
			w.member(r, target, target, "join")
		default:
			w.member(r, sender, target, "invite")
		}
	}
}

func (w *world) member(r *room, sender, target, membership string) {
	w.send(r, &event{kind: "m.room.member", sender: sender, stateKey: &target, membership: membership, name: pick(w.rng, names)}, w.headers(r, true))
}

// headers are those of a room's next record. State keeps what was left out of its order for good.
func (w *world) headers(r *room, state bool) (h []stream.Header) {
	w.stream += 1 + w.rng.Int64N(2)
	if w.rng.IntN(150) == 0 {
		w.streams[r.id] = !w.streams[r.id]
		delete(w.holes, r.id)
	}
	if state {
		delete(w.holes, r.id)
	} else if w.rng.IntN(6) == 0 {
		w.holes[r.id] = w.stream
		w.stream++
	}
	if w.streams[r.id] {
		h = append(h, stream.Header{Key: pipeline.HeaderStreamPosition, Value: strconv.AppendInt(nil, w.stream, 10)})
	}
	if w.rng.IntN(30) == 0 {
		h = append(h, stream.Header{Key: pipeline.HeaderNotify, Value: []byte("false")})
		if w.rng.IntN(3) == 0 {
			h = append(h, stream.Header{Key: pipeline.HeaderState, Value: []byte("false")})
		}
	}
	return h
}

// send writes an event to the log, and tells the model.
func (w *world) send(r *room, e *event, headers []stream.Header) {
	if e.id == "" && (e.stateKey != nil || w.rng.IntN(40) > 0) {
		e.id = w.id()
	}
	e.room, e.mark = r.id, len(w.marks)
	w.marks = append(w.marks, e)
	value := marshal(e.wire(w.rng.IntN(2) == 0))
	if e.id != "" {
		w.sent = append(w.sent, sent{room: r.id, value: value, event: e})
	}
	w.write(r, e, value, headers)
}

// wire is the event as the homeserver writes it.
func (e *event) wire(redactsInContent bool) map[string]any {
	content := map[string]any{"mark": strconv.Itoa(e.mark)}
	set := func(name, value string) {
		if value != "" {
			content[name] = value
		}
	}
	set("membership", e.membership)
	set("displayname", e.name)
	set("msgtype", e.msgtype)
	set("body", e.body)
	set("call_id", e.call)
	set("invitee", e.invitee)
	if e.mentionsAny {
		mentions := map[string]any{"user_ids": e.mentions}
		if e.mentionsRoom {
			mentions["room"] = true
		}
		content["m.mentions"] = mentions
	}
	if e.relates != "" {
		content["m.relates_to"] = map[string]any{"rel_type": e.relType, "event_id": e.relates, "key": "x"}
	}
	if e.kind == "m.room.create" {
		set("room_version", "11")
	}
	out := map[string]any{"type": e.kind, "room_id": e.room, "sender": e.sender, "content": content, "origin_server_ts": 1}
	if e.id != "" {
		out["event_id"] = e.id
	}
	if e.stateKey != nil {
		out["state_key"] = *e.stateKey
	}
	if e.redacts != "" {
		if redactsInContent {
			content["redacts"] = e.redacts
		} else {
			out["redacts"] = e.redacts
		}
	}
	return out
}

// write puts a record of an event at the end of the log.
func (w *world) write(r *room, e *event, value []byte, headers []stream.Header) {
	rec := w.events.append(stream.Message{Partition: stream.AnyPartition, Key: []byte(r.id), Value: value, Headers: headers}, w.clock.Now())
	o := origin{stream: -1, incarnation: rec.Incarnation, partition: rec.Partition, offset: rec.Offset, at: rec.Time}
	text := ""
	for _, h := range headers {
		text += " " + h.Key + "=" + string(h.Value)
		switch h.Key {
		case pipeline.HeaderStreamPosition:
			o.stream, _ = strconv.ParseInt(string(h.Value), 10, 64)
		case pipeline.HeaderNotify:
			o.notifyFalse = true
		case pipeline.HeaderState:
			o.stateFalse = true
		}
	}
	w.note("%s: events/%d@%d%s %s", r.id, rec.Partition, rec.Offset, text, value)
	first := e.told == nil
	w.homeserver.send(e, &o)
	if first {
		w.news(e)
	} else if e.isInvite() { // sent again, silently
		for _, p := range w.phones {
			w.unsaid[invitation{e.room, p}] = true
		}
	}
}

// news notes who is to be told of an event.
func (w *world) news(e *event) {
	for _, u := range w.users {
		for _, p := range u.pushers {
			notify := e.told[u.id][p.ruleTag()].notify
			if notify {
				w.debts = append(w.debts, debt{e, u, p})
			}
			if e.isInvite() && *e.stateKey == u.id {
				w.unsaid[invitation{e.room, p}] = !notify
			}
		}
	}
}

// repeat is a producer that writes a record again, with or without its headers.
func (w *world) repeat(r *room) {
	again := w.recent(r, func(s *sent) bool { return true })
	if again == nil {
		return
	}
	if again.event == nil {
		w.events.append(stream.Message{Partition: stream.AnyPartition, Key: []byte(r.id), Value: again.value}, w.clock.Now())
		w.note("%s: receipts again %s", r.id, again.value)
		for _, rc := range again.receipts {
			if rc.at = w.clock.Now(); w.users[rc.user] != nil {
				r.read(rc)
			}
		}
		return
	}
	var headers []stream.Header
	if w.rng.IntN(2) == 0 {
		headers = append(headers, stream.Header{Key: pipeline.HeaderStreamPosition, Value: strconv.AppendInt(nil, 1+w.rng.Int64N(w.stream+5), 10)})
	}
	w.write(r, again.event, again.value, headers)
}

// recent is something that was written lately.
func (w *world) recent(r *room, fits func(*sent) bool) *sent {
	var found []*sent
	for i := range w.sent {
		if s := &w.sent[i]; s.room == r.id && fits(s) {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil
	}
	return found[max(0, len(found)-1-w.rng.IntN(10))]
}

// reset is a state reset: an earlier state event becomes the state again.
func (w *world) reset(r *room) {
	again := w.recent(r, func(s *sent) bool { return s.event != nil && s.event.kind == "m.room.member" })
	if again == nil {
		return
	}
	headers := w.headers(r, true)
	headers = slices.DeleteFunc(headers, func(h stream.Header) bool { return h.Key == pipeline.HeaderNotify })
	headers = append(headers, stream.Header{Key: pipeline.HeaderNotify, Value: []byte("false")})
	w.write(r, again.event, again.value, headers)
}
