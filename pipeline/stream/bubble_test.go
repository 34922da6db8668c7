package stream

// Minutes in no time: the whole package in a bubble of virtual time, over Config.Dial.

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// newBubble is a broker for the inside of a bubble.
func newBubble(t *testing.T) *broker {
	var network kfake.VirtualNetwork
	return newFake(t, []kfake.Opt{kfake.ListenFn(network.Listen), kfake.Ports(9092)}, func(c *Config) {
		c.Dial = network.DialContext
		c.FetchWait, c.HeartbeatInterval, c.CommitInterval = 500*time.Millisecond, time.Second, time.Second
	})
}

// A retry tier waits, then a server is away for minutes; then everything goes on, and nothing is lost.
func TestMinutesOfWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		topic := b.topic("minutes", 2, nil)
		start := time.Now()
		b.write(numbered(topic, 0, 0, 10)...)
		b.write(numbered(topic, 1, 10, 20)...)

		done := &seen{}
		redis := start.Add(3 * time.Minute) // when it comes back
		c := b.consume(ConsumerConfig{Topic: topic,
			Due: func(r *Record) time.Time { return r.Time.Add(time.Minute) },
			Handler: work{
				take: func(_ context.Context, batch []*Record) ([]Task, error) {
					if early := time.Since(start); early < time.Minute {
						t.Errorf("taken after %v", early)
					}
					return byKey(batch), nil
				},
				do: func(ctx context.Context, lane string, tasks []Task) error {
					if time.Now().Before(redis) {
						return errors.New("Redis is away")
					}
					return done.do(ctx, lane, tasks)
				},
			}})
		time.Sleep(4 * time.Minute)
		if !idle(c) || done.len() != 20 {
			t.Errorf("%d are done, progress %+v", done.len(), c.Progress())
		}
		c.stop()
	})
}

// The lag of a partition that waits is seen, though nothing is fetched from it.
func TestLagWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t)
		topic := b.topic("lag", 1, nil)
		b.write(numbered(topic, 0, 0, 1)...)
		c := b.consume(ConsumerConfig{Topic: topic, Handler: work{}, Due: func(r *Record) time.Time { return r.Time.Add(time.Hour) }})
		eventually(t, "waiting", func() bool { p := c.Progress(); return len(p) == 1 && !p[0].WaitsUntil.IsZero() })
		b.write(numbered(topic, 0, 1, 5)...)
		eventually(t, "the lag", func() bool { p := c.Progress()[0]; return p.End == 5 && p.Watermark == 0 })
		c.stop()
	})
}
