package apps_test

// Very many notifications through the dispatcher and the apps together, by services that fail now and then in every way there is, with the retries that follow.

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/delivery"
	"tocsin/pushers"
	"tocsin/pushers/apps"
	"tocsin/test/stack"
)

// quick is a clock that runs a thousand times as fast as the machine's: what waits an hour waits 3.6 seconds.
type quick struct{ began time.Time }

const speed = 1000

func (q quick) Now() time.Time { return q.began.Add(time.Since(q.began) * speed) }

func (q quick) Until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(t.Sub(q.Now()) / speed)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fate is what must become of a notification in the end.
type fate uint8

const (
	told    fate = iota
	dead         // its device is called dead, always
	refused      // its service does not take it, ever
)

// fateOf has a few in a thousand that come to nothing.
func fateOf(i int) fate {
	switch i % 500 {
	case 7:
		return dead
	case 8:
		return refused
	}
	return told
}

// soaked is what became of one notification.
type soaked struct {
	taken, unsure int
	shrunk        bool   // the service has called it too large
	id            string // its name at the service; "" if there is none
	end           string // what was done about it in the end
}

// soak sends notifications from many workers through a dispatcher.
type soak struct {
	*testing.T
	clock quick
	d     *delivery.Dispatcher

	ready chan queued
	left  atomic.Int64
	over  chan struct{}

	mu               sync.Mutex
	all              []soaked
	attempts, unsure int
	heldBack         map[string]int // by reason
	opened           int            // times that the service was left alone because it failed
}

// Write is told what the dispatcher logs.
func (s *soak) Write(line []byte) (int, error) {
	if strings.Contains(string(line), "a push service is away") {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.opened++
	}
	return len(line), nil
}

type queued struct {
	i    int
	what pushers.Delivery
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	n := stack.SoakSize(t)
	s := &soak{T: t, clock: quick{time.Now()}, ready: make(chan queued, n), over: make(chan struct{}), all: make([]soaked, n), heldBack: map[string]int{}}
	s.left.Store(int64(n))
	return s
}

// saw notes that a service has read the notification.
func (s *soak) saw(i int, taken bool, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &s.all[i]
	if one.id != "" && one.id != id {
		s.Errorf("notification %d came as %s and %s", i, one.id, id)
	}
	one.id = id
	if taken {
		one.taken++
	}
}

// shrinks says whether the service may call the notification too large: once, as it is given up when it still is so afterwards.
func (s *soak) shrinks(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.all[i].shrunk
	s.all[i].shrunk = true
	return !before
}

// run sends all notifications to an app, until each has come to its end.
func (s *soak) run(cfg apps.Config, opts apps.Options, to func(i int) pushers.Delivery) {
	s.Helper()
	b := &bed{T: s.T}
	opts.Clock = s.clock
	opts.Gateway.Timeout = attemptTime
	settings := delivery.Defaults()
	settings.Breaker.Open = settings.Breaker.Open / 100 // the breaker's time is the machine's
	s.d = delivery.New(settings, b.open(cfg, opts), s.clock, delivery.Options{Log: slog.New(slog.NewTextHandler(s, nil))})
	now := s.clock.Now()
	for i := range s.all {
		d := to(i)
		d.ID, d.UserID, d.Since, d.Expires = fmt.Sprintf("%032x", i), fmt.Sprintf("@u%d:example.org", i%5000), now, now.Add(6*24*time.Hour)
		d.Notification.EventID = fmt.Sprintf("$%d", i)
		s.ready <- queued{i, d}
	}
	began := time.Now()
	var workers sync.WaitGroup
	for range 128 {
		workers.Go(s.work)
	}
	workers.Wait()
	s.judge(time.Since(began))
}

// attemptTime is the longest that an attempt may take, by the machine's clock.
const attemptTime = 5 * time.Second

func (s *soak) work() {
	for {
		select {
		case q := <-s.ready:
			s.carryOut(q, s.d.Deliver(s.Context(), q.what))
		case <-s.over:
			return
		}
	}
}

// carryOut does what follows an attempt, as the users stage and the retry topics would.
func (s *soak) carryOut(q queued, step pushers.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &s.all[q.i]
	if step.Unsent {
		s.heldBack[step.Answer()]++
	} else {
		s.attempts++
	}
	if step.Verdict == pushers.Uncertain || step.Answer() == "stale_connection" {
		s.unsure++
		one.unsure++
	}
	if step.Action == pushers.Again {
		if !step.Unsent {
			q.what.Attempt++
		}
		time.AfterFunc(delivery.Tiers[step.Tier]/speed, func() { s.ready <- q })
		return
	}
	if one.end != "" {
		s.Errorf("notification %d ended twice: %s and %s", q.i, one.end, step.Action)
	}
	if one.end = step.Action.String() + " " + step.Reason; step.Action == pushers.Settle {
		one.end = "settle"
	}
	if s.left.Add(-1) == 0 {
		close(s.over)
	}
}

// judge holds that nothing was lost, and nothing came twice but after an uncertain outcome.
func (s *soak) judge(took time.Duration) {
	s.Helper()
	ends, twice := map[string]int{}, 0
	for i, one := range s.all {
		ends[one.end]++
		var wrong bool
		switch fateOf(i) {
		case told:
			wrong = one.end != "settle" || one.taken < 1 || one.taken > 1+one.unsure
		case dead:
			wrong = len(one.end) < 6 || one.end[:6] != "remove" || one.taken > one.unsure
		case refused:
			wrong = one.end != "dead_letter refused" || one.taken > one.unsure
		}
		if wrong {
			s.Errorf("notification %d (fate %d): %+v", i, fateOf(i), one)
		}
		if one.taken > 1 {
			twice++
		}
	}
	s.Logf("%d notifications in %v (%.0f/s; %v of their time): %d attempts, held back %v, the breaker opened %d times, %d uncertain outcomes, %d came more than once; ends %v",
		len(s.all), took.Round(time.Millisecond), float64(len(s.all))/took.Seconds(), (took * speed).Round(time.Minute), s.attempts, s.heldBack, s.opened, s.unsure, twice, ends)
}

// number is the notification that an event is of; -1: of none, which is an error.
func (s *soak) number(event string) int {
	n, err := strconv.Atoi(event[min(1, len(event)):])
	if err != nil || n >= len(s.all) {
		s.Errorf("a service was told of %q", event)
		return 0
	}
	return n
}
