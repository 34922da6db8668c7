package app

// Bringing back from Kafka what Redis has lost.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
)

// rebuildReport is how often a rebuild says how far it is.
const rebuildReport = time.Second

// Rebuild writes rulesets, pushers, ignored users and room state to a Redis that has lost its contents, from matrix.account and tocsin.room-state, and tells w how far it is. No worker starts before it has
// come to its end; if it is interrupted, it is run again. What users had unread is in no topic: counts start again.
func Rebuild(ctx context.Context, cfg *config.Config, w io.Writer) error {
	log := slog.New(slog.DiscardHandler)
	store, err := quietRedis(cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	cluster, err := quietKafka(cfg)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if _, known, err := store.Meta(ctx); err != nil {
		return err
	} else if known {
		return fmt.Errorf("%w under redis.key_prefix %q: nothing is to be rebuilt", state.ErrHeld, cfg.Redis.KeyPrefix)
	}
	if _, err := cluster.Topics(ctx, cfg.Topics.Account, cfg.Topics.RoomState); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	group := cfg.Kafka.GroupPrefix + "." + StageAccounts
	ends, err := cluster.Bounds(ctx, cfg.Topics.Account)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	committed, err := cluster.Committed(ctx, group, cfg.Topics.Account)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if done, err := cluster.Committed(ctx, cfg.Kafka.GroupPrefix+"."+StageRooms, cfg.Topics.Events); err != nil {
		return fmt.Errorf("kafka: %w", err)
	} else if len(done) == 0 {
		return errors.New("this deployment has never run: there is nothing to be rebuilt, start a worker")
	}
	r := &pipeline.Rebuild{Store: store, Incarnations: map[int]int64{}, Log: log}
	for partition := range ends {
		r.Incarnations[partition] = time.Now().UnixMilli() // so would the stage
		if mark, ok := committed[partition]; ok {
			r.Incarnations[partition] = mark.Incarnation
		}
	}
	if err := scan(ctx, cluster, cfg.Topics.Account, w, r.Account); err != nil {
		return err
	}
	if err := scan(ctx, cluster, cfg.Topics.RoomState, w, r.RoomState); err != nil {
		return err
	}
	if err := r.Flush(ctx, ends); err != nil {
		return err
	}
	if err := store.Restored(ctx, time.Now()); err != nil {
		return err
	}
	if n := r.LeftOut(); n > 0 {
		fmt.Fprintf(w, "%d records could not be read and were left out\n", n)
	}
	fmt.Fprintln(w, "Redis is rebuilt: start the workers. What users had unread is not known; it is counted anew from here.")
	return nil
}

// scan reads a topic to its end and says how far it is.
func scan(ctx context.Context, cluster *stream.Cluster, topic string, w io.Writer, each func(context.Context, *stream.Record) error) error {
	records, told := 0, time.Now()
	var last stream.ScanProgress
	tell := func() {
		fmt.Fprintf(w, "%s: %d records read, at offset %d of %d\n", topic, records, last.Offsets, last.Total)
	}
	err := cluster.Scan(ctx, stream.ScanConfig{
		Topic: topic,
		Record: func(rec *stream.Record) error {
			records++
			return each(ctx, rec)
		},
		Progress: func(p stream.ScanProgress) {
			if last = p; time.Since(told) >= rebuildReport {
				tell()
				told = time.Now()
			}
		},
	})
	var ofRedis *state.Error
	switch {
	case errors.As(err, &ofRedis):
		return err
	case err != nil:
		return fmt.Errorf("kafka: %w", err)
	}
	tell()
	return nil
}
