package stack

// The embedded push gateway: it answers as it is told, and shows what it received.

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// Request is one request that the gateway received, and what became of it.
type Request struct {
	URL    string // as the client asked for it, with scheme and host; see [Gateway.Dial]
	Method string
	Header http.Header
	Body   []byte
	Status int // as answered; 0 if the client had gone before the answer
}

// Answer is what the gateway answers to the next Times requests, whatever they carry.
type Answer struct {
	Status   int               // 0: 200
	Rejected []string          // pushkeys to be listed as rejected
	Body     []byte            // in place of that list; nil: the list
	Header   map[string]string // of the answer, such as Retry-After
	Delay    time.Duration     // how long it takes to answer
	Hold     <-chan struct{}   // it answers when that is closed; nil: at once
	Fault    Fault             // what it does in place of answering, or in the midst of it
	Times    int               // how many requests; 0: one
}

// GatewayOptions say how a gateway behaves. The zero value takes everything.
type GatewayOptions struct {
	Address string               // host and port to listen on; "" is a free port of the loopback interface
	TLS     TLS                  // how it speaks TLS there
	Observe func(Request)        // is told of each request when it is answered, one after another; the answer goes out afterwards
	Answer  func(Request) Answer // decides where the script says nothing; nil: takes everything
}

// Gateway is a push gateway (Push Gateway API, POST /_matrix/push/v1/notify) on a loopback address. By [Gateway.Dial] it stands for every gateway of the world.
// It answers 200 with nothing rejected unless [Gateway.Script] or its options say otherwise. It is safe for concurrent use.
type Gateway struct {
	server    *http.Server
	listener  net.Listener
	plain     net.Listener      // for Dial: it has no TLS
	authority *x509.Certificate // signs the certificate; nil without TLS
	served    chan error
	opts      GatewayOptions

	mu      sync.Mutex // guards what follows
	script  []Answer
	schemes map[string]string // of connections that [Gateway.Dial] made, by the client's own address

	spoiled  map[net.Conn]bool // connections that faults have taken from the server
	handling sync.WaitGroup    // requests

	observing sync.Mutex // Observe is called by one request at a time
}

// StartGateway starts a gateway.
func StartGateway(opts GatewayOptions) (*Gateway, error) {
	address := opts.Address
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("embedded push gateway: %w", err)
	}
	g := &Gateway{listener: listener, plain: listener, served: make(chan error, 2), opts: opts, schemes: map[string]string{}, spoiled: map[net.Conn]bool{}}
	if opts.TLS != NoTLS {
		if g.listener, g.authority, err = listenTLS(listener, opts.TLS); err != nil {
			return nil, errors.Join(fmt.Errorf("embedded push gateway: %w", err), listener.Close())
		}
		if g.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, errors.Join(fmt.Errorf("embedded push gateway: %w", err), listener.Close())
		}
	}
	g.server = &http.Server{Handler: http.HandlerFunc(g.handle), ReadHeaderTimeout: 10 * time.Second, ConnState: g.forget, ErrorLog: log.New(io.Discard, "", 0)} // failed handshakes are wanted
	go func() { g.served <- g.server.Serve(g.listener) }()
	if opts.TLS != NoTLS {
		go func() { g.served <- g.server.Serve(g.plain) }()
	}
	return g, nil
}

// Authority is who signs the certificate of a gateway that speaks TLS: a client that trusts it takes good ones. It is nil without TLS, and if the handshake hangs.
func (g *Gateway) Authority() *x509.Certificate { return g.authority }

// Address is the host and port that it listens on.
func (g *Gateway) Address() string { return g.listener.Addr().String() }

// Script queues answers behind those that are waiting already.
func (g *Gateway) Script(answers ...Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, a := range answers {
		a.Times = max(a.Times, 1)
		g.script = append(g.script, a)
	}
}

// Decide lets decide say what is answered where the script says nothing, one request after another.
func (g *Gateway) Decide(decide func(Request) Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.opts.Answer = decide
}

// Locked asks for what the function given to [Gateway.Decide] has noted, while that does not run.
func (g *Gateway) Locked(ask func() bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return ask()
}

// Waiting is how many answers of the script have not been given yet.
func (g *Gateway) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	waiting := 0
	for _, a := range g.script {
		waiting += a.Times
	}
	return waiting
}

