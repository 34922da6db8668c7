package outbound

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

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
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Reason != BlockedAddress {
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
