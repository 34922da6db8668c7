package app

// What the operator's commands share: quiet connections, and how people are told things.

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
)

// quietKafka connects without a log: a command says itself what is wrong.
func quietKafka(cfg *config.Config) (*stream.Cluster, error) {
	return connectKafka(cfg, Options{}, slog.New(slog.DiscardHandler), clock.System{})
}

// quietRedis does the same.
func quietRedis(cfg *config.Config) (*state.Store, error) {
	return openRedis(cfg, slog.New(slog.DiscardHandler))
}

// openDeployment opens the Redis of a deployment that has run before: the tools change what there is, and begin nothing. A wrong key_prefix must not look like a deployment without
// anything.
func openDeployment(ctx context.Context, cfg *config.Config) (*state.Store, error) {
	store, err := quietRedis(cfg)
	if err != nil {
		return nil, err
	}
	meta, known, err := store.Meta(ctx)
	switch {
	case err != nil:
	case !known:
		err = fmt.Errorf("redis holds nothing of a deployment under redis.key_prefix %q: is it the right one, and has a worker been started?", cfg.Redis.KeyPrefix)
	case meta.Shards != cfg.Redis.Shards:
		err = fmt.Errorf("redis.shards is %d, and this Redis was first used with %d: set it to that", cfg.Redis.Shards, meta.Shards)
	}
	if err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

// timeFormat is how people are told times.
const timeFormat = "2006-01-02 15:04:05 MST"

// printable keeps what users named from doing something to a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}
