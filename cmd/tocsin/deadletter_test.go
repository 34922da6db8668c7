package main

// Dead letters, as the commands show them and send them back, against embedded servers or those that the environment names.

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/clock"
	"tocsin/pipeline/stream"
)

// deployment is a Kafka with topics of one partition, and a client of it.
type deployment struct {
	*testing.T
	env     []string
	prefix  string // of topics
	cluster *stream.Cluster
	clock   *clock.Virtual
}

func newDeployment(t *testing.T) *deployment {
	t.Helper()
	d := &deployment{T: t, env: servers(t), clock: clock.NewVirtual(time.Now().Truncate(time.Second).Add(-6*time.Hour - time.Minute))}
	if status, _, stderr := run(t, d.env, "topics", "create", "--partitions", "1", "--replication", "1"); status != succeeded {
		t.Fatal(stderr)
	}
	cfg := stream.Defaults()
	cfg.Clock = d.clock
	for _, e := range d.env {
		if v, ok := strings.CutPrefix(e, "TOCSIN_KAFKA_BROKERS="); ok {
			cfg.Brokers = strings.Split(v, ",")
		}
		if v, ok := strings.CutPrefix(e, "TOCSIN_TOPICS_EVENTS="); ok {
			d.prefix = strings.TrimSuffix(v, "events")
		}
	}
	var err error
	if d.cluster, err = stream.Connect(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.cluster.Close)
	return d
}

// records are all of a topic, as "key value".
func (d *deployment) records(topic string) (records []string) {
	d.Helper()
	err := d.cluster.Scan(d.Context(), stream.ScanConfig{Topic: d.prefix + topic, Record: func(r *stream.Record) error {
		records = append(records, fmt.Sprintf("%s %s", r.Key, r.Value))
		return nil
	}})
	if err != nil {
		d.Fatal(err)
	}
	return records
}

// delivery is the value of a letter that is a delivery.
func delivery(n int, event, app string) string {
	return fmt.Sprintf(`{"v":1,"kind":"retry","room_id":"!r:hs","since":1000,"origin":{"topic":"events","partition":0,"offset":%d},"event":{"event_id":"$%d","type":%q,"content":{"body":"private words"},"room":{}},`+
		`"verdicts":[{"notify":true}],"users":[{"id":"@bob:hs","verdict":0}],"retry":{"delivery_id":"d%d","app_id":"%s","pushkey":"bobs-key","attempts":4,"first_failure":2000}}`, n, n, event, n, app)
}

// bury writes the letters of the tests: the first time an hour apart from each other, the last of them a minute ago.
func (d *deployment) bury() {
	d.Helper()
	dead := d.cluster.NewDeadLetters(d.prefix + "dead_letter")
	defer dead.Close()
	record := func(topic, key, value string) *stream.Record {
		return &stream.Record{Topic: d.prefix + topic, Offset: 42, Key: []byte(key), Value: []byte(value), Time: d.clock.Now(), Headers: []stream.Header{
			{Key: "traceparent", Value: []byte("00-1-2-3")}, {Key: "x-note", Value: []byte("private")},
		}}
	}
	letters := []struct {
		rec   *stream.Record
		cause stream.Cause
	}{
		{record("events", "@bob:hs", delivery(0, "m.room.message", "im.one")), stream.Cause{Stage: "users", Reason: "exhausted", Detail: "http_503", Attempts: 4}},
		{record("events", "!r:hs", `{"body":"private words`), stream.Cause{Stage: "rooms", Reason: "invalid_json", Detail: "not JSON \x1b[31m"}},
		{record("account", "@bob:hs|pusher|im.one|bobs-key", `{"content":{"pushkey":"bobs-key"}}`), stream.Cause{Stage: "accounts", Reason: "no_user_id", Detail: "user_id is no Matrix user id"}},
		{record("events", "@bob:hs", delivery(3, "m.room.message", `im.two\u001b[31m`)), stream.Cause{Stage: "users", Reason: "refused", Detail: "http_400", Attempts: 1}},
		{record("events", "@bob:hs", delivery(4, "m.call.invite", "im.one")), stream.Cause{Stage: "users", Reason: "expired", Attempts: 2}},
		{record("account", "@bob:hs|pusher|im.one|bobs-key", `{"pushkey":"bobs-key"`), stream.Cause{Stage: "accounts", Reason: "invalid_json", Detail: "no object"}},
	}
	for _, l := range letters {
		if next := d.clock.Now().Add(time.Hour); next.Before(time.Now()) { // Kafka takes none from the future
			d.clock.Advance(next)
		}
		if err := dead.Bury(d.Context(), l.rec, l.cause); err != nil {
			d.Fatal(err)
		}
	}
}

// settled replaces what differs from run to run: names of topics, and times, which become hours after the first.
func (d *deployment) settled(s string) string {
	s = strings.ReplaceAll(s, d.prefix, "")
	for h := range 12 {
		at := d.clock.Now().Add(time.Duration(h-6) * time.Hour).UTC().Format("2006-01-02T15:04:05")
		s = strings.ReplaceAll(s, at, fmt.Sprintf("HOUR-%d", h))
	}
	return s
}

