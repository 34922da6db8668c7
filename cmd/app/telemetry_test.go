package app_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"go.uber.org/goleak"

	"tocsin/cmd/app"
	"tocsin/config"
	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/test/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	room = "!secret-room:hs"
	user = "@secret-user:hs.example"
	key  = "secret-pushkey"
)

// A running worker is scraped after it has pushed something: what operators look at is there, under fixed labels, and nothing of users.
func TestMetrics(t *testing.T) {
	t.Parallel()
	servers, redis, gateway := stack.Kafka(t), stack.Redis(t), stack.Gateways(t)
	t.Cleanup(func() { servers.DeleteTopics(t) })
	cfg := config.Default()
	cfg.Homeserver.ServerName = "hs.example"
	cfg.Kafka.Brokers, cfg.Kafka.GroupPrefix = servers.Brokers, servers.Prefix+"tocsin"
	cfg.Redis.Addresses, cfg.Redis.KeyPrefix = redis.Addresses, redis.Prefix
	topics := &cfg.Topics
	for _, name := range []*string{&topics.Events, &topics.Account, &topics.Notifications, &topics.RoomState, &topics.RetryPrefix, &topics.DeadLetter, &topics.Feedback} {
		*name = servers.Prefix + *name
	}
	cfg.Admin.Listen = "127.0.0.1:0"
	if err := cfg.Delivery.PushFrom.UnmarshalText([]byte("beginning")); err != nil {
		t.Fatal(err)
	}
	expiry, log := direct(t, cfg), &stack.Buffer{}
	if err := app.CreateTopics(t.Context(), cfg, app.TopicOptions{Partitions: 2, Replication: 1}, io.Discard); err != nil {
		t.Fatal(err)
	}
	produce(t, cfg, [][3]string{
		{topics.Account, user + "|pusher|app|" + key, fmt.Sprintf(`{"user_id":%q,"type":"pusher","content":{"kind":"http","app_id":"app","pushkey":%q,"pushkey_ts":1,"data":{"url":"https://push.example/_matrix/push/v1/notify"}}}`, user, key)},
		{topics.Events, room, fmt.Sprintf(`{"event_id":"$j","room_id":%q,"type":"m.room.member","sender":%q,"state_key":%q,"content":{"membership":"join"}}`, room, user, user)},
		{topics.Events, room, fmt.Sprintf(`{"event_id":"$m","room_id":%q,"type":"m.room.message","sender":"@alice:other","content":{"body":"hello","msgtype":"m.text"}}`, room)},
	})
	worker, err := app.New(cfg, app.Options{Log: slog.New(slog.NewTextHandler(log, nil)), PushDial: gateway.Dial})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- worker.Run(ctx, context.Background()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})

	events, notifications := topics.Events, topics.Notifications
	wanted := []string{
		fmt.Sprintf(`tocsin_consumer_lag{group="%s.rooms",topic=%q} 0`, cfg.Kafka.GroupPrefix, events),
		fmt.Sprintf(`tocsin_consumer_lag{group="%s.users",topic=%q} 0`, cfg.Kafka.GroupPrefix, notifications),
		fmt.Sprintf(`tocsin_topic_partitions{topic=%q} 2`, events),
		fmt.Sprintf(`tocsin_records_misplaced_total{topic=%q} 0`, events),
		fmt.Sprintf(`tocsin_app_credential_expiry_timestamp_seconds{app="ios.certificate",provider="apns"} %s`, strconv.FormatFloat(float64(expiry.Unix()), 'g', -1, 64)),
		`tocsin_push_settled_total{action="settle",answer="accepted",app="",outcome="delivered",provider="gateway",reason=""} 1`,
	}
	var page string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		page = scrape(t, worker)
		missing := slices.DeleteFunc(slices.Clone(wanted), func(sample string) bool { return strings.Contains(page, "\n"+sample+"\n") })
		if len(missing) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("not on the page after 30 s: %q\n%s", missing, page)
		}
	}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_alloc_bytes", "process_cpu_seconds_total", "process_open_fds", "go_build_info"} {
		if !strings.Contains(page, "\n"+name) {
			t.Errorf("%s is missing", name)
		}
	}
	if strings.Contains(page, `app="ios.key"`) {
		t.Error("a key has no date")
	}
	if got := log.String(); strings.Count(got, "the certificate expires in 10 days") != 1 || !strings.Contains(got, "provider=apns app=ios.certificate") {
		t.Errorf("the log does not warn of the certificate:\n%s", got)
	}
	labels := regexp.MustCompile(`[{,]([a-z_]+)="`)
	for line := range strings.Lines(page) {
		if strings.Contains(line, "secret") {
			t.Errorf("it tells of users: %s", line)
		}
		if strings.HasPrefix(line, "tocsin_records_misplaced_total ") {
			t.Errorf("it does not tell the topic: %s", line)
		}
		if !strings.HasPrefix(line, "tocsin_") {
			continue
		}
		for _, label := range labels.FindAllStringSubmatch(line, -1) {
			if !slices.Contains([]string{"group", "topic", "action", "reason", "answer", "provider", "app", "outcome", "state"}, label[1]) {
				t.Errorf("label %s: %s", label[1], line)
			}
		}
	}
}

// direct adds two apps at Apple, one of them with a certificate that expires soon: then.
func direct(t *testing.T, cfg *config.Config) (expiry time.Time) {
	t.Helper()
	service, dir := stack.APNsServer(t, stack.APNsOptions{}), t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p8, err := service.NewKey("TEAM012345", "KEY0123456")
	if err != nil {
		t.Fatal(err)
	}
	expiry = time.Now().Add(10*24*time.Hour + time.Hour).Truncate(time.Second)
	leaf, private, err := service.NewCertificate("org.example", expiry)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	withKey, withCertificate := apns.Defaults(), apns.Defaults()
	withKey.KeyFile, withKey.KeyID, withKey.TeamID, withKey.Topic = file("key.p8", p8), "KEY0123456", "TEAM012345", "org.example"
	withCertificate.CertFile = file("cert.pem", append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...))
	cfg.Apps = apps.Config{"ios.key": &withKey, "ios.certificate": &withCertificate}
	return expiry
}

// produce writes records of topic, key and value.
func produce(t *testing.T, cfg *config.Config, records [][3]string) {
	t.Helper()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	w := &kafka.Writer{Addr: kafka.TCP(cfg.Kafka.Brokers...), Balancer: &kafka.Murmur2Balancer{}, RequiredAcks: kafka.RequireAll, BatchTimeout: time.Millisecond, Transport: transport}
	defer w.Close()
	for _, r := range records {
		if err := w.WriteMessages(t.Context(), kafka.Message{Topic: r[0], Key: []byte(r[1]), Value: []byte(r[2])}); err != nil {
			t.Fatal(err)
		}
	}
}

// scrape reads a worker's metrics; nothing if they are not served yet.
func scrape(t *testing.T, w *app.Worker) string {
	t.Helper()
	address := w.AdminAddress()
	if address == "" {
		return ""
	}
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	page, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", res.Status, err)
	}
	return string(page)
}
