package stream

// Reading what a topic has, once, without a group: for commands that look at records.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

// ScanConfig says what a scan reads.
type ScanConfig struct {
	Topic string
	// Since and Until bound the records by Kafka time; zero: they don't. Where times don't rise with the offsets, a few records outside of the bounds come too,
	// and between the first and the last within them none is missing.
	Since, Until time.Time
	// From is where to begin, by partition, where that is later than Since. Optional.
	From map[int]int64
	// Record is called with each record, one at a time: those of a partition in order, the oldest first among partitions. An error ends the scan. [Record.Generation] and
	// [Record.Incarnation] are 0.
	Record func(*Record) error
	// Progress is called before the first record and after each fetch. Optional.
	Progress func(ScanProgress)
}

// ScanProgress is how far a scan has come.
type ScanProgress struct {
	Offsets, Total   int64 // passed and to be passed: at least as many as there are records
	Done, Partitions int   // partitions read to their end, and all
}

// stretch is the rest of a partition that a scan reads.
type stretch struct {
	partition   int
	first, next int64 // next is the offset to be fetched next
	end         int64
	fetched     []*Record // not handed out yet
}

// Scan reads each partition up to where it ends when the scan begins. It waits no longer for brokers than they take to settle.
func (c *Cluster) Scan(ctx context.Context, cfg ScanConfig) error {
	parts, err := c.stretches(ctx, cfg)
	if err != nil {
		return err
	}
	report := func() {
		if cfg.Progress == nil {
			return
		}
		p := ScanProgress{Partitions: len(parts)}
		for _, s := range parts {
			p.Total += s.end - s.first
			p.Offsets += min(s.next, s.end) - s.first - int64(len(s.fetched))
			if len(s.fetched) == 0 && s.next >= s.end {
				p.Done++
			}
		}
		cfg.Progress(p)
	}
	report()
	for {
		var oldest *stretch
		for _, s := range parts {
			if len(s.fetched) == 0 && s.next < s.end {
				if err := c.refill(ctx, cfg.Topic, s); err != nil {
					return err
				}
				report()
			}
			if len(s.fetched) > 0 && (oldest == nil || s.fetched[0].Time.Before(oldest.fetched[0].Time)) {
				oldest = s
			}
		}
		if oldest == nil {
			report()
			return nil
		}
		rec := oldest.fetched[0]
		oldest.fetched = oldest.fetched[1:]
		if err := cfg.Record(rec); err != nil {
			return err
		}
	}
}

// stretches finds out what there is to be read.
func (c *Cluster) stretches(ctx context.Context, cfg ScanConfig) ([]*stretch, error) {
	bounds, err := c.Bounds(ctx, cfg.Topic)
	if err != nil {
		return nil, err
	}
	var since, until map[int]int64
	if !cfg.Since.IsZero() {
		if since, err = c.OffsetsAt(ctx, cfg.Topic, cfg.Since); err != nil {
			return nil, err
		}
	}
	if !cfg.Until.IsZero() {
		if until, err = c.OffsetsAt(ctx, cfg.Topic, cfg.Until); err != nil {
			return nil, err
		}
	}
	parts := make([]*stretch, len(bounds))
	for p := range parts {
		b := bounds[p]
		s := &stretch{partition: p, first: max(b.First, since[p], cfg.From[p]), end: b.End}
		if until != nil {
			s.end = min(s.end, until[p])
		}
		s.first = min(s.first, s.end)
		s.next = s.first
		parts[p] = s
	}
	return parts, nil
}

// refill fetches until there is a record, or none is left.
func (c *Cluster) refill(ctx context.Context, topic string, s *stretch) error {
	for len(s.fetched) == 0 && s.next < s.end {
		var got fetched
		err := insist(ctx, func() (err error) {
			got, err = c.fetch(ctx, topic, s.partition, s.next)
			if !errors.Is(err, errOutside) {
				return err
			}
			found, err := c.bounds(ctx, topic, []int{s.partition}) // retention overtook us, or the log is another one
			if first := found[s.partition].First; err == nil && first > s.next {
				got = fetched{next: first}
			} else if err == nil {
				got = fetched{next: s.end}
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("read %s, partition %d: %w", topic, s.partition, err)
		}
		s.next = got.next
		for _, rec := range got.records {
			if rec.Offset < s.end {
				s.fetched = append(s.fetched, rec)
			}
		}
	}
	return nil
}

// insist calls f until it succeeds, fails for good, or has failed for as long as brokers take to settle.
func insist(ctx context.Context, f func() error) error {
	pauses := newPauses()
	for deadline := time.Now().Add(settling); ; {
		err := f()
		if err == nil || hopeless(err) || errors.Is(err, ErrMissingTopic) || errors.Is(err, ErrInUse) || errors.Is(err, kafka.GroupAuthorizationFailed) || time.Now().After(deadline) || !sleep(ctx, pauses.NextBackOff()) {
			return err
		}
	}
}

// RecordAt reads the record at one offset; nil if there is none (any more).
func (c *Cluster) RecordAt(ctx context.Context, topic string, partition int, offset int64) (*Record, error) {
	bounds, err := c.Bounds(ctx, topic)
	if err != nil {
		return nil, err
	}
	b, ok := bounds[partition]
	if !ok || offset < b.First || offset >= b.End {
		return nil, nil
	}
	s := &stretch{partition: partition, next: offset, end: offset + 1}
	if err := c.refill(ctx, topic, s); err != nil || len(s.fetched) == 0 {
		return nil, err
	}
	return s.fetched[0], nil
}

// TimeAt is the time of the first record at or above an offset; zero if there is none.
func (c *Cluster) TimeAt(ctx context.Context, topic string, partition int, offset int64) (at time.Time, err error) {
	err = insist(ctx, func() (err error) {
		at, err = c.timeAt(ctx, topic, partition, offset)
		return err
	})
	return at, err
}

// OffsetsAt is, for each partition of a topic, the offset of the first record whose Kafka time is not before at; the log's end where there is none.
func (c *Cluster) OffsetsAt(ctx context.Context, topic string, at time.Time) (map[int]int64, error) {
	bounds, err := c.Bounds(ctx, topic)
	if err != nil {
		return nil, err
	}
	found := make(map[int]int64, len(bounds))
	for some := range slices.Chunk(slices.Collect(maps.Keys(bounds)), boundsAtOnce) {
		if err := insist(ctx, func() error { return c.offsetsAt(ctx, topic, some, at, found) }); err != nil {
			return nil, fmt.Errorf("ask for the offsets of %s at %v: %w", topic, at, explain(err))
		}
	}
	for p, offset := range found {
		if offset < 0 {
			found[p] = bounds[p].End
		}
	}
	return found, nil
}

// offsetsAt asks for some partitions; -1 is the answer of one without such a record.
func (c *Cluster) offsetsAt(ctx context.Context, topic string, partitions []int, at time.Time, found map[int]int64) error {
	var requests []kafka.OffsetRequest
	for _, p := range partitions {
		requests = append(requests, kafka.OffsetRequest{Partition: p, Timestamp: max(at.UnixMilli(), 0)}) // below 0 a time has other meanings
	}
	res, err := c.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
	if err != nil {
		return err
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return fmt.Errorf("partition %d: %w", p.Partition, p.Error)
		}
		for offset := range p.Offsets {
			found[p.Partition] = offset
		}
	}
	for _, p := range partitions {
		if _, ok := found[p]; !ok {
			return fmt.Errorf("partition %d: no answer", p)
		}
	}
	return nil
}
