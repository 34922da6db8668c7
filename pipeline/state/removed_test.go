package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	compare "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tocsin/pipeline"
)

const pusherA = "pusher|app|a"

var removedAt = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// apply writes a field of an account as the accounts stage does; "" removes it.
func apply(t *testing.T, s *Store, user, field string, offset int64, value string) {
	t.Helper()
	err := s.ApplyAccounts(t.Context(), []pipeline.AccountField{{UserID: user, Field: field, Version: version(1, 0, offset), Value: value}})
	if err != nil {
		t.Fatal(err)
	}
}

func removePusher(t *testing.T, s *Store, user, field string, offset int64, at time.Time, want bool) {
	t.Helper()
	got, err := s.RemovePusher(t.Context(), user, field, version(1, 0, offset), "rejected", at)
	if err != nil || got != want {
		t.Fatalf("RemovePusher at offset %d = %v, %v; want %v", offset, got, err, want)
	}
}

// account is what the user's fields hold.
func account(t *testing.T, s *Store, user string) map[string]string {
	t.Helper()
	saved, err := s.Accounts(t.Context(), []string{user})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for field, v := range saved[0] {
		values[field] = v.Value
	}
	return values
}

// scanned is all that is kept, each once.
func scanned(t *testing.T, s *Store, user string) []pipeline.RemovedPusher {
	t.Helper()
	var all []pipeline.RemovedPusher
	if err := s.ScanRemoved(t.Context(), user, func(some []pipeline.RemovedPusher) error { all = append(all, some...); return nil }); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b pipeline.RemovedPusher) int {
		return cmp.Or(strings.Compare(a.UserID, b.UserID), strings.Compare(a.Field, b.Field))
	})
	return slices.Compact(all)
}

func restore(t *testing.T, s *Store, removed []pipeline.RemovedPusher, want ...pipeline.Restored) {
	t.Helper()
	got, err := s.RestorePushers(t.Context(), removed)
	if diff := compare.Diff(want, got); err != nil || diff != "" {
		t.Errorf("RestorePushers: %v (-want +got):\n%s", err, diff)
	}
}

func TestRemovedPusherStaysRemoved(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		const user = "@u:x"
		holds := func(want string) {
			t.Helper()
			if got := account(t, s, user)[pusherA]; got != want {
				t.Fatalf("the value is %q, want %q", got, want)
			}
		}
		removePusher(t, s, user, pusherA, 5, removedAt, false) // nothing there
		apply(t, s, user, pusherA, 5, "first")
		removePusher(t, s, user, pusherA, 4, removedAt, false)
		removePusher(t, s, user, pusherA, 55, removedAt, false) // not a prefix of 5
		if kept := scanned(t, s, ""); len(kept) != 0 {
			t.Errorf("kept, though nothing was removed: %v", kept)
		}
		holds("first")
		removePusher(t, s, user, pusherA, 5, removedAt, true)
		holds("")
		removePusher(t, s, user, pusherA, 5, removedAt.Add(time.Hour), true) // the answer was lost: once more
		apply(t, s, user, pusherA, 5, "first")                               // a replay of its record
		holds("")
		want := []pipeline.RemovedPusher{{UserID: user, Field: pusherA, Version: version(1, 0, 5), Reason: "rejected", At: removedAt, Saved: "1 0 5 0 first"}}
		for _, of := range []string{user, ""} {
			if diff := compare.Diff(want, scanned(t, s, of)); diff != "" {
				t.Errorf("kept, asked for %q (-want +got):\n%s", of, diff)
			}
		}
		if ttl, err := s.client().TTL(t.Context(), s.keys.removed(user)).Result(); err != nil || ttl > pipeline.KeptRemoved || ttl < pipeline.KeptRemoved-time.Hour {
			t.Errorf("kept for %v, %v", ttl, err)
		}
		apply(t, s, user, pusherA, 6, "set anew")
		holds("set anew")
		removePusher(t, s, user, pusherA, 5, removedAt, false)
		holds("set anew")
	})
}

