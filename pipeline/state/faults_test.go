package state

// Servers that flush their scripts, restart, hang up, hang, or lose answers.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// proxy stands between a store and its server.
type proxy struct {
	hang     atomic.Bool  // pass nothing on
	loseOne  atomic.Int32 // cut so many connections when the server answers, and lose the answer
	loseSome atomic.Bool  // the same for one answer in ten
	mu       sync.Mutex
	open     map[net.Conn]bool
}

// through makes the store of cfg connect through a proxy.
func through(cfg *Config) *proxy {
	p := &proxy{open: map[net.Conn]bool{}}
	cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open[conn] = true
		return &proxied{Conn: conn, proxy: p}, nil
	}
	return p
}

// reset cuts all connections.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.open {
		conn.Close()
	}
	clear(p.open)
}

type proxied struct {
	net.Conn
	proxy *proxy
}

func (c *proxied) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		switch {
		case c.proxy.hang.Load() && err == nil:
			continue // until the reader's deadline
		case n > 0 && (c.proxy.loseSome.Load() && rand.N(10) == 0 || c.proxy.loseOne.Add(-1) >= 0):
			c.Conn.Close()
			return 0, io.ErrUnexpectedEOF
		}
		return n, err
	}
}

// until makes a call again and again, as the stages do.
func until(t *testing.T, call func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := call()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("it fails for ever: %v", err)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// traffic has some workers use all methods that write, while disturb is called fifty times a second, and then looks whether anything is lost.
func traffic(t *testing.T, cfg Config, disturb func()) {
	t.Helper()
	const workers, rounds = 4, 60
	ctx, calm := t.Context(), make(chan struct{})
	var disturbing, working sync.WaitGroup
	disturbing.Go(func() {
		for {
			select {
			case <-calm:
				return
			case <-time.After(20 * time.Millisecond):
				disturb()
			}
		}
	})
	for w := range workers {
		s := open(t, cfg)
		room, rev := fmt.Sprintf("!%d:x", w), ""
		working.Go(func() {
			for r := range rounds {
				until(t, func() error {
					return s.ChangeCounts(ctx, []pipeline.CountChange{adding("@all:x", "!r:x", uint32(w*rounds+r)), adding(fmt.Sprintf("@%d:x", w), "!r:x", uint32(r))})
				})
				until(t, func() error {
					return s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: "@all:x", Field: fmt.Sprint(w), Version: version(0, 0, int64(r)), Value: fmt.Sprint(r)}})
				})
				until(t, func() error {
					saved, err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: room, Rev: rev, Set: map[string]string{fmt.Sprint(r): "1"}})
					if errors.Is(err, pipeline.ErrStale) { // an earlier try came through after all
						if saved, err = s.RoomRev(ctx, room); err == nil && !strings.HasPrefix(saved, fmt.Sprint(r+1, " ")) {
							return pipeline.ErrStale
						}
					}
					if err == nil {
						rev = saved
					}
					return err
				})
			}
		})
	}
	working.Wait()
	close(calm)
	disturbing.Wait()

	cfg.Dial = nil
	s := open(t, cfg)
	counts, err := s.Counts(ctx, []string{"@all:x", "@0:x", "@3:x"})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{workers * rounds, rounds, rounds} {
		if got := len(numbers(counts[i].Rooms["!r:x"])); got != want {
			t.Errorf("user %d: %d of %d numbers", i, got, want)
		}
	}
	accounts, err := s.Accounts(ctx, []string{"@all:x"})
	if err != nil {
		t.Fatal(err)
	}
	for w := range workers {
		if got := accounts[0][fmt.Sprint(w)].Value; got != fmt.Sprint(rounds-1) {
			t.Errorf("account field %d is %q, want %d", w, got, rounds-1)
		}
		if rev, got, err := load(ctx, s, fmt.Sprintf("!%d:x", w)); err != nil || !strings.HasPrefix(rev, fmt.Sprint(rounds, " ")) || len(got) != rounds {
			t.Errorf("room %d: revision %s, %d fields, %v; want %d", w, rev, len(got), err, rounds)
		}
	}
}

