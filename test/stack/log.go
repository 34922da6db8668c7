package stack

// Kafka's log as it is from the outside: beside the worker, and with another client library than the worker's, so that both have to mean
// the same by what they say.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Place is one partition of a topic.
type Place struct {
	Topic     string
	Partition int
}

// Record is one record of a topic.
type Record struct {
	Topic   string
	Key     []byte // nil: none
	Value   []byte // nil: a tombstone
	Headers []RecordHeader
	Time    time.Time
	Offset  int64 // when read
}

// RecordHeader is one header of a record.
type RecordHeader struct {
	Name  string
	Value []byte
}

// Header is the value of the last header of that name; "" if there is none.
func (r *Record) Header(name string) string {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Name == name {
			return string(r.Headers[i].Value)
		}
	}
	return ""
}

// Log appends to topics, knows where they end, and reads some of them from the beginning. It is not safe for concurrent use.
type Log struct {
	brokers []string
	client  *kgo.Client
	reader  *kgo.Client     // made when there is something to be read
	ends    map[Place]int64 // as last seen
	read    map[Place]int64 // how far topics have been read

	configured time.Time // when a setting was last acknowledged
}

// DialLog connects to the brokers. [Log.Read] reads the topics that are named here; they have so many partitions each.
func DialLog(brokers, topics []string, partitions int) (*Log, error) {
	l := &Log{brokers: brokers, ends: map[Place]int64{}, read: map[Place]int64{}}
	for _, topic := range topics {
		for p := range partitions {
			l.read[Place{topic, p}] = 0
		}
	}
	var err error
	l.client, err = l.dial(
		kgo.DisableIdempotentWrite(),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.UnknownTopicRetries(20), // a real cluster spreads the news of a new topic for a moment
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(maxRecordBytes),
	)
	return l, err
}

func (l *Log) dial(opts ...kgo.Opt) (*kgo.Client, error) {
	client, err := kgo.NewClient(append(opts,
		kgo.SeedBrokers(l.brokers...), kgo.ClientID("tocsin-dev"), kgo.BrokerMaxWriteBytes(2*maxRecordBytes), kgo.BrokerMaxReadBytes(2*maxRecordBytes))...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return client, nil
}

// Close ends the connections.
func (l *Log) Close() {
	l.client.Close()
	if l.reader != nil {
		l.reader.Close()
	}
}

// End is the offset that the next record of a partition will have, as last seen; 0 if it was never seen.
func (l *Log) End(at Place) int64 { return l.ends[at] }

// Configure changes settings of topics; the others stay.
func (l *Log) Configure(ctx context.Context, topics []string, settings map[string]string) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, topic := range topics {
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceTypeTopic, topic
		for name, value := range settings {
			c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			c.Name, c.Value = name, kmsg.StringPtr(value)
			r.Configs = append(r.Configs, c)
		}
		req.Resources = append(req.Resources, r)
	}
	resp, err := req.RequestWith(ctx, l.client)
	if err != nil {
		return fmt.Errorf("configure the topics: %w", err)
	}
	for _, r := range resp.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			return fmt.Errorf("configure topic %s: %w", r.ResourceName, err)
		}
	}
	l.configured = time.Now()
	return nil
}

// forceDelay is how long after it has acknowledged a setting a broker may still go by the old one.
const forceDelay = 5 * time.Second

// Append writes a record to the partition of its key, and returns when it is safe.
func (l *Log) Append(ctx context.Context, r Record) error {
	message := &kgo.Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Timestamp: r.Time}
	for _, h := range r.Headers {
		message.Headers = append(message.Headers, kgo.RecordHeader{Key: h.Name, Value: h.Value})
	}
	written, err := l.client.ProduceSync(ctx, message).First()
	for errors.Is(err, kerr.MessageTooLarge) && time.Since(l.configured) < forceDelay && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
		written, err = l.client.ProduceSync(ctx, message).First()
	}
	if err != nil {
		return fmt.Errorf("write to topic %s: %w", r.Topic, err)
	}
	at := Place{r.Topic, int(written.Partition)}
	l.ends[at] = max(l.ends[at], written.Offset+1)
	return nil
}

// Refresh asks where each partition of the topics ends now.
func (l *Log) Refresh(ctx context.Context, topics []string, partitions int) error {
	req := kmsg.NewPtrListOffsetsRequest()
	for _, topic := range topics {
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for p := range partitions {
			one := kmsg.NewListOffsetsRequestTopicPartition()
			one.Partition, one.Timestamp = int32(p), -1 // the latest
			t.Partitions = append(t.Partitions, one)
		}
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, l.client)
	if err != nil {
		return fmt.Errorf("ask for the ends of the topics: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("ask for the end of topic %s, partition %d: %w", t.Topic, p.Partition, err)
			}
			l.ends[Place{t.Topic, int(p.Partition)}] = p.Offset
		}
	}
	return nil
}

// Read hands out what has been written to the topics of [DialLog] since the last call, up to the ends as last seen.
func (l *Log) Read(ctx context.Context, each func(Record) error) error {
	for l.behind() {
		if err := l.follow(); err != nil {
			return err
		}
		fetches := l.reader.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return err
		}
		for _, failed := range fetches.Errors() {
			return fmt.Errorf("read topic %s: %w", failed.Topic, failed.Err)
		}
		for r := range fetches.RecordsAll() {
			if err := each(recordOf(r)); err != nil {
				return err
			}
			l.read[Place{r.Topic, int(r.Partition)}] = r.Offset + 1
		}
	}
	return nil
}

// follow begins to read. Most logs are never read, so it is done when there is something.
func (l *Log) follow() (err error) {
	if l.reader != nil {
		return nil
	}
	begin := map[string]map[int32]kgo.Offset{}
	for at := range l.read {
		if begin[at.Topic] == nil {
			begin[at.Topic] = map[int32]kgo.Offset{}
		}
		begin[at.Topic][int32(at.Partition)] = kgo.NewOffset().AtStart()
	}
	l.reader, err = l.dial(kgo.ConsumePartitions(begin), kgo.FetchMaxBytes(maxRecordBytes))
	return err
}

func recordOf(r *kgo.Record) Record {
	record := Record{Topic: r.Topic, Key: r.Key, Value: r.Value, Time: r.Timestamp, Offset: r.Offset}
	for _, h := range r.Headers {
		record.Headers = append(record.Headers, RecordHeader{h.Key, h.Value})
	}
	return record
}

func (l *Log) behind() bool {
	for at, next := range l.read {
		if next < l.ends[at] {
			return true
		}
	}
	return false
}
