package apns

// One attempt to tell a device.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"

	"github.com/sideshow/apns2"
	"golang.org/x/net/http2"

	"tocsin/clock"
	"tocsin/credential"
	"tocsin/pushers"
)

// Options are what a Sender is embedded with. The zero value is the real world.
type Options struct {
	// Tokens makes the provider tokens. All senders of a process must share one; nil makes one for this sender alone.
	Tokens *Tokens
	// Dial makes the connections below TLS; nil dials the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Wrap stands around each request and sees it as it goes out, but for its credential; it may add headers. The path has the device token. nil adds nothing.
	Wrap func(http.RoundTripper) http.RoundTripper
	// Clock is what a Retry-After that is a date is held against; nil is the machine's. Provider tokens go by the machine's in any case, which Apple checks.
	Clock clock.Clock
	// Log hears of new credentials; nil: slog.Default().
	Log *slog.Logger
}

// Sender sends the notifications of one app. It is safe for concurrent use, and bounds nothing but time: whoever calls it decides how many requests there are at once.
type Sender struct {
	cfg      Config
	clock    clock.Clock
	log      *slog.Logger
	client   *apns2.Client
	tokens   *Tokens
	links    *links
	watching *credential.Watcher
}

// New makes a Sender for an app whose configuration is valid. An error begins with the key of the configuration that it is about. Close it when nobody sends any more.
func New(cfg Config, opts Options) (*Sender, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	var roots *x509.CertPool // the system's
	if cfg.CAFile != "" {
		var err error
		if roots, err = credential.Authorities(cfg.CAFile); err != nil {
			return nil, err
		}
	}
	id, err := load(cfg)
	if err != nil {
		return nil, err
	}
	if opts.Clock == nil {
		opts.Clock = clock.System{}
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.Tokens == nil {
		opts.Tokens = NewTokens()
	}
	s := &Sender{cfg: cfg, clock: opts.Clock, log: opts.Log, client: newClient(cfg.base(), opts.Wrap), tokens: opts.Tokens}
	s.links = newLinks(newDialer(cfg, opts, roots), id, cfg.Connections)
	s.watching = credential.Watch(cfg.files(), s.reload, opts.Log)
	return s, nil
}

// Close closes the connections, and stops looking at the files of the credentials.
func (s *Sender) Close() {
	s.watching.Stop()
	s.links.close()
}

// Send makes one attempt to tell the device of d's pusher, and says what came of it. What Apple's answer says can be helped at once, by another provider token, payload or
// connection, is helped and sent again within the same attempt. Of a push that was or may have been received nothing is sent twice.
func (s *Sender) Send(ctx context.Context, d pushers.Delivery) pushers.Outcome {
	p, err := s.cfg.push(&d)
	if err != nil {
		return pushers.Outcome{Verdict: pushers.Drop, Reason: reasonBadPushkey, Cause: err}
	}
	if p.payload.object == nil {
		return pushers.Outcome{Verdict: pushers.Delivered, Reason: reasonNothing}
	}
	x := &exchange{push: &p, body: p.payload.body(s.cfg.limit())}
	return s.deliver(ctx, x, d.Notification.Device.Pusher.PushkeyTS)
}

// deliver makes one attempt with x; registered is when its pushkey was set. Each remedy is tried within the time of the attempt.
func (s *Sender) deliver(ctx context.Context, x *exchange, registered int64) pushers.Outcome {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	tries := map[remedy]int{renewToken: 1, shrink: 1, reconnect: 2}
	for {
		j := s.try(ctx, x, registered)
		if tries[j.remedy] == 0 || ctx.Err() != nil || !s.help(x, j.remedy) {
			return j.outcome
		}
		tries[j.remedy]--
	}
}

// Account is what Apple counts by, whose wish to be left alone concerns all apps that prove themselves with it: team and key, at one host; or "" of a certificate. Another environment, or a relay,
// speaks for itself.
func (s *Sender) Account() string { return s.links.present().account }

// Tells says whether the app is told of n at all; [Sender.Send] settles what it is not told without a request.
func (s *Sender) Tells(n *pushers.Notification) bool { return s.cfg.subject(n) != noSubject }

// Shows says whether the device does anything with what it is told of n: it is for nothing without aps, which event_id_only leaves to default_payload of the pusher's data.
func (s *Sender) Shows(n *pushers.Notification) bool { return len(s.cfg.payload(n).object.aps()) > 0 }

// help does what may help x; false if it can't.
func (s *Sender) help(x *exchange, r remedy) bool {
	switch r {
	case renewToken:
		if x.link == nil || x.link.identity.key == nil {
			return false
		}
		bearer, err := s.tokens.after(*x.link.identity.key, x.bearer)
		return err == nil && bearer != ""
	case shrink:
		x.body = x.push.payload.body(len(x.body) / 2)
	}
	return true
}

// try makes one request.
func (s *Sender) try(ctx context.Context, x *exchange, registered int64) judgement {
	f := facts{registered: registered, now: s.clock.Now()}
	l, err := s.links.get(ctx)
	if err != nil {
		j := classify(attempt{err: err, certified: s.links.present().certificate != nil}, f)
		if failed := (*dialError)(nil); errors.As(err, &failed) && failed.number != 0 {
			j.outcome.Connection = fmt.Sprintf("dial %d", failed.number) // all who waited for it have the same
		}
		return j
	}
	defer s.links.put(l)
	f.proven = l.identity.proven(f.now)
	a := attempt{linked: true, certified: l.identity.certificate != nil}
	began := time.Now().UnixNano()
	x.link = l
	if a.err = s.exchange(ctx, x, &a); a.err != nil {
		a.goAway, a.alert, a.silent = l.frames.goAway.Load(), l.frames.alert.Load(), l.frames.heard.Load() < began
	}
	j := classify(a, f)
	if stream := (http2.StreamError{}); a.status == 0 && !cutShort(a.err) && !errors.As(a.err, &stream) {
		j.outcome.Connection = l.frames.LocalAddr().String()
	}
	if j.outcome.Verdict == pushers.Delivered {
		l.identity.accepted.Store(f.now.UnixNano())
	}
	if j.replace {
		s.links.replace(l)
	}
	return j
}

// exchange sends x on its connection.
func (s *Sender) exchange(ctx context.Context, x *exchange, a *attempt) error {
	if key := x.link.identity.key; key != nil {
		bearer, err := s.tokens.get(*key)
		if err != nil {
			return &dialError{reason: reasonCredential, err: err}
		}
		x.bearer = bearer
	}
	leave, err := x.link.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var progress progress
	x.status, x.header, x.reply = 0, nil, nil
	err = x.run(progress.trace(ctx), s.client)
	a.sent = progress.left(err)
	if x.status != 0 {
		a.status, a.header, a.reply, err = x.status, x.header, x.reply, nil
	}
	return err
}

// progress is how far a request came. The transport reports it from goroutines of its own.
type progress struct{ began, written atomic.Bool }

func (p *progress) trace(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { p.began.Store(true) },
		WroteRequest: func(info httptrace.WroteRequestInfo) {
			if info.Err == nil {
				p.written.Store(true)
			}
		},
	})
}

