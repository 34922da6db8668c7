package apns

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pushers"
	"tocsin/test/stack"
)

func TestSend(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	d := numbered(1)
	got := b.sender(t, Options{}).Send(t.Context(), d)
	if want := (pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}); got != want {
		t.Fatalf("got %+v", got)
	}
	p := b.last(t)
	token, _ := b.cfg.deviceToken(d.Notification.Device.Pusher.Pushkey.Reveal())
	want := stack.APNsPush{
		Token: token, ID: "00000000-0000-8000-8000-000000000001", Topic: bundle, PushType: "alert", CollapseID: b.cfg.collapseID(&d), Priority: "10",
		Expiration: fmt.Sprint(d.Expires.Unix() + 1), TeamID: teamID, KeyID: keyID, Issued: p.Issued, Payload: b.cfg.Payload(&d.Notification), Connection: 1, Status: 200, Taken: true,
	}
	want.Header = map[string]string{
		"apns-id": want.ID, "apns-topic": bundle, "apns-push-type": "alert", "apns-collapse-id": want.CollapseID, "apns-priority": "10", "apns-expiration": want.Expiration,
		"content-type": "application/json; charset=utf-8", "content-length": fmt.Sprint(len(p.Payload)), "user-agent": "tocsin",
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if b.apns.RefusedStreams() != 0 {
		t.Error("more streams were opened than the service allows")
	}
}

