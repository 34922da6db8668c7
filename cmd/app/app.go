// Package app makes a worker of the packages: one straight line of construction, and its reverse when it stops. The binaries cmd/tocsin and
// cmd/tocsin-dev both run it, and so do the tests.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/delivery"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/pushers/apps"
	"tocsin/pushers/webpush"
)

// The stages that a worker can run.
const (
	StageAccounts = "accounts"
	StageRooms    = "rooms"
	StageUsers    = "users"
	StageRetry    = "retry"
)

// Stages are all of them.
var Stages = []string{StageAccounts, StageRooms, StageUsers, StageRetry}

// Options are what the binaries decide, not the operator's file.
type Options struct {
	Stages []string     // nil: all
	Log    *slog.Logger // nil: slog.Default()
	Clock  clock.Clock  // nil: the machine's
	// KafkaDial and PushDial replace the network; nil: the real one. PushDial answers http and https pusher URLs alike (for https it hands over a plain
	// connection, and is told so by the network "tls"), and the rules about addresses and schemes are off: it decides where requests go.
	KafkaDial, PushDial func(ctx context.Context, network, address string) (net.Conn, error)
	// WebPush is how the push services of browsers are reached; the zero value is the real world.
	WebPush webpush.Options
}

// Worker is one process of tocsin: some or all stages.
type Worker struct {
	cfg     *config.Config
	opts    Options
	log     *slog.Logger
	clock   clock.Clock
	cluster *stream.Cluster
	store   *state.Store

	telemetry *telemetry
	tracing   *tracing
	admin     atomic.Value // string: where the admin address is served

	events, account, notifications keyedTopic

	mu        sync.Mutex
	consumers []member
	tail      *stream.Tail
	started   bool // every stage has been started
}

// parts are what the stages share.
type parts struct {
	meta        pipeline.Meta
	whole       pipeline.Whole
	memory      *memory
	accounts    *pipeline.AccountCache
	writer      *stream.Writer
	deadLetters *stream.DeadLetters
	apps        *apps.Apps
	delivery    *delivery.Dispatcher
	guard       *pipeline.Guard
	control     *pipeline.Control
}

// close ends what the stages wrote and sent with, after they have ended.
func (p parts) close() {
	p.apps.Close()
	p.deadLetters.Close()
	p.writer.Close()
}

// member is this worker's part of a consumer group.
type member struct {
	group string
	keeps bool // what it does is saved in Redis
	*stream.Consumer
}

// New makes a worker. It reads files that the configuration names, and does no other I/O.
func New(cfg *config.Config, opts Options) (*Worker, error) {
	if opts.Stages == nil {
		opts.Stages = Stages
	}
	for _, s := range opts.Stages {
		if !slices.Contains(Stages, s) {
			return nil, fmt.Errorf("there is no stage %q: stages are %v", s, Stages)
		}
	}
	if cfg.Homeserver.ServerName == "" {
		return nil, errors.New("homeserver.server_name: is needed: whose users are notified?")
	}
	if drain, request := cfg.Kafka.DrainTimeout, cfg.Delivery.Timeout; drain <= request {
		return nil, fmt.Errorf("kafka.drain_timeout: %v must be longer than delivery.timeout (%v), or a worker that stops cuts off requests and sends them twice", drain, request)
	}
	if name, request := cfg.Apps.Slowest(); cfg.Kafka.DrainTimeout <= request {
		return nil, fmt.Errorf("kafka.drain_timeout: %v must be longer than apps[%s].timeout (%v), or a worker that stops cuts off requests and sends them twice", cfg.Kafka.DrainTimeout, name, request)
	}
	w := &Worker{cfg: cfg, opts: opts, log: opts.Log, clock: opts.Clock}
	if w.log == nil {
		w.log = slog.Default()
	}
	if w.clock == nil {
		w.clock = clock.System{}
	}
	w.events = keyedTopic{name: cfg.Topics.Events, group: w.group(StageRooms)}
	w.account = keyedTopic{name: cfg.Topics.Account, group: w.group(StageAccounts)}
	w.notifications = keyedTopic{name: cfg.Topics.Notifications, group: w.group(StageUsers)}
	var err error
	if w.telemetry, err = newTelemetry(w); err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	if w.tracing, err = newTracing(context.Background(), cfg.Tracing, w.log); err != nil {
		return nil, err
	}
	if w.cluster, err = connectKafka(cfg, opts, w.log, w.clock); err != nil {
		return nil, err
	}
	if w.store, err = openRedis(cfg, w.log); err != nil {
		w.cluster.Close()
		return nil, err
	}
	return w, nil
}

func connectKafka(cfg *config.Config, opts Options, log *slog.Logger, clk clock.Clock) (*stream.Cluster, error) {
	k := cfg.Kafka
	k.Dial, k.Clock, k.Log = opts.KafkaDial, clk, log
	cluster, err := stream.Connect(k)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return cluster, nil
}

func openRedis(cfg *config.Config, log *slog.Logger) (*state.Store, error) {
	r := cfg.Redis
	r.Log = log
	store, err := state.Open(r)
	if err != nil {
		return nil, fmt.Errorf("redis: %w", err)
	}
	return store, nil
}

