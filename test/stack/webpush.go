package stack

// The embedded push service of browsers: it checks what it is sent as strictly as the RFCs allow, reads it as the browser would, and answers as it is told.

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
	"strconv"
	"strings"
	"sync"
	"time"
)

// WebPushMessage is one message that the push service received, and what became of it.
type WebPushMessage struct {
	Endpoint string      // as the client asked for it, with scheme and host
	Header   http.Header // of the request, without Authorization
	Body     []byte      // as it came: encrypted
	Text     []byte      // as the browser reads it; nil if it can't
	TTL      int         // in seconds
	Urgency  string      // "normal" if the client says nothing
	Topic    string
	Subject  string // whom the client's token names as contact
	Key      string // the client's public VAPID key, in base64url
	Fault    error  // what is wrong with the message, which is refused then; nil if nothing is
	Status   int    // as answered; 0 if the client had gone before the answer
}

// WebPushAnswer is what the push service answers to the next Times messages, whatever they carry.
type WebPushAnswer struct {
	Status int               // 0: 201
	Header map[string]string // of the answer, such as Retry-After
	Body   string            // of the answer
	Delay  time.Duration     // how long it takes to answer
	Fault  Fault             // what it does in place of answering, or in the midst of it
	Times  int               // how many messages; 0: one
}

// WebPushOptions say how a push service behaves. The zero value takes everything that is right.
type WebPushOptions struct {
	Address string                             // host and port to listen on; "" is a free port of the loopback interface
	TLS     TLS                                // how it speaks TLS there
	Key     string                             // the public VAPID key that browsers subscribed with, in base64url; "": any
	Now     func() time.Time                   // tells the age of tokens; nil: time.Now
	Observe func(WebPushMessage)               // is told of each message when it is answered, one after another; the answer goes out afterwards
	Answer  func(WebPushMessage) WebPushAnswer // decides where the script says nothing and the message is right, for many at once; nil: takes everything
}

// WebPush is a push service (RFC 8030) on a loopback address. By [WebPush.Dial] it stands for every push service of the world. It answers 201 to what is right, unless
// [WebPush.Script] or its options say otherwise, and as the services of the world do to what is not. It is safe for concurrent use.
type WebPush struct {
	server    *http.Server
	listener  net.Listener
	plain     net.Listener      // for Dial: it has no TLS
	authority *x509.Certificate // signs the certificate; nil without TLS
	served    chan error
	opts      WebPushOptions
	tokens    webPushTokens

	mu       sync.Mutex // guards what follows
	script   []WebPushAnswer
	spoiled  map[net.Conn]bool // connections that faults have taken from the server
	handling sync.WaitGroup

	observing sync.Mutex // Observe is called by one message at a time
}

// StartWebPush starts a push service.
func StartWebPush(opts WebPushOptions) (*WebPush, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	listener, err := net.Listen("tcp", cmp.Or(opts.Address, "127.0.0.1:0"))
	if err != nil {
		return nil, fmt.Errorf("embedded Web Push service: %w", err)
	}
	w := &WebPush{listener: listener, plain: listener, served: make(chan error, 2), opts: opts, spoiled: map[net.Conn]bool{}}
	if opts.TLS != NoTLS {
		if w.listener, w.authority, err = listenTLS(listener, opts.TLS); err != nil {
			return nil, errors.Join(fmt.Errorf("embedded Web Push service: %w", err), listener.Close())
		}
		if w.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, errors.Join(fmt.Errorf("embedded Web Push service: %w", err), listener.Close())
		}
	}
	w.server = &http.Server{Handler: http.HandlerFunc(w.handle), ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go func() { w.served <- w.server.Serve(w.listener) }()
	if w.plain != w.listener {
		go func() { w.served <- w.server.Serve(w.plain) }()
	}
	return w, nil
}

// Authority is who signs the certificate of a push service that speaks TLS.
func (w *WebPush) Authority() *x509.Certificate { return w.authority }

// Address is the host and port that it listens on.
func (w *WebPush) Address() string { return w.listener.Addr().String() }

// Dial connects to the push service in place of any address, without TLS.
func (w *WebPush) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", w.plain.Addr().String())
}

// Script queues answers behind those that are waiting already.
func (w *WebPush) Script(answers ...WebPushAnswer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range answers {
		a.Times = max(a.Times, 1)
		w.script = append(w.script, a)
	}
}

// Close stops the push service: at once, whatever it is still answering.
func (w *WebPush) Close() error {
	err := w.server.Close()
	w.mu.Lock()
	for conn := range w.spoiled {
		conn.Close()
	}
	w.mu.Unlock()
	w.handling.Wait()
	listeners := 1
	if w.plain != w.listener {
		listeners = 2
	}
	for range listeners {
		if served := <-w.served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
	}
	return err
}

// scripted takes the next answer off the script.
func (w *WebPush) scripted() (answer WebPushAnswer, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.script) == 0 {
		return WebPushAnswer{}, false
	}
	answer = w.script[0]
	if w.script[0].Times--; w.script[0].Times == 0 {
		w.script = w.script[1:]
	}
	return answer, true
}

