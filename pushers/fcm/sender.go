// Package fcm tells devices of notifications through Firebase Cloud Messaging, by its HTTP v1 API: POST /v1/projects/{project}/messages:send.
//
// A [Sender] sends for one app, with the service account whose key file [Config] names. It makes one attempt and says what came of it as a [pushers.Outcome]; whether there
// is another one is not decided here. The way of a notification through the package: [Config.Body] (what to say, in no more bytes than FCM takes), tokens (who says
// it), exchange (say it), classify (what the answer means). Two answers are worth saying it a second time within the same attempt: that the access token is too old,
// and that the message is too big.
//
// [Sender.Check] asks FCM whether it would take a message, and sends none.
//
// What goes through in a second, and what processor time it takes: go test -run '^$' -bench Throughput ./pushers/fcm. Nothing is lost at faults:
// TOCSIN_TEST_SOAK=50000 go test -run Soak ./pushers/fcm.
package fcm

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/oauth2"

	"tocsin/clock"
	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// Options are what a Sender is embedded with. The zero value is the real world.
type Options struct {
	// RootCAs are authorities to trust instead of the system's; Config.CAFile counts before them. nil: the system's.
	RootCAs *x509.CertPool
	// Proxy is an HTTP proxy that everything goes through, by CONNECT, with name and password if it needs them; nil: none, whatever the environment says.
	Proxy *url.URL
	// Wrap stands around each exchange, also those with the token endpoint, and sees the request as it goes out, credentials included; it may add headers. nil adds nothing.
	Wrap func(http.RoundTripper) http.RoundTripper
	// Clock is what decides how long a message is worth keeping, and what a Retry-After that is a date is held against; nil is the machine's.
	Clock clock.Clock
	// Log hears of changes of the key file; nil: slog.Default().
	Log *slog.Logger
}

// maxReply bounds what is read of a reply.
const maxReply = 64 << 10

// Sender sends notifications for one app. It is safe for concurrent use, and bounds nothing but time: whoever calls it decides how many requests there are at once.
type Sender struct {
	cfg       Config
	clock     clock.Clock
	carrier   *carrier
	exchanges http.RoundTripper // carrier, and what Options.Wrap put around it
	keeper    keeper

	watching *credential.Watcher // of the key file
	life     context.Context     // of what the Sender does by itself, for all who send: Close ends it, and waits for that
	stop     context.CancelFunc
	running  sync.WaitGroup // fetches of tokens
}

