package integration

// Waiting until all is done, also in worlds in which time passes only when nothing else happens: retries take no time, and what is done is done for good.

import (
	"fmt"
	"time"

	"tocsin/clock"
	"tocsin/delivery"
	"tocsin/pipeline/stream"
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
		wakes, busy = w.rest([]*running{r})
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
		_, busy := w.rest([]*running{r})
		return busy == ""
	})
}

// settled waits until all that was written is done, and nothing waits for its time; whichever of the workers does it.
func (w *world) settled(workers ...*running) {
	w.Helper()
	w.until("everything is settled", 60*time.Second, func() bool {
		wakes, busy := w.rest(workers)
		return busy == "" && wakes.IsZero()
	})
}

// rest says what the workers have to do, or when the first of what waits for its time is due. The workers are looked at first and the ends of the topics are asked for afterwards: if by then all below
// them was done, nobody was left who could have written more.
func (w *world) rest(workers []*running) (wakes time.Time, busy string) {
	w.Helper()
	topics := []string{w.cfg.Topics.Events, w.cfg.Topics.Account, w.cfg.Topics.Notifications}
	for _, tier := range delivery.Tiers {
		topics = append(topics, w.cfg.Topics.Retry(tier))
	}
	return w.restOf(workers, topics...)
}

// applied waits until the accounts are as they were written.
func (w *world) applied(workers ...*running) {
	w.Helper()
	w.done(60*time.Second, workers, w.cfg.Topics.Account)
}

// done waits until all that was written to some topics is done. What it became in other topics need not be.
func (w *world) done(within time.Duration, workers []*running, topics ...string) {
	w.Helper()
	w.until(fmt.Sprintf("all of %v is done", topics), within, func() bool {
		_, busy := w.restOf(workers, topics...)
		return busy == ""
	})
}

// restOf is rest for some topics.
func (w *world) restOf(workers []*running, topics ...string) (wakes time.Time, busy string) {
	w.Helper()
	type place struct {
		topic     string
		partition int
	}
	progress, tails := map[place]stream.Progress{}, []stream.Progress{}
	for _, r := range workers {
		for _, p := range r.Progress() {
			at := place{p.Topic, p.Partition}
			if p.Group == "" {
				tails = append(tails, p)
			} else if before, ok := progress[at]; !ok || before.Watermark < p.Watermark { // else an owner of before is still ending
				progress[at] = p
			}
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
			for _, p := range tails {
				if p.Topic == topic && p.Partition == partition && p.Watermark < b.End {
					return time.Time{}, fmt.Sprintf("%s/%d is seen up to %d of %d", topic, partition, p.Watermark, b.End)
				}
			}
		}
	}
	return wakes, ""
}
