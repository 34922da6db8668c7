// Package gateway tells Matrix push gateways of notifications: POST /_matrix/push/v1/notify of the Push Gateway API.
//
// The URL of a gateway comes from a user, so it is hostile until proven otherwise: [Config] says which are pushed to, and addresses are checked
// when they are dialled. Replies are bounded in size and time, redirects are not followed, no proxy of the environment is used, and a configured one is told
// addresses that were checked.
//
// A [Sender] makes one attempt and says what came of it as a [pushers.Outcome]; whether there is another one is not decided here. The way
// of a notification through the package: target (may we?), [Body] (what to say), exchange (say it), classify (what the answer means).
package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"sync/atomic"
	"time"

	"tocsin/clock"
	"tocsin/pushers"
)

// Config says whom to push to and how long to wait. The zero value is the strictest policy with the standard limits.
type Config struct {
	Path          string         // of the URL of a gateway; "": [StandardPath]; [AnyPath]: whatever it is
	AllowHTTP     bool           // allow URLs without TLS, for closed networks
	AllowNetworks []netip.Prefix // allow addresses that are not public, for gateways of one's own
	AllowHosts    []string       // allow these hosts wherever they are: names, or patterns in which * stands for one label or a part of it, ** for any number
	Proxy         Proxy          // the way to all gateways; the zero value is none, whatever the environment says
	Timeout       time.Duration  // of an attempt, from resolving the name to the last byte of the reply; 0: 10 s. Half of it is for the connection, four fifths are for the header
	Connections   int            // idle connections that are kept for each gateway: as many as there are requests at once; 0: 64
	RootCAs       *x509.CertPool // authorities to trust; nil: the system's
}

// Options are what a Sender is embedded with. The zero value is the real world.
type Options struct {
	// Dial makes each connection, of https URLs too, which are then spoken to without TLS: what it returns may be a TLS connection already, or the end
	// of a pipe. It stands in for the network as a whole, so the address policy is its own. Its network is "tcp" for http URLs and "tls" for https ones.
	// nil dials the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Wrap stands around each exchange and sees the request as it goes out; it may add headers. nil adds nothing.
	Wrap func(http.RoundTripper) http.RoundTripper
	// Resolver looks up the hosts of gateways; nil is the system's.
	Resolver *net.Resolver
	// Clock is what a Retry-After that is a date is held against; nil is the machine's.
	Clock clock.Clock
}

const (
	maxReply       = 64 << 10
	defaultTimeout = 10 * time.Second
	defaultIdle    = 64
	idleTimeout    = 90 * time.Second
	userAgent      = "tocsin"
)

// Sender sends notifications to the gateways of their pushers. It is safe for concurrent use, and bounds nothing but time: whoever calls it decides how
// many requests there are at once.
type Sender struct {
	cfg       Config
	clock     clock.Clock
	transport *http.Transport
	exchanges http.RoundTripper // transport, and what Options.Wrap put around it
	wrapped   bool              // it did
	header    http.Header       // of each request
}

// New makes a Sender. Close it when nobody sends any more.
func New(cfg Config, opts Options) *Sender {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Connections <= 0 {
		cfg.Connections = defaultIdle
	}
	if opts.Clock == nil {
		opts.Clock = clock.System{}
	}
	s := &Sender{cfg: cfg, clock: opts.Clock, transport: newTransport(cfg, opts), wrapped: opts.Wrap != nil}
	s.header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}, "User-Agent": {userAgent}}
	s.exchanges = s.transport
	if opts.Wrap != nil {
		s.exchanges = opts.Wrap(s.transport)
	}
	return s
}

// newTransport follows no redirect, and knows no proxy but the configured one. HTTP/1.1 costs less than HTTP/2 and tells exactly what has left.
func newTransport(cfg Config, opts Options) *http.Transport {
	var onlyHTTP1 http.Protocols
	onlyHTTP1.SetHTTP1(true)
	connecting := cfg.Timeout / 2
	d := &dialer{guard: newGuard(cfg.AllowNetworks, cfg.AllowHosts), net: net.Dialer{Timeout: connecting, Resolver: opts.Resolver}, proxy: newProxy(cfg)}
	t := &http.Transport{
		DialContext:            d.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs},
		TLSHandshakeTimeout:    connecting,
		Protocols:              &onlyHTTP1,
		MaxIdleConnsPerHost:    cfg.Connections,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxReply,
		DisableCompression:     true, // a small reply may unpack to a huge one
	}
	if opts.Dial != nil {
		t.DialContext = opts.Dial
		t.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) { return opts.Dial(ctx, "tls", address) }
	}
	return t
}

// Close closes the idle connections.
func (s *Sender) Close() { s.transport.CloseIdleConnections() }