// New makes a Sender. An error begins with the key of the configuration that can't be used. Close it when nobody sends any more.
func New(cfg Config, opts Options) (*Sender, error) {
	if opts.Clock == nil {
		opts.Clock = clock.System{}
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if cfg.CAFile != "" {
		var err error
		if opts.RootCAs, err = credential.Authorities(cfg.CAFile); err != nil {
			return nil, err
		}
	}
	s := &Sender{cfg: cfg, clock: opts.Clock, carrier: newCarrier(cfg, opts)}
	s.exchanges = s.carrier
	if opts.Wrap != nil {
		s.exchanges = opts.Wrap(s.carrier)
	}
	s.keeper = keeper{path: cfg.ServiceAccountFile, parse: s.account, log: opts.Log}
	if err := s.keeper.read(); err != nil {
		return nil, err
	}
	s.life, s.stop = context.WithCancel(context.Background())
	s.watching = credential.Watch([]string{cfg.ServiceAccountFile}, s.keeper.read, opts.Log)
	return s, nil
}

// account is parseAccount with a way to the token endpoint.
func (s *Sender) account(raw []byte) (*account, error) {
	a, err := parseAccount(raw, s.cfg)
	if err != nil {
		return nil, err
	}
	a.tokens.group = &s.running
	a.tokens.fetch = func() (*oauth2.Token, error) {
		ctx, cancel := context.WithTimeout(s.life, s.cfg.Timeout)
		defer cancel()
		return fetchToken(ctx, &a.keys, s.exchanges, s.clock.Now)
	}
	return a, nil
}

// Close ends what the Sender does by itself, and closes the idle connections.
func (s *Sender) Close() {
	s.watching.Stop()
	s.stop()
	s.running.Wait()
	s.carrier.close()
}

// Project is the Firebase project that messages are sent for.
func (s *Sender) Project() string { return s.keeper.current.Load().project }

// Account is the project at its host, whose quota all apps in it share.
func (s *Sender) Account() string { return s.keeper.current.Load().name }

// Send makes one attempt to tell FCM of d, and says what came of it.
func (s *Sender) Send(ctx context.Context, d pushers.Delivery) pushers.Outcome {
	m, err := s.cfg.message(&d, s.clock.Now())
	if err != nil {
		return pushers.Outcome{Verdict: pushers.Drop, Reason: reasonBadNotification, Cause: err}
	}
	o, a := s.deliver(ctx, m.body)
	if o.Verdict == pushers.Delivered {
		a.account.proven.Store(true)
	}
	return o
}

// deliver makes one attempt with the body that write makes for a limit. Each remedy is worth a second request, within the time of the attempt.
func (s *Sender) deliver(ctx context.Context, write func(limit int) []byte) (pushers.Outcome, attempt) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	body, tried := write(maxBody), none
	for {
		account := s.keeper.current.Load()
		token, err := account.tokens.get(ctx)
		if failed := (*tokenError)(nil); errors.As(err, &failed) {
			return failed.outcome, attempt{}
		}
		a := s.exchange(ctx, account, token, body)
		o, fix := classify(a, account.proven.Load(), s.clock.Now())
		if stream := (http2.StreamError{}); a.err != nil && !outbound.IsTimeout(a.err) && !errors.As(a.err, &stream) {
			o.Connection = a.connection
		}
		if fix == none || tried&fix != 0 {
			return o, a
		}
		tried |= fix
		switch fix {
		case refresh:
			account.tokens.void(token)
		case shrink:
			shorter := write(len(body) / 2)
			if len(shorter) >= len(body) {
				return o, a
			}
			body = shorter
		}
	}
}

// exchange makes one request and reads the answer to its end, so that the connection can be used again.
func (s *Sender) exchange(ctx context.Context, account *account, token credential.Secret, body []byte) attempt {
	var progress progress
	resp, err := s.exchanges.RoundTrip(request(progress.trace(ctx), account.send, token, body))
	a := attempt{account: account, err: err, sent: progress.sent.Load(), shaking: progress.shaking.Load()}
	if err != nil {
		if conn := progress.conn.Load(); conn != nil {
			a.connection = (*conn).LocalAddr().String()
		}
		return a
	}
	defer resp.Body.Close()
	a.status, a.header = resp.StatusCode, resp.Header
	a.body, a.bodyErr = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if len(a.body) > maxReply {
		a.bodyErr = fmt.Errorf("the answer is longer than %d bytes", maxReply)
	}
	return a
}

func request(ctx context.Context, to *url.URL, token credential.Secret, body []byte) *http.Request {
	newBody := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	reader, _ := newBody()
	return (&http.Request{
		Method: http.MethodPost,
		URL:    to,
		Header: http.Header{
			"Authorization": {"Bearer " + token.Reveal()},
			"Content-Type":  {"application/json"},
			"Accept":        {"application/json"},
			"User-Agent":    {outbound.UserAgent},
		},
		Body:          reader,
		GetBody:       newBody, // for a connection that closes before it has taken the request
		ContentLength: int64(len(body)),
	}).WithContext(ctx)
}

// progress is how far a request came. The transport reports it from goroutines of its own.
type progress struct {
	sent, shaking atomic.Bool
	conn          atomic.Pointer[net.Conn] // that it was given last
}

func (p *progress) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			p.conn.Store(&info.Conn)
			p.shaking.Store(false)
			p.sent.Store(false) // a request starts anew on each connection that it is given
		},
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.sent.Store(true)
			}
		},
		TLSHandshakeStart: func() { p.shaking.Store(true) },
	})
}
