package integration

import (
	"strings"
	"testing"
	"time"
)

// A worker whose stage can't go on says where, in the log and to whoever asks whether it is ready, until it goes on.
func TestStuckLaneIsNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.Delivery.Timeout, w.cfg.Kafka.DrainTimeout, w.cfg.Kafka.StuckAfter = 500*time.Millisecond, time.Second, 1500*time.Millisecond
	r := w.ready(w.start())
	w.room("!r:hs")
	w.settled(r)
	w.link.cut()
	w.write(w.message("!r:hs", "$stuck"))
	says := func() string {
		err := r.Ready()
		if err == nil {
			return ""
		}
		return err.Error()
	}
	w.until("it is named", 30*time.Second, func() bool {
		said := says()
		return strings.Contains(said, "rooms is stuck at "+w.cfg.Topics.Events+"/") && strings.Contains(said, `in lane "!r:hs" for `)
	})
	w.until("the log names it", 30*time.Second, func() bool { return strings.Contains(w.logs.String(), "a handler is stuck: its records are held up") })
	w.link.heal()
	w.all([]string{"$stuck"}, 30*time.Second)
	w.until("it is ready again", 30*time.Second, func() bool { return says() == "" })
	w.until("the log says that it goes on", 30*time.Second, func() bool { return strings.Contains(w.logs.String(), "a handler is no longer stuck") })
	r.stop()
}
