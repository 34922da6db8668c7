package pipeline

// The rooms stage: an event becomes notices for the users that it concerns.

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/maypok86/otter/v2"

	"tocsin/clock"
	"tocsin/pipeline/stream"
	"tocsin/rules"
)

// writer writes records. A nil error says that all are acknowledged by all replicas.
type writer interface {
	Write(ctx context.Context, messages ...stream.Message) error
}

// Rooms is the rooms stage. A room is a lane: its events are handled one after another, each against the room's state from before it.
type Rooms struct {
	Store       RoomStore
	Whole       Whole
	Accounts    *AccountCache
	Writer      writer
	DeadLetters undertaker
	Topics      Topics
	Server      string     // the homeserver's name: whose users are notified
	Related     bool       // keep recent events for rules that ask about related ones
	Partitions  func() int // of the notifications topic
	Clock       clock.Clock
	Log         *slog.Logger

	rooms      *otter.Cache[string, *Room]
	evaluators *sync.Pool // of *rules.Evaluator: each keeps the memory of its last use
}

// NewRooms completes the stage with a cache of at most size rooms.
func NewRooms(s Rooms, size int) *Rooms {
	s.evaluators = &sync.Pool{New: func() any { return new(rules.Evaluator) }}
	s.rooms = otter.Must(&otter.Options[string, *Room]{MaximumSize: size})
	return &s
}

