package app

// What a worker looks at now and then.

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
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

// keyedTopic is a topic whose records belong together by key: a room's, a user's. With another number of partitions a key may have another one, so what waits in the old one
// is in the wrong place.
type keyedTopic struct {
	name       string
	group      string       // which reads it
	partitions atomic.Int64 // as this worker knows it
	seen       int64        // by the last look
}

func (w *Worker) keyedTopics() []*keyedTopic {
	return []*keyedTopic{&w.events, &w.account, &w.notifications}
}

// notificationPartitions is the number of partitions by which users are spread.
func (w *Worker) notificationPartitions() int { return int(w.notifications.partitions.Load()) }

// eventPartitions is the number of partitions by which the homeserver spreads rooms. It is asked when a room comes from another partition than before: right after the topic was
// given more, the number of the last look would make an alarm of it.
func (w *Worker) eventPartitions() int {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	known := int(w.events.partitions.Load())
	if topics, err := w.cluster.Topics(ctx, w.events.name); err == nil {
		return max(known, topics[w.events.name].Partitions)
	}
	return known
}

// watchPartitions follows the number of partitions of the keyed topics. The client knows it within a second anyway: looking costs nothing.
func (w *Worker) watchPartitions(ctx context.Context) error {
	return every(ctx, time.Second, func() error {
		for _, t := range w.keyedTopics() {
			w.lookAt(ctx, t)
		}
		return nil
	})
}

// lookAt notices another number of partitions once two looks have seen it, for a broker may lag behind the others, and says whether the topic was drained before.
func (w *Worker) lookAt(ctx context.Context, t *keyedTopic) {
	topics, err := w.cluster.Topics(ctx, t.name)
	if err != nil {
		return // those who read it complain
	}
	before, now, seen := t.partitions.Load(), int64(topics[t.name].Partitions), t.seen
	if t.seen = now; now == before || now != seen {
		return
	}
	bounds, err := w.cluster.Bounds(ctx, t.name) // before this worker writes by the new number
	t.partitions.Store(now)
	log := w.log.With("topic", t.name, "before", before, "now", now)
	if now < before {
		log.Error("the topic was made anew with fewer partitions: what had not been read of the old one is lost")
		return
	}
	var left int64
	if err == nil {
		left, err = w.left(ctx, t, int(before), bounds)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil:
		log.Error("the number of the topic's partitions changed, and whether it was drained before can't be told", "error", err)
	case left > 0:
		w.telemetry.pipeline.Misplaced.Add(ctx, left, metric.WithAttributes(attribute.String("topic", t.name)))
		log.Error(fmt.Sprintf("the number of the topic's partitions changed without a drain: %d records were left. They are handled, but maybe after newer ones of the same room or user; "+
			"next time stop the producers, wait until nothing is left, change it, and start them again when all workers have noticed", left), "left", left)
	default:
		log.Info("the number of the topic's partitions changed; nothing was left in the old ones")
	}
}

// left is how many records of the first partitions the topic's group has not done, up to where the partitions end.
func (w *Worker) left(ctx context.Context, t *keyedTopic, partitions int, bounds map[int]stream.Bounds) (left int64, err error) {
	committed, err := w.cluster.Committed(ctx, t.group, t.name)
	if err != nil {
		return 0, err
	}
	for p := range partitions {
		from := bounds[p].First
		if mark, ok := committed[p]; ok {
			from = max(from, mark.Offset)
		}
		left += max(0, bounds[p].End-from)
	}
	return left, nil
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
