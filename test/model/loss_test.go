package model

// A Redis that loses its last writes, as after a failover.

import (
	"context"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
)

// backup is what Redis held at some moment when nothing was under way, by room or user.
type backup struct {
	hashes        map[string]map[string]map[string]string // by owner and key
	sets          map[string]map[string][]redis.Z
	events, users []int64 // where the stages were
}

// keys are those of a room or user, as package state names them.
func (w *world) keys(owner string) (hashes, sets []string) {
	key := func(kind string) string {
		return fmt.Sprintf("%s{s%d}:%s:%s", w.prefix, xxhash.Sum64String(owner)%uint64(w.shards), kind, owner)
	}
	if w.rooms[owner] != nil {
		return []string{key("room"), key("threads")}, []string{key("index")}
	}
	return []string{key("counts")}, nil
}

// backUp keeps what Redis holds now.
func (w *world) backUp() {
	w.note("Redis is backed up")
	b := &backup{map[string]map[string]map[string]string{}, map[string]map[string][]redis.Z{}, slices.Clone(w.roomsConsumer.next), slices.Clone(w.usersConsumer.next)}
	ctx := context.Background()
	for _, owner := range slices.Concat(w.roomIDs, w.userIDs) {
		hashes, sets := w.keys(owner)
		b.hashes[owner], b.sets[owner] = map[string]map[string]string{}, map[string][]redis.Z{}
		for _, key := range hashes {
			b.hashes[owner][key] = w.must(w.redis.HGetAll(ctx, key)).(*redis.MapStringStringCmd).Val()
		}
		for _, key := range sets {
			b.sets[owner][key] = w.must(w.redis.ZRangeWithScores(ctx, key, 0, -1)).(*redis.ZSliceCmd).Val()
			if w.rooms[owner] != nil && len(b.sets[owner][key]) == 0 {
				w.fail("%s is empty: does package state name its keys otherwise?", key)
			}
		}
	}
	w.backup = b
}

func (w *world) must(cmd redis.Cmder) redis.Cmder {
	if err := cmd.Err(); err != nil {
		w.fail("%v", err)
	}
	return cmd
}

// lose takes away what was written since the backup, all of it or that of some rooms and users, as if some nodes of a cluster had failed over. The stages read again what came since.
func (w *world) lose() {
	b, ctx := w.backup, context.Background()
	if b == nil {
		return
	}
	w.note("Redis loses its last writes")
	w.zombies = nil
	part := w.rng.IntN(2) == 0
	for _, owner := range slices.Concat(w.roomIDs, w.userIDs) {
		if part && w.rng.IntN(2) == 0 {
			continue
		}
		w.note("  of %s", owner)
		for key, fields := range b.hashes[owner] {
			w.must(w.redis.Del(ctx, key))
			if len(fields) > 0 {
				w.must(w.redis.HSet(ctx, key, fields))
			}
		}
		for key, members := range b.sets[owner] {
			w.must(w.redis.Del(ctx, key))
			w.must(w.redis.ZAdd(ctx, key, members...))
		}
	}
	w.roomsConsumer.rewind(b.events)
	w.usersConsumer.rewind(b.users)
	for _, t := range w.told {
		t.allowed++ // the ledger is lost as well
	}
	for _, p := range w.phones { // what they were told is lost, too: the next change tells them
		p.unsure()
		p.unread.excepted, p.calls.excepted = true, true
	}
}

// rewind makes a stage read again from somewhere at or before a place.
func (c *consumer) rewind(to []int64) {
	c.again = slices.Clone(c.next)
	for p := range c.next {
		c.next[p] = max(0, to[p]-c.world.rng.Int64N(20))
	}
	c.commitAll()
	c.restart()
}
