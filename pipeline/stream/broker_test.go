package stream

// The brokers of the tests: kfake in this process, or the real ones of TOCSIN_TEST_KAFKA.

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a cluster under test, with a client of the product.
type broker struct {
	*Cluster
	t    *testing.T
	fake *kfake.Cluster // nil on real brokers
	run  string         // makes names unique
}

var runs atomic.Int64

// newBroker connects to the real brokers if their address is given, else to a fake one.
func newBroker(t *testing.T, change ...func(*Config)) *broker {
	t.Helper()
	if addrs := os.Getenv("TOCSIN_TEST_KAFKA"); addrs != "" {
		return connect(t, nil, strings.Split(addrs, ","), change...)
	}
	return newFake(t, nil, change...)
}

// newFake connects to a fake broker, for what can't be asked of a real one.
func newFake(t *testing.T, opts []kfake.Opt, change ...func(*Config)) *broker {
	t.Helper()
	fake, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.GroupMinSessionTimeout(100 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	return connect(t, fake, fake.ListenAddrs(), change...)
}

func connect(t *testing.T, fake *kfake.Cluster, addrs []string, change ...func(*Config)) *broker {
	t.Helper()
	cfg := Defaults()
	cfg.Brokers = addrs
	cfg.CommitInterval = 50 * time.Millisecond
	cfg.HeartbeatInterval = 100 * time.Millisecond
	cfg.SessionTimeout = 10 * time.Second
	cfg.FetchWait = 100 * time.Millisecond
	cfg.Log = testLog(t)
	for _, f := range change {
		f(&cfg)
	}
	c, err := Connect(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &broker{Cluster: c, t: t, fake: fake, run: fmt.Sprintf("%d-%d", time.Now().UnixNano(), runs.Add(1))}
}

// testLog logs to the test, and to nowhere once it has ended.
func testLog(t *testing.T) *slog.Logger {
	w := &testWriter{t: t}
	t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.t = nil
	})
	return slog.New(slog.NewTextHandler(w, nil))
}

type testWriter struct {
	mu sync.Mutex
	t  *testing.T
}

func (w *testWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.t != nil {
		w.t.Logf("%s", strings.TrimSuffix(string(b), "\n"))
	}
	return len(b), nil
}

// topic makes a topic.
func (b *broker) topic(name string, partitions int, config map[string]string) string {
	b.t.Helper()
	name = name + "-" + b.run
	if _, err := b.CreateTopics(b.t.Context(), []TopicSpec{{Name: name, Partitions: partitions, Replication: 1, Config: config}}); err != nil {
		b.t.Fatal(err)
	}
	return name
}

// write writes messages, all of which must be acknowledged.
func (b *broker) write(msgs ...Message) {
	b.t.Helper()
	w := b.NewWriter(WriterConfig{})
	defer w.Close()
	if err := w.Write(b.t.Context(), msgs...); err != nil {
		b.t.Fatal(err)
	}
}

// numbered are messages with the given values, key k.
func numbered(topic string, partition, from, to int) []Message {
	var msgs []Message
	for i := from; i < to; i++ {
		msgs = append(msgs, Message{Topic: topic, Partition: partition, Key: []byte("k"), Value: fmt.Appendf(nil, "%d", i)})
	}
	return msgs
}

// running is a consumer that runs.
type running struct {
	*Consumer
	stop func() // cleanly
	cut  func()
}

// consume runs a consumer until the test ends or it is stopped.
func (b *broker) consume(cfg ConsumerConfig) *running {
	b.t.Helper()
	if cfg.Group == "" {
		cfg.Group = "g-" + b.run
	}
	if cfg.Workers == 0 {
		cfg.Workers = 8
	}
	c, err := b.NewConsumer(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	hard, cut := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx, hard); err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}()
	r := &running{Consumer: c,
		stop: func() { cancel(); <-done; cut() },
		cut:  func() { cancel(); cut(); <-done },
	}
	b.t.Cleanup(r.stop)
	return r
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// work is a Handler made of functions; nil ones do nothing, and take makes a task of each record, in the lane of its key.
type work struct {
	take func(context.Context, []*Record) ([]Task, error)
	do   func(context.Context, string, []Task) error
}

func (w work) Take(ctx context.Context, batch []*Record) ([]Task, error) {
	if w.take != nil {
		return w.take(ctx, batch)
	}
	return byKey(batch), nil
}

func (w work) Do(ctx context.Context, lane string, tasks []Task) error {
	if w.do != nil {
		return w.do(ctx, lane, tasks)
	}
	return nil
}

func byKey(batch []*Record) []Task {
	tasks := make([]Task, len(batch))
	for i, r := range batch {
		tasks[i] = Task{Lane: string(r.Key), Record: r}
	}
	return tasks
}

// seen collects values in the order in which they were done.
type seen struct {
	mu     sync.Mutex
	values []string
}

func (s *seen) do(_ context.Context, _ string, tasks []Task) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tasks {
		s.values = append(s.values, string(t.Record.Value))
	}
	return nil
}

func (s *seen) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.values...)
}

func (s *seen) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.values)
}
