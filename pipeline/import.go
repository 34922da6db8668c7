package pipeline

// Filling in rooms that existed before their events were streamed.

import (
	"context"
	"maps"
	"slices"

	"tocsin/clock"
	"tocsin/pipeline/stream"
)

// Import takes the current state of rooms over, at position 0: what the stream has told is newer and stays. It belongs to one goroutine.
type Import struct {
	Store  RoomStore
	Writer writer
	Topic  string // the changelog of room state
	Clock  clock.Clock
	Batch  int // state events held before they are written

	waiting        map[string]map[string]string // room, field, value
	messages       []stream.Message
	rooms          map[string]struct{}
	events, filled int
}

// Add takes one state event in client format. An [*Unreadable] says why it can't be used; any other error that Redis or Kafka could not be reached.
func (i *Import) Add(ctx context.Context, line []byte) error {
	e, err := parseEvent(line)
	if err != nil {
		return err
	}
	if e.StateKey == nil {
		return unreadable("no_state_key", "the event is no state event: it has no state_key")
	}
	i.events++
	field, value := StateField(e, 0)
	if field == "" {
		return nil // a type that nobody asks for
	}
	if i.waiting == nil {
		i.waiting, i.rooms = map[string]map[string]string{}, map[string]struct{}{}
	}
	if i.waiting[e.RoomID] == nil {
		i.waiting[e.RoomID] = map[string]string{}
	}
	i.waiting[e.RoomID][field] = value
	i.rooms[e.RoomID] = struct{}{}
	i.messages = append(i.messages, importedChangelog(i.Topic, e.RoomID, field, value, i.Clock.Now()))
	if len(i.messages) >= i.Batch {
		return i.Flush(ctx)
	}
	return nil
}

// Flush writes what is held.
func (i *Import) Flush(ctx context.Context) error {
	for _, room := range slices.Sorted(maps.Keys(i.waiting)) {
		filled, err := i.Store.FillRoom(ctx, room, i.waiting[room])
		if err != nil {
			return err
		}
		i.filled += filled
		delete(i.waiting, room)
	}
	err := i.Writer.Write(ctx, i.messages...)
	i.messages = nil
	return err
}

// Rooms is the number of rooms that events came for.
func (i *Import) Rooms() int { return len(i.rooms) }

// Events is the number of state events that were read.
func (i *Import) Events() int { return i.events }

// Filled is the number of fields that were not known before, or only from an import that said something else.
func (i *Import) Filled() int { return i.filled }
