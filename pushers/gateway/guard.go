package gateway

// The address policy: which URLs are pushed to, and which addresses are dialled.

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"syscall"

	"code.dny.dev/ssrf"
)

// StandardPath is the path that the URL of a gateway has (Client-Server API, POST /pushers/set, data.url).
const StandardPath = "/_matrix/push/v1/notify"

// AnyPath as [Config.Path] lets URLs have any path.
const AnyPath = "*"

// refusal says that a rule of ours forbids the request: trying again changes nothing.
type refusal struct {
	reason string // as the Outcome names it
	err    error  // which rule, and how an operator can change it
}

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func badURL(format string, args ...any) error {
	return &refusal{reasonBadURL, fmt.Errorf("pusher URL refused: "+format, args...)}
}

// target is the parsed URL if it may be pushed to. Messages name the rule and the host, and nothing of what may be a secret: path, query and user.
func (c Config) target(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		var parsing *url.Error
		if errors.As(err, &parsing) {
			err = parsing.Err // without the URL
		}
		return nil, badURL("%w", err)
	}
	path := c.Path
	if path == "" {
		path = StandardPath
	}
	switch {
	case u.Scheme == "http" && !c.AllowHTTP:
		return nil, badURL("http://%s: it must be https (delivery.allow_http allows http)", u.Host)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, badURL("the scheme must be https, not %q", u.Scheme)
	case u.Hostname() == "":
		return nil, badURL("it names no host")
	case u.User != nil:
		return nil, badURL("%s: it must not have a user or password", u.Host)
	case path != AnyPath && u.EscapedPath() != path:
		return nil, badURL("%s: the path must be %s (delivery.gateway_path allows another)", u.Host, path)
	}
	return u, nil
}

// guard refuses connections to addresses that are not on the public internet. It looks at the address that is about to be dialled, after the
// name was resolved, so that a name that changes between check and use gains nothing.
type guard struct{ public *ssrf.Guardian }

func newGuard(allowed []netip.Prefix) guard {
	var v4, v6 []netip.Prefix
	for _, prefix := range allowed {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	return guard{ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))}
}

// control is a [net.Dialer.Control].
func (g guard) control(network, address string, conn syscall.RawConn) error {
	if err := g.public.Safe(network, address, conn); err != nil {
		return &refusal{reasonBlockedAddress, fmt.Errorf("address refused: %w (delivery.allow_cidrs allows networks)", err)}
	}
	return nil
}
