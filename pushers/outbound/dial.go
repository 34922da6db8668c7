package outbound

// Connections, straight or through a proxy: to addresses that the guard has seen, and to no others.

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
)

// dialer makes the connections of a Client. Names are resolved here whichever way is taken, and what is connected to is an address that was checked: a proxy
// that resolved them itself could be told other addresses, and would go where the worker may not.
type dialer struct {
	guard guard
	net   net.Dialer
	proxy *proxy // nil: straight
}

// maxProxied is how many addresses of a name are tried through a proxy, one after another.
const maxProxied = 4

// dial is a DialContext of [net/http.Transport].
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if d.proxy != nil {
		return d.dialProxy(ctx, host, port)
	}
	straight := d.net
	if d.guard.trusts(host) {
		return straight.DialContext(ctx, network, address)
	}
	var permitted atomic.Bool
	straight.Control = func(network, address string, conn syscall.RawConn) error {
		err := d.guard.control(network, address, conn)
		if err == nil {
			permitted.Store(true)
		}
		return err
	}
	conn, err := straight.DialContext(ctx, network, address)
	if err != nil && permitted.Load() {
		return nil, onlyPartlyRefused(err)
	}
	return conn, err
}

// onlyPartlyRefused is err without a refusal: some address of the host was permitted, and may answer another time.
func onlyPartlyRefused(err error) error {
	if refused := (*Refusal)(nil); errors.As(err, &refused) {
		return fmt.Errorf("no address that is permitted could be connected to; of another: %s", err)
	}
	return err
}

// dialProxy resolves the host, and has the proxy connect to the first of its addresses that is permitted and answers.
func (d *dialer) dialProxy(ctx context.Context, host, port string) (net.Conn, error) {
	addresses, err := d.resolve(ctx, host, port)
	if err != nil {
		return nil, err
	}
	trusted := d.guard.trusts(host)
	var refused, failed error
	tried := 0
	for _, to := range addresses {
		if err := d.guard.check(to); err != nil && !trusted {
			refused = err
			continue
		}
		if tried++; tried > maxProxied {
			break
		}
		conn, err := d.proxy.connect(ctx, &d.net, to.String())
		if err == nil {
			return conn, nil
		}
		failed = err
	}
	if failed != nil {
		return nil, failed
	}
	return nil, refused
}

// resolve is the addresses of the host, at least one.
func (d *dialer) resolve(ctx context.Context, host, port string) ([]netip.AddrPort, error) {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", port, err)
	}
	resolver := d.net.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	ctx, cancel := context.WithTimeout(ctx, d.net.Timeout)
	defer cancel()
	found, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	addresses := make([]netip.AddrPort, len(found))
	for i, addr := range found {
		addresses[i] = netip.AddrPortFrom(addr.Unmap().WithZone(""), uint16(number))
	}
	return addresses, nil
}
