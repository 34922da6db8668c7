// Package gateway tells Matrix push gateways of notifications: POST /_matrix/push/v1/notify of the Push Gateway API.
//
// The URL of a gateway comes from a user, so it is hostile until proven otherwise: [Config] says which are pushed to, and addresses are checked
// when they are dialled, by the rules of package outbound, which makes the requests.
//
// A [Sender] makes one attempt and says what came of it as a [pushers.Outcome]; whether there is another one is not decided here. The way
// of a notification through the package: target (may we?), [Body] (what to say), [outbound.Attempt] (say it), classify (what the answer means).
package gateway

import (
	"context"
	"net/http"
	"time"

	"tocsin/clock"
	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// Config says whom to push to and how long to wait. The zero value is the strictest policy with the standard limits.
type Config struct {
	outbound.Config        // whom to connect to
	Path            string // of the URL of a gateway; "": [StandardPath]; [AnyPath]: whatever it is
	AllowHTTP       bool   // allow URLs without TLS, for closed networks
}

// Options are what a Sender is embedded with. The zero value is the real world.
type Options struct {
	outbound.Options
	Clock clock.Clock // what a Retry-After that is a date is held against; nil is the machine's
}

// Sender sends notifications to the gateways of their pushers. It is safe for concurrent use, and bounds nothing but time: whoever calls it decides how
// many requests there are at once.
type Sender struct {
	cfg    Config
	clock  clock.Clock
	client *outbound.Client
	header http.Header // of each request
}

// New makes a Sender. Close it when nobody sends any more.
func New(cfg Config, opts Options) *Sender {
	if opts.Clock == nil {
		opts.Clock = clock.System{}
	}
	return &Sender{cfg: cfg, clock: opts.Clock, client: outbound.New(cfg.Config, opts.Options), header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {outbound.UserAgent}}}
}

// Close closes the idle connections.
func (s *Sender) Close() { s.client.Close() }

// Send makes one attempt to tell the gateway of d's pusher, and says what came of it. A notification that is too large for the gateway is sent
// once more without its content, within the same attempt.
func (s *Sender) Send(ctx context.Context, d pushers.Delivery) pushers.Outcome {
	attempt := s.client.Begin(ctx)
	defer attempt.End()
	return s.alone(attempt, d.Notification)
}

// SendBundle is Send for notifications whose [Bundle] is the same: it tells all their devices in one request, and says what came of each. Their
// pushkeys differ. A bundle that is too large for the gateway is taken apart and sent one by one, within the same attempt.
func (s *Sender) SendBundle(ctx context.Context, ns []pushers.Notification) []pushers.Outcome {
	attempt := s.client.Begin(ctx)
	defer attempt.End()
	if len(ns) == 1 {
		return []pushers.Outcome{s.alone(attempt, ns[0])}
	}
	outcomes := s.send(attempt, ns)
	if outcomes[0].Status == http.StatusRequestEntityTooLarge {
		for i, n := range ns {
			outcomes[i] = s.alone(attempt, n)
		}
	}
	return outcomes
}

// Bundle is equal for notifications that may travel in one request: those to one URL whose bodies differ in their devices alone. It is "" for one that must go alone.
func (s *Sender) Bundle(n *pushers.Notification) string {
	shared, err := body(n, nil)
	if err != nil {
		return ""
	}
	return string(n.Device.Pusher.Format) + " " + n.Device.Pusher.URL + " " + string(shared)
}

func (s *Sender) alone(attempt *outbound.Attempt, n pushers.Notification) pushers.Outcome {
	o := s.send(attempt, []pushers.Notification{n})[0]
	if o.Status == http.StatusRequestEntityTooLarge && n.Content != nil && n.Device.Pusher.Format != pushers.FormatEventIDOnly {
		n.Content = nil
		o = s.send(attempt, []pushers.Notification{n})[0]
	}
	return o
}

// send makes one request for all of ns, and says what came of each.
func (s *Sender) send(attempt *outbound.Attempt, ns []pushers.Notification) []pushers.Outcome {
	pushkeys := make([]string, len(ns))
	devices := make([]*pushers.Device, len(ns))
	for i := range ns {
		pushkeys[i], devices[i] = ns[i].Device.Pusher.Pushkey.Reveal(), &ns[i].Device
	}
	to, err := s.cfg.target(ns[0].Device.Pusher.URL)
	if err != nil {
		return classify(outbound.Answer{Err: err}, pushkeys, time.Time{})
	}
	body, err := body(&ns[0], devices)
	if err != nil {
		return same(pushers.Outcome{Verdict: pushers.Drop, Reason: reasonBadNotification, Cause: err}, len(ns))
	}
	a := attempt.Post(outbound.Request{URL: to, Header: s.header, Body: body})
	if a.Status < 300 {
		return classify(a, pushkeys, time.Time{})
	}
	return classify(a, pushkeys, s.clock.Now())
}
