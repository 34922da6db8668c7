package e2e_test

// Promise 1 with a hammer: worker processes are killed while they work, and every notification arrives all the same.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"tocsin/test/stack"
)

const (
	killRooms  = 20
	killEvents = 2000 // over all rooms
	killUsers  = 2    // users with a pusher: one request to each is under way at a time
)

// TestKilled kills the worker twice in the middle of 2,000 events. Each event has two recipients. All are told, and nobody twice but of what was under way.
func TestKilled(t *testing.T) {
	kafka, redis, gateway := stack.Kafka(t), stack.Redis(t), stack.Gateways(t)
	t.Cleanup(func() { kafka.DeleteTopics(t) })
	if redis.Embedded != nil {
		redis.Embedded.FreezeTime(time.Now()) // with a clock of its own it looks at all keys before each command
	}
	w := &workers{binary: build(t), environment: environment(kafka, redis)}
	w.run(t, "topics", "create", "--partitions", "4", "--replication", "1")
	feed(t, kafka, gateway)

	shares := []int{5, 2} // after a fifth, after a half
	for _, share := range shares {
		worker := w.start(t)
		await(t, 5*time.Minute, func() error {
			if n := len(gateway.Requests()); n < killUsers*killEvents/share {
				return fmt.Errorf("%d pushes have arrived", n)
			}
			return nil
		})
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait() // it was killed: that is no news
	}
	worker := w.start(t)
	await(t, 10*time.Minute, func() error { return missing(gateway) })
	stop(t, worker)
	twice := doubled(t, gateway)
	t.Logf("%d of %d notifications came twice", twice, killUsers*killEvents)
	if most := len(shares) * killUsers; twice > most {
		t.Errorf("%d notifications came twice, and at most %d were under way when the workers were killed", twice, most)
	}
}

// doubled is how many pushes more than one there were for each event and pusher.
func doubled(t *testing.T, gateway *stack.RecordingGateway) (twice int) {
	t.Helper()
	told := map[string]bool{}
	for _, r := range gateway.Requests() {
		n, err := stack.DecodeNotification(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		name := n.EventID + " " + n.Devices[0].Pushkey
		if n.EventID != "" && told[name] { // counts alone are told as often as they change
			twice++
		}
		told[name] = true
	}
	return twice
}

// workers starts processes of the product's own binary.
type workers struct {
	binary      string
	environment []string
	log         io.Writer // nil: the test's own
}

// build builds cmd/tocsin.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tocsin")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "tocsin/cmd/tocsin").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// environment configures a worker. A dead member's partitions are given away after six seconds, the least that a broker allows.
func environment(kafka stack.KafkaServers, redis stack.RedisServers) []string {
	env := []string{
		"TOCSIN_HOMESERVER_SERVER_NAME=example.org",
		"TOCSIN_KAFKA_BROKERS=" + strings.Join(kafka.Brokers, ","), "TOCSIN_KAFKA_GROUP_PREFIX=" + kafka.Prefix + "tocsin", "TOCSIN_KAFKA_SESSION_TIMEOUT=6s",
		"TOCSIN_REDIS_ADDRESSES=" + strings.Join(redis.Addresses, ","), "TOCSIN_REDIS_KEY_PREFIX=" + redis.Prefix,
		"TOCSIN_DELIVERY_PUSH_FROM=beginning", "TOCSIN_DELIVERY_ALLOW_HTTP=true", "TOCSIN_DELIVERY_ALLOW_CIDRS=127.0.0.0/8", "TOCSIN_ADMIN_LISTEN=", "TOCSIN_LOG_LEVEL=warn",
	}
	for _, topic := range []string{"EVENTS", "ACCOUNT", "NOTIFICATIONS", "ROOM_STATE", "RETRY_PREFIX", "DEAD_LETTER", "FEEDBACK"} {
		env = append(env, "TOCSIN_TOPICS_"+topic+"="+kafka.Prefix+strings.ToLower(topic))
	}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "TOCSIN_") {
			env = append(env, v)
		}
	}
	return env
}

func (w *workers) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), w.binary, args...)
	cmd.Env, cmd.Stderr = w.environment, t.Output()
	if w.log != nil {
		cmd.Stderr = io.MultiWriter(t.Output(), w.log)
	}
	return cmd
}

func (w *workers) run(t *testing.T, args ...string) {
	t.Helper()
	if err := w.command(t, args...).Run(); err != nil {
		t.Fatalf("tocsin %v: %v", args, err)
	}
}

// start starts a worker, which is dead when the test is over.
func (w *workers) start(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := w.command(t, "worker")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err == nil {
			_ = cmd.Wait()
		} else if !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	})
	return cmd
}

// stop stops a worker cleanly.
func stop(t *testing.T, worker *exec.Cmd) {
	t.Helper()
	if err := worker.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
}

// feed writes two users with pushers, their rooms, and the events.
func feed(t *testing.T, kafka stack.KafkaServers, gateway *stack.RecordingGateway) {
	t.Helper()
	var records []*kgo.Record
	add := func(topic, key, format string, args ...any) {
		records = append(records, &kgo.Record{Topic: kafka.Prefix + topic, Key: []byte(key), Value: fmt.Appendf(nil, format, args...)})
	}
	for _, user := range []string{"bob", "carol"} {
		add("account", "@"+user+":example.org|pusher|app|"+user,
			`{"user_id":"@%s:example.org","type":"pusher","content":{"kind":"http","app_id":"app","pushkey":%[1]q,"data":{"url":"http://%[2]s/_matrix/push/v1/notify"}}}`, user, gateway.Address())
	}
	for room := range killRooms {
		id := fmt.Sprintf("!r%d:example.org", room)
		for _, user := range []string{"alice", "bob", "carol"} {
			add("events", id, `{"event_id":"$%s%d","room_id":%q,"type":"m.room.member","sender":"@%[1]s:example.org","state_key":"@%[1]s:example.org","content":{"membership":"join"}}`, user, room, id)
		}
	}
	for n := range killEvents {
		id := fmt.Sprintf("!r%d:example.org", n%killRooms)
		add("events", id, `{"event_id":"$%d","room_id":%q,"type":"m.room.message","sender":"@alice:example.org","content":{"msgtype":"m.text","body":"ding"}}`, n, id)
	}
	produce(t, kafka, records)
}

// produce writes records.
func produce(t *testing.T, kafka stack.KafkaServers, records []*kgo.Record) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka.Brokers...), kgo.UnknownTopicRetries(20))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// missing says which notification has not arrived; nil if all have.
func missing(gateway *stack.RecordingGateway) error {
	arrived := map[string]bool{}
	for _, r := range gateway.Requests() {
		n, err := stack.DecodeNotification(r.Body)
		if err != nil {
			return err
		}
		arrived[n.EventID+" "+n.Devices[0].Pushkey] = true
	}
	var lost []string
	for n := range killEvents {
		for _, user := range []string{"bob", "carol"} {
			if name := fmt.Sprintf("$%d %s", n, user); !arrived[name] {
				lost = append(lost, name)
			}
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("%d notifications have not arrived, such as %s", len(lost), lost[0])
	}
	return nil
}

// await asks again and again until done returns nil.
func await(t *testing.T, patience time.Duration, done func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := done()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
