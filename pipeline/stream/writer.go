package stream

// Writing: messages are acknowledged by all replicas, or their writer hears why not.

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/segmentio/kafka-go"
)

// WriterConfig says how a writer writes. The zero value is right for all but special cases.
type WriterConfig struct {
	Compression string // as [Config.Compression], which is used if it is empty
}

// Writer writes messages. It is safe for concurrent use; sharing one gives the largest batches.
//
// Each partition has a queue, and one request is under way for it at a time: what comes meanwhile is the next batch. So a batch needs no time to wait for, order
// within a partition survives every retry, and many concurrent callers share a request. (kafka-go's own Writer waits for its batches to fill, lets
// the next batch overtake one that failed, gives passing errors to the caller, and can't be told to stop trying.)
type Writer struct {
	cluster *Cluster
	codec   kafka.Compression
	routes  *complaint
	writes  *complaint
	stop    context.CancelFunc
	stopped context.Context

	mu     sync.Mutex
	queues map[topicPartition]*writeQueue
	wg     sync.WaitGroup
}

type topicPartition struct {
	topic     string
	partition int
}

// codecs are the values of Config.Compression.
var codecs = map[string]kafka.Compression{
	"": 0, "none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd,
}

var errWriterClosed = errors.New("the writer is closed")

// NewWriter returns a writer.
func (c *Cluster) NewWriter(cfg WriterConfig) *Writer {
	if cfg.Compression == "" {
		cfg.Compression = c.cfg.Compression
	}
	w := &Writer{
		cluster: c, codec: codecs[cfg.Compression], queues: map[topicPartition]*writeQueue{},
		routes: &complaint{log: c.log, what: "find the topic to write to", patience: networkPatience},
		writes: &complaint{log: c.log, what: "write to Kafka", patience: networkPatience},
	}
	w.stopped, w.stop = context.WithCancel(context.Background())
	return w
}

// Close gives up what is not written yet and waits until nothing is under way. Call it when all Write calls have returned.
func (w *Writer) Close() {
	w.stop()
	w.wg.Wait()
}

// Write writes messages and returns nil when all replicas that are in sync have each of them. Messages of one partition keep their order.
//
// What passes is waited for and tried again until ctx ends: brokers that are away, partitions without a leader, a topic that is missing. Then, and after an error
// that can't pass, some of the messages may have been written and others not; writing them again may repeat some. An error that wraps
// [ErrTooLarge] is of a single message that its topic refuses; the others of the call are written. The messages must not be changed
// before Write has returned, nor after it if its context ended.
func (w *Writer) Write(ctx context.Context, msgs ...Message) error {
	if len(msgs) == 0 {
		return nil
	}
	call := &writeCall{ctx: ctx, left: len(msgs), done: make(chan struct{})}
	routed := map[topicPartition][]*pendingWrite{}
	for i := range msgs {
		partition, err := w.route(ctx, &msgs[i])
		if err != nil {
			return err
		}
		to := topicPartition{msgs[i].Topic, partition}
		routed[to] = append(routed[to], &pendingWrite{msg: &msgs[i], size: msgs[i].size(), call: call})
	}
	if !w.enqueue(routed) {
		return errWriterClosed
	}
	select {
	case <-call.done:
		return call.err
	case <-ctx.Done():
		return call.calledOff()
	case <-w.stopped.Done():
		return errWriterClosed
	}
}

// route chooses the partition of a message, waiting for its topic to be known.
func (w *Writer) route(ctx context.Context, m *Message) (partition int, err error) {
	if m.Partition >= 0 {
		return m.Partition, nil
	}
	var partitions int
	var last error
	if !persist(ctx, w.routes, func() error {
		topics, err := w.cluster.topics(ctx, []string{m.Topic})
		if err != nil {
			last = err
			return err
		}
		partitions = topics[m.Topic].Partitions
		return nil
	}) {
		return 0, errors.Join(context.Cause(ctx), last)
	}
	if m.Key == nil {
		return rand.IntN(partitions), nil
	}
	return PartitionOf(string(m.Key), partitions), nil
}

// enqueue queues messages and sees to it that their queues are served; false if the writer is closed.
func (w *Writer) enqueue(routed map[topicPartition][]*pendingWrite) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped.Err() != nil {
		return false
	}
	for to, writes := range routed {
		q := w.queues[to]
		if q == nil {
			q = &writeQueue{writer: w, to: to}
			w.queues[to] = q
			w.wg.Go(q.serve)
		}
		q.waiting = append(q.waiting, writes...)
	}
	return true
}

// writeCall is a call of Write that waits.
type writeCall struct {
	ctx  context.Context
	done chan struct{}

	mu   sync.Mutex
	left int
	err  error // joined, of the messages that failed
	last error // why it takes so long
}

func (c *writeCall) settle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.err = errors.Join(c.err, err)
	}
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

func (c *writeCall) delayed(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = err
}

func (c *writeCall) calledOff() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil {
		return context.Cause(c.ctx)
	}
	return fmt.Errorf("%w; before that: %w", context.Cause(c.ctx), c.last)
}

// size is what a message weighs in a batch, at most.
func (m *Message) size() int {
	n := len(m.Key) + len(m.Value) + 32
	for _, h := range m.Headers {
		n += len(h.Key) + len(h.Value) + 8
	}
	return n
}
