package pipeline

// The waiting events of one room, and what follows from each.

import (
	"bytes"
	"context"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"

	"tocsin/pipeline/stream"
	"tocsin/rules"
)

// referred are the event ids that the events of a batch carry or speak of.
func referred(tasks []stream.Task) []string {
	var ids []string
	for _, t := range tasks {
		e := t.Work.(*Event)
		for _, id := range []string{e.ID, e.Redacts, e.RelatesTo} {
			if id != "" {
				ids = append(ids, id)
			}
		}
		for _, r := range e.Receipts {
			ids = append(ids, r.EventID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// batch is what the waiting events of one room come to.
type batch struct {
	stage *Rooms
	room  *Room
	known map[string]Place  // of events that were spoken of
	set   map[string]string // fields of the room that changed
	index []IndexEntry
	out   []stream.Message

	unresolved, misplaced int64 // receipts and records, for the metrics
}

// handle is the way of one record. A record that is read again was done before, but what it changed in Redis may be lost: what is not there is done once more, and nothing is written to
// Kafka, where all that followed from it is durable.
func (b *batch) handle(ctx context.Context, rec *stream.Record, e *Event) error {
	covered := b.room.done.covers(rec) || b.room.done.passed(rec)
	if _, known := b.known[e.ID]; covered && !e.IsEDU && (known || e.ID == "") {
		return nil
	}
	b.watch(rec)
	written, unresolved := len(b.out), b.unresolved
	b.unresolved += int64(b.room.waiting.expire(rec.Time))
	if e.IsEDU {
		b.receipts(rec, e)
	} else if err := b.event(ctx, rec, e); err != nil {
		return err
	}
	if rec.Again {
		b.out, b.unresolved = b.out[:written], unresolved
	}
	if !covered {
		b.room.done.advance(rec, b.partitions(rec), b.stage.Clock.Now().UnixMilli())
	}
	return nil
}

// event is the way of an event: position, rules before state, notices, fold. An event that was seen before is done, wherever it comes from; only the winning state that is sent again
// after a state reset, silently, becomes state once more.
func (b *batch) event(ctx context.Context, rec *stream.Record, e *Event) error {
	place, again := b.place(rec, e)
	if again {
		if e.Silent && e.IsState() {
			position := b.room.order.nextAfter(place.Position, e, rec)
			b.membership(rec, e, position)
			b.fold(e, position, place.Position)
		}
		return nil
	}
	b.read(rec, e, place.Position)       // before the push: it may be read already
	b.membership(rec, e, place.Position) // before the push: an invite's own push counts it
	if !e.Silent && !rec.Again {
		if err := b.notify(ctx, rec, e, place); err != nil {
			return err
		}
	}
	b.redaction(rec, e)
	b.answer(rec, e, place)
	if b.stage.Related {
		b.room.recent.add(e)
	}
	b.fold(e, place.Position, place.Position)
	return nil
}

// place gives the event its place; an event that was seen before keeps its own.
func (b *batch) place(rec *stream.Record, e *Event) (place Place, again bool) {
	if place, again = b.known[e.ID]; again && e.ID != "" {
		return place, true
	}
	place.Thread, place.Depth = threadOf(e, b.known)
	place.Position = b.room.order.next(e, rec)
	if e.ID != "" {
		b.known[e.ID] = place
		b.index = append(b.index, IndexEntry{EventID: e.ID, Place: place})
	}
	return place, false
}

// watch raises the alarm over a record that can't be in its partition.
func (b *batch) watch(rec *stream.Record) {
	if rec.Partition == b.room.done.partition || !b.room.done.misplaced(rec, b.stage.EventPartitions()) {
		return
	}
	if b.misplaced++; b.misplaced == 1 {
		b.stage.Log.Error("a room's records come from another partition than before, and the topic has no more partitions than then: it was repartitioned before all was read, "+
			"or its producer does not choose the partition by room_id. Counts and room state may be wrong. Stop the producers until the lag is 0, then go on",
			"topic", rec.Topic, "room_id", b.room.ID, "partition", rec.Partition, "before", b.room.done.partition, "offset", rec.Offset)
	}
}

// partitions is how many the events topic had when the room came to its partition.
func (b *batch) partitions(rec *stream.Record) int {
	if b.room.done.sameNumbering(rec) {
		return b.room.done.partitions
	}
	return b.stage.EventPartitions()
}

// notify asks the recipients' rules and writes who is notified.
func (b *batch) notify(ctx context.Context, rec *stream.Record, e *Event, place Place) error {
	ctx, span := b.stage.Tracing.begin(ctx, rec, "evaluate", trace.SpanKindConsumer)
	defer span.End()
	recipients := Recipients(b.room, e, place.Position)
	told, verdicts, err := b.evaluate(ctx, e, recipients)
	if err != nil {
		return err
	}
	b.stage.Log.LogAttrs(ctx, slog.LevelDebug, "event evaluated", slog.String("event_id", e.ID), slog.String("room_id", e.RoomID), slog.String("type", e.Type),
		slog.String("sender", e.Sender), slog.Int("recipients", len(recipients)), slog.Int("notified", len(told)))
	evaluated(span, e, len(recipients), len(told))
	if len(told) == 0 {
		return nil
	}
	n := b.notice(KindNotify, rec, place)
	n.Event, n.Verdicts = b.told(e), verdicts
	headers := b.stage.Tracing.carry(ctx, rec.Headers)
	call, callee := invitation(e)
	if call != "" && callee != "" { // a call to one user is no missed call of the others
		i := slices.IndexFunc(told, func(r Recipient) bool { return r.ID == callee })
		others := slices.Clone(told)
		if told = nil; i >= 0 {
			told, others = others[i:i+1:i+1], slices.Concat(others[:i], others[i+1:])
		}
		b.spreadUnder(headers, n, others)
	}
	n.Call = call
	b.spreadUnder(headers, n, told)
	return nil
}

// maxTags bounds the profile tags of one user that are asked for: each costs an evaluation of all rules. The pushers of further ones follow the global rules.
const maxTags = 16

// evaluate is what each recipient's rules make of the event: the global ones, and those of each profile tag among the user's pushers.
func (b *batch) evaluate(ctx context.Context, e *Event, userIDs []string) (told []Recipient, verdicts []Verdict, err error) {
	accounts, err := b.stage.Accounts.Get(ctx, userIDs)
	if err != nil {
		return nil, nil, err
	}
	asked := make([]rules.Recipient, 0, len(accounts))
	for _, a := range accounts {
		if a.Deactivated || e.Sender != "" && a.Ignores(e.Sender) {
			continue
		}
		for i := range 1 + min(len(a.Tags), maxTags) {
			r := rules.Recipient{UserID: a.UserID, DisplayName: displayName(b.room, e, a.UserID), Rules: a.Rules}
			if i > 0 {
				r.ProfileTag = a.Tags[i-1]
			}
			asked = append(asked, r)
		}
	}
	evaluator := b.stage.evaluators.Get().(*rules.Evaluator)
	defer b.stage.evaluators.Put(evaluator)
	facts := b.room.Rules
	if b.stage.Related {
		facts.Related = b.room.recent.of(e)
	}
	decisions := evaluator.Evaluate(e.Parsed, &facts, asked, nil)
	v := verdictList{}
	for i := range decisions {
		told = v.add(told, &asked[i], &decisions[i])
	}
	return v.drop(told), v.list, nil
}

// displayName is the recipient's name in the room; of the recipient's own membership event the one in it.
func displayName(room *Room, e *Event, userID string) string {
	if e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == userID {
		return contentText(e.Content, "displayname")
	}
	return room.Members[userID].DisplayName
}

// told is the event as its recipients are told of it.
func (b *batch) told(e *Event) *NoticeEvent {
	t := &NoticeEvent{ID: e.ID, Type: e.Type, Sender: e.Sender, StateKey: e.StateKey, Content: e.Content, Room: b.room.names()}
	sender, member := b.room.Members[e.Sender]
	t.SenderName, t.SenderKnown = sender.DisplayName, member
	if len(t.Content) > noticeContent {
		t.Content = nil
	}
	return t
}

// membership tells a local user's counts that the user was invited, has joined or left.
func (b *batch) membership(rec *stream.Record, e *Event, position int64) {
	if !e.IsState() || e.Type != "m.room.member" || !b.room.homeserver.Tells(*e.StateKey) {
		return
	}
	var kind Kind
	switch Membership(contentText(e.Content, "membership")) {
	case Invite:
		kind = KindInvite
	case Join:
		kind = KindJoin
	case Leave, Ban, Knock: // who knocks is not in the room
		kind = KindLeave
	default:
		return
	}
	n := b.notice(kind, rec, Place{Position: position})
	n.Silent = e.Silent
	if kind == KindInvite {
		n.Sender = e.Sender // whoever ignores the inviter is not invited
	}
	b.spread(n, []Recipient{{ID: *e.StateKey}}, rec)
}

// redaction tells the room's local members that an event no longer counts, and takes it out of the room's names. One whose event is not known is nothing to them.
func (b *batch) redaction(rec *stream.Record, e *Event) {
	if e.Redacts == "" || e.NotState {
		return
	}
	changed := map[string]string{}
	b.room.Redact(e.Redacts, changed)
	b.changed(changed)
	place, ok := b.known[e.Redacts]
	if !ok {
		return
	}
	users := make([]Recipient, 0, len(b.room.LocalJoined()))
	for _, id := range b.room.LocalJoined() {
		users = append(users, Recipient{ID: id})
	}
	n := b.notice(KindRedact, rec, place)
	n.Silent = e.Silent
	b.spread(n, users, rec)
}

// answer tells a local user's counts that the user has answered a call, does not want it, or has hung up.
func (b *batch) answer(rec *stream.Record, e *Event, place Place) {
	switch e.Type {
	case "m.call.answer", "m.call.hangup", "m.call.reject":
	default:
		return
	}
	call := callID(e)
	if call == "" || e.NotState || !b.room.homeserver.Tells(e.Sender) {
		return
	}
	n := b.notice(KindCall, rec, place)
	n.Call, n.Silent = call, e.Silent
	b.spread(n, []Recipient{{ID: e.Sender}}, rec)
}

// receipts tell local users' counts how far they have read. One whose event is not known waits for it.
func (b *batch) receipts(rec *stream.Record, e *Event) {
	var users []Recipient
	for _, r := range e.Receipts {
		if !b.room.homeserver.Tells(r.UserID) {
			continue
		}
		if place, ok := b.known[r.EventID]; ok {
			users = append(users, Recipient{ID: r.UserID, Position: place.Position, ThreadID: r.ThreadID})
		} else {
			b.unresolved += int64(b.room.waiting.add(r.EventID, waitingReceipt{UserID: r.UserID, ThreadID: r.ThreadID, At: rec.Time.UnixMilli()}))
		}
	}
	b.spread(b.notice(KindRead, rec, Place{}), users, rec)
}

// read tells the same for the receipts that have waited for an event.
func (b *batch) read(rec *stream.Record, e *Event, position int64) {
	if e.ID == "" {
		return
	}
	var users []Recipient
	for _, r := range b.room.waiting.take(e.ID) {
		users = append(users, Recipient{ID: r.UserID, Position: position, ThreadID: r.ThreadID})
	}
	b.spread(b.notice(KindRead, rec, Place{}), users, rec)
}

// fold makes the event part of the room: state from a position on, while its own may be another.
func (b *batch) fold(e *Event, position, own int64) {
	changed := map[string]string{}
	b.room.fold(e, position, own, changed)
	b.changed(changed)
}

// changed saves fields, and tells the changelog.
func (b *batch) changed(fields map[string]string) {
	for field, value := range fields {
		b.set[field] = value
		b.out = append(b.out, changelog(b.stage.Topics.RoomState, b.room.ID, field, value, b.stage.Clock.Now()))
	}
}

func (b *batch) notice(kind Kind, rec *stream.Record, place Place) Notice {
	return Notice{
		Kind: kind, RoomID: b.room.ID, Position: place.Position, Thread: place.Thread, Since: rec.Time.UnixMilli(),
		Origin: Origin{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset},
	}
}

func (b *batch) spread(n Notice, users []Recipient, rec *stream.Record) {
	b.spreadUnder(stream.CarryHeaders(rec.Headers), n, users)
}

func (b *batch) spreadUnder(headers []stream.Header, n Notice, users []Recipient) {
	if len(users) == 0 {
		return
	}
	s := b.stage
	b.out = append(b.out, spread(n, users, s.Topics.Notifications, s.Partitions(), headers, s.Clock.Now())...)
}

// invitation is the call that an event invites to, and whom alone, if it names somebody (Client-Server API, m.call.invite).
func invitation(e *Event) (call, callee string) {
	if e.Type != "m.call.invite" || e.StateKey != nil {
		return "", ""
	}
	return callID(e), contentText(e.Content, "invitee")
}

// callID is the id of the call that an event belongs to: a text, or an integer as version 0 allowed.
func callID(e *Event) string {
	raw := member(e.Content, "call_id")
	id := textOf(raw)
	if raw.Kind() == '0' && !bytes.ContainsAny(raw, ".eE") {
		id = string(raw)
	}
	if len(id) > maxID {
		return ""
	}
	return id
}
