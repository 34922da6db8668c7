package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"tocsin/clock"
	"tocsin/pushers"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback allows what a test needs: a gateway on this machine, without TLS.
func loopback() gateway.Config {
	return gateway.Config{AllowHTTP: true, Config: outbound.Config{
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Timeout:       5 * time.Second,
	}}
}

func newSender(t testing.TB, cfg gateway.Config, opts gateway.Options) *gateway.Sender {
	s := gateway.New(cfg, opts)
	t.Cleanup(s.Close)
	return s
}

// serve starts a gateway that answers with h.
func serve(t testing.TB, h http.HandlerFunc) string {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL + gateway.StandardPath
}

// to is a message to that URL.
func to(url string) pushers.Notification {
	n := message()
	n.Device.Pusher.URL = url
	return n
}

// check compares all but the cause.
func check(t *testing.T, got, want pushers.Outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" {
		t.Errorf("(-want +got)\n%s\ncause: %v", diff, got.Cause)
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	type request struct {
		method, path, query, contentType, encoding, agent, body string
		length                                                  int64
	}
	got := make(chan request, 1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h := r.Header
		got <- request{r.Method, r.URL.Path, r.URL.RawQuery, h.Get("Content-Type"), h.Get("Accept-Encoding"), h.Get("User-Agent"), string(body), r.ContentLength}
		io.WriteString(w, `{"rejected":[]}`)
	})
	n := to(url + "?app=1")
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: n}), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
	body, err := gateway.Body(&n)
	if err != nil {
		t.Fatal(err)
	}
	want := request{"POST", "/_matrix/push/v1/notify", "app=1", "application/json", "", "tocsin", string(body), int64(len(body))}
	if sent := <-got; sent != want {
		t.Errorf("got  %+v\nwant %+v", sent, want)
	}
}

func TestSendRejected(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"rejected":["other",%q]}`, message().Device.Pusher.Pushkey.Reveal())
	})
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to(url)}), pushers.Outcome{Verdict: pushers.Gone, Reason: "rejected", Status: 200})
}

// TestSendKeepsConnections holds that replies are read to their end, errors too.
func TestSendKeepsConnections(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	status := http.StatusOK
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		w.Write(bytes.Repeat([]byte{' '}, 60_000))
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	s := newSender(t, loopback(), gateway.Options{})
	for _, status = range []int{200, 404, 503, 302, 200} {
		s.Send(t.Context(), pushers.Delivery{Notification: to(server.URL + gateway.StandardPath)})
	}
	if got := connections.Load(); got != 1 {
		t.Errorf("%d connections for requests one after another, want 1", got)
	}
}

// TestSendTooLarge has a gateway that takes a notification only without its content.
func TestSendTooLarge(t *testing.T) {
	t.Parallel()
	full, idOnly := to(""), to("")
	idOnly.Device.Pusher.Format = pushers.FormatEventIDOnly
	short := full
	short.Content = nil
	delivered := pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}
	dropped := pushers.Outcome{Verdict: pushers.Drop, Reason: "http_413", Status: 413}
	for _, tc := range []struct {
		name  string
		n     pushers.Notification
		never bool // the gateway takes nothing at all
		want  pushers.Outcome
		tells []pushers.Notification
	}{
		{"once more without content", full, false, delivered, []pushers.Notification{full, short}},
		{"not a third time", full, true, dropped, []pushers.Notification{full, short}},
		{"had no content", short, true, dropped, []pushers.Notification{short}},
		{"the format has none", idOnly, true, dropped, []pushers.Notification{idOnly}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			tc.n.Device.Pusher.URL = serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = append(got, string(body))
				if tc.never || bytes.Contains(body, []byte(`"content"`)) {
					w.WriteHeader(http.StatusRequestEntityTooLarge)
				}
				io.WriteString(w, `{}`)
			})
			check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: tc.n}), tc.want)
			var want []string
			for _, n := range tc.tells {
				body, err := gateway.Body(&n)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, string(body))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestSendBadNotification(t *testing.T) {
	t.Parallel()
	n := to(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	n.Content = []byte(`{"half`)
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: n}), pushers.Outcome{Verdict: pushers.Drop, Reason: "bad_notification"})
}

// TestOptions holds that one gateway behind Dial answers any URL, that Wrap sees each exchange, and that dates are held against Clock.
func TestOptions(t *testing.T) {
	t.Parallel()
	virtual := clock.NewVirtual(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	server, _ := url.Parse(serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "Mon, 01 Jan 2001 00:00:20 GMT")
		w.Header().Set("X-Host", r.Host)
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	var seen, networks []string
	s := newSender(t, gateway.Config{Path: gateway.AnyPath, AllowHTTP: true}, gateway.Options{Clock: virtual, Options: outbound.Options{
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			networks = append(networks, network)
			return new(net.Dialer).DialContext(ctx, "tcp", server.Host)
		},
		Wrap: func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(r)
				body, _ := r.GetBody()
				text, _ := io.ReadAll(body)
				seen = append(seen, fmt.Sprint(r.URL, " ", resp.StatusCode, " ", resp.Header.Get("X-Host"), " ", len(text)))
				return resp, err
			})
		},
	}})
	for _, url := range []string{"https://push.example/_matrix/push/v1/notify", "http://10.0.0.1:81/x?y=z", "https://[::1]:444/"} {
		check(t, s.Send(t.Context(), pushers.Delivery{Notification: to(url)}), pushers.Outcome{Verdict: pushers.Retry, Reason: "http_429", Status: 429, RetryAfter: 20 * time.Second, Pause: true})
	}
	n := message()
	body, _ := gateway.Body(&n)
	want := []string{
		fmt.Sprint("https://push.example/_matrix/push/v1/notify 429 push.example ", len(body)),
		fmt.Sprint("http://10.0.0.1:81/x?y=z 429 10.0.0.1:81 ", len(body)),
		fmt.Sprint("https://[::1]:444/ 429 [::1]:444 ", len(body)),
	}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if want := []string{"tls", "tcp", "tls"}; !slices.Equal(networks, want) {
		t.Errorf("dialled %v, want %v: https, http, https", networks, want)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
