package gateway

// Which URLs are pushed to.

import (
	"net"
	"net/url"
	"strings"

	"tocsin/pushers/outbound"
)

// StandardPath is the path that the URL of a gateway has (Client-Server API, POST /pushers/set, data.url).
const StandardPath = "/_matrix/push/v1/notify"

// AnyPath as [Config.Path] lets URLs have any path.
const AnyPath = "*"

// target is the parsed URL if it may be pushed to.
func (c Config) target(raw string) (*url.URL, error) {
	u, err := outbound.ParseURL(raw)
	if err != nil {
		return nil, err
	}
	path := c.Path
	if path == "" {
		path = StandardPath
	}
	switch {
	case u.Scheme == "http" && !c.AllowHTTP:
		return nil, outbound.RefuseURL("http://%s: it must be https (delivery.allow_http allows http)", u.Host)
	case path != AnyPath && u.EscapedPath() != path:
		return nil, outbound.RefuseURL("%s: the path must be %s (delivery.gateway_path allows another)", u.Host, path)
	}
	return u, nil
}

// Service names what can fail by itself: host and port of a gateway's URL, however they are written; "" of a URL that has none.
func Service(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || len(u.Host) > maxHost {
		return ""
	}
	port := u.Port()
	if port == "" && u.Scheme == "http" {
		port = "80"
	} else if port == "" {
		port = "443"
	}
	return net.JoinHostPort(strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), port)
}

// maxHost bounds what is remembered of a host: no name in the DNS is longer, with its port.
const maxHost = 260
