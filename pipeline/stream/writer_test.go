package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// readAll reads a topic from its beginning to its present end.
func (b *broker) readAll(topic string) []*Record {
	b.t.Helper()
	bounds, err := b.Bounds(b.t.Context(), topic)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []*Record
	for p := range len(bounds) {
		for offset := bounds[p].First; offset < bounds[p].End; {
			got, err := b.fetch(b.t.Context(), topic, p, offset)
			if err != nil {
				b.t.Fatal(err)
			}
			all = append(all, got.records...)
			offset = got.next
		}
	}
	return all
}

func TestWriteKeepsEverything(t *testing.T) {
	for codec := range codecs {
		t.Run(codec, func(t *testing.T) {
			b := newBroker(t)
			topic := b.topic("roundtrip", 4, map[string]string{"retention.ms": "-1"}) // the records are old
			at := time.UnixMilli(1_700_000_000_123)
			msgs := []Message{
				{Topic: topic, Partition: AnyPartition, Key: []byte("k"), Value: []byte("v"), Time: at, Headers: []Header{{Key: "traceparent", Value: []byte("00-1")}, {Key: "empty", Value: []byte{}}, {Key: "traceparent", Value: []byte("00-2")}}},
				{Topic: topic, Partition: AnyPartition, Key: []byte("k"), Value: nil, Time: at},
				{Topic: topic, Partition: AnyPartition, Key: []byte("k"), Value: []byte{}, Time: at},
				{Topic: topic, Partition: 3, Key: nil, Value: bytes.Repeat([]byte("x"), 300_000), Time: at},
			}
			w := b.NewWriter(WriterConfig{Compression: codec})
			defer w.Close()
			if err := w.Write(t.Context(), msgs...); err != nil {
				t.Fatal(err)
			}
			got := b.readAll(topic)
			if len(got) != len(msgs) {
				t.Fatalf("%d records, want %d", len(got), len(msgs))
			}
			slices.SortStableFunc(got, func(a, b *Record) int { return bytes.Compare(b.Key, a.Key) }) // those with a key first
			for i, r := range got {
				m := msgs[i]
				partition := m.Partition
				if partition == AnyPartition {
					partition = PartitionOf("k", 4)
				}
				if r.Partition != partition || !bytes.Equal(r.Key, m.Key) || (r.Key == nil) != (m.Key == nil) ||
					!bytes.Equal(r.Value, m.Value) || (r.Value == nil) != (m.Value == nil) || !r.Time.Equal(at) {
					t.Errorf("record %d is %d %q %d bytes (nil %v) %v", i, r.Partition, r.Key, len(r.Value), r.Value == nil, r.Time)
				}
				if len(r.Headers) != len(m.Headers) {
					t.Errorf("record %d has the headers %v, want %v", i, r.Headers, m.Headers)
				}
			}
			if v, ok := got[0].Header("traceparent"); !ok || v != "00-2" {
				t.Errorf("traceparent is %q, want the last of that name", v)
			}
		})
	}
}

// Whatever fails on the way, all messages arrive, and those of a partition in order.
func TestWriteSurvivesFailures(t *testing.T) {
	t.Parallel()
	b := newFake(t, []kfake.Opt{kfake.NumBrokers(3)})
	topic := b.topic("failures", 2, nil)
	produce := []kmsg.Key{kmsg.Produce}
	b.fake.Fault(
		kfake.Fault{Keys: produce, Err: kerr.NotLeaderForPartition, Count: 3},
		kfake.Fault{Keys: produce, Err: kerr.NotEnoughReplicas, Count: 3},
		kfake.Fault{Keys: produce, Err: kerr.RequestTimedOut, Count: 2}, // written all the same
		kfake.Fault{Keys: produce, Err: kerr.UnknownTopicOrPartition, Count: 2},
	)
	w := b.NewWriter(WriterConfig{})
	defer w.Close()
	const callers, each = 16, 40
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for seq := 0; seq < each; seq += 4 {
				var msgs []Message
				for i := range 4 {
					msgs = append(msgs, Message{Topic: topic, Partition: c % 2, Key: fmt.Append(nil, c), Value: fmt.Append(nil, seq+i)})
				}
				if err := w.Write(t.Context(), msgs...); err != nil {
					t.Errorf("caller %d: %v", c, err)
				}
				if seq == 20 && c == 0 {
					b.fake.ShufflePartitionLeaders()
				}
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	repeated := 0
	for _, r := range b.readAll(topic) {
		var seq int
		fmt.Sscan(string(r.Value), &seq)
		switch want := next[string(r.Key)]; {
		case seq == want:
			next[string(r.Key)]++
		case seq < want:
			repeated++
		default:
			t.Fatalf("caller %s: %d after %d", r.Key, seq, want-1)
		}
	}
	for c := range callers {
		if next[fmt.Sprint(c)] != each {
			t.Errorf("caller %d: %d messages arrived, want %d", c, next[fmt.Sprint(c)], each)
		}
	}
	t.Logf("%d of %d messages are there twice", repeated, callers*each)
}

// A message that its topic does not take fails alone; those that shared a request with it are written.
func TestWriteTooLarge(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("small", 1, map[string]string{"max.message.bytes": "2000"})
	w := b.NewWriter(WriterConfig{Compression: "none"})
	defer w.Close()
	msgs := numbered(topic, 0, 0, 300)
	msgs[150].Value = make([]byte, 5000)
	err := w.Write(t.Context(), msgs...)
	if !errors.Is(err, ErrTooLarge) || strings.Count(err.Error(), ErrTooLarge.Error()) != 1 {
		t.Errorf("got %v, want ErrTooLarge once", err)
	}
	var values []string
	for _, r := range b.readAll(topic) {
		values = append(values, string(r.Value))
	}
	wantNumbers(t, values[:150], 0, 150)
	wantNumbers(t, values[150:], 151, 300)
}

// Compacted topics refuse messages without a key. It must not take the others down.
func TestWriteInvalid(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("compacted", 1, map[string]string{"cleanup.policy": "compact"})
	if b.fake != nil { // which takes them
		b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.InvalidRecord, Count: -1, When: lacksKey})
	}
	w := b.NewWriter(WriterConfig{})
	defer w.Close()
	msgs := numbered(topic, 0, 0, 3)
	msgs[1].Key = nil
	if err := w.Write(t.Context(), msgs...); err == nil || errors.Is(err, ErrTooLarge) || !errors.Is(err, kafka.InvalidRecord) {
		t.Errorf("got %v, want an invalid record", err)
	}
	if n := len(b.readAll(topic)); n != 2 {
		t.Errorf("%d records, want the 2 that are valid", n)
	}
}