// What Apple answers becomes an outcome, over the wire; and what may help at once is tried at once, and once.
func TestSendAnswers(t *testing.T) {
	t.Parallel()
	since := func(s int64) time.Time { return time.Unix(s, 0) }
	twice := func(a stack.APNsAnswer) stack.APNsAnswer { a.Times = 2; return a }
	for _, tc := range []struct {
		name    string
		answer  stack.APNsAnswer
		verdict pushers.Verdict
		reason  string
		pushes  int
	}{
		{"bad device token", stack.APNsAnswer{Status: 400, Reason: "BadDeviceToken"}, pushers.Gone, "BadDeviceToken", 1},
		{"unregistered since", stack.APNsAnswer{Status: 410, Reason: "Unregistered", Timestamp: since(registered)}, pushers.Gone, "Unregistered", 1},
		{"unregistered before", stack.APNsAnswer{Status: 410, Reason: "Unregistered", Timestamp: since(registered - 1)}, pushers.Retry, "reregistered", 1},
		{"expired token", stack.APNsAnswer{Status: 410, Reason: "ExpiredToken", Timestamp: since(registered + 1)}, pushers.Gone, "ExpiredToken", 1},
		{"topic disallowed", stack.APNsAnswer{Status: 400, Reason: "TopicDisallowed"}, pushers.Misconfigured, "TopicDisallowed", 1},
		{"expired provider token, too soon", stack.APNsAnswer{Status: 403, Reason: "ExpiredProviderToken"}, pushers.Misconfigured, "ExpiredProviderToken", 1},
		{"wrong environment", stack.APNsAnswer{Status: 403, Reason: "BadEnvironmentKeyInToken"}, pushers.Misconfigured, "BadEnvironmentKeyInToken", 1},
		{"too large", stack.APNsAnswer{Status: 413, Reason: "PayloadTooLarge"}, pushers.Delivered, "accepted", 2},
		{"too large for ever", twice(stack.APNsAnswer{Status: 413, Reason: "PayloadTooLarge"}), pushers.Drop, "PayloadTooLarge", 2},
		{"too many requests", stack.APNsAnswer{Status: 429, Reason: "TooManyRequests"}, pushers.Retry, "TooManyRequests", 1},
		{"unavailable", stack.APNsAnswer{Status: 503, Reason: "ServiceUnavailable", Header: map[string]string{"retry-after": "7"}}, pushers.Retry, "ServiceUnavailable", 1},
		{"idle timeout", stack.APNsAnswer{Status: 400, Reason: "IdleTimeout"}, pushers.Delivered, "accepted", 2},
		{"not Apple", stack.APNsAnswer{Status: 404, Body: "<html>"}, pushers.Misconfigured, "not_apple", 1},
		{"a redirect", stack.APNsAnswer{Status: 307, Header: map[string]string{"location": "/3/device/0"}}, pushers.Misconfigured, "not_apple", 1},
		{"an answer without end", stack.APNsAnswer{Status: 500, Body: strings.Repeat("x", 1<<20)}, pushers.Retry, "http_500", 1},
		{"GOAWAY before it", stack.APNsAnswer{Fault: stack.APNsGoAway}, pushers.Delivered, "accepted", 2},
		{"GOAWAY before it, twice", twice(stack.APNsAnswer{Fault: stack.APNsGoAway}), pushers.Delivered, "accepted", 3},
		{"GOAWAY before it, for ever", stack.APNsAnswer{Fault: stack.APNsGoAway, Times: 3}, pushers.Retry, "goaway", 3},
		{"GOAWAY with a reason", stack.APNsAnswer{Fault: stack.APNsGoAway, Reason: "BadCertificateEnvironment"}, pushers.Misconfigured, "BadCertificateEnvironment", 1},
		{"GOAWAY with it", stack.APNsAnswer{Fault: stack.APNsGoAwayTaken}, pushers.Uncertain, "no_answer", 1},
		{"refused stream", stack.APNsAnswer{Fault: stack.APNsRefuseStream}, pushers.Delivered, "accepted", 2},
		{"reset stream", stack.APNsAnswer{Fault: stack.APNsReset}, pushers.Uncertain, "no_answer", 1},
		{"cut", stack.APNsAnswer{Fault: stack.APNsCut}, pushers.Uncertain, "no_answer", 1},
		{"silence", stack.APNsAnswer{Fault: stack.APNsSilence}, pushers.Uncertain, "timeout", 1},
		{"deaf", stack.APNsAnswer{Fault: stack.APNsDeaf}, pushers.Uncertain, "timeout", 1},
	} {
		for _, first := range []bool{false, true} {
			name := tc.name
			if first {
				name += ", on a new connection"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				b := newBed(t, stack.APNsOptions{})
				b.cfg.Timeout = 3 * time.Second
				s := b.sender(t, Options{})
				if first {
					s.links.present().accepted.Store(time.Now().UnixNano())
				} else if got := s.Send(t.Context(), numbered(0)); got.Verdict != pushers.Delivered {
					t.Fatalf("got %+v", got)
				}
				before := len(b.received())
				b.apns.Script(tc.answer)
				got := s.Send(t.Context(), numbered(1))
				if got.Verdict != tc.verdict || got.Reason != tc.reason {
					t.Errorf("got %v %q (%v), want %v %q", got.Verdict, got.Reason, got.Cause, tc.verdict, tc.reason)
				}
				pushes := b.received()[before:]
				if len(pushes) != tc.pushes {
					t.Errorf("%d pushes, want %d", len(pushes), tc.pushes)
				}
				for _, p := range pushes {
					if p.ID != pushes[0].ID || p.Token != pushes[0].Token {
						t.Error("the second push is another")
					}
				}
				if got.Cause != nil && strings.Contains(got.Cause.Error(), pushes[0].Token) {
					t.Errorf("the cause tells the device token: %v", got.Cause)
				}
				if b.apns.Waiting() != 0 {
					t.Error("an answer was not asked for")
				}
				again := s.Send(t.Context(), numbered(2)) // whatever it was, the next push gets through
				if again.Verdict != pushers.Delivered && again.Verdict != pushers.Uncertain {
					t.Errorf("afterwards: %+v", again)
				}
			})
		}
	}
}

// A payload that is refused for its size goes out smaller.
func TestSendShrinks(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	b.cfg.Form = FormFull
	b.apns.Script(stack.APNsAnswer{Status: 413, Reason: "PayloadTooLarge"})
	d := numbered(1)
	d.Notification = message()
	d.Notification.Content = asJSON(map[string]any{"msgtype": "m.text", "body": strings.Repeat("\U0001F514", 2000)})
	if got := b.sender(t, Options{}).Send(t.Context(), d); got.Verdict != pushers.Delivered {
		t.Fatalf("got %+v", got)
	}
	var sizes []int
	for _, p := range b.received() {
		sizes = append(sizes, len(p.Payload))
	}
	if len(sizes) != 2 || sizes[0] > maxPayload || sizes[0] < maxPayload-4 || sizes[1] > sizes[0]/2 || sizes[1] < sizes[0]/2-4 {
		t.Errorf("sizes %d", sizes)
	}
}