// progress is a line that tells how far a command is: how many there are depends on the time that it takes.
var progress = regexp.MustCompile(`(?m)^.*dead_letter: \d+ of \d+ records, \d of 1 partitions read, \d+ found\n`)

// What list, show and a dry run print is a text that a person has read: testdata/deadletter.txt.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.bury()
	var all strings.Builder
	for _, args := range []string{
		"list", "list --json", "list --app im.*", "list --app im.one --reason expired,exhausted", "list --stage rooms", "list --topic " + d.prefix + "account", "list --limit 2",
		"list --since 270m --until 150m", "list --reason nothing",
		"show 0@0", "show 0@0 --value", "show 0@1", "show 0@1 --value", "show 0@2 --value", "show 0@5 --value", "show 0@5 --reveal", "show 0@9", "show nine",
		"replay --dry-run", "replay --dry-run --force --app *", "list --app [",
	} {
		status, stdout, stderr := run(t, d.env, append([]string{"dead-letter"}, strings.Fields(args)...)...)
		fmt.Fprintf(&all, "$ tocsin dead-letter %s\n%s", args, stdout)
		if stderr = progress.ReplaceAllString(stderr, ""); stderr != "" {
			fmt.Fprintf(&all, "(standard error)\n%s", stderr)
		}
		fmt.Fprintf(&all, "(status %d)\n\n", status)
		if !strings.Contains(args, "--reveal") && strings.Contains(stdout+stderr, "bobs-key") || strings.Contains(stdout+stderr, "\x1b") {
			t.Errorf("%s says too much: %s%s", args, stdout, stderr)
		}
		if !strings.Contains(args, "--value") && strings.Contains(stdout+stderr, "private words") {
			t.Errorf("%s shows content: %s", args, stdout)
		}
	}
	got := d.settled(all.String())
	const file = "testdata/deadletter.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(mustRead(t, file), got); diff != "" {
		t.Errorf("-want +got (-update writes it):\n%s", diff)
	}
	if n := len(d.records("notifications")) + len(d.records("account")) + len(d.records("events")); n != 0 {
		t.Errorf("%d records were written", n)
	}
}

// A replay writes what can be replayed where it is tried again; --resume goes on behind it.
func TestReplay(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	d.bury()
	replay := func(want string, args ...string) {
		t.Helper()
		status, stdout, stderr := run(t, d.env, append([]string{"dead-letter", "replay"}, args...)...)
		if lines := strings.Split(strings.TrimSpace(stdout), "\n"); status != succeeded || lines[len(lines)-1] != want {
			t.Errorf("%s: status %d\n%s%s", args, status, stdout, stderr)
		}
	}
	replay("replayed 3: 2 deliveries, 1 records; left out 3")
	notices := d.records("notifications")
	if len(notices) != 2 || !strings.HasPrefix(notices[0], "@bob:hs {") || !strings.Contains(notices[0], `"delivery_id":"d0","app_id":"im.one","pushkey":"bobs-key","attempts":0,"first_failure":0`) {
		t.Errorf("deliveries: %q", notices)
	}
	if events := d.records("events"); !slices.Equal(events, []string{`!r:hs {"body":"private words`}) {
		t.Errorf("events: %q", events)
	}
	if status, _, stderr := run(t, d.env, "dead-letter", "list", "--app", "*"); status != succeeded || !strings.HasSuffix(stderr, "dead_letter: 6 of 6 records, 1 of 1 partitions read, 3 found\n") {
		t.Errorf("status %d, progress: %s", status, stderr)
	}
	replay("replayed 0: 0 deliveries, 0 records; left out 0", "--resume")
	d.bury()
	replay("replayed 3: 2 deliveries, 1 records; left out 3", "--resume", "--rate", "1000/s")
	replay("replayed 2: 2 deliveries, 0 records; left out 0", "--reason", "refused", "--resume", "--rate=7")
	replay("replayed 1: 1 deliveries, 0 records; left out 0", "--reason", "refused", "--limit", "1")
	replay("replayed 1: 1 deliveries, 0 records; left out 0", "--reason", "refused", "--resume")
	replay("replayed 4: 0 deliveries, 4 records; left out 0", "--force", "--stage", "accounts")
	if n := len(d.records("account")); n != 4 {
		t.Errorf("%d account records", n)
	}
}

// The rate holds, and a replay that is interrupted goes on where it was.
func TestReplayIsInterrupted(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	for range 10 {
		d.bury()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	status, stdout, stderr := runWith(ctx, d.env, "dead-letter", "replay", "--stage", "users", "--reason", "exhausted,refused", "--rate", "5")
	if status != failed || !strings.Contains(stderr, "the same command with --resume goes on") {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	first := len(d.records("notifications"))
	if first < 1 || first > 11 {
		t.Errorf("%d letters in 2 s at 5 a second", first)
	}
	status, stdout, stderr = run(t, d.env, "dead-letter", "replay", "--stage", "users", "--reason", "exhausted,refused", "--rate", "1000", "--resume")
	if all := len(d.records("notifications")); status != succeeded || all != 20 || !strings.Contains(stdout, fmt.Sprintf("replayed %d: ", 20-first)) {
		t.Errorf("status %d, %d letters, then %d\n%s%s", status, first, all, stdout, stderr)
	}
}
