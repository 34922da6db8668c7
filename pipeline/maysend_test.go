package pipeline_test

// What may be sent at all: not what has ended already, not to pushers that are held, not while sending is paused, and not in shadow mode.

import (
	"fmt"
	"testing"
	"time"

	"tocsin/pipeline"
	"tocsin/pushers"
)

// TestWhatEndedIsNotSentAgain repeats records, as a crash, a rebalance or a replay of dead letters does.
func TestWhatEndedIsNotSentAgain(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	rec := d.record(message(garden, "$1", 1))
	d.do(d.take(rec))
	d.got("phone", "$1 1")
	d.restart(nil)
	d.do(d.take(rec))
	d.got("phone")

	d.phones["phone"].steps = []pushers.Step{failed}
	rec = d.record(message(garden, "$2", 2))
	d.do(d.take(rec))
	d.restart(nil)
	d.do(d.take(rec)) // it went to a retry topic, and there is no end yet
	d.got("phone", "$2 1", "$2 1")
	d.due()
	d.got("phone") // the retry of the first attempt finds that the second one was delivered

	d.phones["phone"].steps = []pushers.Step{{Action: pushers.Remove, Reason: "rejected"}}
	rec = d.record(message(garden, "$3", 3))
	d.do(d.take(rec))
	d.pusher("phone", "") // set again
	d.do(d.take(rec))
	d.got("phone", "$3 1")
}

// TestGuardHoldsPushers has a wave of rejections: from the tenth on, pushers are held, and nobody is told to delete them.
func TestGuardHoldsPushers(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	rejected := pushers.Step{Action: pushers.Remove, Reason: "rejected"}
	for i := range 12 {
		key := fmt.Sprintf("phone%d", i)
		d.pusher(key, "")
		d.phones[key].steps = []pushers.Step{rejected}
	}
	d.handle(message(garden, "$1", 1))
	removed := 0
	for _, m := range d.written {
		if m.Topic == "tocsin.pusher-feedback" {
			removed++
		}
	}
	if removed != 9 {
		t.Errorf("%d pushers were removed before the guard tripped, want 9", removed)
	}
	told := func() (n int) {
		for _, p := range d.phones {
			n += len(p.got)
			p.got = nil
		}
		return n
	}
	if n := told(); n != 12 {
		t.Errorf("%d were tried, want 12", n)
	}
	d.handle(message(garden, "$2", 2))
	if n := told(); n != 0 {
		t.Errorf("%d are pushed to while they are held", n)
	}
	d.restart(nil)
	if err := d.users.Guard.(*pipeline.Guard).Poll(t.Context()); err != nil { // as a worker does before its first notification
		t.Fatal(err)
	}
	d.handle(message(garden, "$3", 3))
	if n := told(); n != 0 {
		t.Errorf("%d are pushed to by another worker while they are held", n)
	}
	d.pusher("phone9", `,"set":"anew"`) // one of those that are held: phone7, phone8 and phone9 were the last
	d.handle(message(garden, "$4", 4))
	d.got("phone9", "$4 1")
	if _, ok, err := d.store.ResetGuard(t.Context(), "app", d.clock.Now(), 10*time.Minute); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := d.users.Guard.(*pipeline.Guard).Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.handle(message(garden, "$5", 5))
	if n := told(); n != 3 {
		t.Errorf("%d are pushed to after the reset, want the 3 that were never removed", n)
	}
}

// TestPausedWaits has an operator who holds sending: what comes is counted, waits in the retry topics, and is sent with the counts of then.
func TestPausedWaits(t *testing.T) {
	t.Parallel()
	paused := true
	d := newDesk(t, func(u *pipeline.Users) { u.Paused = func(app string) bool { return paused && app == "app" } })
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.got("phone")
	d.due()
	d.got("phone")
	paused = false
	d.handle(read(garden, 1))
	d.due()
	d.got("phone", "1", "$2 1")
}

// TestShadowSendsNothing does everything but the request, and what nobody was told is not noted as told.
func TestShadowSendsNothing(t *testing.T) {
	t.Parallel()
	live := false
	d := newDesk(t, func(u *pipeline.Users) { u.Live = func(string) bool { return live } })
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1), read(arbour, 1))
	d.got("phone")
	if len(d.written)+len(d.buried) > 0 {
		t.Errorf("written %v, buried %v", d.written, d.buried)
	}
	live = true
	d.handle(message(garden, "$3", 2))
	d.got("phone", "$3 1")
}
