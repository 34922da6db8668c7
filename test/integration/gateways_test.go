package integration

// Push gateways, in good health or slow, and what they were told.

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/test/stack"
)

// pushed are the notifications that reached the gateway with a status of 200, by event id: how often, and the last unread count.
func (w *world) pushed() (times map[string]int, unread map[string]int) {
	times, unread = map[string]int{}, map[string]int{}
	requests := w.gateway.Requests()
	w.mu.Lock()
	for _, h := range w.sick {
		requests = append(requests, h.answered()...)
	}
	w.mu.Unlock()
	for _, r := range requests {
		n, err := stack.DecodeNotification(r.Body)
		if err != nil {
			w.Fatalf("%s: %v", r.Body, err)
		}
		if r.Status == 200 {
			times[n.EventID]++
			unread[n.EventID] = 0
			if n.Counts != nil {
				unread[n.EventID] = n.Counts.Unread
			}
		}
	}
	return times, unread
}

// all waits until each of the events was pushed, and returns how many were pushed twice.
func (w *world) all(ids []string, within time.Duration) (doubled int) {
	w.Helper()
	within *= busy
	var times map[string]int
	missing := func() (missing []string) {
		times, _ = w.pushed()
		for _, id := range ids {
			if times[id] == 0 {
				missing = append(missing, id)
			}
		}
		return missing
	}
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		lost := missing()
		if len(lost) == 0 {
			break
		}
		if time.Now().After(deadline) {
			w.Fatalf("%d of %d notifications did not arrive within %v: %v", len(lost), len(ids), within, lost[:min(len(lost), 10)])
		}
	}
	for id, n := range times {
		if id != "" { // badges are told alone as often as they change
			doubled += n - 1
		}
	}
	return doubled
}

// hanging is a gateway that holds its answers back.
type hanging struct {
	server   *httptest.Server
	done     chan struct{}
	release  func()
	waiting  atomic.Int64
	mu       sync.Mutex
	requests []stack.Request
}

// hang makes the gateway of one host hold its answers back until it is released.
func (w *world) hang(host string) *hanging {
	w.Helper()
	return w.slow(host, 0)
}

// slow makes the gateway of one host take its time; 0: until it is released.
func (w *world) slow(host string, delay time.Duration) *hanging {
	w.Helper()
	h := &hanging{done: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.done) })
	h.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h.waiting.Add(1)
		defer h.waiting.Add(-1)
		over, gone := (<-chan time.Time)(nil), r.Context().Done()
		if delay > 0 {
			over, gone = time.After(delay), nil // it takes what it has, whoever still waits for the answer
		}
		select {
		case <-h.done:
		case <-over:
		case <-gone:
			return
		}
		h.mu.Lock()
		h.requests = append(h.requests, stack.Request{Body: body, Status: 200})
		h.mu.Unlock()
		fmt.Fprint(rw, `{"rejected":[]}`)
	}))
	w.Cleanup(func() { h.release(); h.server.Close() })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sick[host] = h
	return h
}

func (h *hanging) answered() []stack.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// gatewayAt makes a gateway for these hosts alone.
func (w *world) gatewayAt(hosts ...string) *stack.RecordingGateway {
	w.Helper()
	g := stack.Gateways(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range hosts {
		w.others[host] = g
	}
	return g
}

// pushDial leads to the gateway of the host, or to the one of all others.
func (w *world) pushDial(ctx context.Context, kind, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	if w.pushThrough != nil {
		return w.pushThrough(ctx, kind, address)
	}
	w.mu.Lock()
	h, g := w.sick[host], w.others[host]
	w.mu.Unlock()
	switch {
	case g != nil:
		return g.Dial(ctx, kind, address)
	case h == nil:
		return w.gateway.Dial(ctx, kind, address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", h.server.Listener.Addr().String())
}

// request is one that a gateway got: the event and the pushkeys it is about, and the status that it was answered with; 0 if it was not.
type request struct {
	event   string
	devices []string
	status  int
}

// requests are those of a gateway that it has read; counts alone are left out.
func (w *world) requests(g *stack.RecordingGateway) (all []request) {
	w.Helper()
	for _, r := range g.Requests() {
		if r.Body == nil {
			all = append(all, request{status: r.Status})
			continue
		}
		n, err := stack.DecodeNotification(r.Body)
		if err != nil {
			w.Fatalf("%s: %v", r.Body, err)
		}
		if n.EventID == "" {
			continue
		}
		one := request{event: n.EventID, status: r.Status}
		for _, d := range n.Devices {
			one.devices = append(one.devices, d.Pushkey)
		}
		all = append(all, one)
	}
	return all
}

// told counts how often each device was told of each event, with success: by "event pushkey".
func (w *world) told(g *stack.RecordingGateway) map[string]int {
	w.Helper()
	times := map[string]int{}
	for _, r := range w.requests(g) {
		for _, d := range r.devices {
			if r.status == 200 {
				times[r.event+" "+d]++
			}
		}
	}
	return times
}

// toldIs checks that each device was told of each event so often: see told.
func (w *world) toldIs(g *stack.RecordingGateway, want map[string]int) {
	w.Helper()
	if diff := cmp.Diff(want, w.told(g)); diff != "" {
		w.Errorf("told (-want +got):\n%s", diff)
	}
}