func (w *Worker) runs(stage string) bool { return slices.Contains(w.opts.Stages, stage) }

// Run works until ctx ends, then stops cleanly: it takes nothing more, finishes what has begun, commits, leaves its groups. If hard ends, it stops at once: what
// was not committed is done again by whoever comes next. It returns nil after a clean stop. A worker runs once.
func (w *Worker) Run(ctx, hard context.Context) error {
	defer w.tracing.close()
	defer w.store.Close()
	defer w.cluster.Close()
	meta, err := w.start(ctx)
	if err != nil {
		return err
	}
	whole := w.whole(meta)
	direct, err := openApps(w.cfg, w.opts, w.tracing.wrap(), w.log, w.clock)
	if err != nil {
		return err
	}
	p := parts{
		meta: meta, whole: whole, writer: w.cluster.NewWriter(stream.WriterConfig{}), deadLetters: w.cluster.NewDeadLetters(w.cfg.Topics.DeadLetter), apps: direct,
		accounts: pipeline.NewAccountCache(w.store, whole, w.cfg.Pipeline.CachedAccounts, w.cfg.Rules.Options(), w.log),
		guard:    pipeline.NewGuard(w.store, pipeline.GuardLimits(w.cfg.Delivery.Guard), w.clock, w.log), control: pipeline.NewControl(w.store, w.log),
	}
	defer p.close()
	p.delivery = delivery.New(w.cfg.Delivery, p.apps, w.clock, delivery.Options{Log: w.log})
	p.memory = &memory{store: w.store, whole: whole, gate: w.accountsGate()}
	p.memory.gate.Memory = p.memory.name

	// When a stage fails for good, the others stop cleanly too.
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.serveAdmin(ctx) })
	g.Go(func() error { return w.watchPartitions(ctx) })
	g.Go(func() error { return w.watchRedis(ctx, whole) })
	g.Go(func() error { return w.watchServers(ctx, p.memory) })
	g.Go(func() error { return w.startStages(g, ctx, hard, p) })
	err = g.Wait()
	switch {
	case hard.Err() != nil:
		return errors.New("stopped at once: what was not committed will be done again")
	case err == nil || errors.Is(err, context.Canceled):
		w.log.Info("stopped cleanly")
		return nil
	}
	return err
}

// start checks that what the stages need is there: Redis, and every topic.
func (w *Worker) start(ctx context.Context) (pipeline.Meta, error) {
	meta, known, err := w.store.Meta(ctx)
	if err != nil {
		return meta, fmt.Errorf("redis: %w", err)
	}
	topics, err := w.cluster.Topics(ctx, topicNames(w.cfg)...)
	if errors.Is(err, stream.ErrMissingTopic) {
		return meta, fmt.Errorf("kafka: %w: `tocsin topics create` makes what is missing, if the names in section topics are right", err)
	} else if err != nil {
		return meta, fmt.Errorf("kafka: %w", err)
	}
	for _, t := range w.keyedTopics() {
		t.partitions.Store(int64(topics[t.name].Partitions))
	}
	if !known {
		if err := w.isFirstStart(ctx); err != nil {
			return meta, err
		}
	}
	if meta, err = w.store.Start(ctx, w.clock.Now()); err != nil {
		return meta, fmt.Errorf("redis: %w", err)
	}
	for _, f := range w.store.Check(ctx) {
		if f.Level == state.Bad {
			w.log.Warn("redis is not as it must be: acknowledged work can be lost", "server", f.Server, "subject", f.Subject, "finding", f.Text)
		}
	}
	if !meta.Restored.IsZero() {
		w.log.Warn("redis was rebuilt from kafka: what users had unread before then is not known", "rebuilt", meta.Restored)
	}
	w.log.Info("starting", "stages", w.opts.Stages, "server_name", w.cfg.Homeserver.ServerName, "brokers", w.cfg.Kafka.Brokers, "redis", w.cfg.Redis.Addresses)
	return meta, nil
}

// isFirstStart refuses to take a Redis that has lost its contents for a first start: events would be evaluated in rooms of which nothing is known, and nobody would notice but the
// users.
func (w *Worker) isFirstStart(ctx context.Context) error {
	group := w.group(StageRooms)
	committed, err := w.cluster.Committed(ctx, group, w.cfg.Topics.Events)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	for partition, mark := range committed {
		if mark.Offset > 0 {
			return fmt.Errorf("redis holds nothing of this deployment under redis.key_prefix %q, but group %s has read partition %d of %s up to %d: Redis was emptied, or it is the wrong one. "+
				"Restore its data; or run `tocsin rebuild`: it brings rulesets, pushers and room state back from Kafka, and counts start again",
				w.cfg.Redis.KeyPrefix, group, partition, w.cfg.Topics.Events, mark.Offset)
		}
	}
	return nil
}