// Dial connects to the gateway in place of any address, without TLS even for https. Which of the two it is, the client says by the network, "tls" or
// "tcp"; so [Request.URL] is the one that was asked for.
func (g *Gateway) Dial(ctx context.Context, network, _ string) (net.Conn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", g.plain.Addr().String())
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	scheme := "http"
	if network == "tls" {
		scheme = "https"
	}
	g.schemes[conn.LocalAddr().String()] = scheme
	return conn, nil
}

// Close stops the gateway: at once, whatever it is still answering.
func (g *Gateway) Close() error {
	err := g.server.Close()
	g.mu.Lock()
	for conn := range g.spoiled {
		conn.Close()
	}
	g.mu.Unlock()
	g.handling.Wait()
	listeners := 1
	if g.opts.TLS != NoTLS {
		listeners = 2
	}
	for range listeners {
		if served := <-g.served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
	}
	return err
}

// next takes the answer for one request off the script, or asks who decides otherwise. It reads the body, unless the answer is that it is not read. It is nil if that fails.
func (g *Gateway) next(r *Request, body io.Reader) *Answer {
	answer, scripted := g.scripted()
	if scripted && (answer.Fault == ResetUnread || answer.Fault == HangUnread) {
		return &answer
	}
	var err error
	if r.Body, err = io.ReadAll(body); err != nil {
		return nil
	}
	if !scripted {
		answer = g.decided(*r)
	}
	return &answer
}

// scripted takes the next answer off the script.
func (g *Gateway) scripted() (answer Answer, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.script) == 0 {
		return Answer{}, false
	}
	answer = g.script[0]
	if g.script[0].Times--; g.script[0].Times == 0 {
		g.script = g.script[1:]
	}
	return answer, true
}

// decided is the answer where the script says nothing.
func (g *Gateway) decided(r Request) (answer Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.opts.Answer != nil {
		answer = g.opts.Answer(r)
	}
	return answer
}

// handle answers one request, or fails to.
func (g *Gateway) handle(w http.ResponseWriter, r *http.Request) {
	g.handling.Add(1)
	defer g.handling.Done()
	request := Request{URL: g.url(r), Method: r.Method, Header: r.Header}
	answer := g.next(&request, r.Body)
	if answer == nil {
		return // the client went away in the middle of its request: there is nothing to show or to answer
	}
	status := cmp.Or(answer.Status, http.StatusOK)
	if wait(r.Context(), answer.Delay) != nil || answer.held(r.Context()) != nil {
		status = 0
	}
	if answer.Fault != NoFault && status != 0 {
		request.Status = g.fail(answer.Fault, w, r, status)
		g.tell(request)
		return
	}
	request.Status = status
	g.tell(request)
	if status != 0 {
		g.reply(w, status, *answer)
	}
}

func (g *Gateway) tell(r Request) {
	if g.opts.Observe == nil {
		return
	}
	g.observing.Lock()
	defer g.observing.Unlock()
	g.opts.Observe(r)
}

// reply writes the answer as the specification words it.
func (g *Gateway) reply(w http.ResponseWriter, status int, answer Answer) {
	for name, value := range answer.Header {
		w.Header().Set(name, value)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if answer.Body != nil {
		_, _ = w.Write(answer.Body) // the client may have gone meanwhile
		return
	}
	reply := any(struct {
		Rejected []string `json:"rejected"`
	}{answer.Rejected})
	if status >= 300 && answer.Rejected == nil {
		reply = struct {
			Code  string `json:"errcode"`
			Error string `json:"error"`
		}{"M_UNKNOWN", http.StatusText(status)}
	}
	_ = json.MarshalWrite(w, reply) // the client may have gone meanwhile
}

// url is what the client asked for.
func (g *Gateway) url(r *http.Request) string {
	g.mu.Lock()
	scheme := cmp.Or(g.schemes[r.RemoteAddr], "http")
	g.mu.Unlock()
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host + r.RequestURI
}

// hold keeps a connection for Close to end, which the server does not know any more. What it returns ends the connection.
func (g *Gateway) hold(conn net.Conn) (release func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spoiled[conn] = true
	return func() {
		conn.Close()
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.spoiled, conn)
	}
}

// forget drops what was remembered of a connection that has ended: its address will be used again.
func (g *Gateway) forget(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed && state != http.StateHijacked {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.schemes, conn.RemoteAddr().String())
}

// held waits until the answer may go out, but not longer than ctx.
func (a *Answer) held(ctx context.Context) error {
	if a.Hold == nil {
		return nil
	}
	select {
	case <-a.Hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait sleeps, but not longer than ctx.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
