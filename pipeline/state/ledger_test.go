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
			ask := func() (told string, ended bool) {
				t.Helper()
				counts, ended, err := s.CountsFor(ctx, user, "id of "+user)
				if err != nil {
					t.Fatal(err)
				}
				return counts.Told["phone"], ended
			}
			settle := func(from, to, want string) {
				t.Helper()
				saved, err := s.Settle(ctx, pipeline.Settlement{
					UserID: user, DeliveryID: "id of " + user, End: pipeline.EndDelivered, TTL: time.Hour,
					Told: []pipeline.ToldChange{{UserID: user, Pusher: "phone", From: from, To: to}},
				})
				if err != nil || len(saved) != 1 || saved[0] != want {
					t.Fatalf("%s, from %q to %q: %q, %v; want %q", user, from, to, saved, err, want)
				}
			}
			if told, ended := ask(); told != "" || ended {
				t.Fatalf("%s, before: %q, %v", user, told, ended)
			}
			settle("", "1", "1")
			if told, ended := ask(); told != "1" || !ended {
				t.Fatalf("%s, afterwards: %q, %v", user, told, ended)
			}
			settle("", "2", "1") // somebody else was faster
			settle("1", "", "")
			if told, ended := ask(); told != "" || !ended {
				t.Fatalf("%s, at the end: %q, %v", user, told, ended)
			}
			if _, ended, err := s.CountsFor(ctx, user, ""); ended || err != nil {
				t.Fatalf("%s, counts alone: %v, %v", user, ended, err)
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
