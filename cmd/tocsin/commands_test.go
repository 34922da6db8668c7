package main

// The commands against servers: embedded ones, or those that the environment names.

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tocsin/test/stack"
)

// asCommand in the environment makes the test's binary the command itself, for tests that need a process.
const asCommand = "TOCSIN_TEST_AS_COMMAND"

// servers are a Kafka and a Redis, and the environment that leads there.
func servers(t *testing.T) []string {
	t.Helper()
	kafka, redis := stack.Kafka(t), stack.Redis(t)
	t.Cleanup(func() { kafka.DeleteTopics(t) })
	env := []string{
		serverName,
		"TOCSIN_KAFKA_BROKERS=" + strings.Join(kafka.Brokers, ","), "TOCSIN_KAFKA_GROUP_PREFIX=" + kafka.Prefix + "tocsin",
		"TOCSIN_REDIS_ADDRESSES=" + strings.Join(redis.Addresses, ","), "TOCSIN_REDIS_KEY_PREFIX=" + redis.Prefix,
		"TOCSIN_ADMIN_LISTEN=" + closedPort(t),
	}
	for _, topic := range []string{"EVENTS", "ACCOUNT", "NOTIFICATIONS", "ROOM_STATE", "RETRY_PREFIX", "DEAD_LETTER", "FEEDBACK"} {
		env = append(env, "TOCSIN_TOPICS_"+topic+"="+kafka.Prefix+strings.ToLower(topic))
	}
	return env
}

// The way of an operator: check says what is missing, topics create makes it, check is content, a worker runs, health says so, SIGTERM ends it.
func TestFirstDay(t *testing.T) {
	t.Parallel()
	env := servers(t)
	status, stdout, stderr := run(t, env, "check")
	if status != failed || !strings.Contains(stdout, "does not exist: `tocsin topics create` makes it") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("check without topics: status %d\n%s%s", status, stdout, stderr)
	}
	if status, _, stderr := run(t, env, "worker"); status != failed || !strings.Contains(stderr, "events") {
		t.Errorf("a worker without topics: status %d, %s", status, stderr)
	}
	if status, stdout, stderr := run(t, env, "topics", "create", "--partitions", "2", "--replication", "1"); status != succeeded || strings.Count(stdout, "(2 partitions)") != 10 {
		t.Fatalf("topics create: status %d\n%s%s", status, stdout, stderr)
	}
	if status, stdout, stderr := run(t, env, "topics", "create"); status != succeeded || strings.Count(stdout, "exists") != 10 {
		t.Errorf("topics create again: status %d\n%s%s", status, stdout, stderr)
	}
	if status, stdout, stderr = run(t, env, "check"); status != succeeded || stderr != "" {
		t.Errorf("check: status %d\n%s%s", status, stdout, stderr)
	}
	rooms := filepath.Join(t.TempDir(), "rooms.jsonl")
	line := `{"type":"m.room.name","room_id":"!r:example.org","event_id":"$1","sender":"@a:example.org","state_key":"","content":{"name":"Room"},"origin_server_ts":1}` + "\n"
	if err := os.WriteFile(rooms, []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, stdout, stderr := run(t, env, "rooms", "import", rooms); status != succeeded {
		t.Errorf("rooms import: status %d\n%s%s", status, stdout, stderr)
	}

	worker := startWorker(t, env)
	awaitReady(t, env, worker.gone, worker.said)
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-worker.ended; err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, worker.said)
	}
	if !strings.Contains(worker.said.String(), "tocsin: terminated: stopping; once more to stop at once\n") {
		t.Errorf("said:\n%s", worker.said)
	}
	if status, _, _ := run(t, env, "health"); status != failed {
		t.Error("the worker has stopped, and is healthy")
	}
}

// workerProcess is this test's binary as `tocsin worker`.
type workerProcess struct {
	*exec.Cmd
	said  *bytes.Buffer // to be read after it has ended
	ended chan error
}

func startWorker(t *testing.T, env []string) *workerProcess {
	t.Helper()
	w := &workerProcess{said: &bytes.Buffer{}, ended: make(chan error, 1)}
	w.Cmd = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "worker")
	w.Env, w.Stderr = append(env, asCommand+"=1"), w.said
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() {
		defer close(waited)
		w.ended <- w.Wait()
	}()
	t.Cleanup(func() {
		_ = w.Process.Kill() // if the test failed before its end
		<-waited
	})
	return w
}

func (w *workerProcess) gone() bool { return len(w.ended) > 0 }

// awaitReady waits until the worker of that environment says that it is ready, and fails if it has gone.
func awaitReady(t *testing.T, env []string, gone func() bool, said *bytes.Buffer) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		status, _, stderr := run(t, env, "health")
		switch {
		case status == succeeded:
			return
		case gone():
			t.Fatalf("the worker has ended:\n%s", said)
		case time.Now().After(deadline):
			t.Fatalf("the worker is not ready after a minute: %s", stderr)
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

// The wish to end reaches the worker as contexts: the first alone is a clean stop, the second with it is not.
func TestWorkerStops(t *testing.T) {
	t.Parallel()
	env := servers(t)
	if status, _, stderr := run(t, env, "topics", "create", "--partitions", "1", "--replication", "1"); status != succeeded {
		t.Fatal(stderr)
	}
	for _, tc := range []struct {
		name   string
		atOnce bool
		want   int
	}{{"cleanly", false, succeeded}, {"at once", true, failed}} {
		clean, stopClean := context.WithCancel(context.Background())
		hard, stopHard := context.WithCancel(context.Background())
		var said bytes.Buffer
		p := process{environ: env, stdin: strings.NewReader(""), stdout: &said, stderr: &said}
		ended := make(chan int, 1)
		go func() { ended <- p.run(clean, hard, []string{"worker", "--stages", "accounts,rooms,users"}) }()
		awaitReady(t, env, func() bool { return len(ended) > 0 }, &said)
		if tc.atOnce {
			stopHard()
		}
		stopClean()
		select {
		case status := <-ended:
			if status != tc.want {
				t.Errorf("%s: status %d\n%s", tc.name, status, &said)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: still there after 30 s", tc.name)
		}
		stopHard()
	}
}

// Servers that are not there are named, with what to do, and soon.
func TestNobodyThere(t *testing.T) {
	t.Parallel()
	env := []string{serverName, "TOCSIN_KAFKA_BROKERS=" + closedPort(t), "TOCSIN_REDIS_ADDRESSES=" + closedPort(t), "TOCSIN_REDIS_TIMEOUT=500ms"}
	for _, tc := range []struct {
		args []string
		want string // in what is said, on standard output or error
	}{
		{[]string{"check"}, "FAILED  kafka"},
		{[]string{"check"}, "FAILED  redis"},
		{[]string{"topics", "create"}, "kafka: "},
		{[]string{"rooms", "import", "-"}, "kafka: "},
		{[]string{"worker"}, "redis: "},
	} {
		t.Run(fmt.Sprint(tc.args, " ", tc.want), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			status, stdout, stderr := runWith(ctx, env, tc.args...)
			if status != failed || !strings.Contains(stdout+stderr, tc.want) || !strings.Contains(stdout+stderr, "127.0.0.1:") {
				t.Errorf("status %d after %v\n%s%s", status, time.Since(start), stdout, stderr)
			}
		})
	}
}

// A first signal ends a command that waits for servers, too.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	env := []string{serverName, "TOCSIN_KAFKA_BROKERS=" + closedPort(t), "TOCSIN_REDIS_ADDRESSES=" + closedPort(t)}
	if status, stdout, stderr := runWith(ctx, env, "check"); status != failed {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
}
