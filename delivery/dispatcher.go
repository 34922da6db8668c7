// Package delivery decides what becomes of a notification on its way to a push service: whether it is still wanted, whether there is room for a request, and
// what follows from the service's answer.
//
// The unit is one notification for one pusher, a [pushers.Delivery]. [Dispatcher.Deliver] makes at most one attempt and returns a [pushers.Step]: settled, again
// from a retry topic, to the dead letter, forgotten, or the pusher removed. Whoever called carries the step out, and acknowledges the record that it came from
// only then: this package writes to no topic and keeps nothing, so there is nothing here that a crash could lose.
//
// Waiting is left to the retry topics, one for each of [Tiers], so that a service that is down costs its own notifications their time and no others: see next for
// which tier, bulkheads for how many requests there may be at once.
package delivery

import (
	"context"
	"net/url"
	"strings"

	"tocsin/clock"
	"tocsin/pushers"
)

// Sender makes one attempt to tell a push service. It is safe for concurrent use, and returns within the time that an attempt may take.
type Sender interface {
	Send(ctx context.Context, n pushers.Notification) pushers.Outcome
}

// Dispatcher makes deliveries. It is safe for concurrent use.
type Dispatcher struct {
	sender    Sender
	clock     clock.Clock
	bulkheads *bulkheads
}

// New makes a Dispatcher that sends with sender and tells the age of a delivery by clock.
func New(cfg Config, sender Sender, clock clock.Clock) *Dispatcher {
	return &Dispatcher{sender: sender, clock: clock, bulkheads: newBulkheads(cfg.Concurrency, cfg.ConcurrencyPerGateway)}
}

// reasonBusy is the reason of an attempt that was not made, because there was no room for it. It counts for nothing: the delivery comes back from the first tier as it is, and
// one that never came to an attempt leaves no trace when its time is over.
const reasonBusy = "gateway_busy"

// Deliver makes one attempt, unless the delivery has expired, and says what follows. It takes as long as the request takes, and little more than
// no time when the gateway is so slow that there is no room for another request to it.
func (d *Dispatcher) Deliver(ctx context.Context, what pushers.Delivery) pushers.Step {
	if !d.clock.Now().Before(what.Expires) {
		return expired(what.Attempt)
	}
	leave, ok := d.bulkheads.enter(ctx, host(what.Notification.Device.Pusher.URL))
	if !ok {
		return pushers.Step{Action: pushers.Again, Detail: reasonBusy, Unsent: true}
	}
	defer leave()
	outcome := d.sender.Send(ctx, what.Notification)
	step := next(outcome, what.Attempt, what.Expires.Sub(d.clock.Now()))
	step.Doubt = outcome.Verdict == pushers.Uncertain
	return step
}

// host is what a bulkhead is for: the host and port of a gateway, "" for a URL that has none.
func host(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Host)
}
