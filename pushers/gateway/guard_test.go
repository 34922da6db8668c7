package gateway

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	strict, plain := Config{}, Config{AllowHTTP: true}
	own, any := Config{Path: "/push"}, Config{Path: AnyPath, AllowHTTP: true}
	for _, tc := range []struct {
		name string
		cfg  Config
		url  string
		want string // part of the error; "" if the URL is taken
	}{
		{"standard", strict, "https://push.example/_matrix/push/v1/notify", ""},
		{"with a port", strict, "https://push.example:8443/_matrix/push/v1/notify", ""},
		{"with a query", strict, "https://push.example/_matrix/push/v1/notify?app=1", ""},
		{"scheme in capitals", strict, "HTTPS://push.example/_matrix/push/v1/notify", ""},
		{"http allowed", plain, "http://push.example/_matrix/push/v1/notify", ""},
		{"own path", own, "https://push.example/push", ""},
		{"any path", any, "http://push.example", ""},
		{"http", strict, "http://push.example/_matrix/push/v1/notify", "http://push.example: it must be https (delivery.allow_http allows http)"},
		{"other scheme", any, "gopher://push.example/_matrix/push/v1/notify", `the scheme must be https, not "gopher"`},
		{"file", any, "file:///etc/passwd", `the scheme must be https, not "file"`},
		{"no scheme", any, "//push.example/_matrix/push/v1/notify", `the scheme must be https, not ""`},
		{"nothing", any, "", `the scheme must be https, not ""`},
		{"no host", any, "https:///_matrix/push/v1/notify", "it names no host"},
		{"opaque", any, "https:push.example", "it names no host"},
		{"only a port", any, "https://:443/_matrix/push/v1/notify", "it names no host"},
		{"a number", any, "http://2130706433/", "2130706433: the host is a number"},
		{"a hexadecimal number", any, "http://0x7f000001/", "the host is a number"},
		{"an octal number", any, "http://017700000001:81/", "the host is a number"},
		{"octal parts", any, "http://0177.0.0.1/", "the host is a number"},
		{"hexadecimal parts", any, "http://0x7f.0.0.0X1/", "the host is a number"},
		{"too few parts", any, "http://127.1/", "the host is a number"},
		{"too many parts", any, "http://1.127.0.0.1/", "the host is a number"},
		{"a part that is too large", any, "http://127.0.0.256/", "the host is a number"},
		{"a number with a dot", any, "http://127.0.0.1./", "the host is a number"},
		{"a name that begins with a number", any, "http://127.0.0.1.nip.example/", ""},
		{"a name of hexadecimal digits", any, "http://0xcafe.example/", ""},
		{"a long name", any, "http://" + strings.Repeat("a.", 127) + "/", ""},
		{"too long a name", any, "http://" + strings.Repeat("a.", 128) + "/", "its host is longer than a name can be"},
		{"user", strict, "https://user:geheim@push.example/_matrix/push/v1/notify", "push.example: it must not have a user or password"},
		{"user that looks like a host", strict, "https://push.example@10.0.0.1/_matrix/push/v1/notify", "10.0.0.1: it must not have a user or password"},
		{"empty user", strict, "https://@push.example/_matrix/push/v1/notify", "push.example: it must not have a user or password"},
		{"backslash for a slash", any, `http://push.example\@10.0.0.1/`, "invalid userinfo"},
		{"user with a host and a port", any, "http://push.example:80@10.0.0.1:81/", "10.0.0.1:81: it must not have a user or password"},
		{"user behind an escape", any, "http://push.example%2F@10.0.0.1/", "10.0.0.1: it must not have a user or password"},
		{"an at sign in the fragment", strict, "https://push.example#@10.0.0.1/_matrix/push/v1/notify", "push.example: the path must be"},
		{"an at sign in the query", strict, "https://push.example?@10.0.0.1/_matrix/push/v1/notify", "push.example: the path must be"},
		{"other path", strict, "https://push.example/notify?geheim", "push.example: the path must be /_matrix/push/v1/notify (delivery.gateway_path allows another)"},
		{"slash behind", strict, "https://push.example/_matrix/push/v1/notify/", "the path must be"},
		{"path in capitals", strict, "https://push.example/_Matrix/push/v1/notify", "the path must be"},
		{"dots", strict, "https://push.example/x/../_matrix/push/v1/notify", "the path must be"},
		{"escaped slash", strict, "https://push.example/_matrix%2Fpush/v1/notify", "the path must be"},
		{"escaped letter", strict, "https://push.example/_matri%78/push/v1/notify", "the path must be"},
		{"standard where another is asked", own, "https://push.example/_matrix/push/v1/notify", "the path must be /push"},
		{"line break", any, "https://push.example/\r\nX: geheim", "invalid control character"},
		{"bad escape", any, "https://push.example/%zz", "invalid URL escape"},
		{"bad port", any, "https://push.example:geheim/", "invalid port"},
		{"bracket", any, "https://[::1/", "missing ']' in host"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			u, err := tc.cfg.target(tc.url)
			if tc.want == "" {
				if err != nil || u == nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var refused *refusal
			if !errors.As(err, &refused) || refused.reason != reasonBadURL || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v and the error %v, want %q", u, err, tc.want)
			}
			if strings.Contains(err.Error(), "geheim") && tc.name != "bad port" { // which the host is at fault for, not a secret
				t.Errorf("the error shows what it must not: %v", err)
			}
		})
	}
}

