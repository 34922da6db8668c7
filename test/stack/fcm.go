package stack

// The embedded FCM: Google's HTTP v1 API for messages, and the endpoint where its access tokens come from.

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FCMRequest is one request for a message, and what became of it.
type FCMRequest struct {
	Path         string
	Project      string // as the path names it
	Proto        string // "HTTP/2.0"
	Header       http.Header
	Body         []byte
	Message      FCMMessage // as it was read
	ValidateOnly bool
	Problem      string // why FCM would not take it, whatever the script says; "" if it would
	Status       int    // as answered; 0 if the client saw no answer
}

// FCMAnswer is what is answered to the next Times requests, if they are as they should be.
type FCMAnswer struct {
	Status     int               // 0: 200
	ErrorCode  string            // of the FcmError among the details, such as "UNREGISTERED"; "": there is none. For a token: the error, such as "invalid_grant"
	RPC        string            // status of the error, such as "NOT_FOUND"; "": what Google's front gives for the status
	Message    string            // of the error
	Details    []string          // JSON objects that stand among the details besides
	Header     map[string]string // of the answer, such as Retry-After
	Body       string            // the whole body in place of all that; "": it is made
	Delay      time.Duration     // how long it takes to answer
	GoAway     bool              // the connection takes no request after this one
	LoseStream bool              // the stream of the request is reset in place of an answer; its connection goes on
	Fault      Fault             // [Hang], [Reset], [CloseUnanswered] or [EndlessBody]
	Times      int               // how many requests; 0: one
}

// FCMOptions say how an FCM behaves. The zero value takes everything.
type FCMOptions struct {
	Address   string                     // host and port to listen on; "" is a free port of the loopback interface
	Site      Site                       // what stands in for Address, and who signs its certificate
	URL       string                     // where clients find it, if that is not Address
	Key       *rsa.PrivateKey            // of the service account; nil: a new one
	Project   string                     // "": "project"
	TokenLife time.Duration              // how long access tokens are good, in whole seconds; 0: an hour
	Streams   int                        // requests at once on one connection; 0: 100, as Google has it
	HTTP1     bool                       // speak HTTP/1.1 alone, as a relay may
	Observe   func(FCMRequest)           // is told of each request when it is answered, one after another; the answer goes out afterwards
	Answer    func(FCMRequest) FCMAnswer // decides where the script says nothing; nil: takes everything
}

// FCM is Firebase Cloud Messaging on a loopback address, for one project, and those that [FCM.ServiceAccountFor] is asked for. It speaks TLS, and HTTP/2. It takes messages that are as Google documents them, from who
// proves to be its service account, and answers 200 unless [FCM.Script] or its options say otherwise. It is safe for concurrent use.
type FCM struct {
	httpServer
	opts        FCMOptions
	script      script[FCMAnswer]
	tokenScript script[FCMAnswer]
	observer    observer[FCMRequest]

	mu       sync.Mutex // guards what follows
	key      *rsa.PrivateKey
	keys     int                  // that there have been
	projects map[string]bool      // that the service account may send for
	tokens   map[string]time.Time // access tokens, and until when each is good
	asked    int                  // for tokens
	messages int                  // that were taken
}

// StartFCM starts an FCM.
func StartFCM(opts FCMOptions) (*FCM, error) {
	opts.Project = cmp.Or(opts.Project, "project")
	opts.TokenLife = cmp.Or(opts.TokenLife, time.Hour)
	f := &FCM{opts: opts, observer: observer[FCMRequest]{observe: opts.Observe}, tokens: map[string]time.Time{}, projects: map[string]bool{opts.Project: true}}
	if err := f.setKey(opts.Key); err != nil {
		return nil, fmt.Errorf("embedded FCM: %w", err)
	}
	plain, err := opts.Site.listen(opts.Address)
	if err != nil {
		return nil, fmt.Errorf("embedded FCM: %w", err)
	}
	protocols := []string{"h2", "http/1.1"}
	if opts.HTTP1 {
		protocols = protocols[1:]
	}
	config, authority, err := opts.Site.serverTLS(GoodTLS, protocols...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("embedded FCM: %w", err), plain.Close())
	}
	f.listener, f.authority = tls.NewListener(plain, config), authority.certificate
	f.plain = f.listener // no other
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", f.handleToken)
	mux.HandleFunc("POST /v1/projects/{project}/messages:send", f.handleSend)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		fcmReply(w, FCMAnswer{Status: 404, Body: "<!DOCTYPE html><title>Error 404 (Not Found)!!1</title>", Header: map[string]string{"Content-Type": "text/html"}})
	})
	f.serve(&http.Server{
		Handler: mux, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: cmp.Or(opts.Streams, 100)},
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, fcmConn{}, conn)
		},
	})
	return f, nil
}

