package apns

// Connections to Apple: few, long, and replaced when they are worn.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"tocsin/pushers/outbound"
)

const (
	pingAfter   = 30 * time.Second // of silence on a connection
	pingTimeout = 10 * time.Second // until a ping is answered, or the connection is given up
	// worn is how old a connection must be to be replaced without having been given up: a server that is in trouble must not be dialled at each request.
	worn = time.Second
)

// link is one connection to Apple. users and retired are guarded by links.mu.
type link struct {
	client   *http.ClientConn
	frames   *frames
	identity *identity
	made     time.Time
	probe    chan struct{} // holds who makes the first request

	users   int
	retired bool
}

// fit says that the connection takes requests.
func (l *link) fit() bool {
	return !l.retired && l.frames.goAway.Load() == nil && l.client.Err() == nil
}

// enter waits until the connection takes more than one request. Until it has accepted a credential Apple allows one stream, and refuses those that come meanwhile; so the first
// request goes alone, and if it gets no answer the next. Whoever has entered calls leave when its request is over.
func (l *link) enter(ctx context.Context) (leave func(), err error) {
	select {
	case <-l.frames.answered:
		return func() {}, nil
	default:
	}
	select {
	case <-l.frames.answered:
		return func() {}, nil
	case l.probe <- struct{}{}:
		return func() { <-l.probe }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// links are the connections of a sender, each in a place of its own. They are safe for concurrent use.
type links struct {
	dialer  dialer
	dialing sync.WaitGroup
	ctx     context.Context // of dialling, for all who wait for a connection: close ends it, and waits for that
	cancel  context.CancelFunc

	mu       sync.Mutex
	identity *identity // of connections that are made from now on
	places   []place
	next     int
	failed   int // dials that came to nothing
}

// place holds a connection, or is waiting for one.
type place struct {
	link *link
	dial *dial
}

// dial is a connection under way: for everyone who wants it, whoever asked first.
type dial struct {
	done chan struct{}
	err  error
}

func newLinks(d dialer, id *identity, number int) *links {
	ls := &links{dialer: d, identity: id, places: make([]place, number)}
	ls.ctx, ls.cancel = context.WithCancel(context.Background())
	return ls
}

// get hands out a connection, a new one if there is none. Whoever gets it calls put.
func (ls *links) get(ctx context.Context) (*link, error) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.next = (ls.next + 1) % len(ls.places)
	at := &ls.places[ls.next]
	for {
		if at.link != nil && !at.link.fit() {
			ls.retire(at)
		}
		if at.link != nil {
			at.link.users++
			return at.link, nil
		}
		if ls.ctx.Err() != nil {
			return nil, &dialError{reason: reasonConnect, err: errors.New("the sender is closed")}
		}
		if at.dial == nil {
			d, id := &dial{done: make(chan struct{})}, ls.identity
			at.dial = d
			ls.dialing.Go(func() { ls.fill(at, d, id) })
		}
		if err := ls.await(ctx, at.dial); err != nil {
			return nil, err
		}
	}
}

// await waits for a dial. It gives the lock away meanwhile.
func (ls *links) await(ctx context.Context, d *dial) error {
	ls.mu.Unlock()
	defer ls.mu.Lock()
	select {
	case <-d.done:
		return d.err
	case <-ctx.Done():
		return &dialError{reason: reasonConnect, err: ctx.Err()}
	}
}

// fill makes a connection and puts it into its place.
func (ls *links) fill(at *place, d *dial, id *identity) {
	l, err := ls.dialer.dial(ls.ctx, id)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	at.dial, d.err = nil, err
	if failed := (*dialError)(nil); errors.As(err, &failed) {
		ls.failed++
		failed.number = ls.failed
	}
	if err == nil {
		at.link = l
		if l.identity != ls.identity || ls.ctx.Err() != nil { // they have changed meanwhile
			ls.retire(at)
		}
	}
	close(d.done)
}

// put takes a connection back.
func (ls *links) put(l *link) {
	ls.mu.Lock()
	l.users--
	over := l.retired && l.users == 0
	ls.mu.Unlock()
	if over {
		l.client.Close()
	}
}

// replace takes a connection out of use. Its requests go on to their end.
func (ls *links) replace(l *link) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for i := range ls.places {
		if ls.places[i].link == l && time.Since(l.made) >= worn {
			ls.retire(&ls.places[i])
		}
	}
}

