package fcm_test

import (
	"context"

	"log/slog"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"tocsin/pushers"
	"tocsin/pushers/fcm"
	"tocsin/test/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is an FCM, and a Sender that sends to it.
type world struct {
	*stack.FCM
	sender *fcm.Sender
	file   string // the key file
	log    *stack.Buffer

	mu       sync.Mutex
	requests []stack.FCMRequest
}

// start makes a world. change may change the configuration before the Sender is made.
func start(t testing.TB, opts stack.FCMOptions, change func(*fcm.Config, *fcm.Options)) *world {
	t.Helper()
	w := &world{file: filepath.Join(t.TempDir(), "account.json"), log: &stack.Buffer{}}
	opts.Observe = func(r stack.FCMRequest) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.requests = append(w.requests, r)
	}
	w.FCM = stack.FCMServer(t, opts)
	w.sender = w.another(t, change)
	return w
}

// another makes one more Sender.
func (w *world) another(t testing.TB, change func(*fcm.Config, *fcm.Options)) *fcm.Sender {
	t.Helper()
	write(t, w.file, w.ServiceAccount())
	cfg := fcm.Defaults()
	cfg.ServiceAccountFile, cfg.BaseURL, cfg.Timeout = w.file, w.URL(), 5*time.Second
	options := fcm.Options{RootCAs: w.Authorities(), Log: slog.New(slog.NewTextHandler(w.log, nil))}
	if change != nil {
		change(&cfg, &options)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	sender, err := fcm.New(cfg, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sender.Close)
	return sender
}

func (w *world) seen() []stack.FCMRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]stack.FCMRequest(nil), w.requests...)
}

// prove has FCM take one message, so that pushkeys that it does not know can be told from a wrong service account.
func (w *world) prove(t testing.TB) {
	t.Helper()
	if o := w.sender.Send(t.Context(), message()); o.Verdict != pushers.Delivered {
		t.Fatalf("%+v", o)
	}
}

func write(t testing.TB, file string, raw []byte) {
	t.Helper()
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 10 s: %s", what)
		}
	}
}

// check compares all but the cause.
func check(t *testing.T, got, want pushers.Outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause", "Connection")); diff != "" {
		t.Errorf("(-want +got)\n%s\ncause: %v", diff, got.Cause)
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	check(t, w.sender.Send(t.Context(), message()), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
	got := w.seen()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	r := got[0]
	if r.Problem != "" || r.Path != "/v1/projects/project/messages:send" || r.Proto != "HTTP/2.0" || r.Header.Get("User-Agent") != "tocsin" || r.Header.Get("Accept-Encoding") != "" {
		t.Errorf("%+v", r)
	}
	want := map[string]string{"event_id": "$3957tyerfgewrf384", "room_id": "!slw48wfj34rtnrf:example.com", "prio": "high", "unread": "2", "missed_calls": "1", "cs": "secret"}
	if diff := cmp.Diff(want, r.Message.Data); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if r.Message.Token != "dGhlLXB1c2hrZXk:APA91b" || r.Message.Android.Priority != "high" || r.ValidateOnly {
		t.Errorf("%+v", r.Message)
	}
}

// TestSendSpeaksHTTP1 has a relay that knows nothing newer.
func TestSendSpeaksHTTP1(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{HTTP1: true}, nil)
	w.prove(t)
	if got := w.seen()[0].Proto; got != "HTTP/1.1" {
		t.Errorf("spoke %s", got)
	}
}