// handle answers one message, or fails to.
func (w *WebPush) handle(rw http.ResponseWriter, r *http.Request) {
	w.handling.Add(1)
	defer w.handling.Done()
	answer, scripted := w.scripted()
	m := WebPushMessage{Endpoint: "https://" + r.Host + r.RequestURI, Header: r.Header.Clone()}
	m.Header.Del("Authorization")
	if answer.Fault != ResetUnread {
		var err error
		if m.Body, err = io.ReadAll(io.LimitReader(r.Body, 1<<20)); err != nil {
			return // the client went away in the middle of its request: there is nothing to show or to answer
		}
		refusal := w.check(r, &m)
		switch {
		case scripted:
		case refusal.Status != 0:
			answer = refusal
		case w.opts.Answer != nil:
			answer = w.opts.Answer(m)
		}
	}
	m.Status = cmp.Or(answer.Status, http.StatusCreated)
	if wait(r.Context(), answer.Delay) != nil {
		m.Status = 0
	}
	if answer.Fault != NoFault && m.Status != 0 {
		m.Status = w.fail(answer.Fault, rw, r, m.Status)
		w.tell(m)
		return
	}
	w.tell(m)
	if m.Status != 0 {
		w.reply(rw, m, answer)
	}
}

func (w *WebPush) tell(m WebPushMessage) {
	if w.opts.Observe == nil {
		return
	}
	w.observing.Lock()
	defer w.observing.Unlock()
	w.opts.Observe(m)
}

// reply answers as RFC 8030 (section 5) words it.
func (w *WebPush) reply(rw http.ResponseWriter, m WebPushMessage, answer WebPushAnswer) {
	if m.Status == http.StatusCreated {
		rw.Header().Set("Location", "/message/1")
		rw.Header().Set("TTL", strconv.Itoa(m.TTL))
	}
	for name, value := range answer.Header {
		rw.Header().Set(name, value)
	}
	rw.WriteHeader(m.Status)
	io.WriteString(rw, answer.Body) // the client may have gone meanwhile
}

// fail treats a message by a fault. It says the status that the client has seen; 0 if it has seen none.
func (w *WebPush) fail(f Fault, rw http.ResponseWriter, r *http.Request, status int) int {
	if f == Hang {
		<-r.Context().Done()
		return 0
	}
	conn, _, err := rw.(http.Hijacker).Hijack()
	if err != nil {
		return 0
	}
	w.mu.Lock()
	w.spoiled[conn] = true
	w.mu.Unlock()
	defer func() {
		conn.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.spoiled, conn)
	}()
	return f.spoil(conn, status)
}

// check reads a message strictly. What it says is refused has a status.
func (w *WebPush) check(r *http.Request, m *WebPushMessage) WebPushAnswer {
	refuse := func(status int, format string, args ...any) WebPushAnswer {
		m.Fault = fmt.Errorf(format, args...)
		return WebPushAnswer{Status: status, Body: m.Fault.Error()}
	}
	subscription, known := webPushEndpoint(m.Endpoint)
	switch {
	case r.Method != http.MethodPost:
		return refuse(http.StatusMethodNotAllowed, "the method is %s", r.Method)
	case !known:
		return refuse(http.StatusNotFound, "there is no such endpoint")
	case len(m.Body) > 4096: // RFC 8030, section 7.2
		return refuse(http.StatusRequestEntityTooLarge, "the body has %d bytes", len(m.Body))
	}
	status, err := w.tokens.check(r, m, w.opts)
	if err != nil {
		return refuse(status, "VAPID: %w", err)
	}
	if err := m.readHeader(r.Header); err != nil {
		return refuse(http.StatusBadRequest, "%w", err)
	}
	if m.Text, err = subscription.Decrypt(m.Body); err != nil {
		return refuse(http.StatusBadRequest, "the browser can't read it: %w", err)
	}
	return WebPushAnswer{}
}

// readHeader reads what RFC 8030 (section 5) and RFC 8291 (section 4) say of the header.
func (m *WebPushMessage) readHeader(h http.Header) error {
	for _, name := range []string{"Ttl", "Topic", "Urgency", "Content-Encoding"} {
		if len(h[name]) > 1 {
			return fmt.Errorf("%s is there more than once", name)
		}
	}
	var err error
	ttl := h.Get("TTL")
	if m.TTL, err = strconv.Atoi(ttl); err != nil || strings.Trim(ttl, "0123456789") != "" {
		return fmt.Errorf("the TTL is %q, and not a number of seconds", ttl)
	}
	switch m.Urgency = cmp.Or(h.Get("Urgency"), "normal"); m.Urgency {
	case "very-low", "low", "normal", "high":
	default:
		return fmt.Errorf("the Urgency is %q", m.Urgency)
	}
	m.Topic = h.Get("Topic")
	const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if _, there := h["Topic"]; there && (m.Topic == "" || len(m.Topic) > 32 || strings.Trim(m.Topic, base64url) != "") {
		return fmt.Errorf("the Topic is %q, and not 1 to 32 characters of base64url", m.Topic)
	}
	if got := h.Get("Content-Encoding"); got != "aes128gcm" {
		return fmt.Errorf("the Content-Encoding is %q", got)
	}
	return nil
}
