package stream

// Logs as Kafka leaves them: with gaps, without records, compacted.

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawBatch is a record batch as it lies in a log. values may be empty: compaction leaves such batches.
func rawBatch(first int64, control bool, values ...string) []byte {
	var records []byte
	for i, v := range values {
		r := kmsg.Record{OffsetDelta: int32(i), Key: []byte("key!"), Value: []byte(v)}
		r.Length = int32(len(r.AppendTo(nil)) - 1) // its own length is a byte
		records = r.AppendTo(records)
	}
	b := kmsg.RecordBatch{FirstOffset: first, Magic: 2, NumRecords: int32(len(values)), LastOffsetDelta: int32(max(len(values)-1, 0)), Records: records,
		FirstTimestamp: 1000, MaxTimestamp: 1000, ProducerID: 1}
	if control {
		b.Attributes = 0x30
	}
	raw := b.AppendTo(nil)
	b.Length = int32(len(raw) - 12)
	b.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

// answerFetches has a fake broker answer fetches of its partitions with these batches, as far as they end above the offset asked for, up to limit at a time.
func (b *broker) answerFetches(topic string, end int64, limit int, batches ...[]byte) {
	b.fake.ControlKey(int16(kmsg.Fetch), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		ask := req.(*kmsg.FetchRequest)
		var raw []byte
		for n, i := 0, 0; i < len(batches) && n < limit; i++ {
			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(batches[i]); err != nil {
				return nil, err, true
			}
			if batch.FirstOffset+int64(batch.LastOffsetDelta) >= ask.Topics[0].Partitions[0].FetchOffset {
				raw = append(raw, batches[i]...)
				n++
			}
		}
		res := ask.ResponseKind().(*kmsg.FetchResponse)
		part := kmsg.NewFetchResponseTopicPartition()
		part.HighWatermark, part.LastStableOffset, part.RecordBatches = end, end, raw
		res.Topics = []kmsg.FetchResponseTopic{{Topic: topic, Partitions: []kmsg.FetchResponseTopicPartition{part}}}
		return res, nil, true
	})
}

// Batches without records must be passed, wherever they lie and however few a fetch brings.
func TestFetchPassesEmptyBatches(t *testing.T) {
	for _, limit := range []int{1, 2, 100} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			b := newFake(t, nil)
			topic := b.topic("empty", 1, nil)
			long := rawBatch(5, false) // stands for offsets 5 to 24
			long = longer(long, 19)
			b.answerFetches(topic, 50, limit,
				rawBatch(0, false), rawBatch(1, false, "1", "2"), rawBatch(3, true, "control"), rawBatch(4, false, "4"),
				long, rawBatch(25, false), rawBatch(30, false, "30"), rawBatch(48, false), rawBatch(49, true, "control"))
			var values []string
			var offset int64
			for range 200 {
				got, err := b.fetch(t.Context(), topic, 0, offset)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range got.records {
					if v := fmt.Sprint(r.Offset); v != string(r.Value) {
						t.Errorf("offset %s has the value %s", v, r.Value)
					}
					values = append(values, string(r.Value))
				}
				if got.next <= offset && offset < 50 {
					t.Fatalf("no progress at %d", offset)
				}
				if offset = got.next; offset == 50 {
					break
				}
			}
			if want := "1 2 4 30"; strings.Join(values, " ") != want || offset != 50 {
				t.Errorf("read %v up to %d, want %s up to 50", values, offset, want)
			}
		})
	}
}

// longer makes a batch stand for more offsets than it has records.
func longer(raw []byte, delta int32) []byte {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		panic(err)
	}
	b.LastOffsetDelta = delta
	raw = b.AppendTo(nil)
	b.CRC = int32(crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b.AppendTo(nil)
}

// A batch that is damaged is neither skipped nor asked for without a pause, and what lies before it is read.
func TestFetchOfDamagedBatch(t *testing.T) {
	b := newFake(t, nil)
	topic := b.topic("damaged", 1, nil)
	b.write(numbered(topic, 0, 0, 3)...) // so that offset 0 is in the log
	damaged := rawBatch(2, false, "2")
	damaged[len(damaged)-1]++
	b.answerFetches(topic, 3, 100, rawBatch(0, false, "0", "1"), damaged)
	asked := b.countFetches()
	done := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: done.do}})
	eventually(t, "what is whole", func() bool { return done.len() == 2 })
	time.Sleep(500 * time.Millisecond) // fetches are counted over a time
	if n := asked(); n > 20 {
		t.Errorf("%d fetches in half a second", n)
	}
	if p := c.Progress()[0]; p.Position != 2 {
		t.Errorf("position %d, want 2: the damaged batch is not to be skipped", p.Position)
	}
	wantNumbers(t, done.all(), 0, 2)
}

