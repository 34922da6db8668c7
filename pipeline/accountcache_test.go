package pipeline_test

// What a cache of accounts may keep.

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/rules"
	"tocsin/test/stack"
)

// interrupted is a store between whose reads something else may happen.
type interrupted struct {
	pipeline.AccountStore
	reads  int
	happen func()
}

func (s *interrupted) Accounts(ctx context.Context, users []string) ([]map[string]pipeline.VersionedValue, error) {
	s.reads++
	s.happen()
	defer s.happen()
	return s.AccountStore.Accounts(ctx, users)
}

// accountWorld is one user's records of one type on their way: written, seen by the cache, applied by the accounts stage, in whatever order the last two.
type accountWorld struct {
	t         *rapid.T
	store     *state.Store
	stage     *pipeline.Accounts
	cache     *pipeline.AccountCache
	user      string
	number    int // of the last record, over all
	time      int64
	partition int
	offsets   map[int]int64
	life      int64
	toSee     []*stream.Record
	toApply   []*stream.Record
	applied   []*stream.Record // for zombies
	numbers   map[*stream.Record]int
	removals  map[int]bool
	seen      int // highest number that the cache has seen
}

func (w *accountWorld) write(removal bool) {
	w.number++
	w.time += rapid.Int64Range(0, 1).Draw(w.t, "ms")
	rec := &stream.Record{
		Topic: "account", Partition: w.partition, Offset: w.offsets[w.partition], Incarnation: w.life, Time: time.UnixMilli(w.time),
		Key: []byte(pipeline.AccountKey(w.user, "m.ignored_user_list")),
	}
	if !removal {
		rec.Value = fmt.Appendf(nil, `{"user_id":%q,"type":"m.ignored_user_list","content":{"ignored_users":{"@%d:x":{}}}}`, w.user, w.number)
	}
	w.removals[w.number] = removal
	w.offsets[w.partition]++
	w.numbers[rec] = w.number
	w.toSee, w.toApply = append(w.toSee, rec), append(w.toApply, rec)
}

func (w *accountWorld) see() {
	if len(w.toSee) > 0 {
		rec := *w.toSee[0]
		rec.Incarnation = 0 // a tail knows none
		w.cache.Saw(&rec)
		w.seen = max(w.seen, w.numbers[w.toSee[0]])
		w.toSee = w.toSee[1:]
	}
}

func (w *accountWorld) apply(records ...*stream.Record) {
	for _, rec := range records {
		if _, err := w.stage.Take(w.t.Context(), []*stream.Record{rec}); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *accountWorld) step() {
	switch rapid.SampledFrom([]string{"write", "write", "remove", "see", "see", "apply", "apply", "zombie", "prune", "move", "remake"}).Draw(w.t, "step") {
	case "write":
		w.write(false)
	case "remove":
		w.write(true)
	case "see":
		w.see()
	case "apply":
		if len(w.toApply) > 0 {
			w.apply(w.toApply[0])
			w.applied, w.toApply = append(w.applied, w.toApply[0]), w.toApply[1:]
		}
	case "zombie":
		if len(w.applied) > 0 {
			w.apply(w.applied[rapid.IntRange(0, len(w.applied)-1).Draw(w.t, "old"):]...)
		}
	case "prune":
		if err := w.cache.Prune(w.t.Context()); err != nil {
			w.t.Fatal(err)
		}
	case "move": // a drained repartitioning
		w.apply(w.toApply...)
		w.applied, w.toApply = append(w.applied, w.toApply...), nil
		w.partition, w.time = 1-w.partition, w.time+1
	case "remake": // what had not been read of the old topic is gone; the homeserver writes all again
		w.life, w.time = w.life+1, w.time+1
		w.offsets = map[int]int64{}
		w.toSee, w.toApply = nil, nil
		w.write(false)
	}
}

// served is the number of the record that an account comes from; if it may come from a removal, the last of them.
func (w *accountWorld) served(a *pipeline.Account) int {
	last := 0
	for n := w.number; n > 0; n-- {
		if a.Ignores(fmt.Sprintf("@%d:x", n)) {
			return n
		}
		if w.removals[n] {
			last = max(last, n)
		}
	}
	return last
}

// What is seen, applied, loaded, pruned and kept in whatever order, in whatever life of the topic: once a record was seen, nothing older comes out of the cache.
func TestCacheNeverServesOlder(t *testing.T) {
	t.Parallel()
	store := openStore(t, stack.Redis(t))
	round := 0
	hits := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		w := &accountWorld{
			t: t, store: store, user: fmt.Sprintf("@u%d:x", round), time: 1000, offsets: map[int]int64{}, life: 1, numbers: map[*stream.Record]int{}, removals: map[int]bool{},
			stage: &pipeline.Accounts{Store: store, Log: slog.New(slog.DiscardHandler)},
		}
		between := &interrupted{AccountStore: store}
		whole := func(context.Context) error { return nil }
		w.cache = pipeline.NewAccountCache(between, whole, 100, rules.Options{}, slog.New(slog.DiscardHandler))
		between.happen = func() {
			for range rapid.IntRange(0, 3).Draw(t, "meanwhile") {
				w.step()
			}
		}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			w.step()
			if rapid.Bool().Draw(t, "ask") {
				before := between.reads
				accounts, err := w.cache.Get(t.Context(), []string{w.user})
				if err != nil {
					t.Fatal(err)
				}
				if between.reads == before {
					hits++
					if n := w.served(accounts[0]); n < w.seen {
						t.Fatalf("the cache served record %d after it had seen %d", n, w.seen)
					}
				}
			}
		}
		// When all is quiet, the newest is kept.
		between.happen = func() {}
		w.write(false)
		for len(w.toSee) > 0 {
			w.see()
		}
		w.apply(w.toApply...)
		for range 2 {
			before := between.reads
			accounts, err := w.cache.Get(t.Context(), []string{w.user})
			if err != nil || w.served(accounts[0]) != w.number {
				t.Fatalf("at last the cache serves %v, %v; want record %d", accounts, err, w.number)
			}
			if before == between.reads {
				hits++
				return
			}
		}
		t.Fatal("what is quiet is not kept")
	})
	if hits < 100 {
		t.Errorf("only %d answers came out of the cache", hits)
	}
}