func TestRestorePushers(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		// One user each: of many shards.
		after := []struct {
			name string
			what func(user string)
			want pipeline.Restored
			has  string
		}{
			{"nothing", func(string) {}, pipeline.PutBack, "17 {1}"},
			{"replay", func(user string) { apply(t, s, user, pusherA, 5, "17 {1}") }, pipeline.PutBack, "17 {1}"},
			{"homeserver", func(user string) { apply(t, s, user, pusherA, 6, "") }, pipeline.RemovedSince, ""},
			{"anew", func(user string) { apply(t, s, user, pusherA, 6, "18 {2}") }, pipeline.SetAnew, "18 {2}"},
			{"anew and removed", func(user string) {
				apply(t, s, user, pusherA, 6, "18 {2}")
				apply(t, s, user, pusherA, 7, "")
			}, pipeline.RemovedSince, ""},
			{"lost", func(user string) { s.client().Del(ctx, s.keys.account(user)) }, pipeline.RemovedSince, ""},
		}
		var want []pipeline.Restored
		for i, a := range after {
			user := fmt.Sprintf("@%d %s:x", i, a.name)
			apply(t, s, user, pusherA, 5, "17 {1}")
			apply(t, s, user, "other", 5, "stays")
			removePusher(t, s, user, pusherA, 5, removedAt, true)
			a.what(user)
			want = append(want, a.want)
		}
		kept := scanned(t, s, "")
		for range 2 { // the answer was lost: once more
			restore(t, s, kept, want...)
			for i, a := range after {
				if got := account(t, s, kept[i].UserID); got[pusherA] != a.has || a.name != "lost" && got["other"] != "stays" {
					t.Errorf("%s: the account has %v", a.name, got)
				}
			}
		}
		if again := scanned(t, s, ""); len(again) != len(after) {
			t.Errorf("%d are kept until they are forgotten, want %d", len(again), len(after))
		}

		// A pusher that was removed once more between restoring and forgetting is not forgotten.
		removePusher(t, s, kept[0].UserID, pusherA, 5, removedAt.Add(time.Minute), true)
		for range 2 {
			if err := s.ForgetRemoved(ctx, kept); err != nil {
				t.Fatal(err)
			}
		}
		last := scanned(t, s, "")
		if len(last) != 1 || last[0].UserID != kept[0].UserID || !last[0].At.Equal(removedAt.Add(time.Minute)) {
			t.Errorf("kept: %v", last)
		}
		restore(t, s, last, pipeline.PutBack)
		restore(t, s, nil, []pipeline.Restored{}...)
	})
}

// TestRemovedAgainstModel sets, removes and restores at random, and compares with a list of what happened.
func TestRemovedAgainstModel(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx, round := open(t, cfg), t.Context(), 0
		rapid.Check(t, func(t *rapid.T) {
			round++
			user := fmt.Sprintf("@%d:x", round)
			type saved struct {
				offset int64
				value  string
			}
			var now saved   // what the account has; "" is a tombstone
			var kept *saved // what is kept
			var last int64  // offset of the newest record
			for range rapid.IntRange(1, 12).Draw(t, "steps") {
				switch rapid.SampledFrom([]string{"set", "unset", "remove", "remove old", "restore", "forget"}).Draw(t, "step") {
				case "set", "unset":
					last++
					now = saved{last, fmt.Sprint("17 {", last, "}")}
					if rapid.Bool().Draw(t, "unset") {
						now.value = ""
					}
					err := s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: user, Field: pusherA, Version: version(1, 0, now.offset), Value: now.value}})
					if err != nil {
						t.Fatal(err)
					}
				case "remove":
					got, err := s.RemovePusher(ctx, user, pusherA, version(1, 0, last), "rejected", removedAt)
					if err != nil || got != (last > 0) {
						t.Fatalf("removed: %v, %v", got, err)
					}
					if now.value != "" {
						was := now
						kept, now.value = &was, ""
					}
				case "remove old":
					if got, err := s.RemovePusher(ctx, user, pusherA, version(1, 0, last-1), "rejected", removedAt); err != nil || got {
						t.Fatalf("removed an old version: %v, %v", got, err)
					}
				case "restore", "forget":
					var all []pipeline.RemovedPusher
					if err := s.ScanRemoved(ctx, user, func(some []pipeline.RemovedPusher) error { all = append(all, some...); return nil }); err != nil {
						t.Fatal(err)
					}
					if (len(all) == 1) != (kept != nil) {
						t.Fatalf("kept: %v, want %v", all, kept)
					}
					if kept == nil {
						continue
					}
					if rapid.Bool().Draw(t, "forget") {
						if err := s.ForgetRemoved(ctx, all); err != nil {
							t.Fatal(err)
						}
						kept = nil
						continue
					}
					want := pipeline.SetAnew
					switch {
					case now.offset == kept.offset:
						want, now = pipeline.PutBack, *kept
					case now.value == "":
						want = pipeline.RemovedSince
					}
					if got, err := s.RestorePushers(ctx, all); err != nil || got[0] != want {
						t.Fatalf("restored: %v, %v; want %v", got, err, want)
					}
				}
				got, err := s.Accounts(ctx, []string{user})
				if err != nil || got[0][pusherA].Value != now.value {
					t.Fatalf("the account has %v, %v; want %v", got, err, now)
				}
			}
		})
	})
}

