package stream

// The queue of messages for one partition.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
)

const (
	// Kafka's default limit of a batch is 1 MiB and 12 bytes. A larger message goes alone, for topics that take it.
	maxBatchBytes    = 1<<20 - 4096
	maxBatchMessages = 2000
	// How long a broker waits for the other replicas. The loss of one stalls all writes until its session is over (9 s by default). A request that waits for
	// longer is answered once; one that gives up earlier is repeated, and its messages are there twice.
	ackTimeout = 10 * time.Second
	// How long we wait for the broker: it may be frozen.
	produceTimeout = ackTimeout + 2*time.Second
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
	most, failing := maxBatchMessages, false
	for {
		batch := q.batch(most)
		if batch == nil {
			return
		}
		err := q.produce(q.writer.stopped, batch)
		switch {
		case err == nil:
			q.settle(batch, nil)
			most = maxBatchMessages
			if failing {
				q.writer.writes.over()
				pauses.Reset()
				failing = false
			}
		case refused(err) && len(batch) > 1:
			most = len(batch) / 2 // find the one that is to blame: the others are not
		case tooLarge(err):
			q.settle(batch, fmt.Errorf("%w: %d bytes to %s: %w", ErrTooLarge, batch[0].size, q.to.topic, err))
			most = maxBatchMessages
		case hopeless(err):
			q.settle(batch, fmt.Errorf("write to %s, partition %d: %w", q.to.topic, q.to.partition, explain(err)))
		default:
			err = q.writer.cluster.trueCause(q.writer.stopped, q.to.topic, err)
			failing = true
			q.writer.writes.of(fmt.Errorf("%s, partition %d: %w", q.to.topic, q.to.partition, err))
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
	// Client.Produce would tell the broker to wait for half as long as we do.
	ctx, cancel := context.WithTimeout(ctx, produceTimeout)
	defer cancel()
	c := q.writer.cluster
	answer, err := c.transport.RoundTrip(ctx, c.client.Addr, &produce.Request{
		Acks: int16(kafka.RequireAll), Timeout: int32(ackTimeout.Milliseconds()),
		Topics: []produce.RequestTopic{{Topic: q.to.topic, Partitions: []produce.RequestPartition{{
			Partition: int32(q.to.partition),
			RecordSet: protocol.RecordSet{Attributes: protocol.Attributes(q.writer.codec), Records: kafka.NewRecordReader(records...)},
		}}}},
	})
	if err != nil {
		return err
	}
	return produceError(answer.(*produce.Response))
}

// produceError is the answer to a request with one partition.
func produceError(res *produce.Response) error {
	if len(res.Topics) != 1 || len(res.Topics[0].Partitions) != 1 {
		return errors.New("the broker did not answer for the partition")
	}
	p := res.Topics[0].Partitions[0]
	if p.ErrorCode == 0 {
		return nil
	}
	reasons := []string{p.ErrorMessage}
	for _, r := range p.RecordErrors {
		reasons = append(reasons, r.BatchIndexErrorMessage)
	}
	return fmt.Errorf("%w %s", kafka.Error(p.ErrorCode), strings.Join(reasons, " "))
}
