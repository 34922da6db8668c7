package integration

// What was delivered is not delivered again: not after a crash, not by a replay, not by a retry that comes late.

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"tocsin/delivery"
	"tocsin/test/stack"
)

// underWay writes a message and returns when the request is at the gateway, which holds its answer until release.
func (w *world) underWay(id string) (release func()) {
	w.Helper()
	held := make(chan struct{})
	w.gateway.Script(stack.Answer{Hold: held})
	w.write(w.message("!r:hs", id))
	w.until("the request is under way", 60*time.Second, func() bool { return w.gateway.Waiting() == 0 })
	return func() { close(held) }
}

// Redis goes away between the answer and the ledger, and comes back: what is left to do is done, and no more.
func TestAnswerThatCannotBeNotedIsNotAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.roomOf("!r:hs", "@bob:"+server)
	r := w.ready(w.start())
	release := w.underWay("$one")
	w.link.cut()
	release()
	w.until("the gateway has answered", 60*time.Second, func() bool { return len(w.gateway.Requests()) == 1 })
	w.write(w.message("!r:hs", "$two"))
	w.link.heal()
	w.all([]string{"$one", "$two"}, 60*time.Second)
	w.settle(r)
	w.toldIs(w.gateway, map[string]int{"$one bobs-key": 1, "$two bobs-key": 1})
	r.stop()
}

// A worker dies between the answer and the ledger: this one notification comes twice, with the same ids, and no other.
func TestCrashBetweenAnswerAndLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.roomOf("!r:hs", "@bob:"+server)
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$before"))
	w.all([]string{"$before"}, 60*time.Second)
	w.settle(r)
	release := w.underWay("$one")
	w.link.cut()
	release()
	w.until("the gateway has answered", 60*time.Second, func() bool { return len(w.gateway.Requests()) == 2 })
	r.kill()
	w.link.heal()
	r = w.ready(w.start())
	w.write(w.message("!r:hs", "$after"))
	w.settle(r)
	w.toldIs(w.gateway, map[string]int{"$before bobs-key": 1, "$one bobs-key": 2, "$after bobs-key": 1})
	r.stop()
}

// A worker dies between the ledger and the acknowledgement of the records: they come again, and nobody hears of it.
func TestCrashAfterTheLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Kafka.CommitInterval = time.Minute
	w.roomOf("!r:hs", "@bob:"+server)
	r := w.ready(w.start())
	all, want := ids("acked", 20), map[string]int{}
	for _, id := range all {
		w.write(w.message("!r:hs", id))
		want[id+" bobs-key"] = 1
	}
	w.until("all are settled", 60*time.Second, func() bool { return w.logged("push settled", "$acked", "action=settle") == len(all) })
	r.kill()
	r = w.ready(w.start())
	w.settle(r)
	w.toldIs(w.gateway, want)
	if w.logged("push settled", "$acked", "reason=already_sent") == 0 {
		t.Error("no record came again: this proves nothing")
	}
	r.stop()
}

// A retry waits in its topic. Meanwhile the same delivery comes another way, as it does after a crash of the retry stage, and is delivered. The one that waited comes to nothing.
func TestRetryOfWhatWasDeliveredMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	w.roomOf("!r:hs", "@bob:"+server)
	w.gateway.Script(stack.Answer{Status: 503})
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$one"))
	w.until("it waits", 60*time.Second, func() bool { return w.logged("push settled", "$one", "action=retry") == 1 })
	w.atRest(r)
	waiting := w.everything(w.cfg.Topics.Retry(delivery.Tiers[0]))
	if len(waiting) != 1 {
		t.Fatalf("%d records wait", len(waiting))
	}
	w.write(kafka.Message{Topic: w.cfg.Topics.Notifications, Key: waiting[0].Key, Value: waiting[0].Value})
	w.all([]string{"$one"}, 60*time.Second)
	w.settle(r) // lets the time of the retry come
	if n := w.told(w.gateway)["$one bobs-key"]; n != 1 || w.logged("push settled", "$one", "reason=already_sent") != 1 {
		t.Errorf("told %d times", n)
	}
	r.stop()
}

// Dead letters that are replayed twice, and not only where the first replay stopped, are delivered once.
func TestReplayTwiceDeliversOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	w.roomOf("!r:hs", "@bob:"+server)
	const n = 5
	w.gateway.Script(stack.Answer{Status: 400, Times: 3 * n})
	r := w.ready(w.start())
	want := map[string]int{}
	for _, id := range ids("dead", n) {
		w.write(w.message("!r:hs", id))
		want[id+" bobs-key"] = 1
	}
	w.settle(r)
	if told, dead := w.told(w.gateway), w.dead(); len(told) > 0 || len(dead) != n {
		t.Fatalf("told %v, dead %v", told, dead)
	}
	for range 2 {
		w.says([]string{"dead-letter", "replay", "--reason", "refused"}, fmt.Sprintf("replayed %d: %d deliveries", n, n))
		w.settle(r)
		w.toldIs(w.gateway, want)
	}
	if again := w.logged("push settled", "$dead", "reason=already_sent"); again != n {
		t.Errorf("%d of %d were sent already", again, n)
	}
	if got := len(w.requests(w.gateway)); got != 4*n {
		t.Errorf("%d requests, want %d", got, 4*n)
	}
	r.stop()
}

// A push that can't be settled holds its lane: /readyz names the lane, without the pushkey, and is well again when it goes on.
func TestReadyzNamesAHangingLane(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	w.cfg.Admin.Listen = "127.0.0.1:0"
	w.cfg.Delivery.Timeout, w.cfg.Kafka.DrainTimeout, w.cfg.Kafka.StuckAfter = 500*time.Millisecond, time.Second, 1500*time.Millisecond
	w.roomOf("!r:hs", "@bob:"+server)
	r := w.ready(w.start())
	w.settle(r)
	release := w.underWay("$stuck")
	w.link.cut()
	release()
	w.until("/readyz names the lane", 60*time.Second, func() bool {
		status, text := w.ask(r, "/readyz")
		return status == http.StatusServiceUnavailable && strings.Contains(text, "users is stuck at "+w.cfg.Topics.Notifications+"/") && strings.Contains(text, `in lane "@bob:`+server+` app `) && !strings.Contains(text, "bobs-key")
	})
	w.link.heal()
	w.until("/readyz is well again", 60*time.Second, func() bool { status, _ := w.ask(r, "/readyz"); return status == http.StatusOK })
	w.settle(r)
	w.all([]string{"$stuck"}, 60*time.Second)
	r.stop()
}