func TestScriptsFlushed(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		traffic(t, cfg, func() {
			err := s.client().eachMaster(t.Context(), func(ctx context.Context, master *redis.Client) error { return master.ScriptFlush(ctx).Err() })
			if err != nil {
				t.Error(err)
			}
		})
	})
}

func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		p := through(&cfg)
		traffic(t, cfg, p.reset)
	})
}

func TestAnswersLost(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		p := through(&cfg)
		p.loseSome.Store(true)
		traffic(t, cfg, func() {})
	})
}

// TestOneAnswerLost holds that a call whose answer was lost is made again by itself, and tells the truth.
func TestOneAnswerLost(t *testing.T) {
	t.Parallel()
	cfg := single(t)
	p := through(&cfg)
	s, ctx := open(t, cfg), t.Context()
	if err := s.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	lose := func() { p.loseOne.Store(1) }
	lose()
	save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"a": "1"}})
	lose()
	save(t, s, pipeline.RoomChange{RoomID: "!r:x", Set: map[string]string{"a": "2"}})
	loaded(t, s, "!r:x", map[string]string{"a": "2"})
	lose()
	change(t, s, adding("@a:x", "!r:x", 1))
	if err := s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: "@a:x", Field: "p", Value: "v"}}); err != nil {
		t.Fatal(err)
	}
	lose()
	if removed, err := s.RemovePusher(ctx, "@a:x", "p", pipeline.Version{}, "rejected", time.UnixMilli(0)); !removed || err != nil {
		t.Errorf("RemovePusher = %v, %v; want true", removed, err)
	}
}

// TestServerHangs holds that a server that does not answer costs redis.timeout and no more, and that the error says so.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	cfg := single(t)
	cfg.Timeout = 150 * time.Millisecond
	p := through(&cfg)
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	until(t, func() error { return s.Ping(t.Context()) })
	p.hang.Store(true)
	for name, call := range everyCall(s) {
		start := time.Now()
		err := call(t.Context())
		if took := time.Since(start); took > 10*cfg.Timeout {
			t.Errorf("%s took %v", name, took)
		}
		if err == nil || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) || !strings.Contains(err.Error(), "no answer within 150ms (redis.timeout)") {
			t.Errorf("%s: %v", name, err)
		}
	}
	p.hang.Store(false)
	until(t, func() error { return s.Ping(t.Context()) })
}

// TestCallerGivesUp holds that a call ends with its context, and that nobody blames the server.
func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	cfg := single(t)
	p := through(&cfg)
	s := open(t, cfg)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.hang.Store(true)
	defer p.hang.Store(false)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range everyCall(s) {
		if err := call(ctx); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "redis.timeout") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRestart has an embedded server go away and come back with its data.
func TestRestart(t *testing.T) {
	t.Parallel()
	m := miniredis.RunT(t)
	address := m.Addr()
	s := open(t, testConfig(Single, address))
	change(t, s, adding("@a:x", "!r:x", 1))
	m.Close()
	if err := s.ChangeCounts(t.Context(), []pipeline.CountChange{adding("@a:x", "!r:x", 2)}); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("while the server is away: %v", err)
	}
	if err := m.Restart(); err != nil {
		t.Fatal(err)
	}
	until(t, func() error { return s.ChangeCounts(t.Context(), []pipeline.CountChange{adding("@a:x", "!r:x", 2)}) })
	counts, err := s.Counts(t.Context(), []string{"@a:x"})
	if got := numbers(counts[0].Rooms["!r:x"]); err != nil || len(got) != 2 {
		t.Errorf("counts = %v, %v", got, err)
	}
}

