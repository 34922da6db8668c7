package state

// Servers that are others than before.

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
	"tocsin/test/stack"
)

// forgetful are the kinds of Redis in front of one server that can fail over.
func forgetful(t *testing.T, mode string) (*stack.ForgetfulRedis, Config) {
	server := stack.NewForgetfulRedis(t)
	cfg := testConfig(mode, server.Addresses[0])
	switch {
	case mode == Sentinel:
		cfg.Addresses = []string{runSentinel(t, server.Addresses[0])}
		cfg.Sentinel.Master = "tocsin"
	case mode == Cluster && server.Embedded == nil:
		return nil, cfg // a lone server is no cluster
	}
	return server, cfg
}

// begin opens a store and starts with whatever server answers.
func begin(t *testing.T, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if _, err := s.Start(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFailover(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{Single, Cluster, Sentinel} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			server, cfg := forgetful(t, mode)
			if server == nil {
				return
			}
			testFailover(t, server, cfg)
		})
	}
}

func testFailover(t *testing.T, server *stack.ForgetfulRedis, cfg Config) {
	ctx := t.Context()
	open := func() *Store {
		s, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
	s := open()
	write := func(value string) error {
		return s.ChangeCounts(ctx, []pipeline.CountChange{{UserID: "@u:x", RoomID: "!r:x", Apply: func([]byte) []byte { return []byte(value) }}})
	}
	read := func() string {
		t.Helper()
		counts, err := s.Counts(ctx, []string{"@u:x"})
		if err != nil {
			t.Fatal(err)
		}
		return string(counts[0].Rooms["!r:x"])
	}
	if name, err := s.Identity(ctx); name != "" || err != nil {
		t.Fatalf("before the start the identity is %q, %v; want none", name, err)
	}
	if _, err := s.Start(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	first, err := s.Identity(ctx)
	if err != nil || len(first) != 16 {
		t.Fatalf("the identity is %q, %v", first, err)
	}
	if err := write("old"); err != nil {
		t.Fatal(err)
	}
	snapshot := server.Snapshot(t)
	if err := write("new"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.Changed():
		t.Fatal("a change is noticed before there is one")
	default:
	}
	server.FailOver(t, snapshot)

	until(t, func() error { // the first calls meet connections that ended
		if err := write("lost"); !errors.Is(err, ErrOtherServer) {
			return errors.New("not yet")
		}
		return nil
	})
	<-s.Changed()
	for what, call := range map[string]func() error{
		"ping":     func() error { return s.Ping(ctx) },
		"identity": func() error { _, err := s.Identity(ctx); return err },
		"read":     func() error { _, err := s.Counts(ctx, []string{"@u:x"}); return err },
		"script":   func() error { return write("lost") },
	} {
		if err := call(); !errors.Is(err, ErrOtherServer) || !strings.Contains(err.Error(), "another process answers") {
			t.Errorf("%s: %v; want to hear of the other server", what, err)
		}
	}
	if err := s.Accept(ctx); err != nil {
		t.Fatal(err)
	}
	if got := read(); got != "old" {
		t.Errorf("the new server has %q, want what the old one had before its last writes", got)
	}
	second, err := s.Identity(ctx)
	if err != nil || second == first || len(second) != 16 {
		t.Fatalf("the identity is %q, %v; want another than %q", second, err, first)
	}
	other := open()
	if _, err := other.Start(ctx, time.Now()); err != nil {
		t.Fatal(err)
	}
	if name, err := other.Identity(ctx); name != second || err != nil {
		t.Errorf("another process calls the servers %q, %v; want %q", name, err, second)
	}
	if err := write("newer"); err != nil || read() != "newer" {
		t.Errorf("the accepted server is not written: %v", err)
	}
}

// Without redis.rewind whatever server answers is taken.
func TestFailoverWithoutRewind(t *testing.T) {
	t.Parallel()
	server, cfg := forgetful(t, Single)
	cfg.Rewind = 0
	s := begin(t, cfg)
	server.FailOver(t, server.Snapshot(t))
	until(t, func() error { return s.Ping(t.Context()) })
	if name, err := s.Identity(t.Context()); name != "" || err != nil {
		t.Errorf("the identity is %q, %v; want none", name, err)
	}
}

// A server that says nothing of itself is taken for the same for ever.
func TestServerWithoutRunID(t *testing.T) {
	t.Parallel()
	server, cfg := forgetful(t, Single)
	if server.Embedded == nil {
		return // real ones tell
	}
	server.Embedded.Server().Server().SetPreHook(nil)
	s := begin(t, cfg)
	if name, err := s.Identity(t.Context()); name != "" || err != nil {
		t.Errorf("the identity is %q, %v; want none", name, err)
	}
}

// While the server is away or reads its data, it can't be accepted.
func TestAcceptWaits(t *testing.T) {
	t.Parallel()
	server, cfg := forgetful(t, Single)
	if server.Embedded == nil {
		return // a real one is too fast
	}
	cfg.Timeout = time.Second
	s := begin(t, cfg)
	before, _ := s.Identity(t.Context())
	server.Embedded.Server().SetError("LOADING Redis is loading the dataset in memory")
	if err := s.Accept(context.Background()); err == nil || !strings.Contains(err.Error(), "LOADING") {
		t.Errorf("Accept while the server loads: %v", err)
	}
	server.FailOver(t, server.Snapshot(t))
	until(t, func() error { return s.Accept(t.Context()) })
	if after, err := s.Identity(t.Context()); err != nil || cmp.Equal(before, after) {
		t.Errorf("the identity is %q, %v; want another than %q", after, err, before)
	}
}
