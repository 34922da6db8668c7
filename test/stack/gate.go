package stack

// Outages: a listener that can refuse, or fall silent, and come back.

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// Outage is how a service can't be reached.
type Outage string

// The outages.
const (
	NoOutage Outage = "off"
	Refused  Outage = "refused" // connections are refused, and those that there are have ended
	Silent   Outage = "silent"  // connections are made, and nothing comes on any of them; what is sent is lost
)

// gate is a listener that outages happen to. When one is over, it is there again at the same address; connections that were silent are ended, so that nothing of
// what was sent on them is ever received. It is safe for concurrent use.
type gate struct {
	address net.Addr
	silent  atomic.Bool

	mu       sync.Mutex // guards what follows
	how      Outage
	listener net.Listener  // nil: connections are refused
	reopened chan struct{} // closed when there is a listener again, or never will be
	closed   bool
	conns    map[*gatedConn]bool
}

// openGate listens on an address.
func openGate(address string) (*gate, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &gate{address: l.Addr(), how: NoOutage, listener: l, reopened: make(chan struct{}), conns: map[*gatedConn]bool{}}, nil
}

// Addr implements [net.Listener]: an outage changes nothing of it.
func (g *gate) Addr() net.Addr { return g.address }

// Accept implements [net.Listener]. It waits while connections are refused.
func (g *gate) Accept() (net.Conn, error) {
	for {
		l, err := g.open()
		if err != nil {
			return nil, err
		}
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			continue // by an outage, or for good: open knows
		case err != nil:
			return nil, err
		}
		if c := g.admit(conn); c != nil {
			return c, nil
		}
	}
}

// open is the listener, as soon as there is one.
func (g *gate) open() (net.Listener, error) {
	for {
		g.mu.Lock()
		l, reopened, closed := g.listener, g.reopened, g.closed
		g.mu.Unlock()
		switch {
		case closed:
			return nil, net.ErrClosed
		case l != nil:
			return l, nil
		}
		<-reopened
	}
}

// admit takes in a connection, unless an outage was faster.
func (g *gate) admit(conn net.Conn) net.Conn {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil || g.closed {
		conn.Close()
		return nil
	}
	c := &gatedConn{Conn: conn, gate: g}
	g.conns[c] = true
	return c
}

// set begins or ends an outage.
func (g *gate) set(how Outage) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return net.ErrClosed
	case how == g.how:
		return nil
	case how == Refused:
		g.listener.Close()
		g.listener = nil
	case g.listener == nil:
		l, err := net.Listen("tcp", g.address.String())
		if err != nil {
			return err
		}
		g.listener = l
		close(g.reopened)
		g.reopened = make(chan struct{})
	}
	if how != Silent {
		for c := range g.conns {
			c.Conn.Close()
		}
	}
	g.how = how
	g.silent.Store(how == Silent)
	return nil
}

// outage is the one that there is.
func (g *gate) outage() Outage {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.how
}

// Close implements [net.Listener]. Connections are their owner's to close.
func (g *gate) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return net.ErrClosed
	}
	g.closed = true
	close(g.reopened)
	if g.listener == nil {
		return nil
	}
	return g.listener.Close()
}

// gatedConn is a connection through a gate.
type gatedConn struct {
	net.Conn
	gate *gate
}

// Read implements [net.Conn]. In silence it loses what comes.
func (c *gatedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if !c.gate.silent.Load() {
			return n, err
		}
		if err != nil {
			return 0, err
		}
	}
}

// Write implements [net.Conn]. In silence what is written is lost on the way.
func (c *gatedConn) Write(p []byte) (int, error) {
	if c.gate.silent.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// SetLinger lets a fault end the connection with a reset, as that of a [net.TCPConn].
func (c *gatedConn) SetLinger(seconds int) error {
	if tcp, ok := c.Conn.(*net.TCPConn); ok {
		return tcp.SetLinger(seconds)
	}
	return nil
}

// Close implements [net.Conn].
func (c *gatedConn) Close() error {
	c.gate.mu.Lock()
	delete(c.gate.conns, c)
	c.gate.mu.Unlock()
	return c.Conn.Close()
}
