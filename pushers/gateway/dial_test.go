package gateway_test

// Which addresses are connected to, with names that say one thing and another.

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
)

// public stands for the addresses of the world outside: the one network that is allowed.
var public = netip.MustParsePrefix("127.7.0.0/16")

// serveAt starts a gateway at an address of this machine, and says its port.
func serveAt(t testing.TB, host string, port string, h http.HandlerFunc) string {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: h}}
	server.Start()
	t.Cleanup(server.Close)
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port
}

func accept(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Connection", "close") // the next request resolves the name again
	io.WriteString(w, `{}`)
}

var delivered = pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}

// world is a gateway outside and another service inside at the same port, which nobody must reach.
func world(t testing.TB) (port string) {
	port = serveAt(t, "127.7.0.1", "0", accept)
	serveAt(t, "127.0.0.1", port, func(http.ResponseWriter, *http.Request) { t.Error("the service inside was reached") })
	return port
}

func cautious() gateway.Config {
	return gateway.Config{AllowHTTP: true, Config: outbound.Config{AllowNetworks: []netip.Prefix{public}, Timeout: 5 * time.Second}}
}

// TestSendToChangingNames has names that lead outside when they are looked at, and inside when they are used.
func TestSendToChangingNames(t *testing.T) {
	t.Parallel()
	port := world(t)
	blocked := pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"}
	resolver := serveNames(t, func(name string, n int) []string {
		switch name {
		case "turns.example":
			return [][]string{{"127.7.0.1"}, {"127.0.0.1"}, {"127.7.0.1"}, {"10.0.0.1", "169.254.169.254"}}[n]
		case "both.example":
			return []string{"127.0.0.1", "::1", "127.7.0.1", "10.0.0.1"}
		case "mapped.example":
			return []string{"::ffff:127.0.0.1"}
		case "nat64.example":
			return []string{"64:ff9b::127.0.0.1"}
		case "away.example":
			return []string{"127.0.0.1", "127.7.0.9"} // nobody listens at the second
		}
		return nil
	})
	s := newSender(t, cautious(), gateway.Options{Options: outbound.Options{Resolver: resolver}})
	send := func(host string) pushers.Outcome {
		return s.Send(t.Context(), pushers.Delivery{Notification: to("http://" + host + ":" + port + gateway.StandardPath)})
	}
	for _, want := range []pushers.Outcome{delivered, blocked, delivered, blocked} {
		check(t, send("turns.example"), want)
	}
	for range 3 {
		check(t, send("both.example"), delivered)
	}
	check(t, send("mapped.example"), blocked)
	check(t, send("nat64.example"), blocked)
	check(t, send("away.example"), pushers.Outcome{Verdict: pushers.Retry, Reason: "connect"}) // the permitted one may come back
	check(t, send("none.example"), pushers.Outcome{Verdict: pushers.Retry, Reason: "dns"})
}

// TestSendKeepsNoConnectionOfAnotherName holds that a connection that was made to an allowed host serves no other host.
func TestSendKeepsNoConnectionOfAnotherName(t *testing.T) {
	t.Parallel()
	port := serveAt(t, "127.0.0.1", "0", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) })
	cfg := cautious()
	cfg.AllowHosts = []string{"push.internal", "*.push.internal"}
	s := newSender(t, cfg, gateway.Options{Options: outbound.Options{Resolver: serveNames(t, func(string, int) []string { return []string{"127.0.0.1"} })}})
	for host, allowed := range map[string]bool{
		"push.internal": true, "PUSH.Internal.": true, "a.push.internal": true,
		"push.internal.example": false, "other.internal": false, "a.b.push.internal": false, "127.0.0.1": false, "localhost": false,
	} {
		want := pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"}
		if allowed {
			want = delivered
		}
		check(t, s.Send(t.Context(), pushers.Delivery{Notification: to("http://" + host + ":" + port + gateway.StandardPath)}), want)
	}
}

// TestSendRefusesEveryRange goes through the dialer with an address of each special-purpose range of the IANA registries, as such, as a name's address, and in the
// forms of IPv6 that hold an IPv4 address.
func TestSendRefusesEveryRange(t *testing.T) {
	t.Parallel()
	v4 := []string{
		"0.0.0.1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.9", "192.0.0.170", "192.0.2.1", "192.31.196.1",
		"192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
	}
	v6 := []string{
		"::2", "100::1", "2001::1", "2001:1::1", "2001:2::1", "2001:3::1", "2001:4:112::1", "2001:20::1", "2001:30::1", "2001:db8::1", "2620:4f:8000::1", "3fff::1", "5f00::1",
		"fc00::1", "fd12:3456::1", "fe80::1", "fec0::1", "ff02::1", "4000::1",
	}
	for _, inner := range v4 {
		a := netip.MustParseAddr(inner).As4()
		v6 = append(v6, "::ffff:"+inner, "::"+inner, "::ffff:0:"+inner, "64:ff9b::"+inner, "64:ff9b:1::"+inner,
			fmt.Sprintf("2002:%02x%02x:%02x%02x::1", a[0], a[1], a[2], a[3]),             // 6to4
			fmt.Sprintf("2001:0:%02x%02x:%02x%02x::1", a[0], a[1], a[2], a[3]),           // Teredo: the server
			fmt.Sprintf("2001:0:808:808::%02x%02x:%02x%02x", ^a[0], ^a[1], ^a[2], ^a[3])) // Teredo: the client
	}
	var named atomic.Value
	named.Store("")
	s := newSender(t, gateway.Config{AllowHTTP: true}, gateway.Options{Options: outbound.Options{Resolver: serveNames(t, func(string, int) []string { return []string{named.Load().(string)} })}})
	refused := func(host, address string) {
		t.Helper()
		got := s.Send(t.Context(), pushers.Delivery{Notification: to("http://" + host + ":9" + gateway.StandardPath)})
		check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"})
		told := netip.MustParseAddr(address).Unmap().String()
		if cause := fmt.Sprint(got.Cause); !strings.Contains(cause, told) || !strings.Contains(cause, "denied by") && !strings.Contains(cause, "outside of") || !strings.Contains(cause, "delivery.allow_hosts") {
			t.Errorf("%s: the cause does not name the address, the rule and the way out: %s", address, cause)
		}
	}
	for i, address := range append(v4, v6...) {
		host := address
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		refused(host, address)
		named.Store(address)
		refused(fmt.Sprintf("n%d.example", i), address)
	}
}

// TestSendHandshakes has gateways with which no TLS connection comes about in time.
func TestSendHandshakes(t *testing.T) {
	t.Parallel()
	hangs := make(chan net.Conn, 1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); (<-hangs).Close() })
	go func() {
		conn, _ := listener.Accept()
		hangs <- conn
	}()
	cfg := loopback()
	cfg.Timeout = 500 * time.Millisecond
	check(t, newSender(t, cfg, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to("https://" + listener.Addr().String() + gateway.StandardPath)}), pushers.Outcome{Verdict: pushers.Retry, Reason: "tls"})
}
