package integration

// Worlds in which time passes only when nothing else happens: retries take no time, and what is done is done for good.

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"tocsin/clock"
	"tocsin/delivery"
	"tocsin/pipeline/stream"
	"tocsin/test/stack"
)

// timeless gives the workers a clock that stands still but for [world.settle]. It begins in the past: Kafka takes no record from more than an hour ahead.
func (w *world) timeless() *clock.Virtual {
	v := clock.NewVirtual(time.Now().Add(-12 * time.Hour))
	w.clock = v
	w.spareRedis()
	return v
}

// spareRedis takes the embedded Redis its own clock, with which it looks at all keys before each command: nothing expires then.
func (w *world) spareRedis() {
	if w.redis.Embedded != nil {
		w.redis.Embedded.FreezeTime(time.Now())
	}
}

// settle waits until all that was written is done for good, and lets the time of a timeless world pass while everything waits for it.
func (w *world) settle(r *running) {
	w.Helper()
	v, _ := w.clock.(*clock.Virtual)
	busy := ""
	for deadline := time.Now().Add(120 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var wakes time.Time
		wakes, busy = w.rest(r)
		if busy == "" && wakes.IsZero() {
			return
		}
		if busy == "" && v != nil {
			v.Advance(wakes)
		}
		if time.Now().After(deadline) {
			w.Fatalf("it does not come to rest: %s (next at %v)", busy, wakes)
		}
	}
}

// atRest waits until nothing happens but that retries wait for their time.
func (w *world) atRest(r *running) {
	w.Helper()
	w.until("nothing happens", 60*time.Second, func() bool {
		_, busy := w.rest(r)
		return busy == ""
	})
}

// rest says what the worker has to do, or when the first of what waits for its time is due. The worker is looked at first and the ends of the topics are asked for afterwards: if by then all below
// them was done, nobody was left who could have written more.
func (w *world) rest(r *running) (wakes time.Time, busy string) {
	w.Helper()
	topics := []string{w.cfg.Topics.Events, w.cfg.Topics.Account, w.cfg.Topics.Notifications}
	for _, tier := range delivery.Tiers {
		topics = append(topics, w.cfg.Topics.Retry(tier))
	}
	return w.restOf(r, topics...)
}

// applied waits until the accounts are as they were written.
func (w *world) applied(r *running) {
	w.Helper()
	w.until("the accounts are applied", 60*time.Second, func() bool {
		_, busy := w.restOf(r, w.cfg.Topics.Account)
		return busy == ""
	})
}

// restOf is rest for some topics.
func (w *world) restOf(r *running, topics ...string) (wakes time.Time, busy string) {
	w.Helper()
	type place struct {
		topic     string
		partition int
	}
	progress := map[place]stream.Progress{}
	for _, p := range r.Progress() {
		if p.Group != "" {
			progress[place{p.Topic, p.Partition}] = p
		}
	}
	for _, topic := range topics {
		bounds, err := w.connect().Bounds(w.Context(), topic)
		if err != nil {
			return time.Time{}, err.Error()
		}
		for partition, b := range bounds {
			p, ok := progress[place{topic, partition}]
			switch {
			case !ok:
				return time.Time{}, fmt.Sprintf("nobody reads %s/%d", topic, partition)
			case p.Watermark >= b.End:
			case p.WaitsUntil.IsZero(), p.Watermark < p.Position, w.clock != nil && !p.WaitsUntil.After(w.clock.Now()):
				return time.Time{}, fmt.Sprintf("%s/%d is done up to %d of %d", topic, partition, p.Watermark, b.End)
			case wakes.IsZero(), p.WaitsUntil.Before(wakes):
				wakes = p.WaitsUntil
			}
		}
	}
	return wakes, ""
}

// device registers a pusher of an app at the gateway of a host.
func (w *world) device(user, appID, pushkey, host string) {
	w.Helper()
	w.account(user, "pusher", "|"+appID+"|"+pushkey, map[string]any{
		"kind": "http", "app_id": appID, "pushkey": pushkey, "pushkey_ts": 1, "data": map[string]any{"url": "https://" + host + "/_matrix/push/v1/notify"},
	})
}

// roomOf makes a room with local users and one who writes.
func (w *world) roomOf(room string, users ...string) {
	w.Helper()
	for _, user := range append([]string{"@alice:other"}, users...) {
		w.write(w.event(room, "$join"+user+room, "m.room.member", user, &user, map[string]any{"membership": "join"}))
	}
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

// logged counts the lines of the workers' log that have all these words.
func (w *world) logged(words ...string) (n int) {
	for line := range strings.Lines(w.logs.String()) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n++
		}
	}
	return n
}

// hears waits until the workers have logged a line with all these words.
func (w *world) hears(words ...string) {
	w.Helper()
	w.until("the log says "+strconv.Quote(strings.Join(words, " … ")), 60*time.Second, func() bool { return w.logged(words...) > 0 })
}
