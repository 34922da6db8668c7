package app

// What a worker looks at now and then.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tocsin/pipeline"
)

// every calls look again and again, until it returns an error or ctx ends.
func every(ctx context.Context, interval time.Duration, look func() error) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := look(); err != nil {
			return err
		}
	}
}

// prune keeps the account cache's notes small.
func prune(ctx context.Context, accounts *pipeline.AccountCache) error {
	return every(ctx, time.Second, func() error {
		_ = accounts.Prune(ctx) // tried again in a second; whoever needs Redis says what is wrong with it
		return nil
	})
}

// watchPartitions follows the number of partitions of the notifications topic, by which users are spread.
func (w *Worker) watchPartitions(ctx context.Context) error {
	topic := w.cfg.Topics.Notifications
	return every(ctx, 30*time.Second, func() error {
		topics, err := w.cluster.Topics(ctx, topic)
		now := int64(topics[topic].Partitions)
		if err != nil || now == 0 {
			return nil // those who read it complain
		}
		if before := w.partitions.Swap(now); before != now {
			w.log.Error("the notifications topic has another number of partitions: until all workers know, a user may have two lanes; drain before repartitioning",
				"topic", topic, "before", before, "now", now)
		}
		return nil
	})
}

// notificationPartitions is that number.
func (w *Worker) notificationPartitions() int { return int(w.partitions.Load()) }

// eventPartitions is the number of partitions of the events topic. It is asked when a room comes from another partition than before: right after the topic was given more, an
// old number would make an alarm of it.
func (w *Worker) eventPartitions() int {
	w.events.Lock()
	defer w.events.Unlock()
	if now := w.clock.Now(); now.Sub(w.events.asked) > time.Second {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if topics, err := w.cluster.Topics(ctx, w.cfg.Topics.Events); err == nil { // else the last one known
			w.events.asked, w.events.partitions = now, topics[w.cfg.Topics.Events].Partitions
		}
	}
	return w.events.partitions
}

// watchRedis stops the worker when Redis has lost its contents: going on would be quiet, and wrong.
func (w *Worker) watchRedis(ctx context.Context, whole pipeline.Whole) error {
	return every(ctx, time.Second, func() error {
		if err := whole(ctx); errors.Is(err, pipeline.ErrLost) {
			return err
		}
		return nil // it can't be reached: whoever needs it says so
	})
}

// whole tells whether Redis still has the contents that began with before.
func (w *Worker) whole(before pipeline.Meta) pipeline.Whole {
	return func(ctx context.Context) error {
		now, known, err := w.store.Meta(ctx)
		if err == nil && (!known || now.Epoch != before.Epoch) {
			return fmt.Errorf("redis: %w: everything under redis.key_prefix %q is gone or another's. Restore its data; or stop all workers and run `tocsin rebuild`: "+
				"it brings rulesets, pushers and room state back from Kafka, and counts start again", pipeline.ErrLost, w.cfg.Redis.KeyPrefix)
		}
		return err
	}
}
