// Package state keeps in Redis what the stages must not forget: accounts (rulesets, pushers, ignore lists), rooms and what users have unread. It is the
// only package that knows Redis, and answers the questions of package pipeline: [pipeline.AccountStore], [pipeline.RoomStore], [pipeline.CountStore].
//
// # How it keeps its promises
//
// Every write can be made again. A script compares before it writes: an account field its version, a room its revision, a count the bytes that it was
// computed from. So a write whose answer was lost is simply sent again, an old owner that wakes up changes nothing, and two owners who write at once lose
// nothing. There is no lock, and no blind increment.
//
// Every error says that nothing is lost and the call can be made again; it names the server and what to do, and never a user, a room or a pushkey.
// The one answer that is not a failure is [pipeline.ErrStale].
//
// # How it is fast
//
// An unpipelined call costs 25 times as much as a pipelined one, so every method takes many users, and a script does up to a hundred of them in one call. What
// one script touches must live in one slot of a Redis Cluster: each user and room belongs to a shard, whose number is the hash tag of its keys, {s17}.
// The number of shards is fixed at the first start (see [Store.Start]). On a single server all keys are in reach, and scripts take users of all shards.
//
// Keys.go has the table of all keys; each script is a file in lua/, headed by what it takes and returns. The scripts use redis.call and Lua's own libraries
// alone, so that they run on an embedded server, too.
package state

// The connection, and how every question goes through it.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"tocsin/pipeline"
)

var (
	_ pipeline.AccountStore = (*Store)(nil)
	_ pipeline.RoomStore    = (*Store)(nil)
	_ pipeline.CountStore   = (*Store)(nil)
)

// Store is a connection to Redis. All methods are safe for concurrent use. Call [Store.Start] before anything is read or written: it makes sure that
// the keys are spread as they were when they were written.
type Store struct {
	link    atomic.Pointer[link]
	cfg     Config
	dial    dialFunc
	mode    string
	server  string // as errors name it
	keys    keys
	timeout time.Duration
	log     *slog.Logger
}

// Open makes a Store. It does not connect: the first call does. It fails if the configuration can't be right or a file of it can't be read.
func Open(cfg Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dial, err := dialer(cfg)
	if err != nil {
		return nil, err
	}
	// What matters comes back as an error; the driver's own lines go to standard error, past our log, and nobody has looked for keys in them.
	redis.SetLogger(&logging.VoidLogger{})
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Store{
		cfg:     cfg,
		dial:    dial,
		mode:    cfg.Mode,
		server:  describe(cfg),
		keys:    newKeys(cfg),
		timeout: cfg.Timeout,
		log:     log,
	}
	s.link.Store(newLink(s.options(nil), nil))
	return s, nil
}

// options is the configuration in the driver's words. The servers of more addresses are asked, too.
func (s *Store) options(more []string) *redis.UniversalOptions {
	cfg := s.cfg
	return &redis.UniversalOptions{
		Addrs:            append(more, cfg.Addresses...),
		IsClusterMode:    cfg.Mode == Cluster,
		MasterName:       cfg.Sentinel.Master,
		SentinelUsername: cfg.Sentinel.Username,
		SentinelPassword: cfg.Sentinel.Password.Reveal(),
		Username:         cfg.Username,
		Password:         cfg.Password.Reveal(),
		DB:               cfg.DB,
		Dialer:           s.dial,
		DialTimeout:      cfg.Timeout,
		DialerRetries:    1, // the stages call again, and want to know soon why it fails
		MaxRetries:       1, // for a connection that ended while nobody looked
		ReadTimeout:      cfg.Timeout,
		WriteTimeout:     cfg.Timeout,
		PoolTimeout:      cfg.Timeout,
		PoolSize:         cfg.PoolSize,
		PipelinePoolSize: -1, // nearly all is pipelined: one pool for all
		ReadBufferSize:   64 << 10,
		WriteBufferSize:  64 << 10,

		ContextTimeoutEnabled:    true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// describe names the server for people.
func describe(cfg Config) string {
	where := strings.Join(cfg.Addresses, ",")
	switch cfg.Mode {
	case Sentinel:
		return fmt.Sprintf("%s by sentinels %s", cfg.Sentinel.Master, where)
	case Cluster:
		return "cluster " + where
	default:
		return where
	}
}

// Close ends all connections. Calls that still run fail.
func (s *Store) Close() error { return s.client().Close() }

// Ping asks every master whether it is there and serves. It is [ErrOtherServer] while one of them has not been accepted.
func (s *Store) Ping(ctx context.Context) error { return s.pingThrough(ctx, s.client()) }

func (s *Store) pingThrough(ctx context.Context, l *link) error {
	within, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := l.eachMaster(within, func(ctx context.Context, master *redis.Client) error {
		return master.Ping(ctx).Err()
	})
	if err == nil {
		err = l.Exists(within, s.keys.meta()).Err() // a cluster that is down answers pings
	}
	if l.otherMet() {
		err = ErrOtherServer
	}
	return s.fail(ctx, "ping", err)
}

// eachMaster calls fn for each server that takes writes, side by side in a cluster.
func (l *link) eachMaster(ctx context.Context, fn func(context.Context, *redis.Client) error) error {
	switch client := l.UniversalClient.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, fn)
	case *redis.Client:
		return fn(ctx, client)
	default:
		return fmt.Errorf("unknown client %T", client)
	}
}

// maxPipeline is how many commands travel together. More gain nothing, and hold up whoever waits behind them.
const maxPipeline = 1000

// ask sends n commands, many at a time, and returns their answers in order. An answer of nil is not an error.
func (s *Store) ask(ctx context.Context, op string, n int, queue func(pipe redis.Pipeliner, i int)) ([]redis.Cmder, error) {
	answers := make([]redis.Cmder, 0, n)
	for from := 0; from < n; from += maxPipeline {
		part, err := s.exec(ctx, func(pipe redis.Pipeliner) {
			for i := from; i < min(n, from+maxPipeline); i++ {
				queue(pipe, i)
			}
		})
		if err != nil {
			return nil, s.fail(ctx, op, err)
		}
		for _, answer := range part {
			if err := answer.Err(); err != nil && !errors.Is(err, redis.Nil) {
				return nil, s.fail(ctx, op, err)
			}
		}
		answers = append(answers, part...)
	}
	return answers, nil
}

// exec is one round trip with its deadline. What went wrong with one command stands in its answer; an error is returned if none of them says why.
//
// The driver returns commands without an error that it has never sent: when a new connection is refused with an answer of the server (a wrong password, a
// master that the sentinels don't know), only Exec itself fails. So its error must never be passed over.
func (s *Store) exec(ctx context.Context, queue func(redis.Pipeliner)) ([]redis.Cmder, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	pipe := s.client().Pipeline()
	queue(pipe)
	answers, err := pipe.Exec(ctx)
	failed := func(answer redis.Cmder) bool { return answer.Err() != nil }
	if err != nil && !slices.ContainsFunc(answers, failed) {
		return nil, err
	}
	return answers, nil
}
