package stream

import (
	"context"
	"sync"
	"testing"

	"github.com/segmentio/kafka-go"
)

// tail runs a tail until the test ends.
func (b *broker) tail(cfg TailConfig) (*Tail, *seen) {
	b.t.Helper()
	s := &seen{}
	cfg.Record = func(r *Record) { s.do(context.Background(), "", []Task{{Record: r}}) }
	tail := b.NewTail(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { tail.Run(ctx) })
	b.t.Cleanup(func() { cancel(); wg.Wait() })
	eventually(b.t, "the tail knows where it begins", tail.Ready)
	return tail, s
}

func TestTail(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic("tail", 2, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	tail, news := b.tail(TailConfig{Topic: topic})
	_, some := b.tail(TailConfig{Topic: topic, From: map[int]int64{0: 7}})
	b.write(numbered(topic, 0, 10, 15)...)
	eventually(t, "the news", func() bool { return news.len() == 5 && some.len() == 8 })
	wantNumbers(t, news.all(), 10, 15)
	wantNumbers(t, some.all(), 7, 15)
	for i, want := range []int64{15, 0} {
		if p := tail.Progress()[i]; p.Partition != i || p.Position != want || p.Watermark != want || p.End != want || p.Group != "" || p.Topic != topic {
			t.Errorf("progress is %+v, want %d everywhere", p, want)
		}
	}
	// A new partition is read from its beginning.
	if _, err := b.client.CreatePartitions(t.Context(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 3}}}); err != nil {
		t.Fatal(err)
	}
	b.write(numbered(topic, 2, 15, 20)...)
	eventually(t, "the new partition", func() bool { return news.len() == 10 })
	wantNumbers(t, news.all(), 10, 20)
}

func TestTailOfTopicMadeAnew(t *testing.T) {
	b := newFake(t, nil)
	topic := b.topic("tail", 1, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	_, news := b.tail(TailConfig{Topic: topic})
	b.remake(topic)
	b.write(numbered(topic, 0, 10, 13)...)
	eventually(t, "the new log", func() bool { return news.len() == 3 })
	wantNumbers(t, news.all(), 10, 13)
}
