package model

// A Redis, a Kafka and a push service that fail once, at a moment that was drawn before.

import (
	"context"
	"errors"

	"tocsin/pipeline"
	"tocsin/pipeline/state"
)

// Kinds of a fault.
type fault int

const (
	none        fault = iota
	failBefore        // the call fails and has done nothing
	failAfter         // the call does what it should, and its answer is lost
	interrupt         // another owner goes on in between
	crashBefore       // of a delivery: the worker ends before anything was sent
	crashAfter        // of a delivery: the worker ends after it was sent
)

// faults strike once.
type faults struct {
	countdown int // calls until it strikes; 0: never
	kind      fault
	crashes   bool // the worker ends with the failed call; else it calls again
	struck    bool
	meanwhile func()
}

// strikes says what is to happen to a call.
func (f *faults) strikes(name string) fault {
	if f.countdown == 0 || f.kind == interrupt && !interruptible[name] {
		return none
	}
	if f.countdown--; f.countdown > 0 {
		return none
	}
	switch {
	case name == "Deliver" && !f.crashes:
		return none
	case name == "Deliver" && f.kind == failBefore:
		return crashBefore
	case name == "Deliver":
		return crashAfter
	}
	return f.kind
}

// interruptible are the calls before which another owner may go on. What a phone is told in between is not among them: of two that send at once to one phone, nobody knows whose number it shows.
var interruptible = map[string]bool{"LoadRoom": true, "RoomRev": true, "SaveRoom": true, "Places": true, "Write": true, "ChangeCounts": true}

var errAway = errors.New("the server is away")

// call makes one call, or fails.
func (f *faults) call(name string, do func() error) error {
	switch f.strikes(name) {
	case failBefore:
		f.struck = true
		return errAway
	case failAfter:
		if err := do(); err != nil {
			return err
		}
		f.struck = true
		return errAway
	case interrupt:
		f.meanwhile()
	}
	return do()
}

// failing is a store whose calls fail at times.
type failing struct {
	*state.Store
	faults *faults
}

func (s failing) LoadRoom(ctx context.Context, roomID string, begin func(int) func(string, string)) (rev string, err error) {
	err = s.faults.call("LoadRoom", func() error { rev, err = s.Store.LoadRoom(ctx, roomID, begin); return err })
	return rev, err
}

func (s failing) RoomRev(ctx context.Context, roomID string) (rev string, err error) {
	err = s.faults.call("RoomRev", func() error { rev, err = s.Store.RoomRev(ctx, roomID); return err })
	return rev, err
}

func (s failing) SaveRoom(ctx context.Context, change pipeline.RoomChange) (rev string, err error) {
	err = s.faults.call("SaveRoom", func() error { rev, err = s.Store.SaveRoom(ctx, change); return err })
	return rev, err
}

func (s failing) Places(ctx context.Context, roomID string, ids []string) (places map[string]pipeline.Place, err error) {
	err = s.faults.call("Places", func() error { places, err = s.Store.Places(ctx, roomID, ids); return err })
	return places, err
}

func (s failing) ChangeCounts(ctx context.Context, changes []pipeline.CountChange) error {
	return s.faults.call("ChangeCounts", func() error { return s.Store.ChangeCounts(ctx, changes) })
}

func (s failing) Counts(ctx context.Context, users []string) (counts []pipeline.SavedCounts, err error) {
	err = s.faults.call("Counts", func() error { counts, err = s.Store.Counts(ctx, users); return err })
	return counts, err
}

func (s failing) CountsFor(ctx context.Context, userID, deliveryID string) (counts pipeline.SavedCounts, ended bool, err error) {
	err = s.faults.call("CountsFor", func() error { counts, ended, err = s.Store.CountsFor(ctx, userID, deliveryID); return err })
	return counts, ended, err
}

func (s failing) Settle(ctx context.Context, settlement pipeline.Settlement) (saved []string, err error) {
	err = s.faults.call("Settle", func() error { saved, err = s.Store.Settle(ctx, settlement); return err })
	return saved, err
}

func (s failing) Tell(ctx context.Context, changes []pipeline.ToldChange) (saved []string, err error) {
	err = s.faults.call("Tell", func() error { saved, err = s.Store.Tell(ctx, changes); return err })
	return saved, err
}
