package stack

// The embedded push service of browsers: it checks what it is sent as strictly as the RFCs allow, reads it as the browser would, and answers as it is told.

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
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
	Site    Site                               // what stands in for Address, and who signs its certificate
	TLS     TLS                                // how it speaks TLS there
	Others  WebPushOthers                      // what becomes of messages for endpoints that are not those of [SubscribeWebPush]
	Key     string                             // the public VAPID key that browsers subscribed with, in base64url; "": any
	Now     func() time.Time                   // tells the age of tokens; nil: time.Now
	Observe func(WebPushMessage)               // is told of each message when it is answered, one after another; the answer goes out afterwards
	Answer  func(WebPushMessage) WebPushAnswer // decides where the script says nothing and the message is right, for many at once; nil: takes everything
}

// WebPushOthers is what a push service does with messages for endpoints of others.
type WebPushOthers uint8

// What it does.
const (
	RefuseOthers WebPushOthers = iota // 404
	TakeOthers                        // it takes them, and nobody here can read them
	ReadOthers                        // it takes them, and reads them with the keys of [WebPushKeys]
)

// WebPush is a push service (RFC 8030) on a loopback address. By [WebPush.Dial] it stands for every push service of the world. It answers 201 to what is right, unless
// [WebPush.Script] or its options say otherwise, and as the services of the world do to what is not. It is safe for concurrent use.
type WebPush struct {
	httpServer
	opts     WebPushOptions
	tokens   webPushTokens
	script   script[WebPushAnswer]
	observer observer[WebPushMessage]
}

// StartWebPush starts a push service.
func StartWebPush(opts WebPushOptions) (*WebPush, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	w := &WebPush{opts: opts, observer: observer[WebPushMessage]{observe: opts.Observe}}
	if err := w.listen(opts.Site, opts.Address, opts.TLS); err != nil {
		return nil, fmt.Errorf("embedded Web Push service: %w", err)
	}
	w.serve(&http.Server{Handler: http.HandlerFunc(w.handle)})
	return w, nil
}

// Dial connects to the push service in place of any address, without TLS.
func (w *WebPush) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", w.plain.Addr().String())
}

// Script queues answers behind those that are waiting already.
func (w *WebPush) Script(answers ...WebPushAnswer) {
	w.script.add(answers, func(a WebPushAnswer) int { return a.Times })
}

// handle answers one message, or fails to.
func (w *WebPush) handle(rw http.ResponseWriter, r *http.Request) {
	answer, scripted := w.script.next()
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
		w.observer.tell(m)
		return
	}
	w.observer.tell(m)
	if m.Status != 0 {
		w.reply(rw, m, answer)
	}
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

// check reads a message strictly. What it says is refused has a status.
func (w *WebPush) check(r *http.Request, m *WebPushMessage) WebPushAnswer {
	refuse := func(status int, format string, args ...any) WebPushAnswer {
		m.Fault = fmt.Errorf(format, args...)
		return WebPushAnswer{Status: status, Body: m.Fault.Error()}
	}
	subscription, known := webPushEndpoint(m.Endpoint, w.opts.Others)
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
	if subscription.private == nil {
		return WebPushAnswer{}
	}
	if m.Text, err = subscription.Decrypt(m.Body); err != nil && w.opts.Others != TakeOthers { // others have such paths, too
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

// WebPushServer gives a test a push service of its own.
func WebPushServer(t TB, opts WebPushOptions) *WebPush {
	t.Helper()
	return started(t, StartWebPush, opts)
}
