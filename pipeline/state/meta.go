package state

// What a deployment remembers of itself.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

// ErrShards says that the configuration and Redis differ in the number of shards: everything would be looked for at the wrong place.
var ErrShards = errors.New("another number of shards")

// Start remembers now as the first start, with the number of shards and a new epoch, if Redis is empty; else it reads what the first start
// wrote. It fails with [ErrShards] if the configured number of shards is another one. Times are kept in milliseconds. Unless [Config.Rewind] is 0, the servers that
// answered are from now on the only ones: see [Store.Accept].
func (s *Store) Start(ctx context.Context, now time.Time) (pipeline.Meta, error) {
	const op = "start"
	answer, err := s.runOne(ctx, op, startScript, []string{s.keys.meta()}, now.UnixMilli(), s.keys.shards, rand.Text())
	if err != nil {
		return pipeline.Meta{}, err
	}
	values, err := answer.StringSlice()
	if err != nil || len(values) != 4 {
		return pipeline.Meta{}, s.fail(ctx, op, errUnreadable)
	}
	meta, err := s.parseMeta(ctx, op, values[0], values[1], values[2], values[3])
	if err != nil {
		return pipeline.Meta{}, err
	}
	if meta.Shards != int(s.keys.shards) {
		return meta, fmt.Errorf("redis.shards: the configuration says %d, but what is in Redis was written with %d: %w: set redis.shards to %d (it can be changed only with an empty Redis or another redis.key_prefix)",
			s.keys.shards, meta.Shards, ErrShards, meta.Shards)
	}
	if s.cfg.Rewind > 0 {
		err = s.Accept(ctx)
	}
	return meta, err
}

// Meta reads what [Store.Start] remembered; false if it was never called, or if Redis has lost its contents since.
func (s *Store) Meta(ctx context.Context) (pipeline.Meta, bool, error) {
	const op = "read meta"
	answers, err := s.ask(ctx, op, 1, func(pipe redis.Pipeliner, _ int) { pipe.HGetAll(ctx, s.keys.meta()) })
	if err != nil {
		return pipeline.Meta{}, false, err
	}
	saved := answers[0].(*redis.MapStringStringCmd).Val()
	if len(saved) == 0 {
		return pipeline.Meta{}, false, nil
	}
	meta, err := s.parseMeta(ctx, op, saved["first_start"], saved["shards"], saved["epoch"], saved["restored"])
	return meta, err == nil, err
}

func (s *Store) parseMeta(ctx context.Context, op, first, shards, epoch, restored string) (pipeline.Meta, error) {
	ms, err1 := strconv.ParseInt(first, 10, 64)
	n, err2 := strconv.Atoi(shards)
	if err1 != nil || err2 != nil || epoch == "" {
		return pipeline.Meta{}, s.fail(ctx, op, errUnreadable)
	}
	meta := pipeline.Meta{FirstStart: time.UnixMilli(ms).UTC(), Shards: n, Epoch: epoch}
	if restored != "" {
		at, err := strconv.ParseInt(restored, 10, 64)
		if err != nil {
			return pipeline.Meta{}, s.fail(ctx, op, errUnreadable)
		}
		meta.Restored = time.UnixMilli(at).UTC()
	}
	return meta, nil
}
