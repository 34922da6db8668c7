// Package delivery decides what becomes of a notification on its way to a push service: whether it is still wanted, whether there is room for a request, and
// what follows from the service's answer.
//
// The unit is one notification for one pusher, a [pushers.Delivery]. [Dispatcher.Deliver] makes at most one attempt and returns a [pushers.Step]: settled, again
// from a retry topic, to the dead letter, forgotten, or the pusher removed. Whoever called carries the step out, and acknowledges the record that it came from
// only then: this package writes to no topic and keeps nothing, so there is nothing here that a crash could lose.
//
// Waiting is left to the retry topics, one for each of [Tiers], so that a service that is down costs its own notifications their time and no others: see next for
// which tier, gates for who may send to a service, room for how many at once, and bundles for devices that travel together.
package delivery

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"tocsin/clock"
	"tocsin/pushers"
)

// Router says which push service a delivery goes to. It is safe for concurrent use.
type Router interface {
	// Route may change d, which is the caller's own copy, in what the way there asks for.
	Route(d *pushers.Delivery) pushers.Route
}

// Options are what a Dispatcher is embedded with. The zero value is fit for use.
type Options struct {
	Log *slog.Logger // hears when a push service goes away and comes back; nil: slog.Default()
}

// Dispatcher makes deliveries. It is safe for concurrent use.
type Dispatcher struct {
	router  Router
	clock   clock.Clock
	gates   *gates
	bundles *bundles // nil: each device alone
}

// New makes a Dispatcher that sends the ways that router says and tells the age of a delivery by clock.
func New(cfg Config, router Router, clock clock.Clock, opts Options) *Dispatcher {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	d := &Dispatcher{router: router, clock: clock, gates: newGates(cfg, clock, opts.Log)}
	if cfg.Bundle > 1 {
		d.bundles = newBundles(cfg.Bundle)
	}
	return d
}

// Breakers is how many push services are in which state now, by their class.
func (d *Dispatcher) Breakers() map[string]BreakerCounts { return d.gates.counts() }

// Deliver makes one attempt, unless the delivery has expired, and says what follows. It takes as long as the request takes, and little more than
// no time when the service is so slow that there is no room for another request to it, or so sick that none is sent.
func (d *Dispatcher) Deliver(ctx context.Context, what pushers.Delivery) pushers.Step {
	route := d.router.Route(&what)
	step := d.deliver(ctx, &route, &what)
	step.Provider, step.App = route.Provider, route.App
	return step
}

func (d *Dispatcher) deliver(ctx context.Context, route *pushers.Route, what *pushers.Delivery) pushers.Step {
	if !d.clock.Now().Before(what.Expires) {
		return expired(what.Attempt)
	}
	if route.Untold != "" {
		return pushers.Step{Action: pushers.Settle, Detail: route.Untold, Untold: true}
	}
	r := d.attempt(ctx, route, what)
	now := d.clock.Now()
	left := what.Expires.Sub(now)
	if r.unsent != "" {
		return unsent(r, what.Attempt, age(what.Since, now), left)
	}
	return next(r.outcome, what.Attempt, left)
}

// result is what an attempt came to, or why there was none.
type result struct {
	outcome pushers.Outcome
	unsent  string        // why there was no attempt; "" if there was one
	wait    time.Duration // of unsent: how long that is known to last
}

// jitter is the longest that a retry waits for its request, so that those that failed together do not come back together. The retry topics can't do
// that: each has one delay.
const jitter = 100 * time.Millisecond

// attempt sends a delivery, in a bundle if there are others to go with. A retry goes alone: in a bundle that failed, it may have been the one that the gateway
// stumbled over.
func (d *Dispatcher) attempt(ctx context.Context, route *pushers.Route, what *pushers.Delivery) result {
	if what.Attempt > 0 {
		return d.spread(ctx, route, what)
	}
	if d.bundles == nil || route.Bundler == nil {
		return d.alone(ctx, route, what)
	}
	return d.bundles.send(ctx, route.Bundler, what, func(ctx context.Context, members []*pushers.Delivery) []result {
		if len(members) == 1 {
			return []result{d.alone(ctx, route, members[0])}
		}
		return d.together(ctx, route, members)
	})
}

// spread is alone, after a moment.
func (d *Dispatcher) spread(ctx context.Context, route *pushers.Route, what *pushers.Delivery) result {
	if refused := d.gates.refuses(route); refused.unsent != "" {
		return refused
	}
	timer := time.NewTimer(rand.N(jitter))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the request will say so
	}
	return d.alone(ctx, route, what)
}

func (d *Dispatcher) alone(ctx context.Context, route *pushers.Route, what *pushers.Delivery) result {
	pass, refused := d.gates.enter(ctx, route)
	if pass == nil {
		return refused
	}
	outcome := route.Sender.Send(ctx, *what)
	pass.done(outcome, what.UserID, ctx.Err() != nil)
	return result{outcome: outcome}
}

// together sends the members of a bundle in one request. What it comes to concerns each of them alone from here on.
func (d *Dispatcher) together(ctx context.Context, route *pushers.Route, members []*pushers.Delivery) []result {
	results := make([]result, len(members))
	pass, refused := d.gates.enter(ctx, route)
	if pass == nil {
		for i := range results {
			results[i] = refused
		}
		return results
	}
	ns := make([]pushers.Notification, len(members))
	for i, m := range members {
		ns[i] = m.Notification
	}
	outcomes := route.Bundler.SendBundle(ctx, ns)
	pass.done(outcomes[0], members[0].UserID, ctx.Err() != nil)
	for i, o := range outcomes {
		results[i].outcome = o
	}
	return results
}
