package gateway_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"tocsin/clock"
	"tocsin/pushers"
	"tocsin/pushers/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback allows what a test needs: a gateway on this machine, without TLS.
func loopback() gateway.Config {
	return gateway.Config{
		AllowHTTP:     true,
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")},
		Timeout:       5 * time.Second,
	}
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

// serveRaw starts a gateway that speaks for itself, on each connection once: talk has what is needed to read requests.
func serveRaw(t testing.TB, talk func(net.Conn, *bufio.Reader)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer conn.Close()
				talk(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() { listener.Close(); talks.Wait() })
	return "http://" + listener.Addr().String() + gateway.StandardPath
}

// readRequest reads one request to its end.
func readRequest(r *bufio.Reader) error {
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
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
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), n), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
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
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), to(url)), pushers.Outcome{Verdict: pushers.Gone, Reason: "rejected", Status: 200})
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
		s.Send(t.Context(), to(server.URL+gateway.StandardPath))
	}
	if got := connections.Load(); got != 1 {
		t.Errorf("%d connections for requests one after another, want 1", got)
	}
}

// TestSendToSickGateways has the ways in which a gateway can fail to answer.
func TestSendToSickGateways(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, tc := range []struct {
		name string
		talk func(net.Conn, *bufio.Reader)
		want pushers.Outcome
	}{
		{"hangs", func(_ net.Conn, r *bufio.Reader) { readRequest(r); r.ReadByte() },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"}},
		{"hangs without reading", func(_ net.Conn, r *bufio.Reader) { http.ReadRequest(r); r.ReadByte(); io.Copy(io.Discard, r) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"}},
		{"closes", func(_ net.Conn, r *bufio.Reader) { readRequest(r) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"resets", func(c net.Conn, r *bufio.Reader) { readRequest(r); c.(*net.TCPConn).SetLinger(0) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"drips a reply", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head+"\r\n"); drip(c, " ") },
			pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"drips headers", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head); drip(c, "X: y\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"}},
		{"breaks off in the reply", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, head+"Content-Length: 15\r\n\r\n{")
		},
			pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"breaks off in an error page", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 15\r\n\r\n<")
		}, pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503", Status: 503, RetryAfter: 7 * time.Second}},
		{"breaks off in the headers", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"sends headers for ever", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head); flood(c, "X: y\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"sends a reply for ever", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, head+"\r\n")
			flood(c, `{"rejected":[`)
		},
			pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"sends a zip bomb", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			z := gzip.NewWriter(c)
			defer z.Close()
			z.Write(bytes.Repeat([]byte{' '}, 10<<20))
		}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"does not speak HTTP", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, "220 secret.example ESMTP\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		{"interrupts for ever", func(c net.Conn, r *bufio.Reader) { readRequest(r); flood(c, "HTTP/1.1 102 Processing\r\n\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := loopback()
			if timesOut := strings.HasPrefix(tc.name, "hangs") || strings.HasPrefix(tc.name, "drips"); timesOut {
				cfg.Timeout = time.Second
			}
			start := time.Now()
			got := newSender(t, cfg, gateway.Options{}).Send(t.Context(), to(serveRaw(t, tc.talk)))
			check(t, got, tc.want)
			if took := time.Since(start); took > cfg.Timeout+5*time.Second { // generous: the machine may be busy
				t.Errorf("took %v", took)
			}
			if cause := fmt.Sprint(got.Cause); strings.Contains(cause, "secret") {
				t.Errorf("the cause shows what the gateway sent: %s", cause)
			}
		})
	}
}

func drip(c net.Conn, s string) {
	for {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // it is what is being tested: a reply that never ends, slowly
	}
}

func flood(c net.Conn, s string) {
	s = strings.Repeat(s, 1000)
	for {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
	}
}

// TestSendOnStaleConnection has a gateway that closes a connection when the second request comes on it.
func TestSendOnStaleConnection(t *testing.T) {
	t.Parallel()
	url := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		readRequest(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		readRequest(r)
	})
	s := newSender(t, loopback(), gateway.Options{})
	check(t, s.Send(t.Context(), to(url)), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
	check(t, s.Send(t.Context(), to(url)), pushers.Outcome{Verdict: pushers.Retry, Reason: "stale_connection"})
	check(t, s.Send(t.Context(), to(url)), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
}

func TestSendNoConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), to("http://"+listener.Addr().String()+gateway.StandardPath)),
		pushers.Outcome{Verdict: pushers.Retry, Reason: "connect"})
}

