package state

// Rooms: their state and the index of their events.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

// indexSize is how many events a room remembers, the newest by position. A receipt, redaction or relation that names an older one can't be
// resolved: it belongs to what everybody has left behind, and no user's unread set is larger than a tenth of this.
const indexSize = 10_000

// revField is the field of a room's hash that holds its revision, as "number name of the save". To others it is a text that is compared as a whole.
const revField = "rev"

// loadPage is how many fields Redis is asked for at once, half a millisecond of its time; small rooms come as one page. loadTries bounds how often a room that changes meanwhile is begun anew.
const (
	loadPage  = 1000
	loadTries = 10
)

var errKeepsChanging = errors.New("the room has changed each time before all of it was read")

// LoadRoom reads a room page by page: no call holds Redis up for long, however large the room is. Each field is handed to what begin returns; a field may come twice. If the room changes
// before all of it is read, begin is called once more, and everything comes again. The revision is "" if nothing is saved of the room.
func (s *Store) LoadRoom(ctx context.Context, roomID string, begin func(fields int) func(field, value string)) (rev string, err error) {
	for range loadTries {
		rev, whole, err := s.loadOnce(ctx, roomID, begin)
		if err != nil || whole {
			return rev, err
		}
	}
	return "", s.fail(ctx, loadOp, errKeepsChanging)
}

const loadOp = "load a room"

// loadOnce reads a room and says whether it stayed the same meanwhile.
func (s *Store) loadOnce(ctx context.Context, roomID string, begin func(int) func(field, value string)) (rev string, whole bool, err error) {
	key := s.keys.room(roomID)
	var take func(field, value string)
	for cursor := uint64(0); ; {
		answers, err := s.ask(ctx, loadOp, 4, func(pipe redis.Pipeliner, i int) {
			switch i {
			case 0, 3:
				pipe.HGet(ctx, key, revField)
			case 1:
				pipe.HLen(ctx, key)
			case 2:
				pipe.HScan(ctx, key, cursor, "", loadPage)
			}
		})
		if err != nil {
			return "", false, err
		}
		before, after := answers[0].(*redis.StringCmd).Val(), answers[3].(*redis.StringCmd).Val()
		if take == nil {
			rev, take = before, begin(int(answers[1].(*redis.IntCmd).Val()))
		}
		if before != rev || after != rev {
			return "", false, nil
		}
		var page []string
		page, cursor = answers[2].(*redis.ScanCmd).Val()
		for i := 0; i+1 < len(page); i += 2 {
			if page[i] != revField {
				take(page[i], page[i+1])
			}
		}
		if cursor == 0 {
			return rev, true, nil
		}
	}
}

// RoomRev reads a room's revision alone.
func (s *Store) RoomRev(ctx context.Context, roomID string) (string, error) {
	const op = "read a room's revision"
	answers, err := s.ask(ctx, op, 1, func(pipe redis.Pipeliner, _ int) { pipe.HGet(ctx, s.keys.room(roomID), revField) })
	if err != nil {
		return "", err
	}
	return answers[0].(*redis.StringCmd).Val(), nil
}

// SaveRoom saves a change, all of it or nothing, and returns the new revision. It returns [pipeline.ErrStale] if the room's revision is not that of the
// change any more. An event that the index holds already keeps its place.
func (s *Store) SaveRoom(ctx context.Context, change pipeline.RoomChange) (rev string, err error) {
	const op = "save a room"
	args := []any{change.Rev, rand.Text(), indexSize, len(change.Set), len(change.Unset), len(change.Index)}
	for name, value := range change.Set {
		if name == revField {
			return "", s.fail(ctx, op, fmt.Errorf("the field name %q is taken", revField))
		}
		args = append(args, name, value)
	}
	for _, name := range change.Unset {
		args = append(args, name)
	}
	for _, entry := range change.Index {
		args = append(args, entry.Position, entry.EventID)
	}
	for _, entry := range change.Index {
		if entry.Thread != "" {
			args = append(args, entry.EventID, formatThread(entry.Place))
		}
	}
	keys := []string{s.keys.room(change.RoomID), s.keys.index(change.RoomID), s.keys.threads(change.RoomID)}
	answer, err := s.runOne(ctx, op, saveRoomScript, keys, args...)
	if err != nil {
		return "", err
	}
	rev, err = answer.Text()
	if err == nil && rev == "" {
		return "", fmt.Errorf("%s: %w", op, pipeline.ErrStale)
	}
	return rev, s.fail(ctx, op, err)
}

// Places looks event ids up in a room's index, many in one round trip. Unknown ones are missing in the answer.
func (s *Store) Places(ctx context.Context, roomID string, eventIDs []string) (map[string]pipeline.Place, error) {
	const op, part = "look events up", 500
	index, threads := s.keys.index(roomID), s.keys.threads(roomID)
	parts := slices.Collect(slices.Chunk(eventIDs, part))
	// Two commands a part: positions, then threads.
	answers, err := s.ask(ctx, op, 2*len(parts), func(pipe redis.Pipeliner, i int) {
		if ids := parts[i/2]; i%2 == 0 {
			pipe.Do(ctx, command("ZMSCORE", index, ids)...)
		} else {
			pipe.HMGet(ctx, threads, ids...)
		}
	})
	if err != nil {
		return nil, err
	}
	places := make(map[string]pipeline.Place, len(eventIDs))
	for i, ids := range parts {
		if err := addPlaces(places, ids, answers[2*i].(*redis.Cmd), answers[2*i+1].(*redis.SliceCmd)); err != nil {
			return nil, s.fail(ctx, op, err)
		}
	}
	return places, nil
}

// command is one with many arguments of the same kind.
func command(name, key string, arguments []string) []any {
	out := make([]any, 0, 2+len(arguments))
	out = append(out, name, key)
	for _, a := range arguments {
		out = append(out, a)
	}
	return out
}

// addPlaces takes over what was found of some events.
func addPlaces(places map[string]pipeline.Place, ids []string, positions *redis.Cmd, threads *redis.SliceCmd) error {
	scores, err := positions.Slice() // the driver's own method takes an unknown event for one at 0
	if err != nil || len(scores) != len(ids) || len(threads.Val()) != len(ids) {
		return errUnreadable
	}
	for i, id := range ids {
		if scores[i] == nil {
			continue
		}
		position, ok := parseScore(scores[i])
		if !ok {
			return errUnreadable
		}
		place := pipeline.Place{Position: position}
		if saved, ok := threads.Val()[i].(string); ok {
			place.Depth, place.Thread = parseThread(saved)
		}
		places[id] = place
	}
	return nil
}

// parseScore reads a score in the forms of both protocols: exact below 2^53.
func parseScore(score any) (int64, bool) {
	switch v := score.(type) {
	case float64:
		return int64(v), true
	case string:
		f, err := strconv.ParseFloat(v, 64)
		return int64(f), err == nil
	}
	return 0, false
}

// formatThread is the thread of a place: "DEPTH ROOT".
func formatThread(p pipeline.Place) string { return strconv.Itoa(p.Depth) + " " + p.Thread }

func parseThread(saved string) (depth int, root string) {
	number, root, _ := strings.Cut(saved, " ")
	depth, _ = strconv.Atoi(number)
	return depth, root
}

// FillRoom sets fields of state, "POSITION VALUE", that are not there, or have another value and no higher position. It makes a new revision if it set any, and returns how
// many it set. Many fields go in several steps: after an error some of them may be there, and calling again sets the rest.
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
