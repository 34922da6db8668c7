package model

import (
	"crypto/rand"
	"flag"
	mathrand "math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"

	"tocsin/pipeline/state"
	"tocsin/test/stack"
)

var (
	seedFlag  = flag.Uint64("model.seed", 1, "the worlds of TestStagesEqualModel")
	worldFlag = flag.Int("model.world", -1, "of these the only one that is tried; -1: all")
	stepsFlag = flag.Int("model.steps", steps, "how many steps the worlds take together")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// stepsOfWorld is how long a world lives.
const stepsOfWorld = 250

// TestStagesEqualModel lets worlds live. After each step every user's counts, highlights, missed calls and invites are those of the model, and what pushers were told fits them.
func TestStagesEqualModel(t *testing.T) {
	t.Parallel()
	live(t, *stepsFlag, func() state.Config {
		cfg := state.Defaults()
		cfg.Addresses = addresses(t)
		return cfg
	})
}

// TestStagesEqualModelOnCluster is the same where the state is spread over several nodes, if there are any.
func TestStagesEqualModelOnCluster(t *testing.T) {
	t.Parallel()
	nodes := os.Getenv("TOCSIN_TEST_REDIS_CLUSTER")
	if nodes == "" && os.Getenv(stack.RedisVariable) != "" {
		return // this run is the one on real servers, and there is no cluster
	}
	live(t, *stepsFlag/5, func() state.Config {
		cfg := state.Defaults()
		cfg.Mode, cfg.Addresses = state.Cluster, strings.Split(nodes, ",")
		if nodes == "" {
			cfg.Addresses = addresses(t) // a cluster of one
		}
		return cfg
	})
}

// addresses are where a worker's worlds live. Nothing expires there: looking for what does would be most of the work of an embedded one.
func addresses(t *testing.T) []string {
	t.Helper()
	r := stack.Redis(t)
	if r.Embedded != nil {
		r.Embedded.FreezeTime(time.Now())
	}
	return r.Addresses
}

// live lets worlds live until they have taken so many steps together.
func live(t *testing.T, want int, servers func() state.Config) {
	t.Helper()
	began := time.Now()
	var next, taken atomic.Int64
	var failed atomic.Bool
	var workers sync.WaitGroup
	if *worldFlag >= 0 {
		next.Store(int64(*worldFlag))
		want = 1
	}
	for range 4 {
		cfg := servers()
		workers.Go(func() {
			for int(taken.Load()) < want && !failed.Load() {
				number := uint64(next.Add(1) - 1)
				script := scriptOf(*seedFlag, number)
				w := liveOne(t, cfg, number, script, false)
				taken.Add(int64(w.steps))
				if w.failure != nil && !failed.Swap(true) {
					report(t, cfg, number, script[:w.steps0], w.failure)
				}
				if *worldFlag >= 0 {
					return
				}
			}
		})
	}
	workers.Wait()
	took := time.Since(began)
	t.Logf("seed %d: %d steps in %d worlds, %.0f steps/s", *seedFlag, taken.Load(), next.Load(), float64(taken.Load())/took.Seconds())
}

// scriptOf are the seeds of a world's steps.
func scriptOf(seed, number uint64) []uint64 {
	rng := mathrand.New(mathrand.NewPCG(seed, number))
	script := make([]uint64, stepsOfWorld)
	for i := range script {
		script[i] = rng.Uint64()
	}
	return script
}

// liveOne lets one world live, on keys of its own.
func liveOne(t *testing.T, cfg state.Config, number uint64, script []uint64, traced bool) *world {
	cfg.KeyPrefix, cfg.Timeout, cfg.PoolSize = "model-"+rand.Text()+":", 20*time.Second, 2
	store, err := state.Open(cfg)
	if err != nil {
		t.Error(err)
	}
	defer store.Close()
	direct := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: cfg.Addresses, IsClusterMode: cfg.Mode == state.Cluster, PoolSize: 1, ReadTimeout: cfg.Timeout,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}})
	defer direct.Close()
	w := newWorld(*seedFlag, number, store, cfg, direct)
	w.traced = traced
	for _, seed := range script {
		if w.failure != nil {
			break
		}
		w.steps0++
		w.note("--- step %d", w.steps0)
		w.step(seed)
	}
	if w.failure == nil {
		w.rest()
	}
	return w
}

// rest lets everything come to an end: no push fails any more.
func (w *world) rest() {
	w.note("--- rest")
	w.flaky = 0
	w.due(1)
	w.compare()
}

// report finds the shortest list of steps that it can that still fails, and prints what happens in it.
func report(t *testing.T, cfg state.Config, number uint64, script []uint64, failure error) {
	fails := func(script []uint64) bool { return liveOne(t, cfg, number, script, false).failure != nil }
	deadline := time.Now().Add(60 * time.Second)
	for size := max(1, len(script)/2); size >= 1; size /= 2 {
		for at := 0; at < len(script) && time.Now().Before(deadline); {
			if shorter := slices.Delete(slices.Clone(script), at, min(at+size, len(script))); fails(shorter) {
				script = shorter
			} else {
				at += size
			}
		}
	}
	w := liveOne(t, cfg, number, script, true)
	t.Errorf("world %d: %v\nrepeat it with -model.seed=%d -model.world=%d; the shortest list of steps found fails so: %v\n%s", number, failure, *seedFlag, number, w.failure, w.trace.String())
}