// Nothing is sent of what the app is not told, and of pushkeys that are none.
func TestSendNothing(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	b.cfg.Badge = false
	s := b.sender(t, Options{})
	if got := s.Send(t.Context(), delivery(pushers.Notification{Counts: pushers.Counts{Unread: 1}})); got.Verdict != pushers.Delivered || got.Reason != "nothing_to_tell" {
		t.Errorf("counts: got %+v", got)
	}
	d := numbered(1)
	d.Notification.Device.Pusher.Pushkey = pushers.NewPushkey("../secret!")
	if got := s.Send(t.Context(), d); got.Verdict != pushers.Drop || got.Reason != "bad_pushkey" || strings.Contains(got.Cause.Error(), "secret") {
		t.Errorf("a bad pushkey: got %+v", got)
	}
	counts, n := pushers.Notification{}, message()
	if s.Tells(&counts) || !s.Tells(&n) {
		t.Error("what the app is told is another thing than what is sent")
	}
	if got := b.received(); len(got) != 0 {
		t.Errorf("received %+v", got)
	}
}

// An expiration of 0 goes out, and none at all does not.
func TestSendExpiration(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	b.cfg.Store = false
	b.sender(t, Options{}).Send(t.Context(), numbered(1))
	if got := b.last(t).Expiration; got != "0" {
		t.Errorf("tried once: got %q", got)
	}
	b.cfg.Store = true
	d := numbered(2)
	d.Expires = time.Time{}
	b.sender(t, Options{}).Send(t.Context(), d)
	if got := b.last(t).Expiration; got != "" {
		t.Errorf("as long as Apple likes: got %q", got)
	}
}

// Whoever wraps requests sees them go out, may add to them, and does not see the credential.
func TestSendWrapped(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	seen := http.Header{}
	wrap := func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			seen = r.Header.Clone()
			r = r.Clone(r.Context())
			r.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			return next.RoundTrip(r)
		})
	}
	if got := b.sender(t, Options{Wrap: wrap}).Send(t.Context(), numbered(1)); got.Verdict != pushers.Delivered {
		t.Fatalf("got %+v", got)
	}
	if seen.Get("Authorization") != "" || seen.Get("Apns-Topic") != bundle {
		t.Errorf("seen: %v", seen)
	}
	if b.last(t).Header["traceparent"] == "" {
		t.Error("what was added did not go out")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// No connection is an outcome of its own, and never a reason to leave TLS out.
func TestSendUnreachable(t *testing.T) {
	t.Parallel()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	served := make(chan error, 1)
	go func() { served <- server.Serve(plain) }()
	defer func() { server.Close(); <-served }()
	refuse := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: fmt.Errorf("refused")}
	}
	lost := func(context.Context, string, string) (net.Conn, error) {
		return nil, &net.DNSError{Err: "no such host"}
	}
	for _, tc := range []struct {
		name   string
		change func(*Config, *Options)
		reason string
	}{
		{"refused", func(_ *Config, o *Options) { o.Dial = refuse }, "connect"},
		{"no such host", func(_ *Config, o *Options) { o.Dial = lost }, "dns"},
		{"no TLS", func(c *Config, _ *Options) { c.BaseURL = "https://" + plain.Addr().String() }, "tls"},
		{"an authority that is not trusted", func(c *Config, _ *Options) { c.CAFile = "" }, "tls"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBed(t, stack.APNsOptions{})
			var opts Options
			tc.change(&b.cfg, &opts)
			if got := b.sender(t, opts).Send(t.Context(), numbered(1)); got.Verdict != pushers.Retry || got.Reason != tc.reason {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A server that speaks HTTP/1.1 alone is no APNs.
func TestSendNoHTTP2(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	opts := Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			server := tls.Server(theirs, &tls.Config{NextProtos: []string{"http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, fmt.Errorf("none") }})
			_ = server.Handshake()
			theirs.Close()
		}()
		return ours, nil
	}}
	if got := b.sender(t, opts).Send(t.Context(), numbered(1)); got.Reason != "tls" {
		t.Errorf("got %+v", got)
	}
}

// A caller that gives up gets its answer at once.
func TestSendCancelled(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	b.apns.Script(stack.APNsAnswer{Fault: stack.APNsSilence})
	ctx, cancel := context.WithCancel(t.Context())
	s := b.sender(t, Options{})
	go func() {
		for len(b.received()) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	began := time.Now()
	if got := s.Send(ctx, numbered(1)); got.Verdict != pushers.Uncertain || time.Since(began) > 5*time.Second {
		t.Errorf("got %+v after %v", got, time.Since(began))
	}
}
