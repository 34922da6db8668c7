package webpush

// Sending: one attempt, and what came of it.

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tocsin/clock"
	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// Options are what a Sender is embedded with. The zero value is the real world, and the strictest policy for addresses.
type Options struct {
	Network  outbound.Config  // whom to connect to, and for how long, as for push gateways; Config.CAFile stands in for its RootCAs
	Outbound outbound.Options // how to connect; of the base URL, too
	Clock    clock.Clock      // tells the age of tokens and the time that is left to a notification; nil is the machine's
	Log      *slog.Logger     // hears when the VAPID key changes, or can't be read again; nil: slog.Default()
	// Recipient has the keys that messages to an endpoint are encrypted to, in place of those of the pusher's subscription: for replays of recorded pushers, whose browsers alone
	// could read what is sent. p256dh is a point of P-256 that is not compressed, auth has 16 bytes. A subscription that is not right is refused as ever. nil: each has its own.
	Recipient func(endpoint *url.URL) (p256dh, auth []byte)
}

// Sender sends the notifications of one app to the push services of its users' browsers. It is safe for concurrent use, and bounds nothing but time: whoever calls
// it decides how many requests there are at once.
type Sender struct {
	cfg      Config
	clock    clock.Clock
	relay    *url.URL // nil: each push service itself
	allowed  outbound.Hosts
	sealer   sealer
	keys     func(endpoint *url.URL) (p256dh, auth []byte) // nil: those of the subscription
	vapid    *vapid
	client   *outbound.Client
	watching *credential.Watcher
}

// New makes a Sender. Close it when nobody sends any more. An error begins with the key of Config whose file can't be used.
func New(cfg Config, opts Options) (*Sender, error) {
	if opts.Clock == nil {
		opts.Clock = clock.System{}
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	key, err := openKey(cfg.VAPIDKeyFile, opts.Log)
	if err != nil {
		return nil, err
	}
	network := opts.Network
	if cfg.CAFile != "" {
		if network.RootCAs, err = credential.Authorities(cfg.CAFile); err != nil {
			return nil, err
		}
	}
	relay, _ := cfg.relay()
	if relay != nil {
		network = network.Trust(relay.Hostname()) // nothing else is connected to then
	}
	sealer, err := newSealer()
	if err != nil {
		return nil, err
	}
	return &Sender{
		cfg: cfg, clock: opts.Clock, relay: relay, allowed: outbound.NewHosts(cfg.AllowedEndpoints), sealer: sealer, keys: opts.Recipient,
		vapid:  &vapid{subject: cfg.subject(), clock: opts.Clock, file: key, services: map[string]*service{}},
		client: outbound.New(network, opts.Outbound), watching: credential.Watch([]string{cfg.VAPIDKeyFile}, key.read, opts.Log),
	}, nil
}

// Close closes the idle connections, and stops looking at the file of the VAPID key.
func (s *Sender) Close() {
	s.watching.Stop()
	s.client.Close()
}

// Tells says whether a pusher is told of n at all; [Sender.Send] settles what it is not told without a request.
func (s *Sender) Tells(n *pushers.Notification) bool {
	return !n.CountsOnly() || !n.Device.Pusher.EventsOnly
}

// Service is the push service of a pusher's browser, by its origin; "" if the pusher's data names none.
func (s *Sender) Service(p *pushers.Pusher) string {
	to, err := parseEndpoint(readOptions(p.Data).Endpoint, s.allowed)
	if err != nil {
		return ""
	}
	return origin(to)
}

// PublicKey is what browsers subscribe with: applicationServerKey of the Push API, in base64url.
func (s *Sender) PublicKey() string { return s.vapid.public() }

// Send makes one attempt to tell the browser of d's pusher, and says what came of it. A notification that is too large for the push service is sent once more,
// half as large, within the same attempt.
//
// An attempt that is repeated is a new message to a push service. If the pusher wants the last one of each room only, it takes the place of one that waits there still.
func (s *Sender) Send(ctx context.Context, d pushers.Delivery) pushers.Outcome {
	pusher := &d.Notification.Device.Pusher
	if !s.Tells(&d.Notification) {
		return pushers.Outcome{Verdict: pushers.Delivered, Reason: reasonEventsOnly}
	}
	if s.cfg.Format != pushers.FormatFull {
		pusher.Format = s.cfg.Format // of our own copy
	}
	to, err := subscribe(pusher, s.allowed)
	if err != nil {
		return outbound.Answer{Err: err}.Failure()
	}
	if s.keys != nil {
		to.key, to.secret = s.keys(to.endpoint)
	}
	text, err := Body(&d.Notification, MaxBody)
	if err != nil {
		return refuse(err)
	}
	attempt := s.client.Begin(ctx)
	defer attempt.End()
	o := s.send(attempt, &d, to, text)
	if o.Status != http.StatusRequestEntityTooLarge {
		return o
	}
	if text, err = Body(&d.Notification, len(text)/2); err != nil {
		return o
	}
	return s.send(attempt, &d, to, text)
}

func refuse(err error) pushers.Outcome {
	return pushers.Outcome{Verdict: pushers.Drop, Reason: reasonBadNotification, Cause: err}
}

// send makes one request.
func (s *Sender) send(attempt *outbound.Attempt, d *pushers.Delivery, to *subscription, text []byte) pushers.Outcome {
	sealed, err := s.sealer.seal(text, to)
	if err != nil {
		return refuse(err)
	}
	header, key, err := s.vapid.authorize(to.audience)
	if err != nil {
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reasonSigning, Cause: err}
	}
	ttl := s.ttl(d)
	request := outbound.Request{URL: to.endpoint, Body: sealed, Header: http.Header{
		"Authorization": {header}, "Content-Encoding": {"aes128gcm"}, "Content-Type": {"application/octet-stream"}, "User-Agent": {outbound.UserAgent},
		"Ttl": {strconv.Itoa(ttl)}, "Urgency": {urgency(&d.Notification)},
	}}
	if topic := topic(d, to); topic != "" {
		request.Header["Topic"] = []string{topic}
	}
	if s.relay != nil {
		request.URL, request.Host = s.relayed(to.endpoint), to.endpoint.Host
	}
	answer := attempt.Post(request)
	o := classify(answer, ttl, s.clock.Now(), func() bool { return s.vapid.refuse(to, key) })
	if o.Verdict == pushers.Delivered {
		s.vapid.accept(to, key)
	}
	return o
}

