// Package integration breaks a running worker on purpose: servers go away, workers come and go, records are not as they should be. Whatever
// happens, every notification must arrive, and counts must be exact.
package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"tocsin/clock"
	"tocsin/cmd/app"
	"tocsin/config"
	"tocsin/pipeline/stream"
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

	mu     sync.Mutex
	sick   map[string]*hanging                // gateways that don't answer, by host
	others map[string]*stack.RecordingGateway // gateways of their own, by host
}

// logs keeps what workers say; a failed test shows it.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
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

// write produces records; the write itself is tried until it succeeds.
func (w *world) write(messages ...kafka.Message) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := w.writer.WriteMessages(context.Background(), messages...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("write: %v", err)
		}
	}
}

func (w *world) account(user, kind, key string, content any) {
	w.Helper()
	value, err := json.Marshal(map[string]any{"user_id": user, "type": kind, "content": content})
	if err != nil {
		w.Fatal(err)
	}
	w.write(kafka.Message{Topic: w.cfg.Topics.Account, Key: []byte(user + "|" + kind + key), Value: value})
}

func (w *world) pusher(user, pushkey string) {
	w.Helper()
	w.account(user, "pusher", "|app|"+pushkey, map[string]any{
		"kind": "http", "app_id": "app", "pushkey": pushkey, "pushkey_ts": 1, "data": map[string]any{"url": "https://push.example/_matrix/push/v1/notify"},
	})
}

// event is a record of the events topic.
func (w *world) event(room, id, kind, sender string, stateKey *string, content any) kafka.Message {
	w.Helper()
	e := map[string]any{"event_id": id, "room_id": room, "type": kind, "sender": sender, "content": content, "origin_server_ts": 1}
	if stateKey != nil {
		e["state_key"] = *stateKey
	}
	value, err := json.Marshal(e)
	if err != nil {
		w.Fatal(err)
	}
	return kafka.Message{Topic: w.cfg.Topics.Events, Key: []byte(room), Value: value}
}

func (w *world) message(room, id string) kafka.Message {
	w.Helper()
	return w.event(room, id, "m.room.message", "@alice:other", nil, map[string]any{"msgtype": "m.text", "body": "hello"})
}

// room makes a room with @bob in it.
func (w *world) room(room string) {
	w.Helper()
	for _, user := range []string{"@alice:other", "@carol:other", "@bob:" + server} {
		w.write(w.event(room, "$join"+user+room, "m.room.member", user, &user, map[string]any{"membership": "join"}))
	}
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
	worker, err := app.New(w.cfg, app.Options{Stages: stages, Log: log, Clock: w.clock, KafkaDial: kafkaDial, PushDial: w.pushDial})
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

func (w *world) ready(r *running) {
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

// pushed are the notifications that reached the gateway with a status of 200, by event id: how often, and the last unread count.
func (w *world) pushed() (times map[string]int, unread map[string]int) {
	times, unread = map[string]int{}, map[string]int{}
	requests := w.gateway.Requests()
	w.mu.Lock()
	for _, h := range w.sick {
		requests = append(requests, h.answered()...)
	}
	w.mu.Unlock()
	for _, r := range requests {
		n, err := stack.DecodeNotification(r.Body)
		if err != nil {
			w.Fatalf("%s: %v", r.Body, err)
		}
		if r.Status == 200 {
			times[n.EventID]++
			unread[n.EventID] = 0
			if n.Counts != nil {
				unread[n.EventID] = n.Counts.Unread
			}
		}
	}
	return times, unread
}

// all waits until each of the events was pushed, and returns how many were pushed twice.
func (w *world) all(ids []string, within time.Duration) (doubled int) {
	w.Helper()
	within *= busy
	var times map[string]int
	missing := func() (missing []string) {
		times, _ = w.pushed()
		for _, id := range ids {
			if times[id] == 0 {
				missing = append(missing, id)
			}
		}
		return missing
	}
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		lost := missing()
		if len(lost) == 0 {
			break
		}
		if time.Now().After(deadline) {
			w.Fatalf("%d of %d notifications did not arrive within %v: %v", len(lost), len(ids), within, lost[:min(len(lost), 10)])
		}
	}
	for id, n := range times {
		if id != "" { // badges are told alone as often as they change
			doubled += n - 1
		}
	}
	return doubled
}

// settled waits until everything in all topics is done.
func (w *world) settled(r *running) {
	w.Helper()
	w.until("everything is settled", 60*time.Second, func() bool {
		progress := r.Progress()
		return len(progress) > 0 && !slices.ContainsFunc(progress, func(p stream.Progress) bool { return p.Watermark < p.End })
	})
}

// network lets connections through until it is cut.
type network struct {
	down  atomic.Bool
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newNetwork() *network { return &network{conns: map[net.Conn]struct{}{}} }

func (n *network) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	if n.down.Load() {
		return nil, fmt.Errorf("dial %s: the network is cut", address)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	n.add(c)
	return c, nil
}

func (n *network) add(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns[c] = struct{}{}
}

// cut ends all connections and lets no new one through until heal.
func (n *network) cut() {
	n.down.Store(true)
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
}

func (n *network) heal() { n.down.Store(false) }

// proxy listens on an address that leads to target as long as the network lets it.
func (n *network) proxy(t *testing.T, target string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := n.dial(context.Background(), "tcp", target)
			if err != nil {
				in.Close()
				continue
			}
			n.add(in)
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				conns.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					in.Close()
					out.Close()
				})
			}
		}
	})
	t.Cleanup(func() { l.Close(); n.cut(); conns.Wait() })
	return l.Addr().String()
}

func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("$%s%d", prefix, i)
	}
	return out
}

// hanging is a gateway that holds its answers back.
type hanging struct {
	server   *httptest.Server
	done     chan struct{}
	release  func()
	waiting  atomic.Int64
	mu       sync.Mutex
	requests []stack.Request
}

// hang makes the gateway of one host hold its answers back until it is released.
func (w *world) hang(host string) *hanging {
	w.Helper()
	h := &hanging{done: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.done) })
	h.server = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h.waiting.Add(1)
		defer h.waiting.Add(-1)
		select {
		case <-h.done:
		case <-r.Context().Done():
			return
		}
		h.mu.Lock()
		h.requests = append(h.requests, stack.Request{Body: body, Status: 200})
		h.mu.Unlock()
		fmt.Fprint(rw, `{"rejected":[]}`)
	}))
	w.Cleanup(func() { h.release(); h.server.Close() })
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sick[host] = h
	return h
}

func (h *hanging) answered() []stack.Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.requests)
}

// gatewayAt makes a gateway for these hosts alone.
func (w *world) gatewayAt(hosts ...string) *stack.RecordingGateway {
	w.Helper()
	g := stack.Gateways(w)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, host := range hosts {
		w.others[host] = g
	}
	return g
}

// pushDial leads to the gateway of the host, or to the one of all others.
func (w *world) pushDial(ctx context.Context, kind, address string) (net.Conn, error) {
	host, _, _ := net.SplitHostPort(address)
	if w.pushThrough != nil {
		return w.pushThrough(ctx, kind, address)
	}
	w.mu.Lock()
	h, g := w.sick[host], w.others[host]
	w.mu.Unlock()
	switch {
	case g != nil:
		return g.Dial(ctx, kind, address)
	case h == nil:
		return w.gateway.Dial(ctx, kind, address)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", h.server.Listener.Addr().String())
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