// everyCall is every method that asks Redis, about things whose names must not be told.
func everyCall(s *Store) map[string]func(ctx context.Context) error {
	const user, room = "@hush:x", "!hush:x"
	return map[string]func(ctx context.Context) error{
		"Start":    func(ctx context.Context) error { _, err := s.Start(ctx, time.Unix(0, 0)); return err },
		"Meta":     func(ctx context.Context) error { _, _, err := s.Meta(ctx); return err },
		"Ping":     s.Ping,
		"Accounts": func(ctx context.Context) error { _, err := s.Accounts(ctx, []string{user, "@b:x"}); return err },
		"ApplyAccounts": func(ctx context.Context) error {
			return s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: user, Field: "pusher|app|hush", Value: "hush"}})
		},
		"RemoveOnePusher": func(ctx context.Context) error {
			_, err := s.RemovePusher(ctx, user, "pusher|app|hush", pipeline.Version{}, "rejected", time.UnixMilli(0))
			return err
		},
		"RemovePusher": func(ctx context.Context) error {
			_, err := s.RemovePusher(ctx, user, "pusher|app|hush", pipeline.Version{}, "hush", time.Unix(0, 0))
			return err
		},
		"RestorePushers": func(ctx context.Context) error {
			_, err := s.RestorePushers(ctx, []pipeline.RemovedPusher{{UserID: user, Field: "pusher|app|hush", Saved: "1 2 3 0 hush"}})
			return err
		},
		"ForgetRemoved": func(ctx context.Context) error {
			return s.ForgetRemoved(ctx, []pipeline.RemovedPusher{{UserID: user, Field: "pusher|app|hush", Saved: "1 2 3 0 hush"}})
		},
		"ScanRemoved": func(ctx context.Context) error {
			return s.ScanRemoved(ctx, user, func([]pipeline.RemovedPusher) error { return nil })
		},
		"CountsFor": func(ctx context.Context) error { _, _, err := s.CountsFor(ctx, user, "hush"); return err },
		"Settle": func(ctx context.Context) error {
			_, err := s.Settle(ctx, pipeline.Settlement{UserID: user, DeliveryID: "hush", End: pipeline.EndDelivered, TTL: time.Hour})
			return err
		},
		"NoteTried": func(ctx context.Context) error {
			return s.NoteTried(ctx, time.Unix(0, 0), time.Minute, map[string][]string{"hush": {"hush"}})
		},
		"Reject": func(ctx context.Context) error {
			_, err := s.Reject(ctx, pipeline.Rejection{AppID: "hush", Pushkey: "hush"}, pipeline.GuardLimits{Window: time.Minute})
			return err
		},
		"Trips":         func(ctx context.Context) error { _, err := s.Trips(ctx); return err },
		"RejectedSince": func(ctx context.Context) error { _, err := s.RejectedSince(ctx, []string{"hush"}); return err },
		"ResetGuard": func(ctx context.Context) error {
			_, _, err := s.ResetGuard(ctx, "hush", time.Unix(0, 0), time.Minute)
			return err
		},
		"Pause":              func(ctx context.Context) error { return s.Pause(ctx, pipeline.Pause{Apps: "hush"}) },
		"Resume":             func(ctx context.Context) error { _, err := s.Resume(ctx, "hush"); return err },
		"Paused":             func(ctx context.Context) error { _, err := s.Paused(ctx); return err },
		"AccountsApplied":    func(ctx context.Context) error { _, err := s.AccountsApplied(ctx); return err },
		"SetAccountsApplied": func(ctx context.Context) error { return s.SetAccountsApplied(ctx, 0, stream.Mark{}) },
		"LoadRoom":           func(ctx context.Context) error { _, _, err := load(ctx, s, room); return err },
		"RoomRev":            func(ctx context.Context) error { _, err := s.RoomRev(ctx, room); return err },
		"SaveRoom": func(ctx context.Context) error {
			_, err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: room, Set: map[string]string{"hush": "hush"}, Unset: []string{"hush"}, Index: []pipeline.IndexEntry{entry("$hush", 1, "$hush", 1)}})
			return err
		},
		"Places": func(ctx context.Context) error { _, err := s.Places(ctx, room, []string{"$hush"}); return err },
		"FillRoom": func(ctx context.Context) error {
			_, err := s.FillRoom(ctx, room, map[string]string{"hush": "hush"})
			return err
		},
		"ChangeCounts": func(ctx context.Context) error {
			return s.ChangeCounts(ctx, []pipeline.CountChange{replacing(user, room, "hush")})
		},
		"Tell": func(ctx context.Context) error {
			_, err := s.Tell(ctx, []pipeline.ToldChange{{UserID: user, Pusher: "hush", To: "hush"}})
			return err
		},
		"Counts": func(ctx context.Context) error { _, err := s.Counts(ctx, []string{user}); return err },
	}
}
