package integration

// Servers that go away, workers that come and go.

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// counted checks the badge of a last notification: with badge.count messages, it is the exact number of all that came before and itself.
func (w *world) counted(want int) {
	w.Helper()
	w.write(w.message("!last:hs", "$last"))
	w.all([]string{"$last"}, 30*time.Second)
	if _, unread := w.pushed(); unread["$last"] != want {
		w.Errorf("the badge says %d, want %d", unread["$last"], want)
	}
}

func TestRedisGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!last:hs")
	r := w.ready(w.start())
	all := w.feed("redis", 200, func(step int) {
		switch step {
		case 5:
			w.link.cut()
		case 15:
			time.AfterFunc(time.Second, w.link.heal)
		}
	})
	if doubled := w.all(all, 60*time.Second); doubled > 50 {
		t.Errorf("%d of %d notifications came twice", doubled, len(all))
	}
	w.counted(len(all) + 1)
	r.stop()
}

func TestKafkaGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!last:hs")
	r := w.ready(w.start())
	all := w.feed("kafka", 200, func(step int) {
		switch step {
		case 5:
			w.network.cut()
		case 15:
			time.AfterFunc(2*time.Second, w.network.heal)
		}
	})
	w.all(all, 60*time.Second)
	w.counted(len(all) + 1)
	r.stop()
}

// Workers join, stop cleanly and are killed while events flow: everything arrives, counts stay exact, and only a kill doubles.
func TestWorkersComeAndGo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!last:hs")
	a := w.ready(w.start())
	var b, c *running
	all := w.feed("churn", 400, func(step int) {
		switch step {
		case 5:
			b = w.ready(w.start())
		case 15:
			a.stop()
		case 20:
			c = w.ready(w.start())
		case 30:
			b.kill()
		}
	})
	w.all(all, 60*time.Second)
	w.counted(len(all) + 1)
	c.stop()
}

// A worker that stops and starts again and again loses nothing, and tells nothing twice: what it finished is committed.
func TestCleanStopsDoubleNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!last:hs")
	var r *running
	all := w.feed("stops", 200, func(step int) {
		if step%5 == 0 {
			if r != nil {
				r.stop()
			}
			r = w.ready(w.start())
		}
	})
	if doubled := w.all(all, 60*time.Second); doubled > 0 {
		t.Errorf("%d notifications came twice", doubled)
	}
	w.counted(len(all) + 1)
	r.stop()
}

// A gateway that hangs keeps its own users waiting, not the others.
func TestSickGatewayDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Delivery.Timeout = 10 * time.Second
	w.cfg.Delivery.ConcurrencyPerGateway = 4
	r := w.ready(w.start())
	w.room("!r:hs")
	w.write(w.message("!r:hs", "$before"))
	w.all([]string{"$before"}, 20*time.Second)
	hanging := w.hang("sick.example")
	defer hanging.release()
	for i := range 20 {
		user := fmt.Sprintf("@sick%d:%s", i, server)
		w.device(user, "app", "k", "sick.example")
		w.write(w.join("!r:hs", user))
	}
	w.until("the sick users' pushers are known", 20*time.Second, func() bool {
		w.write(w.message("!r:hs", fmt.Sprintf("$poke%d", time.Now().UnixNano())))
		time.Sleep(50 * time.Millisecond)
		return hanging.waiting.Load() > 0
	})
	began := time.Now()
	w.write(w.message("!r:hs", "$after"))
	w.all([]string{"$after"}, 20*time.Second)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("the healthy gateway's user waited %v for the sick one", took)
	}
	hanging.release()
	r.stop()
}

// A worker that stops in the middle of requests finishes them first.
func TestStoppingFinishesWhatHasBegun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!r:hs")
	r := w.ready(w.start())
	hanging := w.hang("push.example")
	w.write(w.message("!r:hs", "$slow"))
	w.until("the request is under way", 20*time.Second, func() bool { return hanging.waiting.Load() == 1 })
	stopped := make(chan struct{})
	go func() { defer close(stopped); r.stop() }()
	select {
	case <-stopped:
		t.Fatal("it stopped with a request under way")
	case <-time.After(300 * time.Millisecond):
	}
	hanging.release()
	<-stopped
	w.all([]string{"$slow"}, 20*time.Second)

	r = w.ready(w.start())
	w.write(w.message("!r:hs", "$next"))
	if doubled := w.all([]string{"$slow", "$next"}, 20*time.Second); doubled > 0 {
		t.Errorf("%d notifications came twice", doubled)
	}
	r.stop()
}

// Rooms and users wait until the accounts stage has applied everything: here nobody does, at first.
func TestNothingIsEvaluatedBeforeAccountsAreApplied(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!r:hs")
	w.write(w.message("!r:hs", "$m"))
	rest := w.start("rooms", "users", "retry")
	w.hears("waiting for the accounts stage to apply")
	if rest.Ready() == nil {
		t.Fatal("rooms and users work although no account is applied")
	}
	if times, _ := w.pushed(); len(times) > 0 {
		t.Fatalf("pushed %v before the accounts were applied", times)
	}
	accounts := w.start("accounts")
	w.all([]string{"$m"}, 30*time.Second)
	rest.stop()
	accounts.stop()
}

// The first start is quiet: what Kafka has from before it is counted, not pushed.
func TestFirstStartIsQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.cfg.Delivery.PushFrom.UnmarshalText([]byte("now")); err != nil {
		t.Fatal(err)
	}
	w.room("!r:hs")
	w.write(w.message("!r:hs", "$old1"), w.message("!r:hs", "$old2"))
	written := time.Now().UnixMilli()
	w.until("it is later than the records, by the clock", time.Second, func() bool { return time.Now().UnixMilli() > written })
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$new"))
	w.all([]string{"$new"}, 30*time.Second)
	times, unread := w.pushed()
	if len(times) != 1 || unread["$new"] != 3 {
		t.Errorf("pushed %v with a badge of %d; want only the new one, with 3 unread", times, unread["$new"])
	}
	r.stop()

	// A later start is not the first.
	w.write(w.message("!r:hs", "$meanwhile"))
	r = w.start()
	w.all([]string{"$meanwhile"}, 30*time.Second)
	r.stop()
}

// A topic that is missing is named, and the worker does not start.
func TestMissingTopicIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Topics.Feedback += "-mistyped"
	r := w.start()
	defer r.kill()
	select {
	case err := <-r.ended:
		if err == nil || !strings.Contains(err.Error(), w.cfg.Topics.Feedback) || !strings.Contains(err.Error(), "topics create") {
			t.Errorf("the error does not name the topic and the cure: %v", err)
		}
		r.ended <- err
	case <-time.After(20 * time.Second):
		t.Error("the worker runs without a topic")
	}
}

// A Redis that was emptied is not mistaken for a first start.
func TestEmptiedRedisIsNoticed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!r:hs")
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$m"))
	w.all([]string{"$m"}, 30*time.Second)
	w.settled(r)
	r.stop()
	w.cfg.Redis.KeyPrefix += "emptied:"
	r = w.start()
	select {
	case err := <-r.ended:
		if err == nil || !strings.Contains(err.Error(), "Redis was emptied") {
			t.Errorf("got %v, want to be told that Redis was emptied", err)
		}
		r.ended <- err
	case <-time.After(20 * time.Second):
		t.Error("the worker goes on with an empty Redis")
	}
}