// ttl is how many seconds a push service may keep a notification for a browser that is away (RFC 8030, section 5.2).
func (s *Sender) ttl(d *pushers.Delivery) int {
	left := maxTTL
	if !d.Expires.IsZero() {
		left = min(left, d.Expires.Sub(s.clock.Now()))
	}
	if s.cfg.TTL > 0 {
		left = min(left, s.cfg.TTL)
	}
	return int(max(left, 0) / time.Second)
}

// urgency says for what a browser is to be woken (RFC 8030, section 5.3): calls, even when its battery is low; what is of high priority, but then; the rest, when
// it has power or Wi-Fi.
func urgency(n *pushers.Notification) string {
	switch {
	case n.CountsOnly() || n.Prio == pushers.PrioLow:
		return "low"
	case n.Type == "m.call.invite":
		return "high"
	}
	return "normal"
}

// topic makes a message take the place of one with the same topic that waits still (RFC 8030, section 5.4): counts always, as only the newest are true; events of
// one room if the pusher asks for it. It is a hash of user and room, so that it tells nobody of either.
func topic(d *pushers.Delivery, to *subscription) string {
	n := &d.Notification
	what := "counts"
	switch {
	case n.CountsOnly():
	case to.onlyLast && n.RoomID != "":
		what = "room\x00" + n.RoomID
	default:
		return ""
	}
	sum := sha256.Sum256([]byte(d.UserID + "\x00" + what))
	return base64.RawURLEncoding.EncodeToString(sum[:24]) // 32 characters, the most there may be
}

// relayed is where the relay is asked for an endpoint.
func (s *Sender) relayed(endpoint *url.URL) *url.URL {
	u := *endpoint
	u.Scheme, u.Host = s.relay.Scheme, s.relay.Host
	if base := strings.TrimSuffix(s.relay.Path, "/"); base != "" {
		u.Path = base + endpoint.Path
		u.RawPath = strings.TrimSuffix(s.relay.EscapedPath(), "/") + endpoint.EscapedPath()
	}
	return &u
}
