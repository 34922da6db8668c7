package config

// The section admin: where the process answers those who look after it.

import (
	"fmt"
	"net"
	"net/netip"
)

// Admin is the listener for health checks and metrics.
type Admin struct {
	Listen string `yaml:"listen" doc:"address (host:port) of /healthz, /readyz and /metrics; empty: none. Whoever reaches it needs no password"`
}

// Validate reports what is no address.
func (a Admin) Validate() error {
	if a.Listen == "" {
		return nil
	}
	if _, port, err := net.SplitHostPort(a.Listen); err != nil || !isPort(port) {
		return fmt.Errorf("listen: %q is not host:port", a.Listen)
	}
	return nil
}

// Dial is the address at which this machine reaches the listener: one that listens everywhere is asked at the loopback address. It is
// empty if there is no listener.
func (a Admin) Dial() string {
	host, port, err := net.SplitHostPort(a.Listen)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.Is6() {
			host = "::1"
		}
	}
	return net.JoinHostPort(host, port)
}