// TestSendOverTheWire has FCM answer with the main rows of the table.
func TestSendOverTheWire(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	w.prove(t)
	for _, tc := range []struct {
		name   string
		answer stack.FCMAnswer
		want   pushers.Outcome
	}{
		{"bad token, by its field", stack.FCMAnswer{Status: 400, ErrorCode: "INVALID_ARGUMENT", Details: []string{`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.token","description":"Invalid registration token"}]}`}},
			pushers.Outcome{Verdict: pushers.Gone, Reason: "bad_token", Status: 400}},
		{"invalid argument", stack.FCMAnswer{Status: 400, ErrorCode: "INVALID_ARGUMENT", Details: []string{`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.data[0].value","description":"Invalid value"}]}`}},
			pushers.Outcome{Verdict: pushers.Drop, Reason: "invalid_argument", Status: 400}},
		{"third party", stack.FCMAnswer{Status: 401, ErrorCode: "THIRD_PARTY_AUTH_ERROR"}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "third_party_auth", Status: 401}},
		{"another project", stack.FCMAnswer{Status: 403, ErrorCode: "SENDER_ID_MISMATCH"}, pushers.Outcome{Verdict: pushers.Gone, Reason: "sender_id_mismatch", Status: 403}},
		{"no permission", stack.FCMAnswer{Status: 403}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "permission_denied", Status: 403}},
		{"unregistered", stack.FCMAnswer{Status: 404, ErrorCode: "UNREGISTERED"}, pushers.Outcome{Verdict: pushers.Gone, Reason: "unregistered", Status: 404}},
		{"not found", stack.FCMAnswer{Status: 404}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "not_found", Status: 404}},
		{"not found, a page", stack.FCMAnswer{Status: 404, Body: "<!DOCTYPE html>"}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "not_found", Status: 404}},
		{"quota", stack.FCMAnswer{Status: 429, ErrorCode: "QUOTA_EXCEEDED"}, pushers.Outcome{Verdict: pushers.Retry, Reason: "quota_exceeded", Status: 429, RetryAfter: time.Minute, Pause: true}},
		{"quota, with a time", stack.FCMAnswer{Status: 429, Header: map[string]string{"Retry-After": "7"}}, pushers.Outcome{Verdict: pushers.Retry, Reason: "quota_exceeded", Status: 429, RetryAfter: 7 * time.Second, Pause: true}},
		{"internal", stack.FCMAnswer{Status: 500, ErrorCode: "INTERNAL"}, pushers.Outcome{Verdict: pushers.Retry, Reason: "internal", Status: 500, RetryAfter: 10 * time.Second, Tries: 5}},
		{"unavailable", stack.FCMAnswer{Status: 503, ErrorCode: "UNAVAILABLE", Header: map[string]string{"Retry-After": "20"}}, pushers.Outcome{Verdict: pushers.Retry, Reason: "unavailable", Status: 503, RetryAfter: 20 * time.Second, Pause: true, Tries: 5}},
		{"bad gateway", stack.FCMAnswer{Status: 502, Body: "<!DOCTYPE html>"}, pushers.Outcome{Verdict: pushers.Retry, Reason: "http_502", Status: 502, RetryAfter: 10 * time.Second, Tries: 5}},
		{"redirect", stack.FCMAnswer{Status: 302, Header: map[string]string{"Location": "/token"}}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "http_302", Status: 302}},
		{"delivered, in other words", stack.FCMAnswer{Body: "thanks"}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"delivered, without end", stack.FCMAnswer{Fault: stack.EndlessBody}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"the stream is lost", stack.FCMAnswer{LoseStream: true}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"the connection is reset", stack.FCMAnswer{Fault: stack.Reset}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"the connection is closed", stack.FCMAnswer{Fault: stack.CloseUnanswered}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"goodbye", stack.FCMAnswer{GoAway: true}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}},
		{"all is well again", stack.FCMAnswer{}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w.Script(tc.answer)
			got := w.sender.Send(t.Context(), message())
			check(t, got, tc.want)
			if broke := tc.answer.Fault == stack.Reset || tc.answer.Fault == stack.CloseUnanswered; broke != (got.Connection != "") {
				t.Errorf("the connection that broke is called %q", got.Connection)
			}
		})
	}
	for _, r := range w.seen() {
		if r.Problem != "" {
			t.Errorf("FCM does not take %s: %s", r.Body, r.Problem)
		}
	}
	if n := w.TokenRequests(); n != 1 {
		t.Errorf("asked for %d tokens, want 1", n)
	}
}

// TestSendIsSilent has FCM take its time.
func TestSendIsSilent(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, func(c *fcm.Config, _ *fcm.Options) { c.Timeout = 300 * time.Millisecond })
	w.prove(t)
	w.Script(stack.FCMAnswer{Fault: stack.Hang})
	began := time.Now()
	check(t, w.sender.Send(t.Context(), message()), pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"})
	if took := time.Since(began); took < 250*time.Millisecond || took > 3*time.Second {
		t.Errorf("waited %v, want 300 ms", took)
	}
	w.prove(t) // the other streams of the connection go on
}

