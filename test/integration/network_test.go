package integration

// The network between workers and servers, which can be cut.

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// network lets connections through until it is cut.
type network struct {
	down    atomic.Bool
	refused atomic.Int64 // connections, because it is cut
	mu      sync.Mutex
	conns   map[net.Conn]struct{}
}

func newNetwork() *network { return &network{conns: map[net.Conn]struct{}{}} }

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	if n.down.Load() {
		n.refused.Add(1)
		return nil, fmt.Errorf("dial %s: the network is cut", address)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	n.add(c)
	return c, nil
}

func (n *network) add(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = struct{}{}
}

// cut ends all connections and lets no new one through until heal.
func (n *network) cut() {
	n.down.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
}

func (n *network) heal() { n.down.Store(false) }

// proxy listens on an address that leads to target as long as the network lets it.
func (n *network) proxy(t *testing.T, target string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := n.dial(context.Background(), "tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			n.add(in)
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				conns.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					in.Close()
					out.Close()
				})
			}
		}
	})
	t.Cleanup(func() { l.Close(); n.cut(); conns.Wait() })
	return l.Addr().String()
}
