package stream

// Brokers that are away, frozen or break their connections, seen from a client: at its connections, so on every kind of broker.

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// wire is a network that can be disturbed.
type wire struct {
	mu     sync.Mutex
	cond   *sync.Cond
	frozen bool
	down   bool
	conns  map[*wireConn]struct{}
}

type wireConn struct {
	net.Conn
	wire *wire
}

func newWire() *wire {
	w := &wire{conns: map[*wireConn]struct{}{}}
	w.cond = sync.NewCond(&w.mu)
	return w
}

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	down := w.down
	w.mu.Unlock()
	if down {
		return nil, errors.New("dial tcp: connection refused")
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c := &wireConn{conn, w}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[c] = struct{}{}
	return c, nil
}

// Read delivers nothing while the wire is frozen.
func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	for c.wire.frozen {
		c.wire.cond.Wait()
	}
	return n, err
}

func (c *wireConn) Close() error {
	c.wire.mu.Lock()
	delete(c.wire.conns, c)
	c.wire.mu.Unlock()
	return c.Conn.Close()
}

func (w *wire) freeze(frozen bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.frozen = frozen
	w.cond.Broadcast()
}

func (w *wire) setDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down = down
	if down {
		for c := range w.conns {
			c.Conn.Close()
		}
	}
}

// flow writes messages one by one and reads them with a consumer, until it is stopped; then all that was acknowledged must have been read.
type flow struct {
	b           *broker
	ledger      *ledger
	stopWriting func()
	stopReading func()
}

func (b *broker) flow(topic string) *flow {
	f := &flow{b: b, ledger: newLedger()}
	consumer := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: func(_ context.Context, lane string, tasks []Task) error {
		f.ledger.begin(lane, tasks)
		f.ledger.end(lane)
		return nil
	}}})
	w := b.NewWriter(WriterConfig{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for key := range 8 {
		wg.Go(func() {
			for seq := 1; ; seq++ {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
				if err := w.Write(b.t.Context(), Message{Topic: topic, Partition: AnyPartition, Key: strconv.AppendInt(nil, int64(key), 10), Value: strconv.AppendInt(nil, int64(seq), 10)}); err != nil {
					b.t.Errorf("write: %v", err)
					return
				}
				f.ledger.mu.Lock()
				f.ledger.acked[strconv.Itoa(key)] = seq
				f.ledger.mu.Unlock()
			}
		})
	}
	f.stopWriting = func() { close(stop); wg.Wait(); w.Close() }
	f.stopReading = consumer.stop
	return f
}

// goesOn waits until a message comes that was written from now on.
func (f *flow) goesOn(what string) time.Duration {
	f.b.t.Helper()
	start := time.Now()
	from := f.ledger.len()
	eventually(f.b.t, what, func() bool { return f.ledger.len() > from+50 })
	return time.Since(start)
}

// check stops the flow and waits for what is missing.
func (f *flow) check() {
	t := f.b.t
	t.Helper()
	f.stopWriting()
	eventually(t, "everything that was acknowledged", func() bool {
		f.ledger.mu.Lock()
		defer f.ledger.mu.Unlock()
		for key, seq := range f.ledger.acked {
			if f.ledger.last[key] < seq {
				return false
			}
		}
		return true
	})
	f.stopReading()
	f.ledger.mu.Lock()
	defer f.ledger.mu.Unlock()
	if f.ledger.disorder > 0 || f.ledger.overlaps > 0 {
		t.Errorf("%d out of order, %d at once", f.ledger.disorder, f.ledger.overlaps)
	}
	t.Logf("%d messages, %d repeated", len(f.ledger.times), f.ledger.repeats)
}

func TestOutages(t *testing.T) {
	t.Parallel()
	w := newWire()
	b := newBroker(t, func(c *Config) { c.Dial = w.dial })
	f := b.flow(b.topic("outage", 4, nil))
	f.goesOn("the beginning")
	for name, disturb := range map[string]func(){
		"frozen":   func() { w.freeze(true); time.Sleep(time.Second); w.freeze(false) },
		"down":     func() { w.setDown(true); time.Sleep(time.Second); w.setDown(false) },
		"breaking": func() { w.setDown(true); w.setDown(false) },
		"breaking often": func() {
			for range 10 {
				w.setDown(true)
				w.setDown(false)
				time.Sleep(50 * time.Millisecond)
			}
		},
		"down and frozen": func() { w.setDown(true); w.freeze(true); w.setDown(false); time.Sleep(time.Second); w.freeze(false) },
	} {
		disturb()
		if took := f.goesOn("after: " + name); took > 8*time.Second {
			t.Errorf("%s: it took %v until messages came again", name, took)
		}
	}
	f.check()
}

// A single broker restarts, and forgets what it has in memory: members, coordinators, connections.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := newFake(t, []kfake.Opt{kfake.DataDir(dir)})
	f := b.flow(b.topic("restart", 4, nil))
	_, port, err := net.SplitHostPort(b.fake.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	fake := b.fake
	for range 3 {
		f.goesOn("before the restart")
		fake.Close()
		time.Sleep(200 * time.Millisecond)
		if fake, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.Ports(number), kfake.DataDir(dir), kfake.GroupMinSessionTimeout(100*time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fake.Close)
		if took := f.goesOn("after the restart"); took > 8*time.Second {
			t.Errorf("it took %v until messages came again", took)
		}
	}
	f.check()
}

// The errors of a connection say what is wrong and what to do.
func TestTrueCauses(t *testing.T) {
	t.Parallel()
	secure := func(c *Config) {
		c.SASL = SASL{Mechanism: mechanismPlain, Username: "user", Password: secret("right")}
	}
	opts := []kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", "right"), kfake.Superuser("SCRAM-SHA-512", "user", "right")}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody.Close()
	for _, tc := range []struct {
		name   string
		opts   []kfake.Opt
		change func(*Config)
		want   string // part of the error; empty: none
	}{
		{"plain", opts, secure, ""},
		{"scram", opts, func(c *Config) { secure(c); c.SASL.Mechanism = mechanismScram512 }, ""},
		{"wrong password", opts, func(c *Config) { secure(c); c.SASL.Password = secret("wrong") }, "kafka.sasl"}, // kfake just closes the connection
		{"wrong password, scram", opts, func(c *Config) { secure(c); c.SASL.Mechanism, c.SASL.Password = mechanismScram512, secret("wrong") }, "kafka.sasl"},
		{"no login", opts, nil, "kafka.sasl"},
		{"nobody there", nil, func(c *Config) { c.Brokers = []string{nobody.Addr().String()} }, "is a broker running at kafka.brokers"},
		{"TLS to a plain port", nil, func(c *Config) { c.TLS.Enabled = true }, "kafka.tls.enabled"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var change []func(*Config)
			if tc.change != nil {
				change = append(change, tc.change)
			}
			b := newFake(t, tc.opts, change...)
			for what, ask := range map[string]func() error{
				"Topics": func() error { _, err := b.Topics(t.Context()); return err },
				"CreateTopics": func() error {
					_, err := b.CreateTopics(t.Context(), []TopicSpec{{Name: "t", Partitions: 1}})
					return err
				},
			} {
				err := ask()
				if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
					t.Errorf("%s: got %v, want %q", what, err, tc.want)
				}
				if err != nil && strings.Contains(err.Error(), "wrong") && !strings.Contains(err.Error(), "what is wrong") {
					t.Errorf("%s: the error shows the password: %v", what, err)
				}
			}
		})
	}
}

