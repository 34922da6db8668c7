package stream

// One fetch of one partition.

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
)

// fetched is what a fetch brought.
type fetched struct {
	records []*Record
	next    int64 // where to fetch next; above the records, and above what holds none (control batches, compacted batches)
	end     int64 // the log's end as the broker saw it
	outside bool  // nothing: the offset is not in the log, or the log may be another one
}

// fetch reads records from an offset on, waiting up to Config.FetchWait for the first.
//
// A batch is delivered whole, so the first records may lie below the offset: they are skipped. A batch may also hold no record at all, because compaction
// emptied it or because it is a transaction's mark: then the next offset must still rise, or the same batch would be fetched for ever.
func (c *Cluster) fetch(ctx context.Context, topic string, partition int, offset int64) (fetched, error) {
	res, err := c.fetcher.Fetch(ctx, &kafka.FetchRequest{
		Topic: topic, Partition: partition, Offset: offset,
		MinBytes: 1, MaxBytes: int64(c.cfg.FetchBytes), MaxWait: c.cfg.FetchWait,
	})
	if err == nil {
		err = res.Error
	}
	if errors.Is(err, kafka.OffsetOutOfRange) {
		return fetched{}, fmt.Errorf("%w: %w", errOutside, err)
	}
	if err != nil {
		return fetched{}, c.trueCause(ctx, topic, err)
	}
	f := fetched{next: offset, end: res.HighWatermark}
	for {
		rec, err := res.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil && rec.Offset < offset {
			closeRecord(rec)
			continue
		}
		var r *Record
		if err == nil {
			r, err = c.record(topic, partition, rec)
		}
		if err != nil {
			return fetched{}, fmt.Errorf("read %s, partition %d from offset %d: %w", topic, partition, f.next, err)
		}
		f.records = append(f.records, r)
		f.next = r.Offset + 1
	}
	if len(f.records) == 0 {
		f.next = pastEmpty(res.Records, offset)
	}
	return f, nil
}

// pastEmpty is where to go on after batches without a record at or above offset. The batches come in order, so nothing lies between offset and the
// beginning of the last one, and that one holds nothing at its own beginning. How long it is kafka-go does not tell: one step at a time.
func pastEmpty(r kafka.RecordReader, offset int64) int64 {
	stream, ok := r.(*protocol.RecordStream)
	if !ok || len(stream.Records) == 0 {
		return offset // nothing came: the end of the log
	}
	if last, ok := stream.Records[len(stream.Records)-1].(interface{ Offset() int64 }); ok {
		offset = max(offset, last.Offset())
	}
	return offset + 1
}

// record copies a record out of the buffers of a fetch and gives them back.
func (c *Cluster) record(topic string, partition int, rec *protocol.Record) (*Record, error) {
	defer closeRecord(rec)
	key, err := protocol.ReadAll(rec.Key)
	if err != nil {
		return nil, err
	}
	value, err := protocol.ReadAll(rec.Value)
	if err != nil {
		return nil, err
	}
	r := &Record{Topic: topic, Partition: partition, Offset: rec.Offset, Key: key, Value: value, Headers: rec.Headers, Time: rec.Time}
	if r.Time.UnixMilli() <= 0 {
		r.Time = c.clock.Now()
	}
	return r, nil
}

func closeRecord(rec *protocol.Record) {
	if rec.Key != nil {
		rec.Key.Close()
	}
	if rec.Value != nil {
		rec.Value.Close()
	}
}

// trueCause finds out what is behind an error that says a topic or broker is not known: kafka-go says so whenever it has no view of the cluster, for instance
// because the password is wrong. Only a question for metadata tells.
func (c *Cluster) trueCause(ctx context.Context, topic string, err error) error {
	if isMissing(err) || errors.Is(err, kafka.BrokerNotAvailable) {
		if _, cause := c.topics(ctx, []string{topic}); cause != nil {
			return cause
		}
	}
	return explain(err)
}

// isMissing reports whether an error says that a topic or partition does not exist, be it true or not.
func isMissing(err error) bool {
	return errors.Is(err, ErrMissingTopic) || errors.Is(err, kafka.UnknownTopicOrPartition) ||
		errors.Is(err, protocol.ErrNoTopic) || errors.Is(err, protocol.ErrNoPartition)
}

// size is what a record weighs against the budget of a partition.
func (r *Record) size() int {
	n := len(r.Key) + len(r.Value) + 64
	for _, h := range r.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
