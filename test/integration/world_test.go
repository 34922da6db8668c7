// Package integration breaks a running worker on purpose: servers go away, workers come and go, records are not as they should be. Whatever
// happens, every notification must arrive, and counts must be exact.
package integration

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"tocsin/clock"
	"tocsin/cmd/app"
	"tocsin/config"
	"tocsin/pipeline/stream"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// folder is for what all tests share.
var folder string

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "tocsin"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) { os.RemoveAll(folder); os.Exit(status) }))
}

const server = "hs.example"

// world is a deployment of one test: its Kafka, Redis, gateway and homeserver.
type world struct {
	*testing.T
	kafka   stack.KafkaServers
	redis   stack.RedisServers
	gateway *stack.RecordingGateway
	cfg     *config.Config
	network *network // between workers and Kafka
	link    *network // between workers and Redis
	writer  *kafka.Writer
	logs    *logs
	clock   clock.Clock            // of workers; nil: the machine's
	connect func() *stream.Cluster // a way to Kafka that no fault is in

	// pushThrough replaces the way to the gateways; nil: pushDial
	pushThrough func(ctx context.Context, kind, address string) (net.Conn, error)
	webPush     webpush.Options // how workers reach the push services of browsers

	mu     sync.Mutex
	sick   map[string]*hanging                // gateways that don't answer, by host
	others map[string]*stack.RecordingGateway // gateways of their own, by host
}

// newWorld makes a world with topics and one recipient, @bob, who has a pusher and the default rules.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, stack.Redis(t))
}

// newWorldOn makes it on a Redis of the test's own.
func newWorldOn(t *testing.T, redis stack.RedisServers) *world {
	t.Helper()
	w := &world{T: t, kafka: stack.Kafka(t), redis: redis, gateway: stack.Gateways(t), network: newNetwork(), link: newNetwork(), logs: &logs{}, sick: map[string]*hanging{}, others: map[string]*stack.RecordingGateway{}}
	w.connect = sync.OnceValue(w.dialKafka)
	t.Cleanup(func() {
		w.kafka.DeleteTopics(t)
		if t.Failed() {
			t.Logf("logs:\n%s", w.logs)
		}
	})
	cfg := config.Default()
	cfg.Homeserver.ServerName = server
	cfg.Kafka.Brokers, cfg.Kafka.GroupPrefix = w.kafka.Brokers, w.kafka.Prefix+"tocsin"
	cfg.Kafka.HeartbeatInterval, cfg.Kafka.SessionTimeout, cfg.Kafka.CommitInterval = 100*time.Millisecond, 6*time.Second, 100*time.Millisecond
	cfg.Redis.Addresses, cfg.Redis.KeyPrefix, cfg.Redis.Timeout = []string{w.link.proxy(t, w.redis.Addresses[0])}, w.redis.Prefix, time.Second
	for _, name := range []*string{
		&cfg.Topics.Events, &cfg.Topics.Account, &cfg.Topics.Notifications, &cfg.Topics.RoomState, &cfg.Topics.RetryPrefix, &cfg.Topics.DeadLetter, &cfg.Topics.Feedback,
	} {
		*name = w.kafka.Prefix + *name
	}
	cfg.Badge.Count, cfg.Admin.Listen = "messages", ""
	if err := cfg.Delivery.PushFrom.UnmarshalText([]byte("beginning")); err != nil {
		t.Fatal(err)
	}
	w.cfg = cfg
	if err := app.CreateTopics(t.Context(), cfg, app.TopicOptions{Partitions: 4, Replication: 1}, io.Discard); err != nil {
		t.Fatal(err)
	}
	transport := &kafka.Transport{MetadataTTL: time.Second}
	w.writer = &kafka.Writer{Addr: kafka.TCP(w.kafka.Brokers...), Balancer: &kafka.Murmur2Balancer{}, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, Transport: transport}
	t.Cleanup(func() { w.writer.Close(); transport.CloseIdleConnections() })
	w.pusher("@bob:"+server, "bobs-key")
	return w
}

// running is a worker that runs.
type running struct {
	*app.Worker
	stop  func()     // cleanly; the test fails if that takes too long or is not clean
	kill  func()     // at once
	ended chan error // gets what Run returned
}

// start runs a worker.
func (w *world) start(stages ...string) *running {
	w.Helper()
	return w.startOn(w.network.dial, stages...)
}

// startOn is start on a network of its own.
func (w *world) startOn(kafkaDial func(ctx context.Context, kind, address string) (net.Conn, error), stages ...string) *running {
	w.Helper()
	log := slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if len(stages) == 0 {
		stages = nil
	}
	worker, err := app.New(w.cfg, app.Options{Stages: stages, Log: log, Clock: w.clock, KafkaDial: kafkaDial, PushDial: w.pushDial, WebPush: w.webPush})
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	hard, cut := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, hard) }()
	var once sync.Once
	end := func(kill bool) {
		once.Do(func() {
			if kill {
				cut()
			}
			cancel()
			select {
			case err := <-ended:
				if err != nil && !kill {
					w.Errorf("the worker stopped with %v", err)
				}
			case <-time.After(busy * 30 * time.Second):
				w.Errorf("the worker does not stop")
			}
			cut()
		})
	}
	w.Cleanup(func() { end(true) })
	return &running{Worker: worker, ended: ended, stop: func() { end(false) }, kill: func() { end(true) }}
}

// busy is how many times as long everything may take as on a machine that has nothing else to do: limits are for what hangs.
const busy = 4

// ready waits until a worker is ready, and returns it.
func (w *world) ready(r *running) *running {
	w.Helper()
	w.until("the worker is ready", 30*time.Second, func() bool {
		select {
		case err := <-r.ended:
			r.ended <- err
			w.Fatalf("the worker ended with %v", err)
		default:
		}
		return r.Ready() == nil
	})
	return r
}

// until waits for a condition.
func (w *world) until(what string, within time.Duration, holds func() bool) {
	w.Helper()
	within *= busy
	for deadline := time.Now().Add(within); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.Fatalf("%v and still not: %s", within, what)
		}
	}
}

// dialKafka is a way to the topics that no fault is in.
func (w *world) dialKafka() *stream.Cluster {
	w.Helper()
	cfg := w.cfg.Kafka
	cfg.Log = slog.New(slog.DiscardHandler)
	cluster, err := stream.Connect(cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(cluster.Close)
	return cluster
}

// everything reads a topic from its beginning to its end.
func (w *world) everything(topic string) []*stream.Record {
	w.Helper()
	cluster := w.connect()
	bounds, err := cluster.Bounds(w.Context(), topic)
	if err != nil {
		w.Fatal(err)
	}
	from, total := map[int]int64{}, int64(0)
	for p, b := range bounds {
		from[p] = b.First
		total += b.End - b.First
	}
	var mu sync.Mutex
	var all []*stream.Record
	tail := cluster.NewTail(stream.TailConfig{Topic: topic, From: from, Record: func(r *stream.Record) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, r)
	}})
	ctx, cancel := context.WithCancel(w.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); tail.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	w.until("all of "+topic+" is read", 120*time.Second, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return int64(len(all)) >= total
	})
	mu.Lock()
	defer mu.Unlock()
	return all
}
