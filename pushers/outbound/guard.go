package outbound

// The address policy: which URLs are asked for, and which addresses are connected to.

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// maxHost is the length of the longest name in the DNS, with the dot of the root (RFC 1035, section 3.1).
const maxHost = 254

// Refusal says that a rule of ours forbids the request: trying again changes nothing.
type Refusal struct {
	Reason string // as the Outcome names it: [BadURL] or [BlockedAddress]
	Err    error  // which rule, and how an operator can change it
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// RefuseURL is the refusal of a URL. Messages name the rule and the host, and nothing of what may be a secret: path, query and user.
func RefuseURL(format string, args ...any) error {
	return &Refusal{BadURL, fmt.Errorf("pusher URL refused: "+format, args...)}
}

// ParseURL reads a URL of a user's. It is an http or https URL with a host that is what it seems to be; which of them are asked for is the caller's to say.
// The error is a [Refusal].
func ParseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		var parsing *url.Error
		if errors.As(err, &parsing) {
			err = parsing.Err // without the URL
		}
		return nil, RefuseURL("%w", err)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, RefuseURL("the scheme must be https, not %q", u.Scheme)
	case u.Hostname() == "":
		return nil, RefuseURL("it names no host")
	case len(u.Hostname()) > maxHost:
		return nil, RefuseURL("its host is longer than a name can be: %d bytes", len(u.Hostname()))
	case isNumber(u.Hostname()):
		return nil, RefuseURL("%s: the host is a number, neither a name nor an address as RFC 3986 writes it", u.Host)
	case u.User != nil:
		return nil, RefuseURL("%s: it must not have a user or password", u.Host)
	}
	return u, nil
}

// isNumber says that a host would be an address to those who read it as C libraries and browsers do, and is none that Go knows: 2130706433, 0x7f000001,
// 0177.0.0.1, 127.1. No name in the DNS ends like that (RFC 3696, section 2).
func isNumber(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// guard refuses connections to addresses that are not on the public internet. It looks at the address that is about to be dialled, after the
// name was resolved, so that a name that changes between check and use gains nothing.
type guard struct {
	public *ssrf.Guardian
	hosts  Hosts // whose addresses are not looked at
}

func newGuard(networks []netip.Prefix, hosts []string) guard {
	var v4, v6 []netip.Prefix
	for _, prefix := range networks {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	return guard{ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...)), NewHosts(hosts)}
}

// trusts says that the operator has allowed the host by name, wherever it is. An address is no name: allowed networks are for those.
func (g guard) trusts(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	return g.hosts.Match(host)
}

// control is a [net.Dialer.Control].
func (g guard) control(network, address string, conn syscall.RawConn) error {
	err := g.public.Safe(network, address, conn)
	if err == nil {
		err = g.translated(address)
	}
	if err != nil {
		return blockedAddress(err)
	}
	return nil
}

// translated looks through an address that NAT64 translates, where an operator has allowed those: what it leads to must be public, too.
func (g guard) translated(address string) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !ssrf.IPv6NAT64Prefix.Contains(to.Addr()) {
		return nil
	}
	bytes := to.Addr().As16()
	if err := g.public.SafeAddr(netip.AddrFrom4([4]byte(bytes[12:]))); err != nil {
		return fmt.Errorf("%s by NAT64: %w", to.Addr(), err)
	}
	return nil
}

// check is control for an address that somebody else is to dial.
func (g guard) check(to netip.AddrPort) error {
	if to.Addr().Is4() {
		return g.control("tcp4", to.String(), nil)
	}
	return g.control("tcp6", to.String(), nil)
}

func blockedAddress(rule error) error {
	return &Refusal{BlockedAddress, fmt.Errorf("address refused: %w (delivery.allow_cidrs and delivery.allow_hosts make exceptions)", rule)}
}
