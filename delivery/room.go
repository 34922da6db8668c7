package delivery

// How many requests to one service there are at once.

import (
	"slices"
	"time"
)

// room is the room for requests to one service. It is guarded by the lock of its [gates].
//
// A worker that waits for a service serves nobody else, and a service that hangs takes as many as it may. So it may have little more than it has
// needed of late: room grows while answers come and it is full, and shrinks to twice what was in use. What finds no room waits as long as answers come, for a
// burst is over within moments; when the service is silent for longer than it usually takes, nobody waits for it, and the retry topics hold what is there for it.
type room struct {
	most  int // room that it can grow to
	limit int // room that there is
	inUse int

	heard  time.Time     // when the last answer came, or the first request went out after none was under way
	usual  time.Duration // time that an answer takes, in the mean of the last ones; 0: none came yet
	peak   int           // most requests at once since since
	since  time.Time
	queued []*place // who waits for room, the first one first
}

// place is one who waits for room.
type place struct{ given chan struct{} } // closed when there is room, which is taken then

const (
	startingRoom = 8 // for a service that is not known yet
	leastRoom    = 2 // for one that fails
	// patience is how long room is waited for at most, and how long a service is silent at most while it is waited for.
	patience = time.Second
	// impatience is how long a service that is quick may be silent.
	impatience = 400 * time.Millisecond
	// silences is how many times its usual time a service may be silent.
	silences = 8
	// memory is how long a peak is room for.
	memory = 10 * time.Second
)

func newRoom(most int, now time.Time) *room {
	return &room{most: most, limit: min(startingRoom, most), heard: now, since: now}
}

// take takes room for one request, if there is any.
func (r *room) take(now time.Time) bool {
	if r.inUse >= r.limit {
		return false
	}
	if r.inUse == 0 {
		r.heard = now
	}
	r.inUse++
	r.peak = max(r.peak, r.inUse)
	return true
}

// silentAt is when the service will have been silent for too long to wait for it.
func (r *room) silentAt() time.Time {
	if r.usual == 0 {
		return r.heard.Add(patience)
	}
	return r.heard.Add(min(max(silences*r.usual, impatience), patience))
}

// queue waits for room, unless the service is silent.
func (r *room) queue(now time.Time) *place {
	if !now.Before(r.silentAt()) {
		return nil
	}
	p := &place{given: make(chan struct{})}
	r.queued = append(r.queued, p)
	return p
}

// leaveQueue gives a place up; false if room was given to it just before.
func (r *room) leaveQueue(p *place) bool {
	i := slices.Index(r.queued, p)
	if i < 0 {
		return false
	}
	r.queued = slices.Delete(r.queued, i, i+1)
	return true
}

// release gives room back after a request that took that long, to the first who waits. answered says that the service said something, be it an error.
func (r *room) release(now time.Time, took time.Duration, answered bool) {
	if answered {
		r.answer(now, took)
	} else {
		r.limit = max(r.limit/2, min(leastRoom, r.most))
	}
	r.inUse--
	r.pass(now)
}

// giveBack gives room back that was not used.
func (r *room) giveBack(now time.Time) {
	r.inUse--
	r.pass(now)
}

func (r *room) answer(now time.Time, took time.Duration) {
	const weight = 8
	r.heard = now
	if r.usual == 0 {
		r.usual = max(took, 1)
	} else {
		r.usual = max(r.usual+(took-r.usual)/weight, 1)
	}
	if r.inUse >= r.limit {
		r.limit = min(r.limit+1, r.most)
	}
	if now.Sub(r.since) >= memory {
		r.limit = min(r.limit, max(2*r.peak, min(startingRoom, r.most)))
		r.peak, r.since = r.inUse, now
	}
}

// pass gives room that is free to those who wait.
func (r *room) pass(now time.Time) {
	for len(r.queued) > 0 && r.take(now) {
		close(r.queued[0].given)
		r.queued = slices.Delete(r.queued, 0, 1)
	}
}