// fcmConn is under what a request finds its connection.
type fcmConn struct{}

// URL is where it is, for a client's base URL.
func (f *FCM) URL() string { return cmp.Or(f.opts.URL, "https://"+f.listener.Addr().String()) }

// Authorities has Authority alone.
func (f *FCM) Authorities() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(f.authority)
	return pool
}

// ServiceAccount is the key file of the service account, as Google makes it.
func (f *FCM) ServiceAccount() []byte { return f.ServiceAccountFor(f.opts.Project) }

// ServiceAccountFor is the key file of the service account for a project, which it may send for from now on: it is the same account for all.
func (f *FCM) ServiceAccountFor(project string) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.projects[project] = true
	key, err := encodeKey(f.key)
	if err != nil {
		panic(err) // an RSA key always can be written
	}
	raw, err := json.Marshal(map[string]string{
		"type": "service_account", "project_id": project, "private_key_id": f.keyID(), "client_email": fcmEmail, "client_id": "1",
		"private_key": string(key), "token_uri": f.tokenURL(), "universe_domain": "googleapis.com",
	}, json.Deterministic(true), jsontext.Multiline(true))
	if err != nil {
		panic(err) // these are texts
	}
	return raw
}

const fcmEmail = "firebase-adminsdk@project.iam.gserviceaccount.com"

func (f *FCM) tokenURL() string { return f.URL() + "/token" }

func (f *FCM) keyID() string { return "key" + strconv.Itoa(f.keys) }

// RotateKey gives the service account another key, and takes the old one away. It returns the new key file; access tokens stay good.
func (f *FCM) RotateKey() ([]byte, error) {
	if err := f.setKey(nil); err != nil {
		return nil, err
	}
	return f.ServiceAccount(), nil
}

// setKey gives the service account a key; nil: a new one.
func (f *FCM) setKey(key *rsa.PrivateKey) (err error) {
	if key == nil {
		if key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key = key
	f.keys++
	return nil
}

// Revoke makes all access tokens that were given out so far bad.
func (f *FCM) Revoke() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.tokens)
}

// Script queues answers to messages behind those that are waiting already.
func (f *FCM) Script(answers ...FCMAnswer) { f.script.add(answers, fcmTimes) }

// ScriptToken queues answers of the token endpoint.
func (f *FCM) ScriptToken(answers ...FCMAnswer) { f.tokenScript.add(answers, fcmTimes) }

func fcmTimes(a FCMAnswer) int { return a.Times }

// TokenRequests is how often a token was asked for.
func (f *FCM) TokenRequests() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

// handleSend answers one request for a message.
func (f *FCM) handleSend(w http.ResponseWriter, r *http.Request) {
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), 16<<10)) + bytes.MinRead)
	if _, err := body.ReadFrom(io.LimitReader(r.Body, 1<<20)); err != nil {
		return // the client went away in the middle of its request
	}
	request := FCMRequest{Path: r.URL.Path, Project: r.PathValue("project"), Proto: r.Proto, Header: r.Header, Body: body.Bytes()}
	answer, refused := f.front(r, &request)
	if !refused {
		answer = f.decide(request)
	}
	if wait(r.Context(), answer.Delay) != nil {
		answer.Fault = Hang
	}
	request.Status = cmp.Or(answer.Status, http.StatusOK)
	if answer.Fault != NoFault && answer.Fault != EndlessBody || answer.LoseStream {
		request.Status = 0
	}
	f.observer.tell(request)
	f.finish(w, r, answer)
}

