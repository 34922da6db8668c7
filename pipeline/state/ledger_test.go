package state

import (
	"fmt"
	"testing"
	"time"

	"tocsin/pipeline"
)

func TestLedger(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		const user = "@a:x"
		ids := []string{"delivered", "never", "rejected"}
		ended := func(user string, want ...bool) {
			t.Helper()
			for i, id := range ids {
				if _, got, err := s.CountsFor(ctx, user, id); err != nil || got != want[i] {
					t.Errorf("%s of %s: %v, %v; want %v", id, user, got, err, want[i])
				}
			}
		}
		ended(user, false, false, false)
		for range 2 { // the answer was lost: once more
			for id, end := range map[string]pipeline.End{"delivered": pipeline.EndDelivered, "rejected": pipeline.EndRejected} {
				if saved, err := s.Settle(ctx, pipeline.Settlement{UserID: user, DeliveryID: id, End: end, TTL: time.Hour}); err != nil || len(saved) != 0 {
					t.Fatal(saved, err)
				}
			}
		}
		ended(user, true, false, true)
		ended("@bob:x", false, false, false)
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
	for _, tc := range []struct{ name, id string }{{"counts", ""}, {"counts and ledger", "0123456789abcdef0123456789abcdef"}} {
		b.Run(tc.name, func(b *testing.B) {
			for b.Loop() {
				if _, _, err := s.CountsFor(b.Context(), "@a:x", tc.id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
