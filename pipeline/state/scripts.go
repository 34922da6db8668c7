package state

// The scripts, and how many of their calls travel together.

import (
	"context"
	"crypto/sha1" // the name that Redis gives to a script; nothing secret rests on it
	_ "embed"
	"encoding/hex"
	"errors"

	"github.com/redis/go-redis/v9"
)

// script is a file of lua/.
type script struct{ source, sha string }

func newScript(source string) script {
	sum := sha1.Sum([]byte(source))
	return script{source, hex.EncodeToString(sum[:])}
}

var (
	//go:embed lua/start.lua
	startLua string
	//go:embed lua/apply_accounts.lua
	applyAccountsLua string
	//go:embed lua/raise_applied.lua
	raiseAppliedLua string
	//go:embed lua/save_room.lua
	saveRoomLua string
	//go:embed lua/fill_room.lua
	fillRoomLua string
	//go:embed lua/change_counts.lua
	changeCountsLua string
	//go:embed lua/restore_room.lua
	restoreRoomLua string
	//go:embed lua/restored.lua
	restoredLua string
	//go:embed lua/settle.lua
	settleLua string
	//go:embed lua/probe.lua
	probeLua string

	startScript         = newScript(startLua)
	applyAccountsScript = newScript(applyAccountsLua)
	raiseAppliedScript  = newScript(raiseAppliedLua)
	saveRoomScript      = newScript(saveRoomLua)
	fillRoomScript      = newScript(fillRoomLua)
	changeCountsScript  = newScript(changeCountsLua)
	restoreRoomScript   = newScript(restoreRoomLua)
	restoredScript      = newScript(restoredLua)
	settleScript        = newScript(settleLua)
	probeScript         = newScript(probeLua)
)

// call is one call of a script.
type call struct {
	keys []string // of one shard
	args []any
}

const (
	maxCallItems     = 100       // users, fields or rooms that one call of a script does: 0.4 ms, during which Redis does nothing else
	maxCallBytes     = 256 << 10 // and what they weigh; one that weighs more goes alone
	maxCallsTogether = 64        // calls in one round trip
)

// run calls a script, many calls at a time, and returns the answers in order. All scripts can be run again with the same arguments, so nothing is
// undone if some calls fail: the caller makes all of them again.
func (s *Store) run(ctx context.Context, op string, script script, calls []call) ([]*redis.Cmd, error) {
	answers := make([]*redis.Cmd, 0, len(calls))
	for len(calls) > 0 {
		part := calls[:min(len(calls), maxCallsTogether)]
		calls = calls[len(part):]
		got, err := s.runTogether(ctx, script, part)
		if err != nil {
			return nil, s.fail(ctx, op, err)
		}
		answers = append(answers, got...)
	}
	return answers, nil
}

// runOne is run with one call.
func (s *Store) runOne(ctx context.Context, op string, script script, keys []string, args ...any) (*redis.Cmd, error) {
	answers, err := s.run(ctx, op, script, []call{{keys, args}})
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// runTogether makes one round trip, and a second one for calls whose server did not know the script: it has restarted, failed over or
// flushed its scripts. There the source itself is sent, which always works, whichever server the call ends up at.
func (s *Store) runTogether(ctx context.Context, script script, calls []call) ([]*redis.Cmd, error) {
	answers, err := s.exec(ctx, func(pipe redis.Pipeliner) {
		for _, c := range calls {
			pipe.EvalSha(ctx, script.sha, c.keys, c.args...)
		}
	})
	if err != nil {
		return nil, err
	}
	var unknown []int
	got := make([]*redis.Cmd, len(calls))
	for i, answer := range answers {
		got[i] = answer.(*redis.Cmd)
		if redis.HasErrorPrefix(answer.Err(), "NOSCRIPT") {
			unknown = append(unknown, i)
		}
	}
	if len(unknown) > 0 {
		s.log.Debug("sending a script that redis does not know (any more)", "redis", s.server, "calls", len(unknown))
		again, err := s.exec(ctx, func(pipe redis.Pipeliner) {
			for _, i := range unknown {
				pipe.Eval(ctx, script.source, calls[i].keys, calls[i].args...)
			}
		})
		if err != nil {
			return nil, err
		}
		for n, i := range unknown {
			got[i] = again[n].(*redis.Cmd)
		}
	}
	for _, answer := range got {
		if err := answer.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return nil, err
		}
	}
	return got, nil
}

// batches cuts things that belong to users or rooms into calls of a script. On a cluster a call holds things of one shard; elsewhere of any.
type batches struct {
	store *Store
	open  map[int]*batch
	full  []*batch
}

// batch is what one call will hold.
type batch struct {
	call
	keyNumber map[string]int // key to its place in KEYS
	items     []int          // the caller's numbers of the things
	bytes     int
}

func (s *Store) newBatches() *batches { return &batches{store: s, open: map[int]*batch{}} }

// add puts the caller's thing number item, which concerns a user or room and lives at key, into a call. The script gets the
// number of the key in KEYS, and args.
func (b *batches) add(item int, id, key string, weight int, args ...any) {
	group := 0
	if b.store.mode == Cluster {
		group = b.store.keys.shard(id)
	}
	into := b.open[group]
	if into != nil && (len(into.items) >= maxCallItems || into.bytes+weight > maxCallBytes) {
		b.full = append(b.full, into)
		into = nil
	}
	if into == nil {
		into = &batch{keyNumber: map[string]int{}}
		b.open[group] = into
	}
	number, ok := into.keyNumber[key]
	if !ok {
		into.keys = append(into.keys, key)
		number = len(into.keys)
		into.keyNumber[key] = number
	}
	into.args = append(append(into.args, number), args...)
	into.items = append(into.items, item)
	into.bytes += weight
}

// all returns the calls. A later call of a shard holds what was added later.
func (b *batches) all() []*batch {
	all := b.full
	for _, open := range b.open {
		all = append(all, open)
	}
	return all
}

func calls(all []*batch) []call {
	out := make([]call, len(all))
	for i, b := range all {
		out[i] = b.call
	}
	return out
}
