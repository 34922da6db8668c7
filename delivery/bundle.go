package delivery

// Devices that are told the same, in one request.

import (
	"context"
	"slices"
	"sync"
	"time"

	"tocsin/pushers"
)

// company is how long the first of a bundle waits for others.
const company = 3 * time.Millisecond

// bundles lets deliveries that are made at the same time travel together. They are safe for concurrent use.
//
// The first one of a bundle waits a moment for others and then sends them all: so a bundle that is under way holds up nobody who comes later, and no goroutine is
// needed. Each pushkey is once in a bundle, because a reply names nothing else.
type bundles struct {
	size int

	mu   sync.Mutex
	open map[bundleKey]*bundle // those that can be joined
}

// bundleKey is equal for notifications that may travel together.
type bundleKey struct {
	bundler pushers.Bundler
	bundle  string
}

// bundle is one request to be.
type bundle struct {
	key     bundleKey
	members []*pushers.Delivery // under bundles.mu until it is closed
	full    chan struct{}       // closed when there is no room for another
	over    chan struct{}       // closed when results are there
	results []result

	ctx    context.Context // ends when nobody waits any more
	cancel context.CancelFunc
	wanted int // members whose own context has not ended; under bundles.mu
}

func newBundles(size int) *bundles { return &bundles{size: size, open: map[bundleKey]*bundle{}} }

// send sends a delivery in a bundle by means of sendAll, which is called once for each bundle. Whoever joins one waits for its end: it is the end of
// a request, which takes no longer than a request may.
func (b *bundles) send(ctx context.Context, bundler pushers.Bundler, what *pushers.Delivery, sendAll func(context.Context, []*pushers.Delivery) []result) result {
	key := bundleKey{bundler, bundler.Bundle(&what.Notification)}
	if key.bundle == "" {
		return sendAll(ctx, []*pushers.Delivery{what})[0]
	}
	joined, place := b.join(ctx, key, what)
	if joined == nil {
		return sendAll(ctx, []*pushers.Delivery{what})[0]
	}
	defer context.AfterFunc(ctx, func() { b.unwant(joined) })()
	if place > 0 {
		<-joined.over
		return joined.results[place]
	}
	b.waitForCompany(ctx, joined)
	joined.results = sendAll(joined.ctx, joined.members)
	joined.cancel()
	close(joined.over)
	return joined.results[0]
}

// join takes a place in the open bundle, the first one in a new bundle if there is none. It is nil if the pushkey is in the bundle already.
func (b *bundles) join(ctx context.Context, key bundleKey, what *pushers.Delivery) (*bundle, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	to := b.open[key]
	if to == nil {
		to = &bundle{key: key, full: make(chan struct{}), over: make(chan struct{})}
		to.ctx, to.cancel = context.WithCancel(context.WithoutCancel(ctx))
		b.open[key] = to
	}
	pushkey := what.Notification.Device.Pusher.Pushkey
	if slices.ContainsFunc(to.members, func(m *pushers.Delivery) bool { return m.Notification.Device.Pusher.Pushkey == pushkey }) {
		return nil, 0
	}
	to.members = append(to.members, what)
	to.wanted++
	if len(to.members) == b.size {
		b.shut(to)
		close(to.full)
	}
	return to, len(to.members) - 1
}

// waitForCompany returns when nobody can join any more.
func (b *bundles) waitForCompany(ctx context.Context, first *bundle) {
	timer := time.NewTimer(company)
	defer timer.Stop()
	select {
	case <-first.full:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut(first)
}

// shut lets nobody join any more. Another bundle may be open by that key.
func (b *bundles) shut(one *bundle) {
	if b.open[one.key] == one {
		delete(b.open, one.key)
	}
}

// unwant counts out a member whose context has ended. The request goes on for the others.
func (b *bundles) unwant(from *bundle) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if from.wanted--; from.wanted == 0 {
		b.shut(from)
		from.cancel()
	}
}
