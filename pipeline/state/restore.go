package state

// Writing again what Redis has lost: see [pipeline.Rebuild].

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"tocsin/pipeline"
)

// ErrHeld says that Redis holds the deployment: there is nothing to be restored.
var ErrHeld = errors.New("redis still holds this deployment")

// RestoreRooms sets the fields of rooms that are not there or have no higher position, and makes new revisions. A room that no stage has written to since gets an order that begins gap
// above the highest position of its fields: nothing that it gave to an event before can be above.
func (s *Store) RestoreRooms(ctx context.Context, fields []pipeline.RoomField, gap int64) error {
	save := rand.Text()
	open := map[string]int{} // room to its last call
	var steps []call
	for _, f := range fields {
		n, ok := open[f.RoomID]
		if !ok || len(steps[n].args) >= 2+2*maxFillFields {
			n = len(steps)
			open[f.RoomID] = n
			steps = append(steps, call{keys: []string{s.keys.room(f.RoomID)}, args: []any{save, gap}})
		}
		steps[n].args = append(steps[n].args, f.Field, f.Value)
	}
	_, err := s.run(ctx, "restore rooms", restoreRoomScript, steps)
	return err
}

// Restored remembers that everything that can be is restored, and begins a new epoch: from then on workers start. Nothing counts as older than the first start. It fails with [ErrHeld] if Redis holds a deployment.
func (s *Store) Restored(ctx context.Context, now time.Time) error {
	answer, err := s.runOne(ctx, "end the rebuild", restoredScript, []string{s.keys.meta()}, 0, s.keys.shards, rand.Text(), now.UnixMilli())
	if err != nil {
		return err
	}
	if n, err := answer.Int(); err != nil {
		return s.fail(ctx, "end the rebuild", err)
	} else if n == 0 {
		return fmt.Errorf("end the rebuild: %w", ErrHeld)
	}
	return nil
}