// Send makes one attempt to tell the gateway of n's pusher, and says what came of it. A notification that is too large for the gateway is sent
// once more without its content, within the same attempt.
func (s *Sender) Send(ctx context.Context, n pushers.Notification) pushers.Outcome {
	ctx, limit := s.limit(ctx)
	defer limit.cancel()
	return s.alone(ctx, limit, n)
}

// SendBundle is Send for notifications whose [Bundle] is the same: it tells all their devices in one request, and says what came of each. Their
// pushkeys differ. A bundle that is too large for the gateway is taken apart and sent one by one, within the same attempt.
func (s *Sender) SendBundle(ctx context.Context, ns []pushers.Notification) []pushers.Outcome {
	ctx, limit := s.limit(ctx)
	defer limit.cancel()
	if len(ns) == 1 {
		return []pushers.Outcome{s.alone(ctx, limit, ns[0])}
	}
	outcomes := s.send(ctx, limit, ns)
	if outcomes[0].Status == http.StatusRequestEntityTooLarge {
		for i, n := range ns {
			outcomes[i] = s.alone(ctx, limit, n)
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

func (s *Sender) alone(ctx context.Context, limit limit, n pushers.Notification) pushers.Outcome {
	o := s.send(ctx, limit, []pushers.Notification{n})[0]
	if o.Status == http.StatusRequestEntityTooLarge && n.Content != nil && n.Device.Pusher.Format != pushers.FormatEventIDOnly {
		n.Content = nil
		o = s.send(ctx, limit, []pushers.Notification{n})[0]
	}
	return o
}

// send makes one request for all of ns, and says what came of each.
func (s *Sender) send(ctx context.Context, limit limit, ns []pushers.Notification) []pushers.Outcome {
	pushkeys := make([]string, len(ns))
	devices := make([]*pushers.Device, len(ns))
	for i := range ns {
		pushkeys[i], devices[i] = ns[i].Device.Pusher.Pushkey.Reveal(), &ns[i].Device
	}
	to, err := s.cfg.target(ns[0].Device.Pusher.URL)
	if err != nil {
		return classify(attempt{err: err}, pushkeys, time.Time{})
	}
	body, err := body(&ns[0], devices)
	if err != nil {
		return same(pushers.Outcome{Verdict: pushers.Drop, Reason: reasonBadNotification, Cause: err}, len(ns))
	}
	a := s.exchange(ctx, limit, to, body)
	if a.status < 300 {
		return classify(a, pushkeys, time.Time{})
	}
	return classify(a, pushkeys, s.clock.Now())
}

// limit is how long an attempt may take: until then as a whole, and each of its requests so long till the header of the reply is there.
type limit struct {
	end    time.Time
	header time.Duration
	cancel context.CancelFunc
}

// limit begins an attempt.
func (s *Sender) limit(ctx context.Context) (context.Context, limit) {
	ctx, cancel := context.WithCancel(ctx)
	return ctx, limit{end: time.Now().Add(s.cfg.Timeout), header: s.cfg.Timeout * 4 / 5, cancel: cancel}
}

// exchange makes one request and reads the reply to its end, so that the connection can be used again.
func (s *Sender) exchange(ctx context.Context, limit limit, to *url.URL, body []byte) attempt {
	var progress progress
	timer := time.AfterFunc(min(limit.header, time.Until(limit.end)), limit.cancel)
	defer timer.Stop()
	resp, err := s.exchanges.RoundTrip(s.request(progress.trace(ctx), to, body))
	a := attempt{err: err, sent: progress.sent.Load(), reused: progress.reused.Load(), began: progress.began.Load(), shaking: progress.shaking.Load()}
	if err != nil {
		return a
	}
	defer resp.Body.Close()
	timer.Reset(time.Until(limit.end))
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, a.bodyErr = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if len(a.body) > maxReply {
		a.bodyErr = fmt.Errorf("the reply is longer than %d bytes", maxReply)
	}
	return a
}

func (s *Sender) request(ctx context.Context, to *url.URL, body []byte) *http.Request {
	header := s.header
	if s.wrapped {
		header = header.Clone() // others may add to it
	}
	newBody := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	reader, _ := newBody()
	return (&http.Request{
		Method:        http.MethodPost,
		URL:           to,
		Header:        header,
		Body:          reader,
		GetBody:       newBody, // for a connection that turns out to be closed before the first byte is written
		ContentLength: int64(len(body)),
	}).WithContext(ctx)
}

// progress is how far a request came. The transport reports it from goroutines of its own.
type progress struct{ sent, reused, began, shaking atomic.Bool }

func (p *progress) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(conn httptrace.GotConnInfo) {
			p.reused.Store(conn.Reused)
			p.shaking.Store(false)
			p.sent.Store(false) // a request starts anew on each connection that it is given
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.sent.Store(true)
			}
		},
		TLSHandshakeStart:    func() { p.shaking.Store(true) },
		GotFirstResponseByte: func() { p.began.Store(true) },
	})
}