func TestSendReachesNobody(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	for _, tc := range []struct {
		name   string
		change func(*fcm.Config, *fcm.Options)
		want   pushers.Outcome
	}{
		{"nobody listens", func(c *fcm.Config, _ *fcm.Options) { c.BaseURL = "https://127.0.0.1:1" }, pushers.Outcome{Verdict: pushers.Retry, Reason: "connect"}},
		{"no such host", func(c *fcm.Config, _ *fcm.Options) { c.BaseURL = "https://fcm.invalid" }, pushers.Outcome{Verdict: pushers.Retry, Reason: "dns"}},
		{"not trusted", func(c *fcm.Config, o *fcm.Options) { o.RootCAs = nil }, pushers.Outcome{Verdict: pushers.Retry, Reason: "token_tls"}},
		{"no token endpoint", func(c *fcm.Config, _ *fcm.Options) { c.TokenURL = "https://127.0.0.1:1/token" }, pushers.Outcome{Verdict: pushers.Retry, Reason: "token_connect"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			check(t, w.another(t, tc.change).Send(t.Context(), message()), tc.want)
		})
	}
}

// TestSendSuspects holds that a pushkey that looks dead is held until the service account has proved to be the right one.
func TestSendSuspects(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	mismatch := stack.FCMAnswer{Status: 403, ErrorCode: "SENDER_ID_MISMATCH"}
	w.Script(mismatch, stack.FCMAnswer{Status: 400, ErrorCode: "INVALID_ARGUMENT", Message: "The registration token is not a valid FCM registration token"}, stack.FCMAnswer{}, mismatch)
	check(t, w.sender.Send(t.Context(), message()), pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "sender_id_mismatch", Status: 403, RetryAfter: 5 * time.Minute, Unproven: true})
	check(t, w.sender.Send(t.Context(), message()), pushers.Outcome{Verdict: pushers.Retry, Reason: "bad_token", Status: 400, RetryAfter: 5 * time.Minute, Unproven: true})
	w.prove(t)
	check(t, w.sender.Send(t.Context(), message()), pushers.Outcome{Verdict: pushers.Gone, Reason: "sender_id_mismatch", Status: 403})
}

// TestSendTooBig has FCM count otherwise than we do: what it does not take is sent once more, in half the bytes.
func TestSendTooBig(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, func(c *fcm.Config, _ *fcm.Options) { c.Content = true })
	d := long(10_000)
	for _, tooBig := range []stack.FCMAnswer{
		{Status: 400, ErrorCode: "INVALID_ARGUMENT", Message: "Android message is too big"},
		{Status: 400, Message: "Request contains an invalid argument."},
		{Status: 413},
	} {
		before := len(w.seen())
		w.Script(tooBig)
		check(t, w.sender.Send(t.Context(), d), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
		got := w.seen()[before:]
		if len(got) != 2 || len(got[0].Body) <= 4090 || len(got[0].Body) > 4096 || len(got[1].Body) > 2048 || len(got[1].Body) < 2040 {
			t.Errorf("%d requests: %+v", len(got), got)
		}
	}
	w.Script(stack.FCMAnswer{Status: 413, Times: 2})
	check(t, w.sender.Send(t.Context(), d), pushers.Outcome{Verdict: pushers.Drop, Reason: "too_big", Status: 413})
	w.Script(stack.FCMAnswer{Status: 413})
	before := len(w.seen())
	counts := message()
	counts.Notification = pushers.Notification{Device: counts.Notification.Device}
	check(t, w.sender.Send(t.Context(), counts), pushers.Outcome{Verdict: pushers.Drop, Reason: "too_big", Status: 413})
	if got := len(w.seen()) - before; got != 1 {
		t.Errorf("%d requests with a message that can't be shorter, want 1", got)
	}
}

func TestSendBadNotification(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, func(c *fcm.Config, _ *fcm.Options) { c.Content = true })
	d := message()
	d.Notification.Content = []byte(`{"half`)
	check(t, w.sender.Send(t.Context(), d), pushers.Outcome{Verdict: pushers.Drop, Reason: "bad_notification"})
	if got := w.seen(); len(got) != 0 {
		t.Errorf("%d requests", len(got))
	}
}

// TestNothingSecretIsTold holds that no cause of an outcome repeats what was sent, whatever FCM answers.
func TestNothingSecretIsTold(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, func(c *fcm.Config, _ *fcm.Options) { c.Content = true })
	d := message()
	key := d.Notification.Device.Pusher.Pushkey.Reveal()
	w.Script(stack.FCMAnswer{Status: 400, ErrorCode: "INVALID_ARGUMENT", Message: "bad " + key + " peculiar way", Details: []string{
		`{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.data[peculiar way].value"},{"field":"a ` + key + `"}]}`}})
	o := w.sender.Send(t.Context(), d)
	if text := o.Cause.Error(); text != "INVALID_ARGUMENT message.data" {
		t.Errorf("told %q", text)
	}
}

