package delivery

// Who may send to a service: room, breaker and pause, each service by itself.

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"tocsin/clock"
	"tocsin/pushers"
)

// key names what has a gate of its own, or an account that pauses are shared by.
type key struct {
	provider string
	name     string // [pushers.Route.Service], or its Account
}

// BreakerCounts is how many services of a provider are in which state.
type BreakerCounts struct {
	Known    int // services that something is remembered of
	Open     int // away: nothing is sent for a while
	HalfOpen int // being probed
	Paused   int // they asked to be left alone
}

// gates stand before all services. They are safe for concurrent use.
//
// Each service has a gate, which is made when it is first sent to. Users make up host names, so the gates of those that were used last are kept, and no more.
// Time is the machine's, but for pauses, which are part of what becomes of a notification.
type gates struct {
	cfg   Config
	clock clock.Clock
	log   *slog.Logger

	mu       sync.Mutex
	inFlight int
	byKey    map[key]*gate
	unused   list.List         // of *gate: those that nobody is in, the longest unused first
	paused   map[key]time.Time // accounts that asked to be left alone, until then; the configuration names them, so they are few
	refused  map[key]time.Time // apps of the configuration whose settings were refused, and when the log was told so last
}

// gate is the way to one service. All but breaker is guarded by gates.mu.
type gate struct {
	key     key
	room    *room
	breaker *gobreaker.TwoStepCircuitBreaker[struct{}]
	paused  time.Time     // until then
	users   int           // who is in, or waits
	unused  *list.Element // in gates.unused; nil while it has users

	lost   []lost   // connections under which something failed lately
	blamed []string // users whose notifications failed since the last success, which is counted once for each
	opened bool     // as the log knows it
}

// lost is a connection that broke, or could not be made.
type lost struct {
	connection string
	at         time.Time
}

const (
	// lossMemory is how long a connection is known as lost: all who shared it have learned of that by then. Its name may come again for another one.
	lossMemory = time.Minute
	// maxLost bounds what is remembered of connections.
	maxLost = 32
)

// The reasons for which a request is not made: [pushers.Step.Detail] of a step that is Unsent.
const (
	reasonBusy   = "service_busy"   // as many requests are under way as it may have
	reasonDown   = "service_down"   // its breaker is open
	reasonPaused = "service_paused" // it asked to be left alone
)

// The errors that the breaker is told.
var (
	errFailed  = errors.New("failed")
	errSilent  = errors.New("says nothing of the service")
	isExcluded = func(err error) bool { return errors.Is(err, errSilent) }
)

func newGates(cfg Config, clock clock.Clock, log *slog.Logger) *gates {
	return &gates{cfg: cfg, clock: clock, log: log, byKey: map[key]*gate{}, paused: map[key]time.Time{}, refused: map[key]time.Time{}}
}

// pass is the permission for one request. Whoever gets it calls done.
type pass struct {
	gates *gates
	gate  *gate
	route *pushers.Route
	tell  func(error) // the breaker
	began time.Time
}

// enter asks for permission to send to a service. If there is none, the result says why. ctx ends the waiting for room, which is short in any case.
func (g *gates) enter(ctx context.Context, route *pushers.Route) (*pass, result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight >= g.cfg.Concurrency {
		return nil, result{unsent: reasonBusy}
	}
	now := time.Now()
	at := g.join(key{route.Provider, route.Service}, now)
	if refused := g.refusal(at, route); refused.unsent != "" {
		g.part(at)
		return nil, refused
	}
	if !at.room.take(now) {
		if !g.wait(ctx, at) {
			g.part(at)
			return nil, result{unsent: reasonBusy}
		}
		now = time.Now()
	}
	tell, err := at.breaker.Allow()
	if err != nil { // it has opened meanwhile, or there are probes enough
		at.room.giveBack(now)
		g.part(at)
		return nil, result{unsent: reasonDown}
	}
	return &pass{gates: g, gate: at, route: route, tell: tell, began: now}, result{}
}

// refuses says why nobody may send to the service now, whatever room there is; its unsent is "" if that is not so.
func (g *gates) refuses(route *pushers.Route) result {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refusal(g.byKey[key{route.Provider, route.Service}], route)
}

// refusal is refuses for the service's gate; nil: it has none yet.
func (g *gates) refusal(at *gate, route *pushers.Route) result {
	var until time.Time
	if at != nil {
		until = at.paused
	}
	if route.Account != "" {
		if shared := g.paused[key{route.Provider, route.Account}]; shared.After(until) {
			until = shared
		}
	}
	if !until.IsZero() {
		if wait := until.Sub(g.clock.Now()); wait > 0 {
			return result{unsent: reasonPaused, wait: wait}
		}
	}
	if at != nil && at.opened && at.breaker.State() == gobreaker.StateOpen {
		return result{unsent: reasonDown}
	}
	return result{}
}

// join finds or makes the gate and counts the caller in.
func (g *gates) join(key key, now time.Time) *gate {
	g.inFlight++
	at := g.byKey[key]
	if at == nil {
		g.forget()
		at = &gate{key: key, room: newRoom(g.cfg.ConcurrencyPerGateway, now), breaker: newBreaker(g.cfg.Breaker)}
		g.byKey[key] = at
	}
	if at.unused != nil {
		g.unused.Remove(at.unused)
		at.unused = nil
	}
	at.users++
	return at
}

// part counts the caller out.
func (g *gates) part(at *gate) {
	g.inFlight--
	if at.users--; at.users == 0 {
		at.unused = g.unused.PushBack(at)
	}
}