func (b *broker) countFetches() func() int {
	n := make(chan int, 1)
	n <- 0
	b.fake.ControlKey(int16(kmsg.Fetch), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.fake.KeepControl()
		n <- <-n + 1
		return nil, nil, false
	})
	return func() int { v := <-n; n <- v; return v }
}

// A compacted topic is read to its end, with its tombstones, whatever compaction left of its batches. On a real broker it leaves empty ones, because the
// producers are idempotent.
func TestReadsCompactedTopic(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic("compacted", 1, map[string]string{"cleanup.policy": "compact", "segment.ms": "300", "min.cleanable.dirty.ratio": "0.01", "delete.retention.ms": "3600000"})
	const rounds, keys = 10, 20
	for round := range rounds {
		client, err := kgo.NewClient(kgo.SeedBrokers(b.cfg.Brokers...), kgo.DefaultProduceTopic(topic))
		if err != nil {
			t.Fatal(err)
		}
		for k := range keys {
			r := &kgo.Record{Key: fmt.Append(nil, k), Value: fmt.Append(nil, round)}
			if round == rounds-1 && k%5 == 0 {
				r.Value = nil
			}
			if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		client.Close()
	}
	time.Sleep(400 * time.Millisecond) // the segment's age
	last := Message{Topic: topic, Key: []byte("last"), Value: []byte("x")}
	b.write(last)
	eventually(t, "compaction", func() bool {
		if b.fake != nil {
			b.fake.Compact()
		}
		return len(b.readAll(topic)) < rounds*keys/2
	})
	latest := map[string]string{}
	done := make(chan struct{})
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{take: func(_ context.Context, batch []*Record) ([]Task, error) {
		for _, r := range batch {
			latest[string(r.Key)] = string(r.Value)
			if r.Value == nil {
				latest[string(r.Key)] = "removed"
			}
			if string(r.Key) == "last" {
				close(done)
			}
		}
		return nil, nil
	}}})
	<-done
	eventually(t, "the end", func() bool { return idle(c) })
	c.stop()
	for k := range keys {
		want := fmt.Sprint(rounds - 1)
		if k%5 == 0 {
			want = "removed"
		}
		if got := latest[fmt.Sprint(k)]; got != want {
			t.Errorf("key %d is %q, want %q", k, got, want)
		}
	}
}

// Partitions where nothing happens cost next to nothing.
func TestIdlePartitionsAreCheap(t *testing.T) {
	b := newBroker(t, func(c *Config) { c.FetchWait, c.CommitInterval = 500*time.Millisecond, time.Second })
	topic := b.topic("idle", 50, nil)
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{}})
	eventually(t, "ready", c.Ready)
	time.Sleep(300 * time.Millisecond) // for the beginning to be over
	before := cpu(t)
	time.Sleep(time.Second) // what it costs is measured over a time
	// A fake broker runs in this process, and the race detector is slow. Spinning would cost a whole second and more.
	if used := cpu(t) - before; used > 400*time.Millisecond {
		t.Errorf("50 idle partitions cost %v of CPU a second", used)
	}
	if n := runtime.NumGoroutine(); n > 1000 {
		t.Errorf("%d goroutines", n)
	}
}

// cpu is what this process has used.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestRecordTime(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("time", 1, nil)
	before := time.Now().Add(-time.Second)
	b.write(Message{Topic: topic, Value: []byte("now")})
	if r := b.readAll(topic)[0]; r.Time.Before(before) || r.Time.After(time.Now().Add(time.Second)) {
		t.Errorf("a message without a time has %v", r.Time)
	}
}

func TestFetchOutside(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("outside", 1, nil)
	b.write(numbered(topic, 0, 0, 3)...)
	if _, err := b.fetch(t.Context(), topic, 0, 4); !errors.Is(err, errOutside) {
		t.Errorf("got %v, want that the offset is outside of the log", err)
	}
	if got, err := b.fetch(t.Context(), topic, 0, 3); err != nil || len(got.records) != 0 || got.next != 3 || got.end != 3 {
		t.Errorf("at the end: %+v, %v", got, err)
	}
	if _, err := b.fetch(t.Context(), "absent", 0, 0); !errors.Is(err, ErrMissingTopic) {
		t.Errorf("got %v, want that the topic is missing", err)
	}
}
