package replay

// How the clock moves: as the traffic says, and no timer is passed over.

import (
	"context"
	"time"
)

// leap is how far one line may move the clock.
const leap = 24 * time.Hour

// moveTo moves the clock to t. What falls due on the way fires first, one after another, with everything settled in between.
func (r *run) moveTo(ctx context.Context, t time.Time) error {
	for {
		found, err := r.settle(ctx)
		if err != nil {
			return err
		}
		if found.wakes.IsZero() || found.wakes.After(t) {
			r.advance(t)
			return nil
		}
		r.advance(found.wakes)
	}
}

// idle moves the clock until nothing waits for it any more.
func (r *run) idle(ctx context.Context) error {
	for {
		found, err := r.settle(ctx)
		if err != nil || found.wakes.IsZero() {
			return err
		}
		r.advance(found.wakes)
	}
}

// follow is the time at which a record is fed: its event's origin_server_ts if that is newer than all before it, but a day later at most.
func (r *run) follow(value []byte) time.Time {
	now := r.clock.Now()
	at, ok := originTime(value)
	if !ok || !at.After(now) {
		return now
	}
	if most := now.Add(leap); at.After(most) {
		return most
	}
	return at
}

// redisLag is how far Redis's own idea of the time may fall behind the clock: to move it, each key has to be looked at.
const redisLag = 10 * time.Second

// advance moves the clock, and what lives by it.
func (r *run) advance(t time.Time) {
	r.clock.Advance(t)
	if r.redis == nil {
		return
	}
	if lag := t.Sub(r.redisTime); lag >= redisLag {
		r.redis.Pass(lag, t)
		r.redisTime = t
	}
}
