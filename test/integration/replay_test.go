package integration

// Dead letters come back.

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"tocsin/cmd/app"
	"tocsin/test/stack"
)

// What a gateway did not take in time is in the dead letter, and reaches the gateway when it is replayed.
func TestDeadLettersAreReplayed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const n = 3
	w.cfg.Delivery.Expiry.Message = 4900 * time.Millisecond // less than the first retry tier: what fails once is given up
	w.gateway.Script(stack.Answer{Status: 503, Times: n})
	r := w.ready(w.start())
	w.room("!r:hs")
	dead := ids("dead", n)
	for _, id := range dead {
		w.write(w.message("!r:hs", id))
	}
	list := func() (lines []string) {
		var out bytes.Buffer
		if err := app.ListDeadLetters(t.Context(), w.cfg, app.DeadLetterOptions{Stages: []string{"users"}, App: "app"}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSpace(out.String()), "\n")
	}
	w.until("all are given up", 60*time.Second, func() bool { return len(list()) == n })
	for _, line := range list() {
		if !strings.Contains(line, "  users  expired  "+w.cfg.Topics.Events+"/") || strings.Contains(line, "bobs-key") {
			t.Errorf("listed: %s", line)
		}
	}
	if times, _ := w.pushed(); len(times) != 0 {
		t.Errorf("pushed: %v", times)
	}
	replay := func() string {
		var out bytes.Buffer
		if err := app.ReplayDeadLetters(t.Context(), w.cfg, app.ReplayOptions{Rate: 1000, Resume: true}, &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	if said := replay(); said != "replayed 3: 3 deliveries, 0 records; left out 0\n" {
		t.Errorf("said: %s", said)
	}
	w.all(dead, 30*time.Second)
	if _, unread := w.pushed(); unread[dead[n-1]] != n {
		t.Errorf("unread counts: %v", unread)
	}
	if said := replay(); said != "replayed 0: 0 deliveries, 0 records; left out 0\n" {
		t.Errorf("a second time: %s", said)
	}
	w.settled(r)
	if len(list()) != n {
		t.Errorf("dead letters: %q", list())
	}
	r.stop()
}
