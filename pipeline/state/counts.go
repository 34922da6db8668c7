package state

// Counts: what users have unread and what their pushers were told of it, changed by compare and set.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

// maxRounds is how often ChangeCounts computes a change before it gives up. A user has one owner, for a moment two: one conflict is
// rare, and in each round at least one writer gets through.
const maxRounds = 16

// errContended says that others were faster each time.
var errContended = errors.New("others changed the same counts each time")

// toldMark begins the fields that say what pushers were told; the others are room ids. No text of JSON has this byte, so no room is called so.
const toldMark = "\xff"

// cell is one field of a user's counts: what is unread in one room, with all changes to it, or what one pusher was told.
type cell struct {
	userID, field string
	apply         []func(saved []byte) []byte
	from          string // what is saved; "" is nothing
	to            string // what is to be saved
}

// compute applies the changes to what is saved, and tells whether there is anything to save.
func (c *cell) compute() bool {
	var value []byte
	if c.from != "" {
		value = []byte(c.from) // a copy: Apply may work in place
	}
	for _, apply := range c.apply {
		value = apply(value)
	}
	c.to = string(value)
	return c.to != c.from
}

// ChangeCounts applies the changes, those of one user and room in the order given and to one value. A change is computed here and compared and set there: what
// another owner has written meanwhile is never lost, the change is computed again from it. What Apply leaves as it was is not written; an empty
// result removes the room from the user's counts. After an error some changes may have been made: as they are idempotent, the call can be made again.
func (s *Store) ChangeCounts(ctx context.Context, changes []pipeline.CountChange) error {
	const op = "change counts"
	cells := gather(changes)
	if err := s.readCells(ctx, cells); err != nil {
		return err
	}
	for round := range maxRounds {
		pending := cells[:0]
		for _, c := range cells {
			if c.compute() {
				pending = append(pending, c)
			}
		}
		if len(pending) == 0 {
			return nil
		}
		var err error
		if cells, err = s.swap(ctx, op, pending); err != nil {
			return err
		}
		if len(cells) == 0 {
			return nil
		}
		if err := pause(ctx, round); err != nil {
			return s.fail(ctx, op, err)
		}
	}
	return s.fail(ctx, op, fmt.Errorf("%w, %d rounds long: more than one worker counts for these users", errContended, maxRounds))
}

// gather puts the changes of one user and room together.
func gather(changes []pipeline.CountChange) []*cell {
	cells := make([]*cell, 0, len(changes))
	type name struct{ userID, roomID string }
	byName := make(map[name]*cell, len(changes))
	for _, change := range changes {
		c := byName[name{change.UserID, change.RoomID}]
		if c == nil {
			c = &cell{userID: change.UserID, field: change.RoomID}
			byName[name{change.UserID, change.RoomID}] = c
			cells = append(cells, c)
		}
		c.apply = append(c.apply, change.Apply)
	}
	return cells
}

// readCells reads what is saved.
func (s *Store) readCells(ctx context.Context, cells []*cell) error {
	answers, err := s.ask(ctx, "read counts", len(cells), func(pipe redis.Pipeliner, i int) {
		pipe.HGet(ctx, s.keys.counts(cells[i].userID), cells[i].field)
	})
	if err != nil {
		return err
	}
	for i, answer := range answers {
		cells[i].from = answer.(*redis.StringCmd).Val()
	}
	return nil
}

// swap saves the cells that still are what they were computed from. It returns the others, with what is saved now.
func (s *Store) swap(ctx context.Context, op string, cells []*cell) (conflicts []*cell, err error) {
	batches := s.newBatches()
	for i, c := range cells {
		batches.add(i, c.userID, s.keys.counts(c.userID), len(c.userID)+len(c.field)+len(c.from)+len(c.to), c.field, c.from, c.to)
	}
	all := batches.all()
	answers, err := s.run(ctx, op, changeCountsScript, calls(all))
	if err != nil {
		return nil, err
	}
	for i, answer := range answers {
		found, err := answer.Slice()
		if err != nil {
			return nil, s.fail(ctx, op, err)
		}
		for ; len(found) >= 2; found = found[2:] {
			number, ok1 := found[0].(int64)
			saved, ok2 := found[1].(string)
			if !ok1 || !ok2 || number < 0 || int(number) >= len(all[i].items) {
				return nil, s.fail(ctx, op, errUnreadable)
			}
			c := cells[all[i].items[number]]
			c.from = saved
			conflicts = append(conflicts, c)
		}
	}
	return conflicts, nil
}

// pause waits a moment that grows with the rounds, differently in each writer, so that they get out of each other's way.
func pause(ctx context.Context, round int) error {
	timer := time.NewTimer(rand.N(time.Millisecond << min(round, 6)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Tell makes the changes whose From still holds, and returns what is saved of each pusher then.
func (s *Store) Tell(ctx context.Context, changes []pipeline.ToldChange) ([]string, error) {
	cells, saved := make([]*cell, len(changes)), make([]string, len(changes))
	number := make(map[*cell]int, len(changes))
	for i, c := range changes {
		cells[i] = &cell{userID: c.UserID, field: toldMark + c.Pusher, from: c.From, to: c.To}
		number[cells[i]], saved[i] = i, c.To
	}
	conflicts, err := s.swap(ctx, "save what pushers were told", cells)
	for _, c := range conflicts {
		saved[number[c]] = c.from
	}
	return saved, err
}

// Counts reads what each user has saved in all rooms and of all pushers, in the order of the users.
func (s *Store) Counts(ctx context.Context, userIDs []string) ([]pipeline.SavedCounts, error) {
	answers, err := s.ask(ctx, "read counts", len(userIDs), func(pipe redis.Pipeliner, i int) {
		pipe.HGetAll(ctx, s.keys.counts(userIDs[i]))
	})
	if err != nil {
		return nil, err
	}
	counts := make([]pipeline.SavedCounts, len(userIDs))
	for i, answer := range answers {
		counts[i] = savedCounts(answer)
	}
	return counts, nil
}

// savedCounts tells rooms and pushers apart.
func savedCounts(answer redis.Cmder) pipeline.SavedCounts {
	fields := answer.(*redis.MapStringStringCmd).Val()
	saved := pipeline.SavedCounts{Rooms: make(map[string][]byte, len(fields)), Told: map[string]string{}}
	for field, value := range fields {
		if name, ok := strings.CutPrefix(field, toldMark); ok {
			saved.Told[name] = value
		} else {
			saved.Rooms[field] = []byte(value)
		}
	}
	return saved
}