// lacksKey reports whether a message of a request has no key.
func lacksKey(r kmsg.Request) bool {
	for _, t := range r.(*kmsg.ProduceRequest).Topics {
		for _, p := range t.Partitions {
			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(p.Records); err != nil {
				return false
			}
			records, err := kfake.BatchRecords(batch)
			if err != nil || slices.ContainsFunc(records, func(r kmsg.Record) bool { return r.Key == nil }) {
				return true
			}
		}
	}
	return false
}

// fails tells whether what it complains of has failed, and not worked since.
func (c *complaint) fails() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.since.IsZero()
}

// A writer waits for its topic, and for its broker, until the context ends; then it says what it waited for.
func TestWriteWaits(t *testing.T) {
	b := newBroker(t)
	w := b.NewWriter(WriterConfig{})
	defer w.Close()
	topic := "waits-" + b.run
	for _, partition := range []int{0, AnyPartition} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		err := w.Write(ctx, Message{Topic: topic, Partition: partition, Value: []byte("lost")})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrMissingTopic) {
			t.Errorf("got %v, want the deadline and the missing topic", err)
		}
	}
	late := b.NewWriter(WriterConfig{})
	defer late.Close()
	done := make(chan error)
	go func() { done <- late.Write(t.Context(), Message{Topic: topic, Partition: 0, Value: []byte("kept")}) }()
	eventually(t, "it waits", late.writes.fails)
	b.topic("waits", 1, nil)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if all := b.readAll(topic); len(all) != 1 || string(all[0].Value) != "kept" {
		t.Errorf("%d records, want the one whose caller waited", len(all))
	}
}

// Close ends writes that can't get on.
func TestWriterClose(t *testing.T) {
	b := newFake(t, nil)
	topic := b.topic("close", 1, nil)
	b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.NotEnoughReplicas, Count: -1})
	w := b.NewWriter(WriterConfig{})
	done := make(chan error)
	go func() { done <- w.Write(t.Context(), Message{Topic: topic, Value: []byte("v")}) }()
	eventually(t, "it can't get on", w.writes.fails)
	w.Close()
	if err := <-done; !errors.Is(err, errWriterClosed) {
		t.Errorf("got %v, want that the writer is closed", err)
	}
	if err := w.Write(t.Context(), Message{Topic: topic}); !errors.Is(err, errWriterClosed) {
		t.Errorf("got %v, want that the writer is closed", err)
	}
}

func TestPartitionOfAgreesWithKafka(t *testing.T) {
	partitions := make([]int, 37)
	for i := range partitions {
		partitions[i] = i
	}
	for i := range 10_000 {
		key := strings.Repeat("ä", i%5) + fmt.Sprintf("@user%d:example.org", i)[:i%20]
		want := kafka.Murmur2Balancer{Consistent: true}.Balance(kafka.Message{Key: []byte(key)}, partitions...)
		if got := PartitionOf(key, len(partitions)); got != want {
			t.Fatalf("%q belongs to partition %d, want %d", key, got, want)
		}
	}
}