// A user's removed pushers are bounded: the oldest makes room.
func TestRemovedPushersBounded(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s := open(t, cfg)
		for n := range maxRemoved + 10 {
			field := fmt.Sprint("pusher|app|", n)
			apply(t, s, "@u:x", field, int64(n), "17 {}")
			removePusher(t, s, "@u:x", field, int64(n), removedAt.Add(-time.Duration(n)*time.Second), true) // the clock goes back: what comes is kept all the same
		}
		kept := scanned(t, s, "@u:x")
		fields := map[string]bool{}
		for _, r := range kept {
			fields[r.Field] = true
		}
		if len(kept) != maxRemoved || !fields["pusher|app|0"] || !fields[fmt.Sprint("pusher|app|", maxRemoved+9)] {
			t.Errorf("%d are kept: %v", len(kept), fields)
		}
	})
}

// All users are found, on all servers, and nobody else's keys.
func TestScanRemoved(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		cfg.KeyPrefix += "[a-z]?:"
		s, ctx := open(t, cfg), t.Context()
		const users = 300
		want := map[string]bool{}
		for n := range users {
			user := fmt.Sprintf("@u%d}:removed:x", n)
			want[user] = true
			apply(t, s, user, pusherA, 5, "17 {}")
			removePusher(t, s, user, pusherA, 5, removedAt, true)
		}
		near := cfg
		near.KeyPrefix = strings.TrimSuffix(cfg.KeyPrefix, "[a-z]?:") + "bc:"
		other := open(t, near)
		apply(t, other, "@else:x", pusherA, 5, "17 {}")
		removePusher(t, other, "@else:x", pusherA, 5, removedAt, true)
		for _, r := range scanned(t, s, "") {
			if !want[r.UserID] {
				t.Errorf("found %s", r.UserID)
			}
			delete(want, r.UserID)
		}
		if len(want) > 0 {
			t.Errorf("%d of %d users were not found", len(want), users)
		}

		enough := errors.New("enough")
		calls := 0
		if err := s.ScanRemoved(ctx, "", func([]pipeline.RemovedPusher) error { calls++; return enough }); !errors.Is(err, enough) || calls != 1 {
			t.Errorf("after %d calls: %v", calls, err)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		if err := s.ScanRemoved(gone, "", func([]pipeline.RemovedPusher) error { return nil }); err == nil {
			t.Error("no error")
		}
	})
}

// TestUnreadableRemoved is about a value that is not ours.
func TestUnreadableRemoved(t *testing.T) {
	t.Parallel()
	s, ctx := open(t, single(t)), t.Context()
	for _, text := range []string{"", "x", "1 r", "1 r 1 2", "x r 1 2 3 v", "1 %zz 1 2 3 v"} {
		if err := s.client().HSet(ctx, s.keys.removed("@secret:x"), pusherA, text).Err(); err != nil {
			t.Fatal(err)
		}
		err := s.ScanRemoved(ctx, "@secret:x", func([]pipeline.RemovedPusher) error { return nil })
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := s.RestorePushers(ctx, []pipeline.RemovedPusher{{UserID: "@secret:x", Field: pusherA, Saved: "x"}}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

// A reason of whatever text comes back as it was.
func FuzzRemoved(f *testing.F) {
	f.Add(int64(1), "rejected", "17 {}")
	f.Add(int64(-1), "two words\n%20", "")
	f.Fuzz(func(t *testing.T, ms int64, reason, value string) {
		at := time.UnixMilli(ms % (1 << 50)).UTC()
		saved := formatVersion(version(1, 2, 3)) + value
		want := pipeline.RemovedPusher{UserID: "@a:x", Field: "f", Version: version(1, 2, 3), Reason: reason, At: at, Saved: saved}
		if got, ok := parseRemoved("@a:x", "f", formatRemoval(at, reason)+saved); !ok || got != want {
			t.Errorf("%+v is read back as %+v, %v", want, got, ok)
		}
		parseRemoved("@a:x", "f", value)
	})
}
