package stack

// The embedded push gateway: it answers as it is told, and shows what it received.

import (
	"cmp"
	"context"
	"fmt"
	"io"
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
	Site    Site                 // what stands in for Address, and who signs its certificate
	TLS     TLS                  // how it speaks TLS there
	Observe func(Request)        // is told of each request when it is answered, one after another; the answer goes out afterwards
	Answer  func(Request) Answer // decides where the script says nothing; nil: takes everything
}

// Gateway is a push gateway (Push Gateway API, POST /_matrix/push/v1/notify) on a loopback address. By [Gateway.Dial] it stands for every gateway of the world.
// It answers 200 with nothing rejected unless [Gateway.Script] or its options say otherwise. It is safe for concurrent use.
type Gateway struct {
	httpServer
	script   script[Answer]
	observer observer[Request]

	mu      sync.Mutex // guards what follows
	decide  func(Request) Answer
	schemes map[string]string // of connections that [Gateway.Dial] made, by the client's own address
}

// StartGateway starts a gateway.
func StartGateway(opts GatewayOptions) (*Gateway, error) {
	g := &Gateway{observer: observer[Request]{observe: opts.Observe}, decide: opts.Answer, schemes: map[string]string{}}
	if err := g.listen(opts.Site, opts.Address, opts.TLS); err != nil {
		return nil, fmt.Errorf("embedded push gateway: %w", err)
	}
	g.serve(&http.Server{Handler: http.HandlerFunc(g.handle), ConnState: g.forget})
	return g, nil
}

// Script queues answers behind those that are waiting already.
func (g *Gateway) Script(answers ...Answer) {
	g.script.add(answers, func(a Answer) int { return a.Times })
}

// Decide lets decide say what is answered where the script says nothing, one request after another.
func (g *Gateway) Decide(decide func(Request) Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.decide = decide
}

// Locked asks for what the function given to [Gateway.Decide] has noted, while that does not run.
func (g *Gateway) Locked(ask func() bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return ask()
}

// Waiting is how many answers of the script have not been given yet.
func (g *Gateway) Waiting() int { return g.script.waiting() }

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

// next takes the answer for one request off the script, or asks who decides otherwise. It reads the body, unless the answer is that it is not read. It is nil if that fails.
func (g *Gateway) next(r *Request, body io.Reader) *Answer {
	answer, scripted := g.script.next()
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

// decided is the answer where the script says nothing.
func (g *Gateway) decided(r Request) (answer Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.decide != nil {
		answer = g.decide(r)
	}
	return answer
}

// handle answers one request, or fails to.
func (g *Gateway) handle(w http.ResponseWriter, r *http.Request) {
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
		g.observer.tell(request)
		return
	}
	request.Status = status
	g.observer.tell(request)
	if status != 0 {
		g.reply(w, status, *answer)
	}
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
