package clock

// A clock that moves only when it is told to.

import (
	"context"
	"sync"
	"time"
)

// Virtual is a clock that stands still until Advance moves it. The zero value is not usable; see [NewVirtual].
type Virtual struct {
	mu      sync.Mutex
	now     time.Time
	waiters map[chan struct{}]time.Time
}

// NewVirtual returns a clock that reads start.
func NewVirtual(start time.Time) *Virtual {
	return &Virtual{now: start, waiters: map[chan struct{}]time.Time{}}
}

// Now implements [Clock].
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Until implements [Clock].
func (v *Virtual) Until(ctx context.Context, t time.Time) error {
	v.mu.Lock()
	if !t.After(v.now) {
		v.mu.Unlock()
		return ctx.Err()
	}
	due := make(chan struct{})
	v.waiters[due] = t
	v.mu.Unlock()
	select {
	case <-due:
		return nil
	case <-ctx.Done():
		v.mu.Lock()
		delete(v.waiters, due)
		v.mu.Unlock()
		return ctx.Err()
	}
}

// Next is the earliest time that somebody waits for; false if nobody waits.
func (v *Virtual) Next() (time.Time, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var next time.Time
	for _, t := range v.waiters {
		if next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next, !next.IsZero()
}

// Advance moves the clock forward to t and wakes who waited for it; it never moves back.
func (v *Virtual) Advance(t time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t.After(v.now) {
		v.now = t
	}
	for due, at := range v.waiters {
		if !at.After(v.now) {
			delete(v.waiters, due)
			close(due)
		}
	}
}
