package state

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		const user = "@a:x"
		ids := []string{"delivered", "never", "rejected"}
		sent := func(want ...bool) {
			t.Helper()
			got, err := s.Sent(ctx, user, ids)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		sent(false, false, false)
		for range 2 { // the answer was lost: once more
			for id, end := range map[string]pipeline.End{"delivered": pipeline.EndDelivered, "rejected": pipeline.EndRejected} {
				if err := s.MarkSent(ctx, user, id, end, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
		}
		sent(true, false, true)
		if got, err := s.Sent(ctx, "@bob:x", ids); err != nil || got[0] || got[2] {
			t.Errorf("another user: %v, %v", got, err)
		}
		if got, err := s.Sent(ctx, user, nil); err != nil || len(got) != 0 {
			t.Errorf("nothing asked: %v, %v", got, err)
		}
		if ttl, err := s.client().TTL(ctx, s.keys.sent(user, "delivered")).Result(); err != nil || ttl <= 0 || ttl > time.Hour {
			t.Errorf("an entry lives for %v, %v", ttl, err)
		}
	})
}

// TestLedgerTravels holds that the question and the entry cost no round trip of their own: they go with what is asked and written about the user anyhow, on a
// cluster, too.
func TestLedgerTravels(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		for i := range 20 { // of different shards
			user := fmt.Sprintf("@%d:x", i)
			ask := func() (counts map[string]string, sent bool) {
				t.Helper()
				answers, err := s.ask(ctx, "read counts", 1, func(pipe redis.Pipeliner, _ int) {
					pipe.HGetAll(ctx, s.keys.counts(user))
					s.queueSent(ctx, pipe, user, "id of "+user)
				})
				if err != nil {
					t.Fatal(err)
				}
				return answers[0].(*redis.MapStringStringCmd).Val(), answers[1].(*redis.IntCmd).Val() == 1
			}
			if counts, sent := ask(); len(counts) != 0 || sent {
				t.Fatalf("%s, before: %v, %v", user, counts, sent)
			}
			if _, err := s.ask(ctx, "write", 1, func(pipe redis.Pipeliner, _ int) {
				pipe.HSet(ctx, s.keys.counts(user), "told", "1")
				s.queueMarkSent(ctx, pipe, user, "id of "+user, pipeline.EndDelivered, time.Hour)
			}); err != nil {
				t.Fatal(err)
			}
			if counts, sent := ask(); counts["told"] != "1" || !sent {
				t.Fatalf("%s, afterwards: %v, %v", user, counts, sent)
			}
		}
	})
}

// BenchmarkLedger is what a question costs beside one about the counts.
func BenchmarkLedger(b *testing.B) {
	s := open(b, single(b))
	for _, tc := range []struct {
		name string
		also bool
	}{{"counts", false}, {"counts and ledger", true}} {
		b.Run(tc.name, func(b *testing.B) {
			ctx := context.Background()
			for b.Loop() {
				if _, err := s.ask(ctx, "read", 1, func(pipe redis.Pipeliner, _ int) {
					pipe.HGetAll(ctx, s.keys.counts("@a:x"))
					if tc.also {
						s.queueSent(ctx, pipe, "@a:x", "0123456789abcdef0123456789abcdef")
					}
				}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
