package stream

// Connections that can be cut.

import (
	"context"
	"net"
	"sync"
)

// connections are those that kafka-go opened for one purpose. It gives no way to call off what waits for an answer, for instance a request to join a group, which
// may take as long as the other members drain: cutting its connections does.
type connections struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex
	opened map[*connection]struct{}
	over   bool
}

// connection is one of them; it is forgotten when it is closed.
type connection struct {
	net.Conn
	of *connections
}

// open dials, unless all was cut.
func (c *connections) open(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		conn.Close()
		return nil, net.ErrClosed
	}
	if c.opened == nil {
		c.opened = map[*connection]struct{}{}
	}
	tracked := &connection{Conn: conn, of: c}
	c.opened[tracked] = struct{}{}
	return tracked, nil
}

// cut closes all connections and lets no other be opened.
func (c *connections) cut() {
	c.mu.Lock()
	c.over = true
	opened := c.opened
	c.opened = nil
	c.mu.Unlock()
	for conn := range opened {
		conn.Conn.Close()
	}
}

// Close implements [net.Conn].
func (c *connection) Close() error {
	c.of.mu.Lock()
	delete(c.of.opened, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
