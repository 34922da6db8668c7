package state

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// everyByte is a text that no format likes: all bytes, spaces, line ends, zero, invalid UTF-8.
var everyByte = func() string {
	var b strings.Builder
	for i := range 256 {
		b.WriteByte(byte(i))
	}
	return b.String() + "\r\n 1 2 3 \x00\xff"
}()

func version(epoch int64, partition int, offset int64) pipeline.Version {
	return pipeline.Version{Epoch: epoch, Partition: partition, Offset: offset}
}

func TestAccountsReadBack(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		odd := "@odd" + everyByte + ":example.org"
		err := s.ApplyAccounts(ctx, []pipeline.AccountField{
			{UserID: "@a:example.org", Field: "m.push_rules", Version: version(0, 3, 7), Value: `{"global":{}}`},
			{UserID: "@a:example.org", Field: "pusher|app|key", Version: version(0, 3, 8), Value: `{"x":1}`},
			{UserID: "@a:example.org", Field: "pusher|app|gone", Version: version(0, 3, 9), Value: ""},
			{UserID: odd, Field: everyByte, Version: version(2, 0, 1<<53-1), Value: everyByte},
			{UserID: "", Field: "", Version: version(0, 0, 0), Value: " "},
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Accounts(ctx, []string{"@nobody:example.org", odd, "@a:example.org", "", "@a:example.org"})
		if err != nil {
			t.Fatal(err)
		}
		a := map[string]pipeline.VersionedValue{
			"m.push_rules":   {Version: version(0, 3, 7), Value: `{"global":{}}`},
			"pusher|app|key": {Version: version(0, 3, 8), Value: `{"x":1}`},
		}
		want := []map[string]pipeline.VersionedValue{
			{},
			{everyByte: {Version: version(2, 0, 1<<53-1), Value: everyByte}},
			a,
			{"": {Value: " "}},
			a,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("accounts (-want +got):\n%s", diff)
		}
	})
}

func TestAccountsOfManyUsers(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		const users = 2500 // more than a pipeline, and than a script takes
		var fields []pipeline.AccountField
		var ids []string
		for i := range users {
			id := fmt.Sprintf("@user%d:example.org", i)
			ids = append(ids, id)
			value := fmt.Sprint(i)
			if i == 77 {
				value = strings.Repeat("large ", maxCallBytes)
			}
			fields = append(fields, pipeline.AccountField{UserID: id, Field: "m.push_rules", Version: version(0, i%7, int64(i)), Value: value})
		}
		if err := s.ApplyAccounts(ctx, fields); err != nil {
			t.Fatal(err)
		}
		got, err := s.Accounts(ctx, ids)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range fields {
			if want := (pipeline.VersionedValue{Version: f.Version, Value: f.Value}); got[i][f.Field] != want {
				t.Fatalf("user %d has version %v and %d bytes, want %v and %d", i, got[i][f.Field].Version, len(got[i][f.Field].Value), want.Version, len(want.Value))
			}
		}
	})
}

// TestAccountsAgainstModel does random writes and removals, some of them twice, and compares with the rule of [pipeline.Version] written down simply.
func TestAccountsAgainstModel(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		round := 0
		rapid.Check(t, func(t *rapid.T) {
			round++
			model := map[string]map[string]pipeline.VersionedValue{}
			draw := func() pipeline.AccountField {
				v := version(rapid.Int64Range(0, 2).Draw(t, "epoch"), rapid.IntRange(0, 2).Draw(t, "partition"), rapid.Int64Range(0, 12).Draw(t, "offset"))
				v.Time = rapid.Int64Range(0, 4).Draw(t, "time")
				return pipeline.AccountField{
					UserID:  fmt.Sprintf("@%d:%d", rapid.IntRange(0, 2).Draw(t, "user"), round),
					Field:   rapid.SampledFrom([]string{"rules", "pusher"}).Draw(t, "field"),
					Version: v,
					Value:   rapid.SampledFrom([]string{"", "a", "b", "7 8 9 c"}).Draw(t, "value"),
				}
			}
			for range rapid.IntRange(1, 6).Draw(t, "steps") {
				if rapid.Bool().Draw(t, "write") {
					fields := rapid.SliceOfN(rapid.Custom(func(*rapid.T) pipeline.AccountField { return draw() }), 1, 8).Draw(t, "fields")
					for range rapid.IntRange(1, 2).Draw(t, "times") {
						if err := s.ApplyAccounts(ctx, fields); err != nil {
							t.Fatal(err)
						}
						for _, f := range fields {
							write(model, f)
						}
					}
				} else {
					f := draw()
					got, err := s.RemovePusher(ctx, f.UserID, f.Field, f.Version, "rejected", time.UnixMilli(0))
					saved, known := model[f.UserID][f.Field]
					want := known && saved.Version == f.Version
					if err != nil || got != want {
						t.Fatalf("RemovePusher at %v = %v, %v; want %v", f.Version, got, err, want)
					}
					if want {
						model[f.UserID][f.Field] = pipeline.VersionedValue{Version: f.Version}
					}
				}
			}
			for user, fields := range model {
				got, err := s.Accounts(ctx, []string{user})
				if err != nil {
					t.Fatal(err)
				}
				versions, err := s.AccountVersions(ctx, []string{user})
				if err != nil {
					t.Fatal(err)
				}
				want, wantVersions := map[string]pipeline.VersionedValue{}, map[string]pipeline.Version{}
				for name, v := range fields {
					if wantVersions[name] = v.Version; v.Value != "" {
						want[name] = v
					}
				}
				if diff := cmp.Diff(want, got[0]) + cmp.Diff(wantVersions, versions[0]); diff != "" {
					t.Fatalf("%s (-want +got):\n%s", user, diff)
				}
			}
		})
	})
}