// front does what Google does before FCM sees a message: it looks at who sends, and whether the message is one.
func (f *FCM) front(r *http.Request, request *FCMRequest) (answer FCMAnswer, refused bool) {
	if !f.knows(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
		request.Problem = "the access token is not good"
		return FCMAnswer{Status: 401, Message: "Request had invalid authentication credentials.", Details: []string{
			`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_EXPIRED","domain":"googleapis.com"}`}}, true
	}
	if project := r.PathValue("project"); !f.sendsFor(project) {
		request.Problem = "the project is " + project
		return FCMAnswer{Status: 403, Message: "Permission 'cloudmessaging.messages.create' denied on resource", Details: []string{
			`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"IAM_PERMISSION_DENIED","domain":"cloudresourcemanager.googleapis.com"}`}}, true
	}
	m, validateOnly, fault := DecodeFCM(request.Body)
	request.Message, request.ValidateOnly = m, validateOnly
	if kind := r.Header.Get("Content-Type"); fault == nil && !strings.HasPrefix(kind, "application/json") {
		fault = &FCMFault{Words: "Content-Type is " + kind}
	}
	if fault == nil {
		return FCMAnswer{}, false
	}
	request.Problem = fault.Error()
	answer = FCMAnswer{Status: 400, Message: fault.Words, ErrorCode: "INVALID_ARGUMENT"}
	if fault.Field != "" {
		answer.Details = []string{fmt.Sprintf(`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":%q,"description":%q}]}`, fault.Field, fault.Words)}
	}
	return answer, true
}

// sendsFor says that the service account may send for a project.
func (f *FCM) sendsFor(project string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.projects[project]
}

// decide asks the script, and then who decides otherwise.
func (f *FCM) decide(request FCMRequest) FCMAnswer {
	answer, scripted := f.script.next()
	if scripted {
		return answer
	}
	if f.opts.Answer != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.opts.Answer(request)
	}
	return FCMAnswer{}
}

// finish answers a request, or fails to.
func (f *FCM) finish(w http.ResponseWriter, r *http.Request, answer FCMAnswer) {
	switch {
	case answer.LoseStream:
		panic(http.ErrAbortHandler)
	case answer.Fault == Hang:
		<-r.Context().Done()
		return
	case answer.Fault == Reset, answer.Fault == CloseUnanswered:
		conn, _ := r.Context().Value(fcmConn{}).(net.Conn)
		if answer.Fault == Reset {
			reset(conn)
		}
		conn.Close()
		return
	case answer.Fault == EndlessBody:
		w.WriteHeader(cmp.Or(answer.Status, http.StatusOK))
		for sent := 0; sent < maxEndless; sent += 1000 {
			if _, err := w.Write(make([]byte, 1000)); err != nil {
				return
			}
		}
		return
	}
	if answer.GoAway {
		w.Header().Set("Connection", "close")
	}
	if answer.Body == "" && cmp.Or(answer.Status, http.StatusOK) < 300 {
		f.mu.Lock()
		f.messages++
		answer.Body = fmt.Sprintf(`{"name":"projects/%s/messages/0:%d"}`, r.PathValue("project"), f.messages)
		f.mu.Unlock()
	}
	fcmReply(w, answer)
}

// fcmReply writes an answer as Google words it.
func fcmReply(w http.ResponseWriter, answer FCMAnswer) {
	status := cmp.Or(answer.Status, http.StatusOK)
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	for name, value := range answer.Header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(status)
	body := answer.Body
	if body == "" {
		body = fcmError(status, answer)
	}
	_, _ = io.WriteString(w, body) // the client may have gone meanwhile
}

// fcmError is an error in Google's form (google.rpc.Status).
func fcmError(status int, answer FCMAnswer) string {
	rpc := map[int]string{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}
	details := []jsontext.Value{}
	if answer.ErrorCode != "" {
		details = append(details, jsontext.Value(fmt.Sprintf(`{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":%q}`, answer.ErrorCode)))
	}
	for _, d := range answer.Details {
		details = append(details, jsontext.Value(d))
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{
		"code": status, "message": cmp.Or(answer.Message, http.StatusText(status)), "status": cmp.Or(answer.RPC, rpc[status], "UNKNOWN"), "details": details,
	}}, json.Deterministic(true))
	if err != nil {
		return fmt.Sprintf("the script has details that are not JSON: %v", err)
	}
	return string(body)
}

// FCMServer gives a test an FCM.
func FCMServer(t TB, opts FCMOptions) *FCM {
	t.Helper()
	return started(t, StartFCM, opts)
}
