// Package clock is the time that decisions are made by: when a retry is due, how old a notification is, when an account changed.
//
// Everything that a user could notice is decided by one Clock, so that captured traffic can be replayed years later with the same
// result: the worker runs on [System], `tocsin-dev replay` on a [Virtual] clock that follows the traffic. Time-outs of sockets,
// heartbeats and backoffs between attempts to reach a server are no such decisions and use package time.
package clock

import (
	"context"
	"time"
)

// Clock tells the time and waits for it. It is safe for concurrent use.
type Clock interface {
	// Now is the present time.
	Now() time.Time
	// Until returns nil once the clock reads t or later, or ctx's error if that ends first.
	Until(ctx context.Context, t time.Time) error
}

// System is the clock of the machine.
type System struct{}

// Now implements [Clock].
func (System) Now() time.Time { return time.Now() }

// Until implements [Clock].
func (System) Until(ctx context.Context, t time.Time) error {
	d := time.Until(t)
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
