// Package outbound makes requests to servers whose addresses come from users: push gateways, and the push services of browsers.
//
// Such an address is hostile until proven otherwise. [ParseURL] takes what is a URL at all; addresses are checked when they are dialled, after the name was
// resolved ([Config] has the exceptions); replies are bounded in size and time, redirects are not followed, no proxy of the environment is used, and a configured
// one is told addresses that were checked.
//
// A [Client] makes an [Attempt] of one or more requests, and gives back an [Answer]. What an answer means is for the wire formats, which have a table each;
// what it means that there is none is the same for all: [Answer.Failure].
//
// FCM and APNs have clients of their own: their addresses are not hostile, and they speak HTTP/2. What errors, statuses and Retry-After say is the same for them, too:
// [IsTimeout], [IsDNS], [IsTLS], [StatusReason], [RetryAfter].
package outbound

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
	"slices"
	"sync/atomic"
	"time"
)

// Config says whom a Client may connect to, and how long it waits. The zero value is the strictest policy with the standard limits.
type Config struct {
	AllowNetworks []netip.Prefix // allow addresses that are not public, for servers of one's own
	AllowHosts    []string       // allow these hosts wherever they are: names, or patterns in which * stands for one label or a part of it, ** for any number
	Proxy         Proxy          // the way to all servers; the zero value is none, whatever the environment says
	Timeout       time.Duration  // of an attempt, from resolving the name to the last byte of the reply; 0: 10 s. Half of it is for the connection, four fifths are for the header
	Connections   int            // idle connections that are kept for each host: as many as there are requests at once; 0: 64
	RootCAs       *x509.CertPool // authorities to trust; nil: the system's
}

// Trust is the configuration that also allows a host of the operator's own, a name or an address, wherever it is.
func (c Config) Trust(host string) Config {
	if addr, err := netip.ParseAddr(host); err == nil {
		c.AllowNetworks = append(slices.Clip(c.AllowNetworks), netip.PrefixFrom(addr, addr.BitLen()))
	} else {
		c.AllowHosts = append(slices.Clip(c.AllowHosts), host)
	}
	return c
}

// Options are what a Client is embedded with. The zero value is the real world.
type Options struct {
	// Dial makes each connection, of https URLs too, which are then spoken to without TLS: what it returns may be a TLS connection already, or the end
	// of a pipe. It stands in for the network as a whole, so the address policy is its own. Its network is "tcp" for http URLs and "tls" for https ones.
	// nil dials the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Wrap stands around each exchange and sees the request as it goes out; it may add headers. nil adds nothing.
	Wrap func(http.RoundTripper) http.RoundTripper
	// Resolver looks up hosts; nil is the system's.
	Resolver *net.Resolver
}

const (
	maxReply       = 64 << 10
	defaultTimeout = 10 * time.Second
	defaultIdle    = 64
	idleTimeout    = 90 * time.Second
)

// UserAgent is who we say we are, to servers and proxies alike.
const UserAgent = "tocsin"

// Client makes requests. It is safe for concurrent use, and bounds nothing but time and the size of replies: whoever calls it decides how many requests there
// are at once.
type Client struct {
	timeout   time.Duration
	transport *http.Transport
	exchanges http.RoundTripper // transport, and what Options.Wrap put around it
	wrapped   bool              // it did
}

// New makes a Client. Close it when nobody sends any more.
func New(cfg Config, opts Options) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Connections <= 0 {
		cfg.Connections = defaultIdle
	}
	c := &Client{timeout: cfg.Timeout, transport: newTransport(cfg, opts), wrapped: opts.Wrap != nil}
	c.exchanges = c.transport
	if opts.Wrap != nil {
		c.exchanges = opts.Wrap(c.transport)
	}
	return c
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
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// Attempt is one or more requests that share the time which an attempt may take: all of it as a whole, and each so long till the header of the reply is there.
type Attempt struct {
	client *Client
	ctx    context.Context
	cancel context.CancelFunc
	end    time.Time
	header time.Duration
}

// Begin begins an attempt. End it when its answers have been read.
func (c *Client) Begin(ctx context.Context) *Attempt {
	ctx, cancel := context.WithCancel(ctx)
	return &Attempt{client: c, ctx: ctx, cancel: cancel, end: time.Now().Add(c.timeout), header: c.timeout * 4 / 5}
}

// End releases what the attempt holds.
func (a *Attempt) End() { a.cancel() }

// Request is a POST request. Its parts are not changed, and may be shared by many.
type Request struct {
	URL    *url.URL
	Host   string // as the request names it; "": that of URL, which is connected to in any case
	Header http.Header
	Body   []byte
}

// Answer is all that is known of one request when it is over.
type Answer struct {
	Status  int // 0 if none came
	Header  http.Header
	Body    []byte
	BodyErr error // why Body is not complete; nil if it is
	Err     error // why there is no answer

	sent    bool // the request left: it may have been received in full
	reused  bool // on a connection that had been idle
	began   bool // an answer began to come
	shaking bool // a TLS handshake began, and no connection came of it
}

// Post makes one request and reads the reply to its end, so that the connection can be used again.
func (a *Attempt) Post(r Request) Answer {
	var progress progress
	timer := time.AfterFunc(min(a.header, time.Until(a.end)), a.cancel)
	defer timer.Stop()
	resp, err := a.client.exchanges.RoundTrip(a.client.request(progress.trace(a.ctx), r))
	answer := Answer{Err: err, sent: progress.sent.Load(), reused: progress.reused.Load(), began: progress.began.Load(), shaking: progress.shaking.Load()}
	if err != nil {
		return answer
	}
	defer resp.Body.Close()
	timer.Reset(time.Until(a.end))
	answer.Status, answer.Header = resp.StatusCode, resp.Header
	answer.Body, answer.BodyErr = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if len(answer.Body) > maxReply {
		answer.BodyErr = fmt.Errorf("the reply is longer than %d bytes", maxReply)
	}
	return answer
}

func (c *Client) request(ctx context.Context, r Request) *http.Request {
	header := r.Header
	if c.wrapped {
		header = header.Clone() // others may add to it
	}
	newBody := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(r.Body)), nil }
	reader, _ := newBody()
	return (&http.Request{
		Method:        http.MethodPost,
		URL:           r.URL,
		Host:          r.Host,
		Header:        header,
		Body:          reader,
		GetBody:       newBody, // for a connection that turns out to be closed before the first byte is written
		ContentLength: int64(len(r.Body)),
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
