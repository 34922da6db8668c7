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
	"net"
	"net/url"
	"strings"
	"time"

	"tocsin/clock"
	"tocsin/pushers"
)

// Sender makes one attempt to tell a push service. It is safe for concurrent use, and returns within the time that an attempt may take.
type Sender interface {
	Send(ctx context.Context, n pushers.Notification) pushers.Outcome
}

// Options are what a Dispatcher is embedded with. The zero value is fit for use.
type Options struct {
	Bundler Bundler      // sends several devices in one request, where Config.Bundle says so; nil: each goes alone
	Log     *slog.Logger // hears when a push service goes away and comes back; nil: slog.Default()
}

// Dispatcher makes deliveries. It is safe for concurrent use.
type Dispatcher struct {
	sender  Sender
	clock   clock.Clock
	gates   *gates
	bundles *bundles // nil: each device alone
}

// New makes a Dispatcher that sends with sender and tells the age of a delivery by clock.
func New(cfg Config, sender Sender, clock clock.Clock, opts Options) *Dispatcher {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	d := &Dispatcher{sender: sender, clock: clock, gates: newGates(cfg, clock, opts.Log)}
	if opts.Bundler != nil && cfg.Bundle > 1 {
		d.bundles = newBundles(cfg.Bundle, opts.Bundler)
	}
	return d
}

// Breakers is how many push services are in which state now, by their class.
func (d *Dispatcher) Breakers() map[string]BreakerCounts { return d.gates.counts() }

// Deliver makes one attempt, unless the delivery has expired, and says what follows. It takes as long as the request takes, and little more than
// no time when the service is so slow that there is no room for another request to it, or so sick that none is sent.
func (d *Dispatcher) Deliver(ctx context.Context, what pushers.Delivery) pushers.Step {
	if !d.clock.Now().Before(what.Expires) {
		return expired(what.Attempt)
	}
	r := d.attempt(ctx, &what)
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
func (d *Dispatcher) attempt(ctx context.Context, what *pushers.Delivery) result {
	key := gatewayKey(what.Notification.Device.Pusher.URL)
	if what.Attempt > 0 {
		return d.spread(ctx, key, what)
	}
	if d.bundles == nil {
		return d.alone(ctx, key, what)
	}
	return d.bundles.send(ctx, what, func(ctx context.Context, members []*pushers.Delivery) []result {
		if len(members) == 1 {
			return []result{d.alone(ctx, key, members[0])}
		}
		return d.together(ctx, key, members)
	})
}

// spread is alone, after a moment.
func (d *Dispatcher) spread(ctx context.Context, key Key, what *pushers.Delivery) result {
	if refused := d.gates.refuses(key); refused.unsent != "" {
		return refused
	}
	timer := time.NewTimer(rand.N(jitter))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the request will say so
	}
	return d.alone(ctx, key, what)
}

func (d *Dispatcher) alone(ctx context.Context, key Key, what *pushers.Delivery) result {
	pass, refused := d.gates.enter(ctx, key)
	if pass == nil {
		return refused
	}
	outcome := d.sender.Send(ctx, what.Notification)
	pass.done(outcome, what.UserID, ctx.Err() != nil)
	return result{outcome: outcome}
}

// together sends the members of a bundle in one request. What it comes to concerns each of them alone from here on.
func (d *Dispatcher) together(ctx context.Context, key Key, members []*pushers.Delivery) []result {
	results := make([]result, len(members))
	pass, refused := d.gates.enter(ctx, key)
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
	outcomes := d.bundles.bundler.SendBundle(ctx, ns)
	pass.done(outcomes[0], members[0].UserID, ctx.Err() != nil)
	for i, o := range outcomes {
		results[i].outcome = o
	}
	return results
}

// gatewayKey is the gate of a push gateway: its host and port, however they are written; "" for a URL that has none.
func gatewayKey(raw string) Key {
	key := Key{Class: Gateways}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || len(u.Host) > maxName {
		return key
	}
	port := u.Port()
	if port == "" && u.Scheme == "http" {
		port = "80"
	} else if port == "" {
		port = "443"
	}
	key.Name = net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)
	return key
}

// maxName bounds what is remembered of a host: no name in the DNS is longer, with its port.
const maxName = 260