// TestWrap holds that exchanges can be traced, and that what is added goes out.
func TestWrap(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, func(_ *fcm.Config, o *fcm.Options) {
		o.Wrap = func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				r.Header.Set("Traceparent", "00-1")
				return next.RoundTrip(r)
			})
		}
	})
	w.prove(t)
	if got := w.seen()[0].Header.Get("Traceparent"); got != "00-1" {
		t.Errorf("got %q", got)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestSendGoesOnAfterGoodbyes sends from many sides to an FCM that says goodbye again and again.
func TestSendGoesOnAfterGoodbyes(t *testing.T) {
	t.Parallel()
	var n int
	w := start(t, stack.FCMOptions{Streams: 10, Answer: func(stack.FCMRequest) stack.FCMAnswer {
		n++
		return stack.FCMAnswer{GoAway: n%50 == 0}
	}}, nil)
	var group sync.WaitGroup
	for range 32 {
		group.Go(func() {
			for range 30 {
				if o := w.sender.Send(context.Background(), message()); o.Verdict != pushers.Delivered {
					t.Errorf("%+v", o)
				}
			}
		})
	}
	group.Wait()
	if got := len(w.seen()); got != 32*30 {
		t.Errorf("%d requests for %d messages", got, 32*30)
	}
}

// TestSendNeedsFewConnections has hundreds of messages to send at once, right after a start.
func TestSendNeedsFewConnections(t *testing.T) {
	t.Parallel()
	var dialled atomic.Int32
	w := start(t, stack.FCMOptions{Answer: func(stack.FCMRequest) stack.FCMAnswer { return stack.FCMAnswer{Delay: 200 * time.Millisecond} }}, func(_ *fcm.Config, o *fcm.Options) {
		o.Wrap = func(next http.RoundTripper) http.RoundTripper {
			return roundTrip(func(r *http.Request) (*http.Response, error) {
				return next.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{TLSHandshakeStart: func() { dialled.Add(1) }})))
			})
		}
	})
	if got := crowd(w.sender, 512); got["accepted"] != 512 {
		t.Errorf("%v", got)
	}
	if got := dialled.Load(); got < 6 || got > 50 {
		t.Errorf("%d connections for 512 messages, a hundred on each", got)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	server := stack.FCMServer(t, stack.FCMOptions{})
	good := string(server.ServiceAccount())
	dir := t.TempDir()
	for _, tc := range []struct{ name, file, want string }{
		{"no JSON", "-----BEGIN", "it is not the JSON key file of a service account"},
		{"google-services.json", `{"project_info":{"project_id":"x"}}`, `it is not the key file of a service account, whose "type" is "service_account": google-services.json and the files of users are others`},
		{"no key", strings.Replace(good, "BEGIN PRIVATE", "BEGIN OTHER", 1), `its "private_key" is not an RSA key in PEM`},
		{"no e-mail", strings.Replace(good, "client_email", "email", 1), `it has no "client_email"`},
		{"no project", strings.Replace(good, "project_id", "project", 1), `its "project_id" is missing or none: set project_id`},
		{"plain token endpoint", strings.Replace(good, "https://127", "http://127", 1), `its "token_uri" is not an https URL`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(tc.name, " ", "_"))
			write(t, file, []byte(tc.file))
			cfg := fcm.Defaults()
			cfg.ServiceAccountFile = file
			_, err := fcm.New(cfg, fcm.Options{})
			if want := "service_account_file: " + file + ": " + tc.want; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		})
	}
	cfg := fcm.Defaults()
	cfg.ServiceAccountFile = filepath.Join(dir, "nowhere")
	if _, err := fcm.New(cfg, fcm.Options{}); err == nil || !strings.HasPrefix(err.Error(), "service_account_file: open ") {
		t.Errorf("got %v", err)
	}
	cfg.CAFile = filepath.Join(dir, "no_key")
	if _, err := fcm.New(cfg, fcm.Options{}); err == nil || err.Error() != "ca_file: "+cfg.CAFile+" holds no PEM certificate" {
		t.Errorf("got %v", err)
	}
}
