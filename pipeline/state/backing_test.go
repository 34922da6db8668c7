package state

// The Redis that the tests run on: a real one where an address is given, else an embedded one.

import (
	"context"
	"crypto/rand"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// backing makes the configuration of one kind of Redis, or says that there is none.
type backing struct {
	mode string
	make func(t testing.TB) (cfg Config, ok bool)
}

var backings = []backing{
	{Single, func(t testing.TB) (Config, bool) {
		if address := os.Getenv("TOCSIN_TEST_REDIS"); address != "" {
			return testConfig(Single, address), true
		}
		return testConfig(Single, miniredis.RunT(t).Addr()), true
	}},
	{Cluster, func(t testing.TB) (Config, bool) {
		if addresses := os.Getenv("TOCSIN_TEST_REDIS_CLUSTER"); addresses != "" {
			return testConfig(Cluster, addresses), true
		}
		return testConfig(Cluster, miniredis.RunT(t).Addr()), !onRealServers()
	}},
	{Sentinel, func(t testing.TB) (Config, bool) {
		if address := os.Getenv("TOCSIN_TEST_REDIS_SENTINEL"); address != "" {
			cfg := testConfig(Sentinel, address)
			cfg.Sentinel.Master = os.Getenv("TOCSIN_TEST_REDIS_MASTER")
			return cfg, true
		}
		if onRealServers() {
			return Config{}, false
		}
		cfg := testConfig(Sentinel, runSentinel(t, miniredis.RunT(t).Addr()))
		cfg.Sentinel.Master = "tocsin"
		return cfg, true
	}},
}

// onRealServers tells whether this run is the one on real servers: what it has no address for has been tested embedded.
func onRealServers() bool { return os.Getenv("TOCSIN_TEST_REDIS") != "" }

// testConfig is a configuration with keys of its own.
func testConfig(mode, addresses string) Config {
	cfg := Defaults()
	cfg.Mode, cfg.Addresses = mode, strings.Split(addresses, ",")
	cfg.KeyPrefix = "test-" + rand.Text() + ":"
	cfg.Timeout = 10 * time.Second // the machine may be busy
	return cfg
}

// onEach runs a test on every kind of Redis.
func onEach(t *testing.T, test func(t *testing.T, cfg Config)) {
	t.Helper()
	for _, b := range backings {
		t.Run(b.mode, func(t *testing.T) {
			t.Parallel()
			if cfg, ok := b.make(t); ok {
				test(t, cfg)
			}
		})
	}
}

// single is the configuration of a single server, for what does not depend on the kind.
func single(t testing.TB) Config {
	cfg, _ := backings[0].make(t)
	return cfg
}

// open opens a store, and at the end of the test closes it and removes its keys.
func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if cfg.Dial = nil; onRealServers() {
			removeKeys(t, cfg)
		}
	})
	return s
}

// removeKeys removes everything with the prefix of the configuration.
func removeKeys(t testing.TB, cfg Config) {
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err = s.client().eachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		scan := master.Scan(ctx, 0, s.keys.prefix+"*", 1000).Iterator()
		for scan.Next(ctx) {
			if err := master.Unlink(ctx, scan.Val()).Err(); err != nil {
				return err
			}
		}
		return scan.Err()
	})
	if err != nil {
		t.Errorf("keys are left behind: %v", err)
	}
}

// runSentinel is a sentinel that knows one master and has no opinion of its own.
func runSentinel(t testing.TB, master string) (address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		t.Fatal(err)
	}
	sentinel, err := server.NewServer("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sentinel.Close)
	ok := func(c *server.Peer, _ string, _ []string) { c.WriteOK() }
	for _, command := range []string{"PING", "CLIENT"} {
		if err := sentinel.Register(command, ok); err != nil {
			t.Fatal(err)
		}
	}
	err = sentinel.Register("SENTINEL", func(c *server.Peer, _ string, args []string) {
		switch {
		case len(args) == 2 && strings.EqualFold(args[0], "get-master-addr-by-name") && args[1] == "tocsin":
			c.WriteStrings([]string{host, port})
		case strings.EqualFold(args[0], "sentinels"):
			c.WriteLen(0)
		default:
			c.WriteNull()
		}
	})
	if err == nil {
		err = sentinel.Register("SUBSCRIBE", func(c *server.Peer, _ string, args []string) {
			for i, channel := range args {
				c.Block(func(w *server.Writer) {
					w.WritePushLen(3)
					w.WriteBulk("subscribe")
					w.WriteBulk(channel)
					w.WriteInt(i + 1)
				})
			}
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return sentinel.Addr().String()
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waiting for %s", what)
		}
	}
}
