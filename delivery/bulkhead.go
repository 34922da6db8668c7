package delivery

// How many requests there are at once.

import (
	"context"
	"sync"
	"time"
)

// bulkheads bound the requests at once, to each gateway and to all of them, so that one that hangs can hold up a part of the workers only. They are safe for
// concurrent use.
//
// No room at a gateway means that it is slow, or that there is a burst. From a slow one a worker turns away at once: the retry topic holds
// the notification meanwhile. A burst would take the same way, although there is room again within milliseconds; so a worker waits a moment
// for that, unless the gateway has shown to be slow.
type bulkheads struct {
	all, each int

	mu       sync.Mutex
	inFlight int
	gateways map[string]*gateway // those with a request under way or about to be
}

// patience is how long room is waited for at most. A gateway is slow when no request to it was over within that time for as long.
const patience = time.Second

// gateway is the room for requests to one host.
type gateway struct {
	slots  chan struct{} // holds one for each request under way
	users  int           // who holds a slot or waits for one; under bulkheads.mu
	prompt time.Time     // when a request to it was last over promptly, or the first one began; under bulkheads.mu
}

func newBulkheads(all, each int) *bulkheads {
	return &bulkheads{all: all, each: each, gateways: map[string]*gateway{}}
}

// enter takes room for one request to host; leave gives it back. ok is false if there is none, and then leave is nil.
func (b *bulkheads) enter(ctx context.Context, host string) (leave func(), ok bool) {
	g, slow := b.join(host)
	if g == nil {
		return nil, false
	}
	if !g.take(ctx, slow) {
		b.part(host, g, false)
		return nil, false
	}
	start := time.Now()
	return func() {
		<-g.slots
		b.part(host, g, time.Since(start) < patience)
	}, true
}

// take takes a slot, and waits a moment for one unless the gateway is slow.
func (g *gateway) take(ctx context.Context, slow bool) bool {
	select {
	case g.slots <- struct{}{}:
		return true
	default:
	}
	if slow {
		return false
	}
	over := time.NewTimer(patience)
	defer over.Stop()
	select {
	case g.slots <- struct{}{}:
		return true
	case <-over.C:
	case <-ctx.Done():
	}
	return false
}

// join counts the caller in and says whether the gateway is slow; nil if there are too many requests already.
func (b *bulkheads) join(host string) (g *gateway, slow bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.inFlight == b.all {
		return nil, false
	}
	b.inFlight++
	g = b.gateways[host]
	if g == nil {
		g = &gateway{slots: make(chan struct{}, b.each), prompt: time.Now()}
		b.gateways[host] = g
	}
	g.users++
	return g, time.Since(g.prompt) >= patience
}

// part counts the caller out. A gateway that nobody uses is forgotten, because users can name as many as they like.
func (b *bulkheads) part(host string, g *gateway, promptly bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	g.users--
	if promptly {
		g.prompt = time.Now()
	}
	if g.users == 0 {
		delete(b.gateways, host)
	}
}