// TestSecureBroker logs in at a real one, if there is one; its certificates are checked.
func TestSecureBroker(t *testing.T) {
	addrs := os.Getenv("TOCSIN_TEST_KAFKA_SECURE")
	if addrs == "" {
		t.Log("TOCSIN_TEST_KAFKA_SECURE is not set: TestTrueCauses covers logins on embedded brokers")
		return
	}
	right := func(c *Config) {
		c.TLS.Enabled, c.TLS.CAFile = true, os.Getenv("TOCSIN_TEST_KAFKA_CA")
		c.SASL = SASL{Mechanism: mechanismScram512, Username: os.Getenv("TOCSIN_TEST_KAFKA_USER"), Password: secret(os.Getenv("TOCSIN_TEST_KAFKA_PASSWORD"))}
	}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"scram", func(c *Config) {}, ""},
		{"plain", func(c *Config) { c.SASL.Mechanism = mechanismPlain }, ""},
		{"wrong password", func(c *Config) { c.SASL.Password = secret("wrong") }, "check kafka.sasl.username and kafka.sasl.password"},
		{"wrong authority", func(c *Config) { c.TLS.CAFile = os.Getenv("TOCSIN_TEST_KAFKA_OTHER_CA") }, "kafka.tls.ca_file"},
		{"wrong name", func(c *Config) { c.TLS.ServerName = "kafka.example" }, "kafka.tls.server_name"},
		{"no TLS", func(c *Config) { c.TLS.Enabled, c.TLS.CAFile = false, "" }, "kafka.tls.enabled"},
		{"no login", func(c *Config) { c.SASL = SASL{} }, "kafka.sasl"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := connect(t, nil, strings.Split(addrs, ","), right, tc.change)
			_, err := b.Topics(t.Context())
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("got %v, want %q", err, tc.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			topic := b.topic("secure", 1, nil)
			b.write(numbered(topic, 0, 0, 5)...)
			done := &seen{}
			c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: done.do}})
			eventually(t, "5 records", func() bool { return idle(c) })
			wantNumbers(t, done.all(), 0, 5)
		})
	}
}

func TestMissingTopicsAreAllNamed(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("there", 3, map[string]string{"retention.ms": "3600000"})
	found, err := b.Topics(t.Context(), "absent-a", topic, "absent-b")
	if !errors.Is(err, ErrMissingTopic) || !strings.Contains(err.Error(), "absent-a") || !strings.Contains(err.Error(), "absent-b") {
		t.Errorf("got %v, want both that are missing", err)
	}
	if want := (Topic{Name: topic, Partitions: 3, Replication: 1}); found[topic] != want {
		t.Errorf("got %+v, want %+v", found[topic], want)
	}
	created, err := b.CreateTopics(t.Context(), []TopicSpec{{Name: topic, Partitions: 9, Replication: 1}, {Name: "new-" + b.run, Partitions: 2}})
	if err != nil || len(created) != 1 || created[0] != "new-"+b.run {
		t.Errorf("created %v, %v; want the new one only", created, err)
	}
	if _, err := b.CreateTopics(t.Context(), []TopicSpec{{Name: "many", Replication: 99}}); err == nil || !strings.Contains(err.Error(), "many") {
		t.Errorf("got %v, want an error that names the topic", err)
	}
	configs, err := b.TopicConfigs(t.Context(), topic)
	if err != nil || configs[topic]["retention.ms"] != "3600000" || configs[topic]["max.message.bytes"] == "" {
		t.Errorf("configs %v, %v", configs, err)
	}
	if _, err := Connect(func() Config {
		c := b.cfg
		c.TLS.Enabled, c.TLS.CAFile = true, filepath.Join(t.TempDir(), "none")
		return c
	}()); err == nil || !strings.Contains(err.Error(), "tls.ca_file") {
		t.Errorf("got %v, want the key of the missing file", err)
	}
}
