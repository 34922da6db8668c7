package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline/stream"
)

// What show and reset print is a text that a person has read: testdata/offsets.txt.
func TestOffsets(t *testing.T) {
	t.Parallel()
	d := newDeployment(t)
	prefix := d.prefix + "tocsin"
	w := d.cluster.NewWriter(stream.WriterConfig{})
	defer w.Close()
	start := d.clock.Now()
	for i := range 6 {
		d.clock.Advance(start.Add(time.Duration(i+1) * time.Hour))
		if err := w.Write(t.Context(), stream.Message{Topic: d.prefix + "events", Partition: 0, Key: []byte("!r:hs"), Value: fmt.Appendf(nil, "%d", i), Time: d.clock.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	var all strings.Builder
	do := func(args string) {
		t.Helper()
		status, stdout, stderr := run(t, d.env, append([]string{"offsets"}, strings.Fields(args)...)...)
		fmt.Fprintf(&all, "$ tocsin offsets %s\n%s", args, stdout)
		if stderr != "" {
			fmt.Fprintf(&all, "(standard error)\n%s", stderr)
		}
		fmt.Fprintf(&all, "(status %d)\n\n", status)
	}
	do("show")
	do("reset --group rooms --to-latest")
	do("reset --group rooms --to-latest --dry-run")
	do("reset --group rooms --to-time 150m --yes")
	do("show")
	do("reset --group " + prefix + ".rooms --to-earliest --partition 0 --yes")
	do("reset --group rooms --to-latest --partition 1 --yes")
	do("reset --group retry.5s --to-latest --yes")
	do("reset --group retry.9s --to-latest --yes")
	do("reset --group rooms")
	do("reset --group rooms --to-latest --to-earliest")
	do("reset --group rooms --to-time yesterday")
	do("reset --to-latest")

	// While a worker is there, nothing is changed, and who it is is said.
	c, err := d.cluster.NewConsumer(stream.ConsumerConfig{Group: prefix + ".rooms", Topic: d.prefix + "events", Workers: 1, Handler: nothing{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx, t.Context()) }()
	for deadline := time.Now().Add(30 * time.Second); !c.Ready() || c.Progress()[0].Watermark < 6; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the consumer has not read all")
		}
	}
	status, stdout, stderr := run(t, d.env, "offsets", "reset", "--group", "rooms", "--to-earliest", "--yes")
	if status != failed || !strings.Contains(stderr, "nothing was changed: the group is in use: "+prefix+".rooms has 1 members: stop them first: [tocsin at ") {
		t.Errorf("with a member: status %d\n%s%s", status, stdout, stderr)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	do("show")

	got := squeeze(d.settled(strings.ReplaceAll(all.String(), prefix, "PREFIX")))
	const file = "testdata/offsets.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(mustRead(t, file), got); diff != "" {
		t.Errorf("-want +got (-update writes it):\n%s", diff)
	}
}

// squeeze makes the spaces between columns two, however wide a column is.
func squeeze(s string) string { return columns.ReplaceAllString(s, "  ") }

var columns = regexp.MustCompile(` {2,}`)

// nothing is a handler that does nothing.
type nothing struct{}

func (nothing) Take(context.Context, []*stream.Record) ([]stream.Task, error) { return nil, nil }
func (nothing) Do(context.Context, string, []stream.Task) error               { return nil }