// write is the rule: the newer record stays.
func write(model map[string]map[string]pipeline.VersionedValue, f pipeline.AccountField) {
	if model[f.UserID] == nil {
		model[f.UserID] = map[string]pipeline.VersionedValue{}
	}
	if saved, known := model[f.UserID][f.Field]; !known || f.Version.NewerThan(saved.Version) {
		model[f.UserID][f.Field] = pipeline.VersionedValue{Version: f.Version, Value: f.Value}
	}
}

// TestZombieAfterRepartitioning has an old owner wake up when the topic has been repartitioned, made anew, or both, and write what it had read: nothing changes.
func TestZombieAfterRepartitioning(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		// As the records came, each newer than those before: in partition 5, which the topic had at first; in 2, to which the user moved; in both after the topic was made anew.
		history := []pipeline.Version{
			{Epoch: 100, Partition: 5, Offset: 70, Time: 1000}, {Epoch: 100, Partition: 5, Offset: 90, Time: 2000},
			{Epoch: 50, Partition: 2, Offset: 3, Time: 3000}, {Epoch: 50, Partition: 2, Offset: 4, Time: 3000},
			{Epoch: 400, Partition: 2, Offset: 0, Time: 4000}, {Epoch: 300, Partition: 7, Offset: 1, Time: 5000}, {Epoch: 400, Partition: 2, Offset: 9, Time: 6000},
		}
		for newest, v := range history {
			for _, zombie := range append([]pipeline.Version{v}, history[:newest]...) {
				err := s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: "@u:x", Field: "rules", Version: zombie, Value: fmt.Sprint(zombie)}})
				if err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Accounts(ctx, []string{"@u:x"})
			if want := (pipeline.VersionedValue{Version: v, Value: fmt.Sprint(v)}); err != nil || got[0]["rules"] != want {
				t.Errorf("after record %d and all before it once more: %v, %v; want %v", newest, got[0]["rules"], err, want)
			}
		}
	})
}

// TestAccountsOfAZombie has an old owner write old records beside the new owner's: the newest stands at the end.
func TestAccountsOfAZombie(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		zombie := open(t, cfg)
		const newest = 200
		var owners sync.WaitGroup
		for owner, store := range []*Store{s, zombie} {
			owners.Go(func() {
				for offset := int64(0); offset <= newest-int64(owner); offset++ { // the zombie never sees the last
					value := fmt.Sprint(offset)
					if offset%3 == 0 {
						value = "" // removed
					}
					err := store.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: "@u:x", Field: "rules", Version: version(0, 1, offset), Value: value}})
					if err != nil {
						t.Errorf("owner %d: %v", owner, err)
					}
				}
			})
		}
		owners.Wait()
		got, err := s.Accounts(ctx, []string{"@u:x"})
		if err != nil {
			t.Fatal(err)
		}
		if want := (pipeline.VersionedValue{Version: version(0, 1, newest), Value: fmt.Sprint(newest)}); got[0]["rules"] != want {
			t.Errorf("the account has %v, want %v", got[0]["rules"], want)
		}
	})
}

func TestRemovedFieldStaysRemoved(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		apply := func(offset int64, value string) {
			t.Helper()
			err := s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: "@u:x", Field: "pusher|a|b", Version: version(0, 0, offset), Value: value}})
			if err != nil {
				t.Fatal(err)
			}
		}
		remove := func(offset int64, want bool) {
			t.Helper()
			got, err := s.RemovePusher(ctx, "@u:x", "pusher|a|b", version(0, 0, offset), "rejected", time.UnixMilli(0))
			if err != nil || got != want {
				t.Fatalf("RemovePusher at offset %d = %v, %v; want %v", offset, got, err, want)
			}
		}
		value := func(want string) {
			t.Helper()
			got, err := s.Accounts(ctx, []string{"@u:x"})
			if err != nil || got[0]["pusher|a|b"].Value != want {
				t.Fatalf("the value is %q, %v; want %q", got[0]["pusher|a|b"].Value, err, want)
			}
		}
		remove(5, false) // nothing there
		apply(5, "first")
		remove(4, false)
		remove(55, false) // not a prefix of 5
		value("first")
		remove(5, true)
		value("")
		remove(5, true)   // the answer was lost: once more
		apply(5, "first") // a replay of its record
		value("")
		apply(6, "set anew")
		value("set anew")
		remove(5, false)
		value("set anew")
	})
}

