package stream

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"tocsin/test/stack"
)

// journal keeps what is logged.
type journal struct{ stack.Buffer }

// lines are those that hold all of the texts.
func (j *journal) lines(texts ...string) (found []string) {
next:
	for line := range strings.Lines(j.String()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// watched is a bubble's broker whose log is kept.
func watched(t *testing.T) (*broker, *journal) {
	j := &journal{}
	b := newBubble(t)
	b.log = slog.New(slog.NewTextHandler(j, nil))
	return b, j
}

// A lane whose handler hangs is named once, with all that it takes to find it, others are not, and when it goes on that is said.
func TestStuckLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, said := watched(t)
		topic := b.topic("stuck", 2, nil)
		b.write(Message{Topic: topic, Partition: 1, Key: []byte("@a:hs app pushkey"), Value: []byte("0")})
		for i := range 20 {
			b.write(Message{Topic: topic, Partition: i % 2, Key: []byte("other"), Value: []byte("x")})
		}
		release := make(chan struct{})
		c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: func(_ context.Context, lane string, _ []Task) error {
			if lane != "other" {
				<-release
			}
			return nil
		}}})
		time.Sleep(50 * time.Second)
		if stuck := c.Stuck(); stuck != nil {
			t.Errorf("stuck before the time: %v", stuck)
		}
		time.Sleep(30 * time.Second)
		stuck := c.Stuck()
		if len(stuck) != 1 {
			t.Fatalf("stuck: %v", stuck)
		}
		s := stuck[0]
		if s.Group == "" || s.Topic != topic || s.Partition != 1 || s.Offset != 0 || s.Lane != "@a:hs app pushkey" || s.For < time.Minute || s.For > 80*time.Second {
			t.Errorf("stuck: %+v", s)
		}
		if want := `is stuck at ` + topic + `/1@0 in lane "@a:hs app pushkey" for 1m`; !strings.Contains(s.String(), want) {
			t.Errorf("%q does not say %q", s, want)
		}
		if p := c.Progress(); p[0].Stuck != 0 || p[1].Stuck != 1 {
			t.Errorf("progress: %+v", p)
		}
		time.Sleep(time.Hour)
		if lines := said.lines("level=ERROR", "a handler is stuck", "partition=1", "offset=0", "@a:hs app pushkey"); len(lines) != 1 {
			t.Errorf("said: %q", lines)
		}
		if lines := said.lines("no longer stuck"); lines != nil {
			t.Errorf("said: %q", lines)
		}
		close(release)
		time.Sleep(time.Minute)
		if lines := said.lines("no longer stuck", "partition=1", "offset=0"); c.Stuck() != nil || len(lines) != 1 || !idle(c) {
			t.Errorf("stuck %v, said %q", c.Stuck(), lines)
		}
		c.stop()
	})
}

// The same for Take, and for what fails again and again; once the server is back nothing is stuck.
func TestStuckTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, said := watched(t)
		topic := b.topic("stuck", 3, nil)
		for i := range 3 {
			b.write(numbered(topic, i, 0, 5)...)
		}
		start := time.Now()
		back := func() bool { return time.Since(start) > 10*time.Minute }
		c := b.consume(ConsumerConfig{Topic: topic, Handler: work{
			take: func(ctx context.Context, batch []*Record) ([]Task, error) {
				switch batch[0].Partition {
				case 0:
					if !back() {
						time.Sleep(time.Until(start.Add(11 * time.Minute)))
					}
				case 1:
					if !back() {
						return nil, errors.New("Redis is away")
					}
				case 2:
					return []Task{{Lane: "z", Record: batch[3]}}, nil
				}
				return nil, nil
			},
			do: func(context.Context, string, []Task) error {
				if !back() {
					return errors.New("Redis is away")
				}
				return nil
			},
		}})
		time.Sleep(5 * time.Minute)
		stuck := c.Stuck()
		if len(stuck) != 3 {
			t.Fatalf("stuck: %v", stuck)
		}
		want := map[int]place{0: {0, 0, ""}, 1: {1, 0, ""}, 2: {2, 3, "z"}}
		for _, s := range stuck {
			if (place{s.Partition, s.Offset, s.Lane}) != want[s.Partition] || s.For < 4*time.Minute {
				t.Errorf("stuck: %+v", s)
			}
		}
		time.Sleep(7 * time.Minute)
		if c.Stuck() != nil || !idle(c) || len(said.lines("a handler is stuck")) != 3 || len(said.lines("no longer stuck")) != 3 {
			t.Errorf("stuck %v, idle %v, said %q", c.Stuck(), idle(c), said.lines("stuck"))
		}
		c.stop()
	})
}

// A handler that doesn't end although its partition is lost is named still: it holds up whoever comes next in its lane.
func TestStuckAfterGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := watched(t)
		topic := b.topic("stuck", 1, nil)
		b.write(numbered(topic, 0, 0, 3)...)
		release := make(chan struct{})
		c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: func(context.Context, string, []Task) error {
			<-release
			return nil
		}}})
		eventually(t, "the generation", func() bool { return len(c.Progress()) == 1 })
		c.mu.Lock()
		c.current.lapse(errors.New("as if another member had come"))
		c.mu.Unlock()
		time.Sleep(3 * time.Minute)
		if stuck := c.Stuck(); len(stuck) != 1 || stuck[0].Offset != 0 || stuck[0].For < 2*time.Minute || c.Progress()[0].Stuck != 1 {
			t.Errorf("stuck: %v", stuck)
		}
		close(release)
		time.Sleep(time.Minute)
		if !idle(c) || c.Stuck() != nil {
			t.Errorf("stuck: %v", c.Stuck())
		}
		c.stop()
	})
}

// When very many lanes hang, some are named and the others counted.
func TestStuckLanesAreMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, said := watched(t)
		topic := b.topic("stuck", 1, nil)
		var msgs []Message
		for i := range 100 {
			msgs = append(msgs, Message{Topic: topic, Partition: 0, Key: []byte{byte('a' + i/10), byte('a' + i%10)}})
		}
		b.write(msgs...)
		release := make(chan struct{})
		c := b.consume(ConsumerConfig{Topic: topic, Workers: 100, Handler: work{do: func(context.Context, string, []Task) error {
			<-release
			return nil
		}}})
		time.Sleep(3 * time.Minute)
		if len(c.Stuck()) != 100 || len(said.lines("a handler is stuck")) != namedStuck || len(said.lines("80 lanes are stuck besides")) == 0 {
			t.Errorf("%d are stuck, said %d and %q", len(c.Stuck()), len(said.lines("a handler is stuck")), said.lines("besides"))
		}
		close(release)
		time.Sleep(time.Minute)
		if c.Stuck() != nil || len(said.lines("no longer stuck")) != namedStuck {
			t.Errorf("stuck: %v", c.Stuck())
		}
		c.stop()
	})
}