// startStages starts each stage; rooms and users, which must not work before all accounts are known, once they are.
func (w *Worker) startStages(g *errgroup.Group, ctx, hard context.Context, p parts) error {
	if w.runs(StageAccounts) {
		if err := w.consume(g, ctx, hard, w.accountsConsumer(p)); err != nil {
			return err
		}
	}
	if w.runs(StageRetry) {
		for _, delay := range delivery.Tiers {
			if err := w.consume(g, ctx, hard, w.retryConsumer(p, delay)); err != nil {
				return err
			}
		}
	}
	if w.runs(StageRooms) || w.runs(StageUsers) {
		if err := w.followAccounts(g, ctx, p); err != nil {
			return err
		}
		if w.runs(StageUsers) {
			if err := w.followOperators(g, ctx, p); err != nil {
				return err
			}
			if err := w.consume(g, ctx, hard, w.usersConsumer(p)); err != nil {
				return err
			}
		}
		if w.runs(StageRooms) {
			if err := w.consume(g, ctx, hard, w.roomsConsumer(p)); err != nil {
				return err
			}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.started = true
	return nil
}

// followAccounts begins to drop cached accounts that change, and waits until the accounts stage has applied all that there is.
func (w *Worker) followAccounts(g *errgroup.Group, ctx context.Context, p parts) error {
	topic, accounts := w.cfg.Topics.Account, p.accounts
	bounds, err := w.cluster.Bounds(ctx, topic)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	ends := map[int]int64{}
	for partition, b := range bounds {
		ends[partition] = b.End
	}
	tail := w.cluster.NewTail(stream.TailConfig{Topic: topic, From: ends, Record: accounts.Saw})
	w.mu.Lock()
	w.tail = tail
	w.mu.Unlock()
	g.Go(func() error { tail.Run(ctx); return nil })
	g.Go(func() error { return prune(ctx, accounts) })
	return p.memory.gate.Wait(ctx, bounds)
}

// accountsGate opens when the accounts stage has applied all that there is.
func (w *Worker) accountsGate() *pipeline.AccountsGate {
	topic := w.cfg.Topics.Account
	return &pipeline.AccountsGate{
		Store: w.store, Log: w.log,
		Bounds: func(ctx context.Context) (map[int]stream.Bounds, error) { return w.cluster.Bounds(ctx, topic) },
		Committed: func(ctx context.Context) (map[int]stream.Mark, error) {
			return w.cluster.Committed(ctx, w.group(StageAccounts), topic)
		},
	}
}

// followOperators keeps an eye on what operators decide: whether sending is paused, which guards were reset, which pushers are back; and on what they have to do: new certificates.
func (w *Worker) followOperators(g *errgroup.Group, ctx context.Context, p parts) error {
	for _, poll := range []func(context.Context) error{p.control.Poll, p.guard.Poll} { // known before the first notification
		if err := poll(ctx); err != nil {
			return fmt.Errorf("redis: %w", err)
		}
	}
	if err := errors.Join(w.telemetry.observeDelivery(p.delivery, p.guard), w.telemetry.observeApps(p.apps)); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	g.Go(func() error { p.apps.WarnOfExpiry(ctx); return nil })
	g.Go(func() error { p.control.Run(ctx); return nil })
	g.Go(func() error { p.guard.Run(ctx); return nil })
	feedback := w.cluster.NewTail(stream.TailConfig{Topic: w.cfg.Topics.Feedback, Record: func(rec *stream.Record) {
		if userID, ok := pipeline.FeedbackUser(rec); ok {
			p.accounts.Drop(userID) // one of the user's pushers was removed, or is back, whoever did it
		}
	}})
	g.Go(func() error { feedback.Run(ctx); return nil })
	return nil
}

// consume runs a consumer until ctx ends.
func (w *Worker) consume(g *errgroup.Group, ctx, hard context.Context, cfg stream.ConsumerConfig) error {
	c, err := w.cluster.NewConsumer(cfg)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	w.mu.Lock()
	w.consumers = append(w.consumers, member{cfg.Group, cfg.Memory != nil, c})
	w.mu.Unlock()
	g.Go(func() error { return c.Run(ctx, hard) })
	return nil
}

// Progress is how far every consumer has come; the tail of the account topic has no group.
func (w *Worker) Progress() []stream.Progress {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []stream.Progress
	for _, c := range w.consumers {
		all = append(all, c.Progress()...)
	}
	if w.tail != nil {
		all = append(all, w.tail.Progress()...)
	}
	return all
}

// Ready is nil if every stage has its partitions.
func (w *Worker) Ready() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.started {
		return errors.New("the stages are being started")
	}
	for _, c := range w.consumers {
		if stuck := c.Stuck(); len(stuck) > 1 {
			return fmt.Errorf("%v, and %d more", stuck[0], len(stuck)-1)
		} else if len(stuck) == 1 {
			return errors.New(stuck[0].String())
		}
		if !c.Ready() {
			return fmt.Errorf("group %s has not been given its partitions", c.group)
		}
		for _, p := range c.Progress() {
			if p.Stopped != nil {
				return fmt.Errorf("%s/%d is left alone: %w", p.Topic, p.Partition, p.Stopped)
			}
		}
	}
	return nil
}