// Take implements [stream.Handler]: what can be read goes to the lane of its room, the rest to the dead letter.
func (s *Rooms) Take(ctx context.Context, batch []*stream.Record) ([]stream.Task, error) {
	tasks := make([]stream.Task, 0, len(batch))
	for _, rec := range batch {
		e, err := DecodeEvent(rec)
		if err != nil {
			if err := bury(ctx, s.DeadLetters, rec, "rooms", err, s.Log); err != nil {
				return nil, err
			}
			continue
		}
		if e.LeftOut > 0 {
			s.Log.Warn("a receipt is right only in part: the rest is left out", "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset, "left_out", e.LeftOut)
		}
		tasks = append(tasks, stream.Task{Lane: e.RoomID, Record: rec, Work: e})
	}
	return tasks, nil
}

// Do implements [stream.Handler]: the waiting events of one room, each evaluated against the state before it, then all that follows written, then the state saved. A record is done
// only when its notices are acknowledged and its done mark is saved; what fails in between is done again from the saved state, and skipped up to its done mark.
func (s *Rooms) Do(ctx context.Context, roomID string, tasks []stream.Task) error {
	err := s.do(ctx, roomID, tasks)
	if errors.Is(err, ErrStale) {
		err = s.do(ctx, roomID, tasks) // another owner was faster, or an import: once more from what is saved
	}
	if errors.Is(err, stream.ErrTooLarge) {
		return s.tooLarge(ctx, roomID, tasks)
	}
	return err
}

// tooLarge handles events one by one, because the notice of one of them fits into no record. That one notifies nobody, and goes to the dead letter.
func (s *Rooms) tooLarge(ctx context.Context, roomID string, tasks []stream.Task) error {
	if len(tasks) > 1 {
		for i := range tasks {
			if err := s.Do(ctx, roomID, tasks[i:i+1]); err != nil {
				return err
			}
		}
		return nil
	}
	rec, e := tasks[0].Record, *tasks[0].Work.(*Event)
	if err := bury(ctx, s.DeadLetters, rec, "rooms", unreadable("notice_too_large", "what follows from it fits into no record of the topics, whose max.message.bytes `tocsin check` compares"), s.Log); err != nil {
		return err
	}
	e.Silent = true
	err := s.do(ctx, roomID, []stream.Task{{Lane: roomID, Record: rec, Work: &e}})
	if errors.Is(err, stream.ErrTooLarge) { // then it is the changelog's record
		e.NotState = true
		err = s.do(ctx, roomID, []stream.Task{{Lane: roomID, Record: rec, Work: &e}})
	}
	return err
}

// do handles events and saves what became of the room. Unless all of it succeeds, the room in memory is dropped: it may be ahead of what is saved.
func (s *Rooms) do(ctx context.Context, roomID string, tasks []stream.Task) (err error) {
	defer func() {
		if err != nil {
			s.rooms.Invalidate(roomID)
		}
	}()
	room, err := s.room(ctx, roomID, tasks[len(tasks)-1].Record.Generation)
	if err != nil {
		return err
	}
	tasks = slices.DeleteFunc(slices.Clone(tasks), func(t stream.Task) bool { return room.done.covers(t.Record) })
	if len(tasks) == 0 {
		return nil
	}
	b := &batch{stage: s, room: room, set: map[string]string{}}
	if b.known, err = s.Store.Positions(ctx, roomID, referred(tasks)); err != nil {
		return err
	}
	for _, t := range tasks {
		told := len(b.out)
		if err := b.handle(ctx, t.Record, t.Work.(*Event)); err != nil {
			return err
		}
		if t.Record.Again {
			b.out = b.out[:told] // what follows from it has been written before
		}
	}
	if err := s.unchanged(ctx, room); err != nil {
		return err
	}
	if err := s.Writer.Write(ctx, b.out...); err != nil {
		return err
	}
	return s.save(ctx, b)
}

// unchanged is ErrStale if somebody has changed the room since it was read: better to know before its notices are written than when it is saved.
func (s *Rooms) unchanged(ctx context.Context, room *Room) error {
	rev, err := s.Store.RoomRev(ctx, room.ID)
	if err == nil && rev != room.rev {
		return ErrStale
	}
	return err
}

// room is the room as of now: from the cache, if nobody else can have changed it since, else as it is saved.
func (s *Rooms) room(ctx context.Context, roomID string, generation int64) (*Room, error) {
	if r, ok := s.rooms.GetIfPresent(roomID); ok {
		if r.generation == generation {
			return r, nil
		}
		rev, err := s.Store.RoomRev(ctx, roomID)
		if err != nil {
			return nil, err
		}
		if rev == r.rev {
			r.generation = generation
			return r, nil
		}
	}
	saved, err := s.Store.LoadRoom(ctx, roomID)
	if err != nil {
		return nil, err
	}
	if saved.Rev == 0 { // nothing is known of it: the first event, or everything is gone
		if err := s.Whole(ctx); err != nil {
			return nil, err
		}
	}
	r := LoadRoom(roomID, s.Server, saved)
	r.generation = generation
	s.rooms.Set(roomID, r)
	return r, nil
}

// save writes the batch's changes and its done mark.
func (s *Rooms) save(ctx context.Context, b *batch) error {
	b.set[fieldDone], b.set[fieldOrder] = b.room.done.String(), b.room.order.String()
	if err := s.Store.SaveRoom(ctx, RoomChange{RoomID: b.room.ID, Rev: b.room.rev, Set: b.set, Index: b.index}); err != nil {
		return err
	}
	b.room.rev++
	return nil
}

// referred are the event ids that the events of a batch carry or speak of.
func referred(tasks []stream.Task) []string {
	var ids []string
	for _, t := range tasks {
		e := t.Work.(*Event)
		for _, id := range []string{e.ID, e.Redacts} {
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
	known map[string]int64  // positions of events that were spoken of
	set   map[string]string // fields of the room that changed
	index []IndexEntry
	out   []stream.Message
}

// handle is the way of one event: position, rules before state, notices, fold, done.
func (b *batch) handle(ctx context.Context, rec *stream.Record, e *Event) error {
	if e.IsEDU {
		b.receipts(rec, e)
		b.room.done = markOf(rec)
		return nil
	}
	position, again := b.place(rec, e)
	b.membership(rec, e, position) // before the push: an invite's own push counts it
	if !again && !e.Silent {
		if err := b.notify(ctx, rec, e, position); err != nil {
			return err
		}
	}
	b.redaction(rec, e)
	if b.stage.Related {
		b.room.recent.add(e)
	}
	if !again || e.Silent { // the winning state is sent again, silently, after a state reset
		b.fold(rec, e, position)
	}
	b.room.done = markOf(rec)
	return nil
}

// place gives the event its position; an event that was seen before keeps its own.
func (b *batch) place(rec *stream.Record, e *Event) (position int64, again bool) {
	if position, again = b.known[e.ID]; again && e.ID != "" {
		return position, true
	}
	position = b.room.order.next(e, rec)
	if e.ID != "" {
		b.known[e.ID] = position
		b.index = append(b.index, IndexEntry{EventID: e.ID, Position: position})
	}
	return position, false
}

// notify asks the recipients' rules and writes who is notified.
func (b *batch) notify(ctx context.Context, rec *stream.Record, e *Event, position int64) error {
	recipients := Recipients(b.room, e)
	told, verdicts, err := b.evaluate(ctx, e, recipients)
	if err != nil {
		return err
	}
	b.stage.Log.LogAttrs(ctx, slog.LevelDebug, "event evaluated", slog.String("event_id", e.ID), slog.String("room_id", e.RoomID), slog.String("type", e.Type),
		slog.String("sender", e.Sender), slog.Int("recipients", len(recipients)), slog.Int("notified", len(told)))
	if len(told) == 0 {
		return nil
	}
	n := b.notice(KindNotify, rec, position)
	n.Event, n.Verdicts = b.told(e), verdicts
	b.spread(n, told, rec)
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
	if !e.IsState() || e.Type != "m.room.member" || !IsLocal(*e.StateKey, b.room.server) {
		return
	}
	var kind Kind
	switch Membership(contentText(e.Content, "membership")) {
	case Invite:
		kind = KindInvite
		if e.Silent {
			return
		}
	case Join:
		kind = KindJoin
	case Leave, Ban:
		kind = KindLeave
	default:
		return
	}
	n := b.notice(kind, rec, position)
	if kind == KindInvite {
		n.Sender = e.Sender // whoever ignores the inviter is not invited
	}
	b.spread(n, []Recipient{{ID: *e.StateKey}}, rec)
}

// redaction tells the room's local members that an event no longer counts. One whose event is not known changes nothing.
func (b *batch) redaction(rec *stream.Record, e *Event) {
	position, ok := b.known[e.Redacts]
	if e.Redacts == "" || !ok || e.NotState {
		return
	}
	users := make([]Recipient, 0, len(b.room.LocalJoined()))
	for _, id := range b.room.LocalJoined() {
		users = append(users, Recipient{ID: id})
	}
	b.spread(b.notice(KindRedact, rec, position), users, rec)
}

// receipts tell local users' counts how far they have read.
func (b *batch) receipts(rec *stream.Record, e *Event) {
	var users []Recipient
	for _, r := range e.Receipts {
		if position, ok := b.known[r.EventID]; ok && IsLocal(r.UserID, b.room.server) {
			users = append(users, Recipient{ID: r.UserID, Position: position, ThreadID: r.ThreadID})
		}
	}
	if len(users) > 0 {
		b.spread(b.notice(KindRead, rec, 0), users, rec)
	}
}

// fold makes the event part of the room, and of its changelog.
func (b *batch) fold(rec *stream.Record, e *Event, position int64) {
	changed := map[string]string{}
	b.room.Fold(e, position, changed)
	for field, value := range changed {
		b.set[field] = value
		b.out = append(b.out, changelog(b.stage.Topics.RoomState, e, field, value, b.stage.Clock.Now()))
	}
}

func (b *batch) notice(kind Kind, rec *stream.Record, position int64) Notice {
	return Notice{
		Kind: kind, RoomID: b.room.ID, Position: position, Since: rec.Time.UnixMilli(),
		Origin: Origin{Topic: rec.Topic, Partition: rec.Partition, Offset: rec.Offset},
	}
}

func (b *batch) spread(n Notice, users []Recipient, rec *stream.Record) {
	s := b.stage
	b.out = append(b.out, spread(n, users, s.Topics.Notifications, s.Partitions(), stream.CarryHeaders(rec.Headers), s.Clock.Now())...)
}