// special are networks that no public gateway is in, each with its first and last address and what lies just outside of it (RFC 6890 and the special-purpose
// address registries of IANA; multicast; formerly site-local).
var special = []string{
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.175.48.0/24",
	"192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32",
	"::/128", "::1/128", "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001::/32", "2001:1::1/128", "2001:2::/48", "2001:3::/32", "2001:4:112::/48", "2001:20::/28", "2001:30::/28", "2620:4f:8000::/48", "2001:10::/28", "2001:db8::/32",
	"2002::/16", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8",
}

func TestGuardRefusesSpecialAddresses(t *testing.T) {
	t.Parallel()
	g := newGuard(nil, nil)
	for _, network := range special {
		prefix := netip.MustParsePrefix(network)
		for _, addr := range []netip.Addr{prefix.Addr(), prefix.Addr().Next(), last(prefix)} {
			if !prefix.Contains(addr) && !addr.Is4In6() { // a network of one address
				continue
			}
			refuses(t, g, addr)
			if addr.Is4() {
				refuses(t, g, netip.AddrFrom16(addr.As16())) // ::ffff:10.0.0.1
			}
		}
	}
}

func TestGuardRefusesAnyAddressInASpecialNetwork(t *testing.T) {
	t.Parallel()
	g := newGuard(nil, nil)
	rapid.Check(t, func(t *rapid.T) {
		prefix := netip.MustParsePrefix(rapid.SampledFrom(special).Draw(t, "network"))
		host := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "host")
		bytes := prefix.Addr().AsSlice()
		for i := range bytes {
			kept := max(0, min(8, prefix.Bits()-8*i)) // bits of this byte that are the network's
			bytes[i] |= host[i] & (0xff >> kept)
		}
		addr, _ := netip.AddrFromSlice(bytes)
		refuses(t, g, addr)
	})
}

func refuses(t interface{ Errorf(string, ...any) }, g guard, addr netip.Addr) {
	network := "tcp6"
	if addr.Is4() {
		network = "tcp4"
	}
	address := netip.AddrPortFrom(addr, 443).String()
	err := g.control(network, address, nil)
	var refused *refusal
	if !errors.As(err, &refused) || refused.reason != reasonBlockedAddress {
		t.Errorf("%s: got the error %v, want a refusal", address, err)
		return
	}
	if message := err.Error(); !strings.Contains(message, addr.String()) || !strings.Contains(message, "delivery.allow_cidrs") {
		t.Errorf("%s: the error does not name the address and the way out: %v", address, err)
	}
}

func last(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for i := range bytes {
		kept := max(0, min(8, prefix.Bits()-8*i))
		bytes[i] |= 0xff >> kept
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

func TestGuardAllows(t *testing.T) {
	t.Parallel()
	networks := []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16"), netip.MustParsePrefix("fd00:1::/32")} // host bits don't matter
	for _, tc := range []struct {
		network, address string
		public, own      bool // without and with the allow list
	}{
		{"tcp4", "8.8.8.8:443", true, true},
		{"tcp4", "9.255.255.255:8448", true, true},
		{"tcp4", "11.0.0.0:80", true, true},
		{"tcp4", "172.32.0.0:443", true, true},
		{"tcp6", "[2606:4700::1111]:443", true, true},
		{"tcp4", "10.1.2.3:443", false, true},
		{"tcp4", "10.2.0.1:443", false, false},
		{"tcp6", "[fd00:1::1]:443", false, true},
		{"tcp6", "[fd00:2::1]:443", false, false},
		{"tcp6", "[::ffff:10.1.2.3]:443", false, false},
		{"tcp6", "[fe80::1%eth0]:443", false, false},
		{"udp4", "8.8.8.8:443", false, false},
		{"unix", "/run/socket", false, false},
	} {
		if err := newGuard(nil, nil).control(tc.network, tc.address, nil); (err == nil) != tc.public {
			t.Errorf("%s: %v, want allowed %v", tc.address, err, tc.public)
		}
		if err := newGuard(networks, nil).control(tc.network, tc.address, nil); (err == nil) != tc.own {
			t.Errorf("%s with the list: %v, want allowed %v", tc.address, err, tc.own)
		}
	}
}

// TestGuardLooksThroughNAT64 has an operator whose network reaches IPv4 by NAT64 alone: the public part of it is allowed then.
func TestGuardLooksThroughNAT64(t *testing.T) {
	t.Parallel()
	g := newGuard([]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("10.1.0.0/16")}, nil)
	for address, allowed := range map[string]bool{
		"64:ff9b::8.8.8.8": true, "64:ff9b::10.1.2.3": true,
		"64:ff9b::127.0.0.1": false, "64:ff9b::10.2.0.1": false, "64:ff9b::169.254.169.254": false, "64:ff9b::0.0.0.0": false, "64:ff9b:1::8.8.8.8": false,
	} {
		if err := g.check(netip.AddrPortFrom(netip.MustParseAddr(address), 443)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed %v", address, err, allowed)
		}
	}
}

func TestGuardTrusts(t *testing.T) {
	t.Parallel()
	g := newGuard(nil, []string{"Push.Internal", "*.gw.example", "**.deep.example.", "10.0.0.1", "*", "[", "gw-?.example"})
	for host, want := range map[string]bool{
		"push.internal": true, "PUSH.internal.": true, "a.gw.example": true, "a.b.deep.example": true, "localhost": true, "gw-1.example": true,
		"gw.example": false, "a.b.gw.example": false, "push.internal.example": false, "xpush.internal": false, "gw-12.example": false,
		"10.0.0.1": false, "::1": false, "": true,
	} {
		if got := g.trusts(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
}
