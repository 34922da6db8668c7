package pipeline

// The rooms stage: an event becomes notices for the users that it concerns.

import (
	"context"
	"errors"
	"log/slog"
	"math"
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
	Homeserver  Homeserver // whose users are notified
	Related     bool       // keep recent events for rules that ask about related ones
	Partitions  func() int // of the notifications topic
	// EventPartitions is how many the events topic has now; nil or 0: not known. Asked when a room comes from another partition than before, so it may take a while.
	EventPartitions func() int
	Clock           clock.Clock
	Log             *slog.Logger
	Metrics         *Metrics // nil: nothing is counted
	Tracing         *Tracing // nil: no spans

	rooms      *otter.Cache[string, *Room]
	heaviest   uint32     // that any room weighs in it
	evaluators *sync.Pool // of *rules.Evaluator: each keeps the memory of its last use
	unsaved    *unsaved   // what was written already of what is to be done again
}

// NewRooms completes the stage with a cache of rooms that have so many members together.
func NewRooms(s Rooms, members int) *Rooms {
	s.evaluators = &sync.Pool{New: func() any { return new(rules.Evaluator) }}
	s.unsaved = &unsaved{}
	s.heaviest = uint32(min(members/4, math.MaxUint32))
	s.rooms = otter.Must(&otter.Options[string, *Room]{MaximumWeight: uint64(members), Weigher: func(_ string, r *Room) uint32 { return r.weight }})
	if s.EventPartitions == nil {
		s.EventPartitions = func() int { return 0 }
	}
	return &s
}

// roomWeight is what a room weighs beside its members, in members.
const roomWeight = 16

// keep puts a room into the cache, or weighs it again if it has grown or shrunk much. The heaviest rooms weigh less than they are: none may be too large to be kept at all.
func (s *Rooms) keep(r *Room) {
	weight := uint32(min(roomWeight+len(r.Members)+len(r.gone)/2, int(s.heaviest)))
	if change := int64(weight) - int64(r.weight); max(change, -change) > int64(r.weight/16) {
		r.weight = weight
		s.rooms.Set(r.ID, r)
	}
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
// only when its notices are acknowledged and its done mark is saved; what fails in between is done again from the saved state, and skipped up to its done mark. Notices that are
// acknowledged already are not written again (see [unsaved]), unless the process has ended meanwhile.
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
	if errors.Is(err, stream.ErrTooLarge) { // then it is receipts: it is done as if all of it had been written before
		again := *rec
		again.Again = true
		err = s.do(ctx, roomID, []stream.Task{{Lane: roomID, Record: &again, Work: &e}})
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
	// What is read again may have been lost though later records were kept: batch.handle looks at each.
	tasks = slices.DeleteFunc(slices.Clone(tasks), func(t stream.Task) bool { return !t.Record.Again && room.done.covers(t.Record) })
	if len(tasks) == 0 {
		s.unsaved.forget(roomID)
		return nil
	}
	b := &batch{stage: s, room: room, set: map[string]string{}}
	if b.known, err = s.Store.Places(ctx, roomID, referred(tasks)); err != nil {
		return err
	}
	for _, t := range tasks {
		if err := b.handle(ctx, t.Record, t.Work.(*Event)); err != nil {
			return err
		}
	}
	if err := s.unchanged(ctx, room); err != nil {
		return err
	}
	b.out = s.unsaved.missing(roomID, b.out)
	if err := s.Writer.Write(ctx, b.out...); err != nil {
		return err
	}
	if err := s.save(ctx, b); err != nil {
		s.unsaved.add(roomID, b.out)
		return err
	}
	s.unsaved.forget(roomID)
	return nil
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
	r, err := LoadRoom(ctx, s.Store, roomID, s.Homeserver)
	if err != nil {
		return nil, err
	}
	if !r.Known() { // the first event, or everything is gone
		if err := s.Whole(ctx); err != nil {
			return nil, err
		}
	}
	r.generation = generation
	s.keep(r)
	return r, nil
}

// save writes the batch's changes and its done mark.
func (s *Rooms) save(ctx context.Context, b *batch) error {
	r := b.room
	b.set[fieldDone], b.set[fieldOrder] = r.done.String(), r.order.String()
	unset := r.waiting.save(b.set)
	rev, err := s.Store.SaveRoom(ctx, RoomChange{RoomID: r.ID, Rev: r.rev, Set: b.set, Unset: unset, Index: b.index})
	if err != nil {
		return err
	}
	r.rev = rev
	s.Metrics.unresolved(ctx, b.unresolved)
	if b.misplaced > 0 {
		s.Metrics.misplaced(ctx, s.Topics.Events, b.misplaced)
	}
	s.keep(r)
	return nil
}
