package stream

// The queue of messages for one partition.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	// Kafka's default limit of a batch is 1 MiB and 12 bytes. A larger message goes alone, for topics that take it.
	maxBatchBytes    = 1<<20 - 4096
	maxBatchMessages = 2000
	// The loss of a broker stalls all writes until its session is over (9 s by default). A request that waits for longer than that is answered once; one that
	// gives up earlier is repeated, and its messages are written twice.
	produceTimeout = 12 * time.Second
)

// writeQueue is served by one goroutine while it has messages.
type writeQueue struct {
	writer  *Writer
	to      topicPartition
	waiting []*pendingWrite // guarded by Writer.mu
}

// pendingWrite is a message of a call.
type pendingWrite struct {
	msg  *Message
	size int
	call *writeCall
}

// serve writes batch after batch until none is left.
func (q *writeQueue) serve() {
	pauses := newPauses()
	most := maxBatchMessages
	for {
		batch := q.batch(most)
		if batch == nil {
			return
		}
		err := q.produce(q.writer.stopped, batch)
		switch {
		case err == nil:
			q.settle(batch, nil)
			pauses.Reset()
			most = maxBatchMessages
		case refused(err) && len(batch) > 1:
			most = len(batch) / 2 // find the one that is to blame: the others are not
		case tooLarge(err):
			q.settle(batch, fmt.Errorf("%w: %d bytes to %s: %w", ErrTooLarge, batch[0].size, q.to.topic, err))
			most = maxBatchMessages
		case hopeless(err):
			q.settle(batch, fmt.Errorf("write to %s, partition %d: %w", q.to.topic, q.to.partition, explain(err)))
		default:
			err = q.writer.cluster.trueCause(q.writer.stopped, q.to.topic, err)
			q.writer.report.of(fmt.Errorf("%s, partition %d: %w", q.to.topic, q.to.partition, err))
			for _, p := range batch {
				p.call.delayed(err)
			}
			sleep(q.writer.stopped, pauses.NextBackOff())
		}
	}
}

// batch is what is to be written next; nil when the queue is empty, which ends it. Messages whose callers have gone are dropped.
func (q *writeQueue) batch(most int) []*pendingWrite {
	w := q.writer
	w.mu.Lock()
	defer w.mu.Unlock()
	kept, bytes := 0, 0
	var batch []*pendingWrite
	for i, p := range q.waiting {
		if p.call.ctx.Err() != nil {
			continue
		}
		if len(batch) == most || len(batch) > 0 && bytes+p.size > maxBatchBytes {
			kept += copy(q.waiting[kept:], q.waiting[i:])
			break
		}
		batch = append(batch, p)
		bytes += p.size
		q.waiting[kept] = p
		kept++
	}
	clear(q.waiting[kept:])
	q.waiting = q.waiting[:kept]
	if len(batch) == 0 || w.stopped.Err() != nil {
		delete(w.queues, q.to)
		return nil
	}
	return batch
}

// settle takes a batch off the queue.
func (q *writeQueue) settle(batch []*pendingWrite, err error) {
	q.writer.mu.Lock()
	q.waiting = q.waiting[len(batch):]
	q.writer.mu.Unlock()
	for _, p := range batch {
		p.call.settle(err)
	}
}

// produce makes one request.
func (q *writeQueue) produce(ctx context.Context, batch []*pendingWrite) error {
	now := q.writer.cluster.clock.Now()
	records := make([]kafka.Record, len(batch))
	for i, p := range batch {
		m := p.msg
		records[i] = kafka.Record{Time: m.Time, Headers: m.Headers}
		if m.Time.IsZero() {
			records[i].Time = now
		}
		if m.Key != nil {
			records[i].Key = kafka.NewBytes(m.Key)
		}
		if m.Value != nil {
			records[i].Value = kafka.NewBytes(m.Value)
		}
	}
	res, err := q.writer.cluster.producer.Produce(ctx, &kafka.ProduceRequest{
		Topic: q.to.topic, Partition: q.to.partition, RequiredAcks: kafka.RequireAll,
		Compression: q.writer.codec, Records: kafka.NewRecordReader(records...),
	})
	if err != nil {
		return err
	}
	if res.Error != nil && len(res.RecordErrors) > 0 {
		var reasons []error
		for i, reason := range res.RecordErrors {
			reasons = append(reasons, fmt.Errorf("message %d: %w", i, reason))
		}
		return errors.Join(append([]error{res.Error}, reasons...)...)
	}
	return res.Error
}
