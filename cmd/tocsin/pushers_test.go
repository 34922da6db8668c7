package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// hasRun is the Redis of a deployment that has run, its topics, and the environment that leads there.
func hasRun(t *testing.T) (*state.Store, *config.Config, []string) {
	t.Helper()
	env := servers(t)
	if status, _, stderr := run(t, env, "topics", "create", "--partitions", "2", "--replication", "1"); status != succeeded {
		t.Fatal(stderr)
	}
	cfg, err := config.Load("", env)
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(cfg.Redis)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	if _, err := store.Start(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	return store, cfg, env
}

// said runs a command that must succeed, and holds that it says all of want and nothing secret.
func said(t *testing.T, env, args []string, want ...string) string {
	t.Helper()
	status, stdout, stderr := run(t, env, args...)
	if status != succeeded || stderr != "" || strings.Contains(stdout, "secret") {
		t.Errorf("%v: status %d\n%s%s", args, status, stdout, stderr)
	}
	for _, w := range want {
		if !strings.Contains(stdout, w) {
			t.Errorf("%v says\n%s\nand not %q", args, stdout, w)
		}
	}
	return stdout
}

// field is a pusher as the accounts stage saves it.
func field(app, pushkey string) pipeline.AccountField {
	return pipeline.AccountField{
		UserID: "@alice:example.org", Field: pipeline.AccountKey("pusher", app, pushkey), Version: pipeline.Version{Epoch: 1, Offset: 1},
		Value: `17 {"kind":"http","app_id":"` + app + `","pushkey":"` + pushkey + `","data":{"url":"https://push.example.org/_matrix/push/v1/notify"}}`,
	}
}

// The day of a wrong certificate: what the guard let through is removed, the rest is held; the operator looks, pauses, repairs, resets and restores.
func TestWrongCertificate(t *testing.T) {
	t.Parallel()
	store, cfg, env := hasRun(t)
	ctx := t.Context()
	const alice = "--user=@alice:example.org"
	said(t, env, []string{"pushers", "guard"}, "No guard has tripped. One does when 10 or more pushkeys of an app, and more than 10 % of those tried, are rejected within 10m.")
	said(t, env, []string{"pushers", "list", alice}, "No pusher of @alice:example.org is known.")

	fields := []pipeline.AccountField{field("ios", "secret1"), field("ios", "secret2"), field("web", "secret3"), field("ios", "secret4")}
	if err := store.ApplyAccounts(ctx, fields); err != nil {
		t.Fatal(err)
	}
	said(t, env, []string{"pushers", "list", alice}, pushers.NewPushkey("secret1").String()+"  gateway push.example.org:443  active")
	removed := time.Now()
	for _, f := range []pipeline.AccountField{fields[0], fields[2], fields[3]} {
		if ok, err := store.RemovePusher(ctx, f.UserID, f.Field, f.Version, "rejected", removed); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	gone := fields[3]
	gone.Version.Offset, gone.Value = 2, "" // the homeserver did as it was told
	if err := store.ApplyAccounts(ctx, []pipeline.AccountField{gone}); err != nil {
		t.Fatal(err)
	}
	limits := pipeline.GuardLimits(cfg.Delivery.Guard)
	var ruling pipeline.Ruling
	for _, n := range "0123456789" {
		var err error
		if ruling, err = store.Reject(ctx, pipeline.Rejection{AppID: "ios", Pushkey: pushers.NewPushkey("secret" + string(n)).Hash(), At: removed}, limits); err != nil {
			t.Fatal(err)
		}
	}
	if !ruling.Hold {
		t.Fatalf("%+v", ruling)
	}
	said(t, env, []string{"pushers", "guard", "show"}, "APP  TRIPPED", "10 of 10 tried", "tocsin pushers guard reset APP")
	out := said(t, env, []string{"pushers", "list", alice}, "removed "+removed.UTC().Format("2006-01-02 15:04:05 MST")+": rejected")
	if strings.Count(out, "removed") != 3 || strings.Count(out, "active") != 1 {
		t.Errorf("list:\n%s", out)
	}

	said(t, env, []string{"pause", "--app", "i*"}, `Sending to i* is paused: within three seconds workers begin no request any more. `+"`tocsin resume --app \"i*\"`")
	said(t, env, []string{"paused"}, "Paused: Sending to i*, since ", " on ")
	if out := said(t, env, []string{"pushers", "list", alice}); strings.Count(out, "paused") != 1 {
		t.Errorf("list:\n%s", out)
	}
	said(t, env, []string{"resume"}, "All sending was not paused.", "Still paused: Sending to i*")
	said(t, env, []string{"resume", "--app", "i*"}, "Sending to i* goes on.\n")
	said(t, env, []string{"paused"}, "Nothing is paused.\n")

	if status, _, stderr := run(t, env, "pushers", "guard", "reset", "web"); status != failed || !strings.Contains(stderr, "the guard of web has not tripped; those of ios have") {
		t.Errorf("status %d: %s", status, stderr)
	}
	said(t, env, []string{"pushers", "guard", "reset", "ios"}, "The guard of ios, tripped since ", "is reset")
	said(t, env, []string{"pushers", "guard"}, "No guard has tripped.")

	since := removed.Add(-time.Second).UTC().Format(time.RFC3339)
	said(t, env, []string{"pushers", "restore", "--app", "*", "--since", "1h", "--dry-run"}, "ios: 2 would be restored", "web: 1 would be restored", "3 of 3 removed pushers would be restored: nothing was changed")
	said(t, env, []string{"pushers", "restore", "--app", "*", "--since", since, "--user", "@bob:example.org"}, "0 of 0 removed pushers were restored")
	said(t, env, []string{"pushers", "restore", "--app", "ios", "--since", "0s"}, "0 of 3 removed pushers were restored")
	said(t, env, []string{"pushers", "restore", "--app", "io?", "--since", since}, "ios: 1 pushed to again, 1 left to the homeserver, which removed them and was asked to set them again, 0 set again before", "2 of 3 removed pushers were restored")
	said(t, env, []string{"pushers", "restore", "--app", "ios", "--since", since}, "0 of 1 removed pushers were restored")
	out = said(t, env, []string{"pushers", "list", alice})
	if strings.Count(out, "active") != 2 || strings.Count(out, "removed") != 1 {
		t.Errorf("list:\n%s", out)
	}
	if got := feedback(t, cfg, 2); strings.Count(got, `"reason":"restored"`) != 2 || !strings.Contains(got, `"pushkey":"secret1"`) || !strings.Contains(got, `"pushkey":"secret4"`) {
		t.Errorf("the homeserver is told:\n%s", got)
	}
}

// feedback waits for n records of the feedback topic and returns them, one a line.
func feedback(t *testing.T, cfg *config.Config, n int) string {
	t.Helper()
	cluster, err := stream.Connect(cfg.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	ctx, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	records := make(chan *stream.Record, n)
	tail := cluster.NewTail(stream.TailConfig{Topic: cfg.Topics.Feedback, From: map[int]int64{0: 0, 1: 0}, Record: func(r *stream.Record) { records <- r }})
	ended := make(chan struct{})
	go func() { defer close(ended); tail.Run(ctx) }()
	var all strings.Builder
	for range n {
		select {
		case r := <-records:
			if user, ok := pipeline.FeedbackUser(r); !ok || user != "@alice:example.org" {
				t.Errorf("a record is about %q", user)
			}
			all.Write(append(r.Value, '\n'))
		case <-ctx.Done():
			t.Fatal("the homeserver is not told")
		}
	}
	stop()
	<-ended
	return all.String()
}

// A Redis without a deployment is not taken for a deployment without pushers.
func TestPushersOfNoDeployment(t *testing.T) {
	t.Parallel()
	env := servers(t)
	for _, args := range [][]string{{"pushers", "guard"}, {"pushers", "guard", "reset", "app"}, {"pushers", "list", "--user=@a:x"}, {"pushers", "restore", "--app=*", "--since=1h"}, {"pause"}, {"resume"}, {"paused"}} {
		if status, _, stderr := run(t, env, args...); status != failed || !strings.Contains(stderr, "redis holds nothing of a deployment under redis.key_prefix") {
			t.Errorf("%v: status %d, %s", args, status, stderr)
		}
	}
	store, _, env := hasRun(t)
	if _, err := store.Trips(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := run(t, append(env, "TOCSIN_REDIS_SHARDS=7"), "paused"); status != failed || !strings.Contains(stderr, "redis.shards is 7, and this Redis was first used with 256") {
		t.Errorf("status %d, %s", status, stderr)
	}
}
