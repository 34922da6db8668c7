package stack_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"

	"tocsin/test/stack"
)

// produce writes one record to partition 0 of a topic.
func produce(ctx context.Context, c *kafka.Client, topic, value string) error {
	resp, err := c.Produce(ctx, &kafka.ProduceRequest{
		Topic: topic, RequiredAcks: kafka.RequireAll,
		Records: kafka.NewRecordReader(kafka.Record{Time: time.UnixMilli(1), Value: kafka.NewBytes([]byte(value))}),
	})
	if err != nil {
		return err
	}
	return resp.Error
}

// first reads the value of the first record of partition 0.
func first(ctx context.Context, c *kafka.Client, topic string) (string, error) {
	resp, err := c.Fetch(ctx, &kafka.FetchRequest{Topic: topic, MinBytes: 1, MaxBytes: 1 << 20, MaxWait: time.Second})
	if err != nil {
		return "", err
	}
	if resp.Error != nil {
		return "", resp.Error
	}
	record, err := resp.Records.ReadRecord()
	if err != nil {
		return "", err
	}
	value, err := io.ReadAll(record.Value)
	return string(value), err
}

func create(ctx context.Context, c *kafka.Client, topic string) error {
	resp, err := c.CreateTopics(ctx, &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: 1, ReplicationFactor: 1}}})
	if err != nil {
		return err
	}
	return resp.Errors[topic]
}

func TestBrokerKeepsItsFolder(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		broker, err := stack.StartBroker(stack.BrokerOptions{DataDir: dir, Sweep: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		transport := &kafka.Transport{}
		c := &kafka.Client{Addr: kafka.TCP(broker.Address()), Transport: transport}
		if round == 0 {
			if err := create(t.Context(), c, "bells"); err != nil {
				t.Fatal(err)
			}
			if err := produce(t.Context(), c, "bells", "ding"); err != nil {
				t.Fatal(err)
			}
		} else if got, err := first(t.Context(), c, "bells"); got != "ding" || err != nil {
			t.Errorf("after the restart the topic holds %q, %v", got, err)
		}
		transport.CloseIdleConnections()
		broker.Close()
	}
}

func TestKafkaForATest(t *testing.T) {
	servers := stack.Kafka(t)
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c := &kafka.Client{Addr: kafka.TCP(servers.Brokers...), Transport: transport, Timeout: 10 * time.Second}
	topic := servers.Prefix + "bells"
	if err := create(t.Context(), c, topic); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { servers.DeleteTopics(t) })
	for { // a real cluster spreads the news of a new topic for a moment
		err := produce(t.Context(), c, topic, "dong")
		if err == nil {
			break
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if got, err := first(t.Context(), c, topic); got != "dong" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestRedisForATest(t *testing.T) {
	servers := stack.Redis(t)
	c := redis.NewClient(&redis.Options{Addr: servers.Addresses[0]})
	defer c.Close()
	key := servers.Prefix + "bell"
	if err := c.Set(t.Context(), key, "ding", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	if servers.Embedded != nil { // a real Redis has no clock that a test can move
		now := time.UnixMilli(1_700_000_000_000)
		servers.Embedded.FreezeTime(now)
		servers.Embedded.Pass(59*time.Minute, now.Add(59*time.Minute))
		if got := c.Get(t.Context(), key).Val(); got != "ding" {
			t.Errorf("after 59 minutes the key is %q", got)
		}
		servers.Embedded.Pass(2*time.Minute, now.Add(61*time.Minute))
		if err := c.Get(t.Context(), key).Err(); err != redis.Nil {
			t.Errorf("after 61 minutes the key is still there: %v", err)
		}
		if got := c.Time(t.Context()).Val(); !got.Equal(now.Add(61 * time.Minute)) {
			t.Errorf("the server's time is %v", got)
		}
	}
	if err := c.Del(t.Context(), key).Err(); err != nil {
		t.Fatal(err)
	}
}
