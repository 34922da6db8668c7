package pipeline_test

// The store that stages are tested on.

import (
	"testing"
	"time"

	"tocsin/pipeline/state"
	"tocsin/test/stack"
)

// openStore opens a store on a Redis of the tests.
func openStore(t testing.TB, redis stack.RedisServers) *state.Store {
	t.Helper()
	cfg := state.Defaults()
	cfg.Addresses, cfg.KeyPrefix, cfg.Timeout = redis.Addresses, redis.Prefix, 10*time.Second
	store, err := state.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}
