package state

// Rooms: their state and the index of their events.

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

// indexSize is how many events a room remembers, the newest by position. A receipt, redaction or relation that names an older one can't be
// resolved: it belongs to what everybody has left behind, and no user's unread set is larger than a tenth of this.
const indexSize = 10_000

// revField is the field of a room's hash that holds its revision, as "number name of the save".
const revField = "rev"

// LoadRoom reads a room; a room that nothing is saved of has revision 0.
func (s *Store) LoadRoom(ctx context.Context, roomID string) (pipeline.RoomRecord, error) {
	const op = "load a room"
	answers, err := s.ask(ctx, op, 1, func(pipe redis.Pipeliner, _ int) { pipe.HGetAll(ctx, s.keys.room(roomID)) })
	if err != nil {
		return pipeline.RoomRecord{}, err
	}
	fields := answers[0].(*redis.MapStringStringCmd).Val()
	rev, err := parseRev(fields[revField])
	if err != nil {
		return pipeline.RoomRecord{}, s.fail(ctx, op, err)
	}
	delete(fields, revField)
	return pipeline.RoomRecord{Rev: rev, Fields: fields}, nil
}

// RoomRev reads a room's revision alone.
func (s *Store) RoomRev(ctx context.Context, roomID string) (int64, error) {
	const op = "read a room's revision"
	answers, err := s.ask(ctx, op, 1, func(pipe redis.Pipeliner, _ int) { pipe.HGet(ctx, s.keys.room(roomID), revField) })
	if err != nil {
		return 0, err
	}
	rev, err := parseRev(answers[0].(*redis.StringCmd).Val())
	return rev, s.fail(ctx, op, err)
}

func parseRev(saved string) (int64, error) {
	if saved == "" {
		return 0, nil
	}
	number, _, _ := strings.Cut(saved, " ")
	rev, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, errUnreadable
	}
	return rev, nil
}

// SaveRoom saves a change and counts the revision up, all of it or nothing. It returns [pipeline.ErrStale] if the room's revision is not that of the
// change any more. An event that the index holds already keeps its position.
func (s *Store) SaveRoom(ctx context.Context, change pipeline.RoomChange) error {
	const op = "save a room"
	set, index := []any{}, []any{}
	for name, value := range change.Set {
		if name == revField {
			return s.fail(ctx, op, fmt.Errorf("the field name %q is taken", revField))
		}
		set = append(set, name, value)
	}
	for _, entry := range change.Index {
		index = append(index, entry.Position, entry.EventID)
	}
	args := []any{change.Rev, rand.Text(), indexSize, len(set) / 2}
	args = append(append(args, set...), index...)
	keys := []string{s.keys.room(change.RoomID), s.keys.index(change.RoomID)}
	answer, err := s.runOne(ctx, op, saveRoomScript, keys, args...)
	if err != nil {
		return err
	}
	saved, err := answer.Int()
	if err == nil && saved == 0 {
		return fmt.Errorf("%s: %w", op, pipeline.ErrStale)
	}
	return s.fail(ctx, op, err)
}

// Positions looks event ids up in a room's index. Unknown ones are missing in the answer.
func (s *Store) Positions(ctx context.Context, roomID string, eventIDs []string) (map[string]int64, error) {
	const op = "look events up"
	key := s.keys.index(roomID)
	answers, err := s.ask(ctx, op, len(eventIDs), func(pipe redis.Pipeliner, i int) { pipe.ZScore(ctx, key, eventIDs[i]) })
	if err != nil {
		return nil, err
	}
	positions := make(map[string]int64, len(eventIDs))
	for i, answer := range answers {
		if answer.Err() == nil {
			positions[eventIDs[i]] = int64(answer.(*redis.FloatCmd).Val()) // exact below 2^53
		}
	}
	return positions, nil
}

// FillRoom sets only fields that are not there, counts the revision up if it set any, and returns how many it set. Many fields go in
// several steps: after an error some of them may be there, and calling again sets the rest.
func (s *Store) FillRoom(ctx context.Context, roomID string, fields map[string]string) (filled int, err error) {
	const op = "fill a room"
	key, save := s.keys.room(roomID), rand.Text()
	var steps []call
	n := maxFillFields
	for name, value := range fields {
		if name == revField {
			return 0, s.fail(ctx, op, fmt.Errorf("the field name %q is taken", revField))
		}
		if n == maxFillFields {
			steps, n = append(steps, call{keys: []string{key}, args: []any{save}}), 0
		}
		step := &steps[len(steps)-1]
		step.args = append(step.args, name, value)
		n++
	}
	answers, err := s.run(ctx, op, fillRoomScript, steps)
	if err != nil {
		return 0, err
	}
	for _, answer := range answers {
		set, err := answer.Int()
		if err != nil {
			return filled, s.fail(ctx, op, err)
		}
		filled += set
	}
	return filled, nil
}

// maxFillFields is how many fields one step of FillRoom sets: about a millisecond of Redis.
const maxFillFields = 500
