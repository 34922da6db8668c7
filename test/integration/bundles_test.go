package integration

// Devices that are told the same travel together, and are settled each for itself.

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/test/stack"
)

// Two users with three devices each, at one gateway. It fails the first full bundle of all, rejects one device in the midst of others, and takes the rest.
func TestBundles(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	w.cfg.Delivery.Bundle = 5
	bob, carol := "@bob:"+server, "@carol:"+server
	g := w.gatewayAt("g.example")
	var keys []string
	for _, user := range []string{bob, carol} {
		for i := range 3 {
			keys = append(keys, fmt.Sprintf("%s %d", user, i))
			w.device(user, "app", keys[len(keys)-1], "g.example")
		}
	}
	lonely := "@dave:" + server // hears the same, and is counted otherwise: never in the others' company
	w.device(lonely, "app", "lonely", "g.example")
	w.roomOf("!more:hs", lonely)
	w.roomOf("!r:hs", bob, carol, lonely)
	rejected := keys[1]
	failed, rejecting, rejectedWith := "", false, 0
	g.Decide(func(q stack.Request) stack.Answer {
		n, err := stack.DecodeNotification(q.Body)
		if err != nil {
			return stack.Answer{Status: 400}
		}
		switch has := slices.ContainsFunc(n.Devices, func(d stack.Device) bool { return d.Pushkey == rejected }); {
		case failed == "" && len(n.Devices) == 5:
			failed = n.EventID
			return stack.Answer{Status: 500}
		case rejecting && has && len(n.Devices) > 1:
			rejectedWith = len(n.Devices)
			return stack.Answer{Rejected: []string{rejected, "lonely"}}
		}
		return stack.Answer{}
	})
	r := w.ready(w.start())
	w.write(w.message("!more:hs", "$more"))
	w.settle(r)

	// Who waits for company waits for milliseconds: on a slow machine it may take some messages until all come together.
	var said []string
	say := func(prefix string) {
		said = append(said, fmt.Sprintf("$%s%d", prefix, len(said)))
		w.write(w.message("!r:hs", said[len(said)-1]))
		w.settle(r)
	}
	w.until("a full bundle has failed", 60*time.Second, func() bool { say("fail"); return g.Locked(func() bool { return failed != "" }) })
	together := func() bool {
		return slices.ContainsFunc(w.requests(g), func(q request) bool {
			return len(q.devices) == 5 && q.status == 200 && strings.HasPrefix(q.devices[0], bob) != strings.HasPrefix(q.devices[4], bob)
		})
	}
	w.until("devices of two users travel together", 60*time.Second, func() bool { say("together"); return together() })
	before := len(said)
	g.Locked(func() bool { rejecting = true; return true })
	w.until("one is rejected in company", 60*time.Second, func() bool { say("reject"); return g.Locked(func() bool { return rejectedWith > 1 }) })
	gone := said[len(said)-1]
	say("after")

	told := w.told(g)
	for i, id := range said {
		for _, key := range append(slices.Clone(keys), "lonely") {
			want := 1
			if key == rejected && id != gone && i > before && i == len(said)-1 {
				want = 0
			}
			if told[id+" "+key] != want {
				t.Errorf("%s told %s %d times, want %d", id, key, told[id+" "+key], want)
			}
		}
	}
	for _, q := range w.requests(g) {
		if len(q.devices) > 5 || len(q.devices) > 1 && slices.Contains(q.devices, "lonely") {
			t.Errorf("%v travelled together", q.devices)
		}
	}
	tries := 0 // of the event of the bundle that failed: each of its devices comes back alone
	for _, q := range w.requests(g) {
		if q.event == failed && q.status == 200 && len(q.devices) == 1 && q.devices[0] != "lonely" {
			tries++
		}
	}
	if tries < 5 {
		t.Errorf("%d of 5 devices came back alone: %v", tries, w.requests(g))
	}
	if got := w.feedback(); len(got) != 1 || got[0] != "rejected "+bob+" app "+rejected {
		t.Errorf("the homeserver was told %q", got)
	}
	r.stop()
}
