package stream

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

const benchValue = 1100 // bytes, as a room event has

// benchBroker is newBroker for benchmarks, with a silent log.
func benchBroker(b *testing.B) (*Cluster, string) {
	b.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(8, "bench"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(fake.Close)
	cfg := Defaults()
	cfg.Brokers, cfg.Compression, cfg.Log = fake.ListenAddrs(), "none", slog.New(slog.DiscardHandler)
	c, err := Connect(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c, "bench"
}

// BenchmarkConsume reads messages of 200 lanes from 8 partitions and does nothing with them: what the way costs.
func BenchmarkConsume(b *testing.B) {
	c, topic := benchBroker(b)
	w := c.NewWriter(WriterConfig{})
	defer w.Close()
	value := bytes.Repeat([]byte("x"), benchValue)
	for n := 0; n < b.N; n += 5000 {
		var msgs []Message
		for i := range min(5000, b.N-n) {
			msgs = append(msgs, Message{Topic: topic, Partition: AnyPartition, Key: fmt.Append(nil, i%200), Value: value})
		}
		if err := w.Write(b.Context(), msgs...); err != nil {
			b.Fatal(err)
		}
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	consumer, err := c.NewConsumer(ConsumerConfig{Group: "g", Topic: topic, Workers: 64, Handler: work{do: func(_ context.Context, _ string, tasks []Task) error {
		if left.Add(-int64(len(tasks))) == 0 {
			close(done)
		}
		return nil
	}}})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	b.SetBytes(benchValue)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	wg.Go(func() { consumer.Run(ctx, b.Context()) })
	<-done
	b.StopTimer()
	cancel()
	wg.Wait()
}

// BenchmarkWrite has so many callers write one message, or a batch, at a time.
func BenchmarkWrite(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("callers=%d/batch=%d", callers, batch), func(b *testing.B) {
				c, topic := benchBroker(b)
				w := c.NewWriter(WriterConfig{})
				defer w.Close()
				value := bytes.Repeat([]byte("x"), benchValue)
				var left atomic.Int64
				left.Store(int64(b.N))
				b.SetBytes(benchValue)
				b.ReportAllocs()
				b.ResetTimer()
				var wg sync.WaitGroup
				for caller := range callers {
					wg.Go(func() {
						key := fmt.Append(nil, caller)
						for {
							n := min(int64(batch), left.Add(-int64(batch))+int64(batch))
							if n <= 0 {
								return
							}
							msgs := make([]Message, n)
							for i := range msgs {
								msgs[i] = Message{Topic: topic, Partition: i % 8, Key: key, Value: value}
								if batch == 1 {
									msgs[i].Partition = caller % 8
								}
							}
							if err := w.Write(b.Context(), msgs...); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
			})
		}
	}
}