// retire empties a place. The connection is closed when nobody uses it. ls.mu is held.
func (ls *links) retire(at *place) {
	l := at.link
	at.link, l.retired = nil, true
	if l.users == 0 {
		ls.dialing.Go(func() { l.client.Close() }) // which may have to write
	}
}

// prove has another identity from now on: connections with the old one are replaced.
func (ls *links) prove(id *identity) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.identity = id
	for i := range ls.places {
		if ls.places[i].link != nil {
			ls.retire(&ls.places[i])
		}
	}
}

func (ls *links) present() *identity {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.identity
}

// close closes the connections, and waits until they are.
func (ls *links) close() {
	ls.cancel()
	ls.mu.Lock()
	for i := range ls.places {
		if ls.places[i].link != nil {
			ls.retire(&ls.places[i])
		}
	}
	ls.mu.Unlock()
	ls.dialing.Wait()
}

// dialer makes connections. TLS is part of each, whatever the base URL.
type dialer struct {
	address string // host and port
	host    string
	roots   *x509.CertPool
	net     func(ctx context.Context, network, address string) (net.Conn, error)
	timeout time.Duration
}

func newDialer(cfg Config, opts Options, roots *x509.CertPool) dialer {
	u, _ := url.Parse(cfg.base()) // Validate has seen it
	port := u.Port()
	if port == "" {
		port = "443"
	}
	d := dialer{address: net.JoinHostPort(u.Hostname(), port), host: u.Hostname(), roots: roots, net: opts.Dial, timeout: cfg.Timeout / 2}
	if d.net == nil {
		d.net = (&net.Dialer{}).DialContext
	}
	return d
}

// dialError says at which step no connection could be made.
type dialError struct {
	reason string
	err    error
	number int // of the dial, among those of the sender that failed; 0: it was not waited for
}

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }

func (d *dialer) dial(ctx context.Context, id *identity) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	conn, err := d.connect(ctx, id)
	if err != nil {
		return nil, err
	}
	l := &link{frames: watch(conn), identity: id, made: time.Now(), probe: make(chan struct{}, 1)}
	transport := newTransport(func(context.Context, string, string) (net.Conn, error) { return l.frames, nil })
	if l.client, err = transport.NewClientConn(ctx, "https", d.address); err != nil {
		conn.Close()
		return nil, &dialError{reason: reasonConnect, err: err}
	}
	return l, nil
}

// connect is a connection with TLS.
func (d *dialer) connect(ctx context.Context, id *identity) (net.Conn, error) {
	plain, err := d.net(ctx, "tcp", d.address)
	if err != nil {
		reason := reasonConnect
		if outbound.IsDNS(err) {
			reason = reasonDNS
		}
		return nil, &dialError{reason: reason, err: err}
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: d.roots, ServerName: d.host, NextProtos: []string{"h2"}}
	if id.certificate != nil {
		cfg.Certificates = []tls.Certificate{*id.certificate}
	}
	conn := tls.Client(plain, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		plain.Close()
		return nil, &dialError{reason: reasonTLS, err: err}
	}
	if got := conn.ConnectionState().NegotiatedProtocol; got != "h2" {
		plain.Close()
		return nil, &dialError{reason: reasonTLS, err: fmt.Errorf("the server does not speak HTTP/2")}
	}
	return conn, nil
}

// newTransport speaks HTTP/2 over connections that have TLS already. That is what "unencrypted" says here: it is the way to hand it a connection that reads along.
func newTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Transport {
	var onlyHTTP2 http.Protocols
	onlyHTTP2.SetUnencryptedHTTP2(true)
	return &http.Transport{
		DialTLSContext:         dial,
		Protocols:              &onlyHTTP2,
		HTTP2:                  &http.HTTP2Config{StrictMaxConcurrentRequests: true, SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: pingTimeout},
		MaxResponseHeaderBytes: maxReply,
		DisableCompression:     true,
	}
}
