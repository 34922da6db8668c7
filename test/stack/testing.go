package stack

// The servers as a test takes them: embedded ones, or the real ones that the environment names.

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// The variables that name real servers for the tests, as test/servers/up prints them: addresses separated by commas.
const (
	KafkaVariable = "TOCSIN_TEST_KAFKA"
	RedisVariable = "TOCSIN_TEST_REDIS"
)

// TB is the part of [testing.TB] that is used here; package testing itself stays out of the programs that start these servers.
type TB interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// KafkaServers is a Kafka for one test.
type KafkaServers struct {
	Brokers  []string
	Prefix   string  // for the names of topics and groups: nobody else uses it
	Embedded *Broker // nil: a real Kafka
}

// Kafka gives a test its Kafka: the one that TOCSIN_TEST_KAFKA names, or an embedded broker of its own.
func Kafka(t TB) KafkaServers {
	t.Helper()
	prefix := "t" + strings.ToLower(rand.Text()[:10]) + "."
	if brokers := addresses(KafkaVariable); len(brokers) > 0 {
		return KafkaServers{Brokers: brokers, Prefix: prefix}
	}
	broker, err := StartBroker(BrokerOptions{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(broker.Close)
	return KafkaServers{Brokers: []string{broker.Address()}, Prefix: prefix, Embedded: broker}
}

// DeleteTopics deletes the test's topics from a real Kafka. An embedded broker goes away with all it has.
func (k KafkaServers) DeleteTopics(t TB) {
	t.Helper()
	if k.Embedded != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(k.Brokers...), Transport: transport}
	all, err := client.Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		t.Fatalf("delete topics %s*: %v", k.Prefix, err)
	}
	var own []string
	for _, topic := range all.Topics {
		if strings.HasPrefix(topic.Name, k.Prefix) {
			own = append(own, topic.Name)
		}
	}
	if len(own) == 0 {
		return
	}
	if _, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: own}); err != nil {
		t.Fatalf("delete topics %s*: %v", k.Prefix, err)
	}
}

// Repartition gives a topic more partitions, and returns when the brokers say so.
func (k KafkaServers) Repartition(t TB, topic string, partitions int) {
	t.Helper()
	k.administer(t, fmt.Sprintf("give %s %d partitions", topic, partitions), func(ctx context.Context, client *kafka.Client) error {
		res, err := client.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: int32(partitions)}}})
		if err != nil {
			return err
		}
		return res.Errors[topic]
	}, topic, partitions)
}

// DeleteTopic deletes a topic, and returns when the brokers have forgotten it.
func (k KafkaServers) DeleteTopic(t TB, topic string) {
	t.Helper()
	k.administer(t, "delete "+topic, func(ctx context.Context, client *kafka.Client) error {
		res, err := client.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{topic}})
		if err != nil {
			return err
		}
		return res.Errors[topic]
	}, topic, 0)
}

// administer changes a topic until the brokers say that it has so many partitions. Changing it twice does no harm.
func (k KafkaServers) administer(t TB, what string, change func(context.Context, *kafka.Client) error, topic string, partitions int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	transport := &kafka.Transport{MetadataTTL: 500 * time.Millisecond}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(k.Brokers...), Transport: transport}
	err := change(ctx, client)
	for {
		meta, asking := client.Metadata(ctx, &kafka.MetadataRequest{Topics: []string{topic}})
		if asking == nil && len(meta.Topics) == 1 && len(meta.Topics[0].Partitions) == partitions {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: the brokers do not say so after 30 s (%v, %v)", what, err, asking)
			return
		case <-time.After(100 * time.Millisecond):
		}
		if err != nil {
			err = change(ctx, client)
		}
	}
}

// RedisServers is a Redis for one test.
type RedisServers struct {
	Addresses []string
	Prefix    string       // for keys: nobody else uses it
	Embedded  *RedisServer // nil: a real Redis
}

// Redis gives a test its Redis: the one that TOCSIN_TEST_REDIS names, or an embedded one of its own.
func Redis(t TB) RedisServers {
	t.Helper()
	prefix := "t" + strings.ToLower(rand.Text()[:10]) + ":"
	if real := addresses(RedisVariable); len(real) > 0 {
		return RedisServers{Addresses: real, Prefix: prefix}
	}
	server, err := StartRedis("")
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(server.Close)
	return RedisServers{Addresses: []string{server.Address()}, Prefix: prefix, Embedded: server}
}

// RecordingGateway is a gateway that keeps what it received.
type RecordingGateway struct {
	*Gateway
	mu       sync.Mutex
	requests []Request
}

// Gateways gives a test a push gateway.
func Gateways(t TB) *RecordingGateway {
	t.Helper()
	recording := &RecordingGateway{}
	recording.Gateway = started(t, StartGateway, GatewayOptions{Observe: func(r Request) {
		recording.mu.Lock()
		defer recording.mu.Unlock()
		recording.requests = append(recording.requests, r)
	}})
	return recording
}

// Requests is what the gateway has answered so far, in that order.
func (g *RecordingGateway) Requests() []Request {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]Request(nil), g.requests...)
}

// started gives a test a server of its own, which ends with the test.
func started[O any, S io.Closer](t TB, start func(O) (S, error), opts O) S {
	t.Helper()
	server, err := start(opts)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Fatalf("close a %T: %v", server, err)
		}
	})
	return server
}

// addresses reads a comma-separated list from the environment; blank entries are left out.
func addresses(variable string) []string {
	var list []string
	for address := range strings.SplitSeq(os.Getenv(variable), ",") {
		if address = strings.TrimSpace(address); address != "" {
			list = append(list, address)
		}
	}
	return list
}
