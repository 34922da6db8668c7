package state

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestKeys does everything that writes, and compares the keys, their types and lifetimes with testdata/keys.golden: a renamed key would lose
// what a deployment has saved.
func TestKeys(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		if _, err := s.Start(ctx, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := s.SetAccountsApplied(ctx, 1, stream.Mark{Offset: 2}); err != nil {
			t.Fatal(err)
		}
		user := "@alice:example.org"
		if err := s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: user, Field: "f", Value: "v"}, {UserID: user, Field: "gone", Value: "v"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RemovePusher(ctx, user, "gone", pipeline.Version{}, "rejected", time.UnixMilli(0)); err != nil {
			t.Fatal(err)
		}
		change(t, s, replacing(user, "!room:example.org", "1"))
		save(t, s, pipeline.RoomChange{RoomID: "!room:example.org", Set: map[string]string{"name": "n"}, Index: []pipeline.IndexEntry{entry("$1", 1, "$0", 0)}})
		if _, err := s.FillRoom(ctx, "!room:example.org", map[string]string{"alias": "a"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RemovePusher(ctx, user, "f", pipeline.Version{}, "rejected", time.Now()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Settle(ctx, pipeline.Settlement{UserID: user, DeliveryID: "delivery", End: pipeline.EndDelivered, TTL: 26 * time.Hour}); err != nil {
			t.Fatal(err)
		}
		if err := s.Pause(ctx, pipeline.Pause{}); err != nil {
			t.Fatal(err)
		}
		limits := pipeline.GuardLimits{Rejections: 2, Window: 10 * time.Minute}
		for n := range 2 {
			if _, err := s.Reject(ctx, pipeline.Rejection{AppID: "app", Pushkey: pushkey(n).Hash(), At: time.UnixMilli(0)}, limits); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range s.Check(ctx) {
			if f.Level == Bad {
				t.Error(f)
			}
		}

		got := strings.Join(keysOf(t, s), "\n") + "\n"
		const golden = "testdata/keys.golden"
		if *update && cfg.Mode == Single {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("keys (-want +got):\n%s", diff)
		}
	})
}

// keysOf lists the store's keys without the prefix, with type and lifetime.
func keysOf(t *testing.T, s *Store) (lines []string) {
	t.Helper()
	var mu sync.Mutex
	err := s.client().eachMaster(t.Context(), func(ctx context.Context, master *redis.Client) error {
		scan := master.Scan(ctx, 0, s.keys.prefix+"*", 1000).Iterator()
		for scan.Next(ctx) {
			kind, err := master.Type(ctx, scan.Val()).Result()
			if err != nil {
				return err
			}
			ttl, err := master.TTL(ctx, scan.Val()).Result()
			if err != nil {
				return err
			}
			if kind == "hll" { // the embedded server's word for it
				kind = "string"
			}
			lifetime := "for ever"
			if ttl >= 0 {
				lifetime = ttl.Round(time.Minute).String()
			}
			mu.Lock()
			lines = append(lines, fmt.Sprintf("%s %s %s", strings.TrimPrefix(scan.Val(), s.keys.prefix), kind, lifetime))
			mu.Unlock()
		}
		return scan.Err()
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines
}

// TestShards holds that users spread evenly, and that a user's shard never changes.
func TestShards(t *testing.T) {
	t.Parallel()
	k := newKeys(Defaults())
	const users = 256 * 200
	counts := make([]int, 256)
	for i := range users {
		counts[k.shard(fmt.Sprintf("@user%d:example.org", i))]++
	}
	if least, most := slices.Min(counts), slices.Max(counts); least < 140 || most > 260 {
		t.Errorf("of %d users a shard has between %d and %d, want about 200", users, least, most)
	}
	if got := k.account("@alice:example.org"); got != "tocsin:{s145}:account:@alice:example.org" {
		t.Errorf("the key is %s", got)
	}
}