// left says that the request may have been received in full, now that err has ended it. A request that is cut short by time may still be about to be written.
func (p *progress) left(err error) bool {
	return p.written.Load() || p.began.Load() && cutShort(err)
}

// reload reads the files of the credentials, and proves itself with what they hold if that is new. What can't be read leaves the old ones as they are.
func (s *Sender) reload() error {
	id, err := load(s.cfg)
	if err != nil {
		return err
	}
	if id.print == s.links.present().print {
		return nil
	}
	s.links.prove(id)
	s.log.Info("new credentials for APNs are in use", "topic", s.cfg.Topic, "expiry", id.expiry())
	return nil
}

// ExpiryNotice is how long before its expiry a certificate is worth a warning.
const ExpiryNotice = 30 * 24 * time.Hour

// Expiry is when the app's certificate expires; the zero time if it uses a key, which never does.
func (s *Sender) Expiry() time.Time { return s.links.present().expiry() }

// Warning says that the certificate expires soon, has expired, or is not valid yet; "" if it is well.
func (s *Sender) Warning(now time.Time) string {
	at := s.Expiry()
	left := at.Sub(now)
	switch from := s.links.present().validFrom(); {
	case now.Before(from):
		return fmt.Sprintf("%s: the certificate is not valid before %s: is it the right file, and is the clock right?", s.cfg.CertFile, from.UTC().Format(time.RFC3339))
	case at.IsZero() || left > ExpiryNotice:
		return ""
	case left <= 0:
		return fmt.Sprintf("%s: the certificate has expired at %s: nothing is pushed until there is a new one", s.cfg.CertFile, at.UTC().Format(time.RFC3339))
	}
	return fmt.Sprintf("%s: the certificate expires in %d days, at %s", s.cfg.CertFile, int(left.Hours()/24), at.UTC().Format(time.RFC3339))
}