// forget makes place for one gate more. Those that are in use are never forgotten; they are bounded by the number of requests.
func (g *gates) forget() {
	if len(g.byKey) < g.cfg.Breaker.Remembered || g.unused.Len() == 0 {
		return
	}
	oldest := g.unused.Remove(g.unused.Front()).(*gate)
	delete(g.byKey, oldest.key)
}

// wait waits for room as long as that is worth it; false if none came. It gives the lock away meanwhile.
func (g *gates) wait(ctx context.Context, at *gate) bool {
	start := time.Now()
	place := at.room.queue(start)
	if place == nil {
		return false
	}
	for {
		until := at.room.silentAt() // later when the service has answered meanwhile
		if latest := start.Add(patience); until.After(latest) {
			until = latest
		}
		if ctx.Err() != nil || !time.Now().Before(until) {
			return !at.room.leaveQueue(place)
		}
		g.mu.Unlock()
		given := place.await(ctx, until)
		g.mu.Lock()
		if given {
			return true
		}
	}
}

// await waits for the place until that time; false if it was not given till then.
func (p *place) await(ctx context.Context, until time.Time) bool {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-p.given:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// done says what came of the request. user is whose notification it was; cutOff that the request was not waited for to its end.
func (p *pass) done(o pushers.Outcome, user string, cutOff bool) {
	g, at, now := p.gates, p.gate, time.Now()
	state := healthOf(o)
	if cutOff && state == away {
		state = silent
	}
	g.mu.Lock()
	counted := at.counted(o.Connection, now)
	if counted {
		state = silent
	}
	told := at.judge(state, user, g.cfg.Breaker.Failures)
	p.tell(told)
	if counted {
		at.room.giveBack(now)
	} else {
		at.room.release(now, now.Sub(p.began), o.Status != 0)
	}
	paused := g.pause(at, p.route, pauseOf(o, g.cfg.Breaker.Open))
	changed, opened := false, false
	if told != nil || at.opened { // else it is closed, and was
		changed, opened = at.change()
	}
	refused := g.blamesOperator(o, p.route, now)
	g.part(at)
	g.mu.Unlock()
	if refused {
		g.reportRefusal(at.key, o, p.route.App)
	}
	if paused || changed {
		g.report(at.key, o, paused, opened)
	}
}

// pause lets nobody pass for that long, to no service of the same account if it has one. It says whether that is news.
func (g *gates) pause(at *gate, route *pushers.Route, wait time.Duration) (news bool) {
	if wait <= 0 {
		return false
	}
	now := g.clock.Now()
	until, was := now.Add(wait), at.paused
	if route.Account == "" {
		at.paused = latest(was, until)
		return !was.After(now)
	}
	account := key{route.Provider, route.Account}
	was = g.paused[account]
	g.paused[account] = latest(was, until)
	return !was.After(now)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// counted says that another request has failed with the same connection: however many share one, it breaks once. Services have several, which may break at the same time.
func (at *gate) counted(connection string, now time.Time) bool {
	if connection == "" {
		return false
	}
	at.lost = slices.DeleteFunc(at.lost, func(l lost) bool { return now.Sub(l.at) > lossMemory })
	if slices.ContainsFunc(at.lost, func(l lost) bool { return l.connection == connection }) {
		return true
	}
	if len(at.lost) == maxLost {
		at.lost = slices.Delete(at.lost, 0, 1)
	}
	at.lost = append(at.lost, lost{connection, now})
	return false
}

// judge says what the breaker is to count. That no answer comes is a failure each time. A failure that the service answers may come from this notification alone, and users make
// those up; so it counts once for each user, until something succeeds.
func (at *gate) judge(state health, user string, enough int) error {
	switch state {
	case healthy:
		at.blamed = at.blamed[:0]
		return nil
	case silent:
		return errSilent
	case failing:
		if slices.Contains(at.blamed, user) {
			return errSilent
		}
		if len(at.blamed) < enough {
			at.blamed = append(at.blamed, user)
		}
	}
	return errFailed
}

// change says whether the breaker has opened or closed since it was last asked. Probes are no news.
func (at *gate) change() (changed, opened bool) {
	switch at.breaker.State() {
	case gobreaker.StateOpen:
		opened = true
	case gobreaker.StateHalfOpen:
		return false, at.opened
	}
	changed = opened != at.opened
	at.opened = opened
	return changed, opened
}

// counts is how many services of each provider are in which state. An account that is paused counts as one.
func (g *gates) counts() map[string]BreakerCounts {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts, now := map[string]BreakerCounts{}, g.clock.Now()
	for key, at := range g.byKey {
		c := counts[key.provider]
		c.Known++
		switch at.breaker.State() {
		case gobreaker.StateOpen:
			c.Open++
		case gobreaker.StateHalfOpen:
			c.HalfOpen++
		}
		if at.paused.After(now) {
			c.Paused++
		}
		counts[key.provider] = c
	}
	for account, until := range g.paused {
		if until.After(now) {
			c := counts[account.provider]
			c.Paused++
			counts[account.provider] = c
		}
	}
	return counts
}

// newBreaker opens after failures without a success between them, lets some probes through after a while, and closes when all of those succeed.
func newBreaker(cfg Breaker) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests: uint32(cfg.Probes),
		Timeout:     cfg.Open,
		ReadyToTrip: func(c gobreaker.Counts) bool { return int(c.ConsecutiveFailures) >= cfg.Failures },
		IsExcluded:  isExcluded,
	})
}
