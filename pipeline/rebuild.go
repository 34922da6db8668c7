package pipeline

// Rebuilding what Redis held from the topics that Kafka keeps.

import (
	"context"
	"log/slog"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline/stream"
)

// RoomField is a field of a room's state, as the changelog has it.
type RoomField struct {
	RoomID, Field string
	Value         string // "POSITION VALUE"
}

// rebuildStore is what a rebuild writes to.
type rebuildStore interface {
	AccountStore
	// RestoreRooms sets the fields that are newer than what is there, and gives their rooms an order that begins so far above the highest position.
	RestoreRooms(ctx context.Context, fields []RoomField, gap int64) error
}

// Rebuild writes to Redis what the topics tell: rulesets, pushers and ignored users from matrix.account, with the versions that the accounts stage would give them, and room state from its
// changelog. All of it can be done again, and no worker must run meanwhile. It belongs to one goroutine.
type Rebuild struct {
	Store        rebuildStore
	Incarnations map[int]int64 // of the account topic's partitions, as the accounts stage has them
	Log          *slog.Logger

	accounts map[int][]*stream.Record // by partition, to be written together
	fields   []RoomField
	leftOut  int
}

// rebuildBatch is how many records are written together.
const rebuildBatch = 1000

// Account takes a record of the account topic. Those of a partition come in order.
func (r *Rebuild) Account(ctx context.Context, rec *stream.Record) error {
	rec.Incarnation = r.Incarnations[rec.Partition]
	if r.accounts == nil {
		r.accounts = map[int][]*stream.Record{}
	}
	waiting := append(r.accounts[rec.Partition], rec)
	r.accounts[rec.Partition] = waiting
	if len(waiting) >= rebuildBatch {
		return r.apply(ctx, rec.Partition)
	}
	return nil
}

// apply does what the accounts stage does with records. It has buried long ago what can't be read.
func (r *Rebuild) apply(ctx context.Context, partition int) error {
	stage := &Accounts{Store: r.Store, DeadLetters: uncounted{&r.leftOut}, Log: r.Log}
	waiting := r.accounts[partition]
	if len(waiting) == 0 {
		return nil
	}
	r.accounts[partition] = nil
	_, err := stage.Take(ctx, waiting)
	return err
}

// uncounted takes what can't be read and counts it.
type uncounted struct{ n *int }

func (u uncounted) Bury(context.Context, *stream.Record, stream.Cause) error {
	*u.n++
	return nil
}

// RoomState takes a record of the changelog of room state.
func (r *Rebuild) RoomState(ctx context.Context, rec *stream.Record) error {
	if rec.Value == nil {
		return nil
	}
	var c stateChange
	err := json.Unmarshal(rec.Value, &c)
	kind, _ := stateEvent(c.Field)
	_, _, positioned := cutPosition(c.Value)
	if err != nil || c.RoomID == "" || kind == "" || !positioned {
		r.leftOut++
		return nil
	}
	r.fields = append(r.fields, RoomField{RoomID: c.RoomID, Field: c.Field, Value: c.Value})
	if len(r.fields) >= rebuildBatch {
		return r.restore(ctx)
	}
	return nil
}

func (r *Rebuild) restore(ctx context.Context) error {
	err := r.Store.RestoreRooms(ctx, r.fields, rebuiltGap)
	r.fields = r.fields[:0]
	return err
}

// Flush writes what is held, and that the account topic's partitions have been applied up to their ends.
func (r *Rebuild) Flush(ctx context.Context, ends map[int]stream.Bounds) error {
	for partition := range r.accounts {
		if err := r.apply(ctx, partition); err != nil {
			return err
		}
	}
	for partition, b := range ends {
		if err := r.Store.SetAccountsApplied(ctx, partition, stream.Mark{Incarnation: r.Incarnations[partition], Offset: b.End}); err != nil {
			return err
		}
	}
	return r.restore(ctx)
}

// LeftOut is how many records could not be read.
func (r *Rebuild) LeftOut() int { return r.leftOut }
