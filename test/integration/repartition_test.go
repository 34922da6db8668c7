package integration

// Topics that get more partitions, or are made anew.

import (
	"fmt"
	"io"
	"testing"
	"time"

	"tocsin/cmd/app"
	"tocsin/pipeline/stream"
)

// assigned waits until workers share so many partitions of the events and of the notifications.
func (c *crowd) assigned(partitions int, workers ...*running) {
	c.Helper()
	c.until(fmt.Sprintf("the workers share %d partitions", partitions), 120*time.Second, func() bool {
		begun := map[string]int{}
		for _, w := range workers {
			for _, p := range w.Progress() {
				if p.Position >= 0 {
					begun[p.Topic]++
				}
			}
		}
		return begun[c.cfg.Topics.Events] == partitions && begun[c.cfg.Topics.Notifications] == partitions
	})
}

// moves checks that some keys have another partition after the change, or the test would show nothing.
func moves(t *testing.T, keys []string, before, after int) {
	t.Helper()
	for _, key := range keys {
		if stream.PartitionOf(key, before) != stream.PartitionOf(key, after) {
			return
		}
	}
	t.Fatalf("none of %v has another partition among %d than among %d", keys, after, before)
}

// A change as it should be made: producers stop, what there is is done, more partitions, and on they go. Rooms and users get new owners, and nobody notices.
func TestDrainedRepartitioning(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 8, 6, 5)
	moves(t, c.users, 8, 12)
	moves(t, c.rooms, 8, 12)
	a, b := c.start(), c.start()
	c.ready(a)
	c.ready(b)
	c.talk(4)
	c.everyMessage()
	c.drained()
	c.read(c.users[0], c.rooms[0], 3)
	c.redact(c.rooms[1], 2)
	c.comeOrGo(c.users[1], c.rooms[2])
	c.drained()

	for _, topic := range []string{c.cfg.Topics.Events, c.cfg.Topics.Notifications} {
		c.kafka.Repartition(t, topic, 12)
		c.until("both workers have noticed that "+topic+" has more partitions, and that it was drained", 120*time.Second, func() bool {
			return c.logged("nothing was left in the old ones", "topic="+topic+" ") == 2
		})
	}
	c.assigned(12, a, b)
	c.talk(4)
	c.everyMessage()
	c.drained()
	c.read(c.users[2], c.rooms[3], 3) // of before
	c.read(c.users[2], c.rooms[4], 6) // of now
	c.redact(c.rooms[0], 1)
	c.redact(c.rooms[0], 7)
	c.drained()
	c.badges()
	c.everyMessageInOrder()
	c.positionsRise()
	a.stop()
	b.stop()
}

// The events topic is deleted and made anew: its offsets begin again, positions do not.
func TestEventsTopicMadeAnew(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			c := newCrowd(t, 4, 4, 5)
			r := c.ready(c.start())
			c.talk(6)
			c.everyMessage()
			c.drained()
			c.read(c.users[0], c.rooms[0], 3)
			c.drained()
			if !running {
				r.stop()
			}
			c.kafka.DeleteTopic(t, c.cfg.Topics.Events)
			if err := app.CreateTopics(t.Context(), c.cfg, app.TopicOptions{Partitions: 4, Replication: 1}, io.Discard); err != nil {
				t.Fatal(err)
			}
			if !running {
				r = c.ready(c.start())
			}
			c.talk(3)
			c.everyMessage()
			c.drained()
			c.read(c.users[0], c.rooms[0], 5) // of the old life
			c.read(c.users[1], c.rooms[1], 2) // of the old life
			c.read(c.users[2], c.rooms[2], 7) // of the new life: all before it
			c.redact(c.rooms[3], 1)
			c.redact(c.rooms[3], 7)
			c.drained()
			c.badges()
			c.everyMessageInOrder()
			c.positionsRise()
			r.stop()
		})
	}
}

// A change in the middle of work: the workers raise the alarm, for events and for notifications, and nothing is lost.
func TestRepartitioningWithoutDrainRaisesTheAlarm(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 8, 6, 5)
	moves(t, c.users, 8, 12)
	c.cfg.Admin.Listen = "127.0.0.1:0"
	r := c.ready(c.start())
	c.drained()

	alarmed := func(topic string) {
		t.Helper()
		c.kafka.Repartition(t, topic, 12)
		c.until("the alarm about "+topic, 120*time.Second, func() bool { return c.logged("changed without a drain", "topic="+topic+" ") == 1 })
		if n := c.metric(r, "tocsin_records_misplaced_total", fmt.Sprintf("topic=%q", topic)); n <= 0 {
			t.Errorf("the metric says that %v records of %s were left", n, topic)
		}
	}
	hanging := c.hang("push.example")
	c.talk(2)
	c.until("pushes are under way", 120*time.Second, func() bool { return hanging.waiting.Load() > 0 })
	alarmed(c.cfg.Topics.Notifications)
	c.link.cut()
	c.talk(2)
	alarmed(c.cfg.Topics.Events)
	c.link.heal()
	hanging.release()
	c.assigned(12, r)
	c.talk(2)
	c.everyMessage()
	c.drained()
	c.badges()
	if n := c.logged("partitions that their users have left", "topic="+c.cfg.Topics.Notifications+" "); n == 0 {
		t.Error("nobody says that notices lay in the wrong partition")
	}
	r.stop()
}
