package pipeline

// What a pusher was told, saved around an attempt to tell it more.

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"tocsin/pushers"
)

// telling keeps what one pusher was told while its lane tells it more. The lane alone does so; but the first change of a badge may be noted meanwhile (see
// [Users.changedBadges]), so everything is compared and set.
type telling struct {
	store   CountStore
	userID  string
	name    string
	version Version // of the pusher
	kept    bool    // the pusher is told of counts alone, so that it matters what it was told

	saved string
	now   *told // what saved says; nil if the pusher was told nothing
	sent  bool  // an attempt was begun
	base  *told // what was saved then
	stale []ToldChange
	end   Settlement // what the ledger is to note with the next save; without End: nothing
}

// readTold is what the pusher was told, by what is saved of its user's. What is saved of pushers that are gone, or need not be told any more, is removed in passing.
func (s *Users) readTold(a *Account, p *RegisteredPusher, saved map[string]string) *telling {
	r := &telling{store: s.Counts, userID: a.UserID, name: toldName(p.AppID, p.Pushkey), version: p.Version, kept: s.Badges.Alone(&p.Pusher)}
	wanted := map[string]bool{}
	for i := range a.Pushers {
		other := &a.Pushers[i].Pusher
		wanted[HeldField(other.AppID, other.Pushkey)] = true // the guard's marks are not ours, but those of pushers that are gone are nobody's
		if s.Badges.Alone(other) {
			wanted[toldName(other.AppID, other.Pushkey)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(saved)) {
		if !wanted[name] {
			r.stale = append(r.stale, ToldChange{UserID: a.UserID, Pusher: name, From: saved[name]})
		}
	}
	if r.kept {
		r.saved = saved[r.name]
		r.now = decodeTold(r.saved, p.Version)
	}
	return r
}

// doubt notes that n is about to be sent.
func (r *telling) doubt(ctx context.Context, n *pushers.Notification) error {
	err := r.save(ctx, func(was *told) *told {
		r.base = was
		return was.sending(n, r.version)
	})
	r.sent = err == nil
	return err
}

// settle notes what came of an attempt: in the ledger, if the delivery has come to its end with it. It may be called again.
func (r *telling) settle(ctx context.Context, e *errand, ttl time.Duration) error {
	r.end = Settlement{}
	if !e.alone && e.step.Action == pushers.Settle { // badges are told again and again, each time another number
		r.end = Settlement{UserID: r.userID, DeliveryID: e.delivery.ID, End: EndDelivered, TTL: ttl}
	}
	if !r.sent {
		return r.save(ctx, func(was *told) *told { return was })
	}
	if e.alone && e.step.Action == pushers.Again && !e.step.Unsent && !e.numbered {
		if r.base != nil {
			e.retryNumber = r.base.retry
		}
		e.retryNumber, e.numbered = e.retryNumber+1, true
	}
	return r.save(ctx, func(was *told) *told {
		next := was.settled(r.base, &e.delivery.Notification, *e.step, r.version)
		if e.numbered {
			next = next.waiting(e.retryNumber, r.version)
		}
		return next
	})
}

// errTold says that a pusher's lane was not alone in telling it.
var errTold = errors.New("somebody else has noted what a pusher was told each time: more than one worker sends to this user")

// save saves what next makes of what is saved.
func (r *telling) save(ctx context.Context, next func(was *told) *told) error {
	for range 4 {
		changes := r.stale
		to := r.saved
		if r.kept {
			to = next(r.now).encode()
		}
		if to != r.saved {
			changes = append(slices.Clip(changes), ToldChange{UserID: r.userID, Pusher: r.name, From: r.saved, To: to})
		}
		if len(changes) == 0 && r.end.End == 0 {
			return nil
		}
		saved, err := r.write(ctx, changes)
		if err != nil {
			return err
		}
		r.stale, r.end = nil, Settlement{}
		if to == r.saved {
			return nil
		}
		r.saved = saved[len(saved)-1]
		r.now = decodeTold(r.saved, r.version)
		if r.saved == to {
			return nil
		}
	}
	return errTold
}

// write saves changes, and with them the end of the delivery, if it has come to one.
func (r *telling) write(ctx context.Context, changes []ToldChange) ([]string, error) {
	if r.end.End == 0 {
		return r.store.Tell(ctx, changes)
	}
	r.end.Told = changes
	return r.store.Settle(ctx, r.end)
}