func TestSendStopped(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	url := serveRaw(t, func(_ net.Conn, r *bufio.Reader) { readRequest(r); stop(); r.ReadByte() })
	check(t, newSender(t, loopback(), gateway.Options{}).Send(ctx, to(url)), pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"})
}

func TestSendFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	inner := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	for _, status := range []int{301, 302, 303, 307, 308} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inner, status) })
		check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), to(url)),
			pushers.Outcome{Verdict: pushers.Misconfigured, Reason: fmt.Sprint("http_", status), Status: status, RetryAfter: time.Hour})
	}
}

func TestSendTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes are what is tested
	server.StartTLS()
	t.Cleanup(server.Close)
	trusting := loopback()
	trusting.RootCAs = x509.NewCertPool()
	trusting.RootCAs.AddCert(server.Certificate())
	plain := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") })
	https := func(url string) string { return strings.Replace(url, "http://", "https://", 1) }
	other := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // which the certificate does not have
	for _, tc := range []struct {
		name, url string
		cfg       gateway.Config
		want      pushers.Outcome
	}{
		{"trusted", server.URL + gateway.StandardPath, trusting, pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}},
		{"unknown authority", server.URL + gateway.StandardPath, loopback(), pushers.Outcome{Verdict: pushers.Retry, Reason: "tls"}},
		{"other name", other + gateway.StandardPath, trusting, pushers.Outcome{Verdict: pushers.Retry, Reason: "tls"}},
		{"no TLS", https(plain), trusting, pushers.Outcome{Verdict: pushers.Retry, Reason: "tls"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			check(t, newSender(t, tc.cfg, gateway.Options{}).Send(t.Context(), to(tc.url)), tc.want)
		})
	}
}

// TestSendRefuses holds that no request of these gets anywhere: there is a gateway at the port that would take it.
func TestSendRefuses(t *testing.T) {
	t.Parallel()
	here, _ := url.Parse(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	strict := gateway.Config{AllowHTTP: true}
	for _, host := range []string{"127.0.0.1", "localhost", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "10.0.0.1", "169.254.169.254",
		"192.168.1.1", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			got := newSender(t, strict, gateway.Options{}).Send(t.Context(), to("http://"+host+":"+here.Port()+gateway.StandardPath))
			check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"})
			if cause := fmt.Sprint(got.Cause); !strings.Contains(cause, "not a permitted destination") || !strings.Contains(cause, "delivery.allow_cidrs") {
				t.Errorf("the cause names no rule: %s", cause)
			}
		})
	}
	got := newSender(t, gateway.Config{}, gateway.Options{}).Send(t.Context(), to(here.String()))
	check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "bad_url"})
}

// TestSendNumbersAsHosts has other ways to write 127.0.0.1. Whether they resolve is the system's business; no request may come of it.
func TestSendNumbersAsHosts(t *testing.T) {
	t.Parallel()
	here, _ := url.Parse(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	for _, host := range []string{"2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "0"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			cfg := gateway.Config{AllowHTTP: true, Timeout: time.Second}
			got := newSender(t, cfg, gateway.Options{}).Send(t.Context(), to("http://"+host+":"+here.Port()+gateway.StandardPath))
			if got.Status != 0 || got.Verdict != pushers.Drop && got.Verdict != pushers.Retry {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestSendUsesNoProxyOfTheEnvironment(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was used") })
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, proxy)
	}
	got := newSender(t, loopback(), gateway.Options{}).Send(t.Context(), to("http://10.0.0.1"+gateway.StandardPath))
	check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"})
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
			check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), tc.n), tc.want)
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
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), n), pushers.Outcome{Verdict: pushers.Drop, Reason: "bad_notification"})
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
	var seen []string
	s := newSender(t, gateway.Config{Path: gateway.AnyPath, AllowHTTP: true}, gateway.Options{
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Host)
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
		Clock: virtual,
	})
	for _, url := range []string{"https://push.example/_matrix/push/v1/notify", "http://10.0.0.1:81/x?y=z", "https://[::1]:444/"} {
		check(t, s.Send(t.Context(), to(url)), pushers.Outcome{Verdict: pushers.Retry, Reason: "http_429", Status: 429, RetryAfter: 20 * time.Second})
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
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
