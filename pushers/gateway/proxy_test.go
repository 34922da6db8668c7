package gateway_test

// The way through a proxy, which must not lead round the guard.

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
	"tocsin/test/stack"
)

// through is cfg by way of a proxy at that URL.
func through(t testing.TB, cfg gateway.Config, proxy string) gateway.Config {
	u, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Proxy = outbound.Proxy{URL: u, Username: "tocsin", Password: credential.NewSecret("geheim")}
	return cfg
}

const login = " Basic dG9jc2luOmdlaGVpbQ=="

// TestProxyIsToldCheckedAddresses holds that a proxy learns no name that it could resolve otherwise, and no address that is not permitted, whatever a name says
// from one moment to the next.
func TestProxyIsToldCheckedAddresses(t *testing.T) {
	t.Parallel()
	port := world(t)
	proxy, address := stack.ConnectProxyServer(t)
	resolver := serveNames(t, func(name string, n int) []string {
		switch name {
		case "turns.example":
			return [][]string{{"127.7.0.1"}, {"127.0.0.1"}, {"127.7.0.1"}}[n]
		case "both.example":
			return []string{"127.0.0.1", "::1", "127.7.0.1", "10.0.0.1"}
		case "second.example":
			return []string{"127.7.0.9", "127.7.0.1"} // nobody listens at the first
		case "own.internal":
			return []string{"127.7.0.1", "10.0.0.1"}
		}
		return nil
	})
	s := newSender(t, through(t, cautious(), address), gateway.Options{Options: outbound.Options{Resolver: resolver}})
	send := func(host string) pushers.Outcome {
		return s.Send(t.Context(), pushers.Delivery{Notification: to("http://" + host + ":" + port + gateway.StandardPath)})
	}
	blocked := pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"}
	check(t, send("turns.example"), delivered)
	check(t, send("turns.example"), blocked)
	check(t, send("turns.example"), delivered)
	check(t, send("both.example"), delivered)
	check(t, send("127.7.0.1"), delivered)
	for _, host := range []string{"127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "10.0.0.1", "169.254.169.254", "[fe80::1%25eth0]"} {
		check(t, send(host), blocked)
	}
	check(t, send("none.example"), pushers.Outcome{Verdict: pushers.Retry, Reason: "dns"})
	for _, told := range proxy.Asked() {
		if want := "CONNECT 127.7.0.1:" + port + " 127.7.0.1:" + port + login; told != want {
			t.Errorf("the proxy was told %q, want %q", told, want)
		}
	}
	check(t, send("second.example"), delivered)
	if got, want := len(proxy.Asked()), 6; got != want {
		t.Errorf("the proxy was asked %d times, want %d: %q", got, want, proxy.Asked())
	}
}

func TestProxyToAllowedHost(t *testing.T) {
	t.Parallel()
	port := serveAt(t, "127.0.0.1", "0", accept)
	_, address := stack.ConnectProxyServer(t)
	cfg := through(t, gateway.Config{AllowHTTP: true, Config: outbound.Config{AllowHosts: []string{"own.internal"}}}, address)
	s := newSender(t, cfg, gateway.Options{Options: outbound.Options{Resolver: serveNames(t, func(string, int) []string { return []string{"127.0.0.1"} })}})
	check(t, s.Send(t.Context(), pushers.Delivery{Notification: to("http://own.internal:" + port + gateway.StandardPath)}), delivered)
	check(t, s.Send(t.Context(), pushers.Delivery{Notification: to("http://other.internal:" + port + gateway.StandardPath)}), pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"})
}

// TestProxyTLS holds that TLS is spoken with the gateway, by its name, and not with the proxy; and with the proxy too if its URL says so.
func TestProxyTLS(t *testing.T) {
	t.Parallel()
	var hosts, names []string
	backend := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host)
		accept(w, r)
	}))
	backend.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names = append(names, hello.ServerName)
		return nil, nil
	}}
	backend.StartTLS()
	t.Cleanup(backend.Close)
	proxy := &stack.ConnectProxy{Reach: backend.Listener.Addr().String()}
	plain, secure := httptest.NewServer(proxy), httptest.NewTLSServer(proxy)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	resolver := serveNames(t, func(string, int) []string { return []string{"127.7.0.1"} })
	trusted := x509.NewCertPool()
	trusted.AddCert(backend.Certificate()) // which httptest uses for all its servers
	for _, at := range []string{plain.URL, secure.URL} {
		cfg := through(t, cautious(), at)
		cfg.RootCAs = trusted
		s := newSender(t, cfg, gateway.Options{Options: outbound.Options{Resolver: resolver}})
		check(t, s.Send(t.Context(), pushers.Delivery{Notification: to("https://push.example.com" + gateway.StandardPath)}), delivered) // the certificate is for *.example.com
		check(t, s.Send(t.Context(), pushers.Delivery{Notification: to("https://push.example.org" + gateway.StandardPath)}), pushers.Outcome{Verdict: pushers.Retry, Reason: "tls"})
	}
	if got, want := fmt.Sprint(hosts), "[push.example.com push.example.com]"; got != want {
		t.Errorf("the gateway was asked as %s, want %s", got, want)
	}
	if got, want := fmt.Sprint(names), "[push.example.com push.example.org push.example.com push.example.org]"; got != want {
		t.Errorf("TLS was spoken with %s, want %s", got, want)
	}
	for _, told := range proxy.Asked() {
		if want := "CONNECT 127.7.0.1:443 127.7.0.1:443" + login; told != want {
			t.Errorf("the proxy was told %q, want %q", told, want)
		}
	}
}

// TestSickProxies has proxies that are no help. None of it is the gateway's fault, or kills a notification.
func TestSickProxies(t *testing.T) {
	t.Parallel()
	answer := func(text string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, r *bufio.Reader) { http.ReadRequest(r); io.WriteString(c, text); r.ReadByte() }
	}
	for _, tc := range []struct {
		name string
		talk func(net.Conn, *bufio.Reader)
		want string
	}{
		{"locked", answer("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "proxy"},
		{"forbids", answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 100000\r\n\r\n"), "proxy"},
		{"moved", answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"), "proxy"},
		{"can't reach the gateway", answer("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "connect"},
		{"says more than it should", answer("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), "proxy"},
		{"does not speak HTTP", answer("220 secret.example ESMTP\r\n"), "proxy"},
		{"sends headers for ever", func(c net.Conn, r *bufio.Reader) {
			http.ReadRequest(r)
			io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			flood(c, "X: y\r\n")
		}, "proxy"},
		{"hangs", func(_ net.Conn, r *bufio.Reader) { http.ReadRequest(r); r.ReadByte() }, "proxy"},
		{"closes", func(_ net.Conn, r *bufio.Reader) { http.ReadRequest(r) }, "proxy"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := through(t, cautious(), strings.TrimSuffix(serveRaw(t, tc.talk), gateway.StandardPath))
			cfg.Timeout = time.Second
			got := newSender(t, cfg, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to("http://127.7.0.1:9" + gateway.StandardPath)})
			check(t, got, pushers.Outcome{Verdict: pushers.Retry, Reason: tc.want})
			if cause := fmt.Sprint(got.Cause); strings.Contains(cause, "geheim") || strings.Contains(cause, "secret") {
				t.Errorf("the cause shows what it must not: %s", cause)
			}
		})
	}
	cfg := through(t, cautious(), "http://127.0.0.1:1")
	check(t, newSender(t, cfg, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to("http://127.7.0.1:9" + gateway.StandardPath)}), pushers.Outcome{Verdict: pushers.Retry, Reason: "proxy"})
}