func TestAccountsApplied(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		type marks = map[int]stream.Mark
		const far = int64(1 << 52)
		for i, step := range []struct {
			epoch     int64
			partition int
			offset    int64
			want      marks
		}{
			{1, 0, 0, marks{0: {Incarnation: 1, Offset: 0}}},
			{1, 0, 10, marks{0: {Incarnation: 1, Offset: 10}}},
			{1, 11, far, marks{0: {Incarnation: 1, Offset: 10}, 11: {Incarnation: 1, Offset: far}}},
			{1, 0, 9, marks{0: {Incarnation: 1, Offset: 10}, 11: {Incarnation: 1, Offset: far}}}, // never lowered
			{2, 0, 2, marks{0: {Incarnation: 2, Offset: 2}, 11: {Incarnation: 1, Offset: far}}},  // a new incarnation of the topic
			{1, 0, 99, marks{0: {Incarnation: 2, Offset: 2}, 11: {Incarnation: 1, Offset: far}}}, // somebody still reads the old one
			{1_800_000_000_000, 11, 1, marks{0: {Incarnation: 2, Offset: 2}, 11: {Incarnation: 1_800_000_000_000, Offset: 1}}},
			{1_799_999_999_999, 11, 9, marks{0: {Incarnation: 2, Offset: 2}, 11: {Incarnation: 1_800_000_000_000, Offset: 1}}},
		} {
			if i == 0 {
				if got, err := s.AccountsApplied(ctx); err != nil || len(got) != 0 {
					t.Fatalf("at first: %v, %v", got, err)
				}
			}
			if err := s.SetAccountsApplied(ctx, step.partition, stream.Mark{Incarnation: step.epoch, Offset: step.offset}); err != nil {
				t.Fatal(err)
			}
			got, err := s.AccountsApplied(ctx)
			if diff := cmp.Diff(step.want, got); err != nil || diff != "" {
				t.Errorf("step %d: %v (-want +got):\n%s", i, err, diff)
			}
		}
	})
}

// TestUnreadableAccount is about a value that is not ours: it must be an error, never "no ruleset".
func TestUnreadableAccount(t *testing.T) {
	t.Parallel()
	s, ctx := open(t, single(t)), t.Context()
	for _, value := range []string{"", "x", "1 2", "1 2 x y", "1 2 3", "1 2 3 4", "1 2 3 x y"} {
		if err := s.client().HSet(ctx, s.keys.account("@secret:x"), "rules", value).Err(); err != nil {
			t.Fatal(err)
		}
		got, err := s.Accounts(ctx, []string{"@secret:x"})
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Accounts of %q = %v, %v", value, got, err)
		}
		// The next record repairs it.
		if err := s.ApplyAccounts(ctx, []pipeline.AccountField{{UserID: "@secret:x", Field: "rules", Value: "good"}}); err != nil {
			t.Fatal(err)
		}
		if got, err = s.Accounts(ctx, []string{"@secret:x"}); err != nil || got[0]["rules"].Value != "good" {
			t.Errorf("after a new record: %v, %v", got, err)
		}
	}
}

func TestNothingAsked(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), context.Background()
		accounts, err1 := s.Accounts(ctx, nil)
		counts, err2 := s.Counts(ctx, nil)
		positions, err3 := s.Places(ctx, "!r:x", nil)
		filled, err4 := s.FillRoom(ctx, "!r:x", nil)
		err5, err6 := s.ApplyAccounts(ctx, nil), s.ChangeCounts(ctx, nil)
		if len(accounts)+len(counts)+len(positions)+filled != 0 {
			t.Error("something was answered")
		}
		for i, err := range []error{err1, err2, err3, err4, err5, err6} {
			if err != nil {
				t.Errorf("call %d: %v", i, err)
			}
		}
	})
}

// FuzzVersioned holds that every version and value that we write is read back, and that nothing makes the reader panic.
func FuzzVersioned(f *testing.F) {
	f.Add(int64(0), 0, int64(0), int64(0), "")
	f.Add(int64(1), 2, int64(3), int64(4), "5 6 7")
	f.Fuzz(func(t *testing.T, epoch int64, partition int, offset, time int64, value string) {
		want := pipeline.VersionedValue{Version: pipeline.Version{Epoch: epoch, Partition: partition, Offset: offset, Time: time}, Value: value}
		if got, ok := parseVersioned(formatVersion(want.Version) + value); !ok || got != want {
			t.Errorf("%v is read back as %v, %v", want, got, ok)
		}
		if got, ok := parseVersioned(value); ok && formatVersion(got.Version) == value && got.Value != "" {
			t.Errorf("%q is read as %v", value, got)
		}
	})
}
