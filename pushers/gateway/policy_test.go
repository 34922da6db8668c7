package gateway_test

// Whom no request reaches: redirects, private addresses, proxies, strangers in TLS.

import (
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/gateway"
)

func TestSendFollowsNoRedirect(t *testing.T) {
	t.Parallel()
	inner := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the redirect was followed") })
	for _, status := range []int{301, 302, 303, 307, 308} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, inner, status) })
		check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to(url)}),
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
			check(t, newSender(t, tc.cfg, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to(tc.url)}), tc.want)
		})
	}
}

// TestSendRefuses holds that no request of these gets anywhere: there is a gateway at the port that would take it.
func TestSendRefuses(t *testing.T) {
	t.Parallel()
	here, _ := url.Parse(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	strict := gateway.Config{AllowHTTP: true}
	for _, host := range []string{"127.0.0.1", "localhost", "127.1.2.3", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "10.0.0.1", "169.254.169.254",
		"192.168.1.1", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:7f00:1::]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			got := newSender(t, strict, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to("http://" + host + ":" + here.Port() + gateway.StandardPath)})
			check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"})
			if cause := fmt.Sprint(got.Cause); !strings.Contains(cause, "not a permitted destination") || !strings.Contains(cause, "delivery.allow_cidrs") {
				t.Errorf("the cause names no rule: %s", cause)
			}
		})
	}
	got := newSender(t, gateway.Config{}, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to(here.String())})
	check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "bad_url"})
}

// TestSendNumbersAsHosts has other ways to write 127.0.0.1, which C libraries resolve: they are not even looked up.
func TestSendNumbersAsHosts(t *testing.T) {
	t.Parallel()
	here, _ := url.Parse(serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request came through") }))
	for _, host := range []string{"2130706433", "0x7f000001", "017700000001", "127.1", "0177.0.0.1", "0x7f.1", "0", "127.0.0.1."} {
		got := newSender(t, gateway.Config{AllowHTTP: true}, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to("http://" + host + ":" + here.Port() + gateway.StandardPath)})
		check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "bad_url"})
	}
}

func TestSendUsesNoProxyOfTheEnvironment(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was used") })
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"} {
		t.Setenv(name, proxy)
	}
	got := newSender(t, loopback(), gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to("http://10.0.0.1" + gateway.StandardPath)})
	check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"})
}
