package stream

// Offsets: the bounds of a log, what a group has committed, and where to go on from there.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/segmentio/kafka-go"
)

// Bounds are the ends of a partition's log.
type Bounds struct {
	First int64 // the oldest offset that is kept
	End   int64 // the offset that the next record will have
}

// A partition that was made a moment ago, or whose leader has just moved, is settled after so long. One that lost its leader's broker takes its session, 9 s.
const settling = 15 * time.Second

// Bounds tells the bounds of each partition of a topic. It waits for partitions whose leader is being settled.
func (c *Cluster) Bounds(ctx context.Context, topic string) (map[int]Bounds, error) {
	for deadline := time.Now().Add(settling); ; {
		found, err := c.boundsNow(ctx, topic)
		if err == nil || hopeless(err) || errors.Is(err, ErrMissingTopic) || time.Now().After(deadline) || !sleep(ctx, metadataTTL/4) {
			return found, err
		}
	}
}

func (c *Cluster) boundsNow(ctx context.Context, topic string) (map[int]Bounds, error) {
	topics, err := c.Topics(ctx, topic)
	if err != nil {
		return nil, err
	}
	partitions := make([]int, topics[topic].Partitions)
	for i := range partitions {
		partitions[i] = i
	}
	return c.bounds(ctx, topic, partitions)
}

// kafka-go makes two requests of each partition's bounds, each on a connection of its own: so many partitions at a time.
const boundsAtOnce = 8

func (c *Cluster) bounds(ctx context.Context, topic string, partitions []int) (map[int]Bounds, error) {
	found := make(map[int]Bounds, len(partitions))
	for len(partitions) > 0 {
		some := partitions[:min(len(partitions), boundsAtOnce)]
		partitions = partitions[len(some):]
		var requests []kafka.OffsetRequest
		for _, p := range some {
			requests = append(requests, kafka.FirstOffsetOf(p), kafka.LastOffsetOf(p))
		}
		var res *kafka.ListOffsetsResponse
		err := c.admin(ctx, func(ctx context.Context) (err error) {
			res, err = c.client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{topic: requests}})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("ask for the bounds of %s: %w", topic, explain(err))
		}
		for _, p := range res.Topics[topic] {
			if p.Error != nil {
				return nil, fmt.Errorf("ask for the bounds of %s, partition %d: %w", topic, p.Partition, explain(p.Error))
			}
			found[p.Partition] = Bounds{First: p.FirstOffset, End: p.LastOffset}
		}
		for _, p := range some {
			if b, ok := found[p]; !ok || b.First < 0 || b.End < b.First {
				return nil, fmt.Errorf("ask for the bounds of %s, partition %d: no usable answer", topic, p)
			}
		}
	}
	return found, nil
}

// Committed is what a group has committed of a topic, by partition; partitions without a commit are left out.
func (c *Cluster) Committed(ctx context.Context, group, topic string) (map[int]Mark, error) {
	topics, err := c.Topics(ctx, topic)
	if err != nil {
		return nil, err
	}
	partitions := make([]int, topics[topic].Partitions)
	for i := range partitions {
		partitions[i] = i
	}
	commits, err := c.commits(ctx, group, topic, partitions)
	if errors.Is(err, kafka.GroupIdNotFound) { // some brokers say so, others that it has committed nothing
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	marks := map[int]Mark{}
	for p, commit := range commits {
		if commit.offset >= 0 {
			marks[p] = Mark{Incarnation: commit.note.incarnation, Offset: commit.offset, Memory: commit.note.memory}
		}
	}
	return marks, nil
}

// commit is what a group has committed of a partition.
type commit struct {
	offset  int64 // all lower offsets are done; -1 if nothing was committed
	note    note
	suspect bool // the topic was missing since: even an offset inside of the log may be of another one
}

// note is what a commit remembers beside the offset, in its metadata.
type note struct {
	incarnation int64     // see [Record.Incarnation]
	time        time.Time // Kafka time of the newest record that was done, at most that of the commit itself; zero if unknown
	memory      string    // where the handler saved what it did; "" if unknown
	safe        int64     // below it nothing of that can be lost; says nothing if the memory is unknown
}

func (n note) String() string {
	s := fmt.Sprintf("tocsin incarnation=%d time=%d", n.incarnation, n.time.UnixMilli())
	if n.memory != "" {
		s += fmt.Sprintf(" safe=%d memory=%s", n.safe, n.memory)
	}
	return s
}

// milliseconds is a time as Kafka keeps it.
func milliseconds(t time.Time) time.Time { return time.UnixMilli(t.UnixMilli()) }

// parseNote reads what another tool may have written: then nothing is known.
func parseNote(s string) note {
	var incarnation, ms int64
	if n, err := fmt.Sscanf(s, "tocsin incarnation=%d time=%d", &incarnation, &ms); n != 2 || err != nil {
		return note{}
	}
	n := note{incarnation: incarnation, time: time.UnixMilli(ms)}
	if fields := strings.Fields(s); len(fields) >= 5 {
		safe, err := strconv.ParseInt(strings.TrimPrefix(fields[3], "safe="), 10, 64)
		if memory, ok := strings.CutPrefix(fields[4], "memory="); ok && err == nil {
			n.safe, n.memory = safe, memory
		}
	}
	return n
}

// commits asks the group's coordinator.
func (c *Cluster) commits(ctx context.Context, group, topic string, partitions []int) (map[int]commit, error) {
	found := make(map[int]commit, len(partitions))
	if len(partitions) == 0 {
		return found, nil
	}
	var res *kafka.OffsetFetchResponse
	err := c.admin(ctx, func(ctx context.Context) (err error) {
		res, err = c.client.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: group, Topics: map[string][]int{topic: partitions}})
		if err == nil {
			err = res.Error
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the offsets of group %s: %w", group, explain(err))
	}
	for _, p := range res.Topics[topic] {
		if p.Error != nil {
			return nil, fmt.Errorf("ask for the offsets of group %s, partition %d of %s: %w", group, p.Partition, topic, explain(p.Error))
		}
		found[p.Partition] = commit{offset: p.CommittedOffset, note: parseNote(p.Metadata)}
	}
	for _, p := range partitions {
		if _, ok := found[p]; !ok {
			return nil, fmt.Errorf("ask for the offsets of group %s, partition %d of %s: no answer", group, p, topic)
		}
	}
	return found, nil
}

// resumption is where to go on in a partition, and why there.
type resumption struct {
	offset      int64
	incarnation int64
	verdict     verdict
	gap         int64 // records that were deleted before they could be read
	bounds      Bounds
}

type verdict string

const (
	goesOn  verdict = ""                                    // the committed offset is in the log
	isFresh verdict = "nothing was committed"               // from the first offset
	hasGap  verdict = "records were deleted unread"         // from the first offset that is left
	wasMade verdict = "the topic was made anew"             // from the first offset of the new log
	wasCut  verdict = "the log lost records that were done" // from its end
)

// resume decides where to go on. first is the time of the record at b.First, zero if there is none.
//
// Offsets above the end mean that offsets are given out a second time, so the incarnation rises: never can a record of the new numbering be
// taken for one that is done. It is a time (milliseconds), so that it also rises when Kafka has dropped the commits along with the topic.
func resume(c commit, b Bounds, first, now time.Time) resumption {
	at := resumption{offset: c.offset, incarnation: c.note.incarnation, bounds: b}
	anew := first.IsZero() || !first.Before(c.note.time) // the log begins after the newest record that was done
	switch {
	case c.offset < 0:
		at.offset, at.verdict = b.First, isFresh
	case c.offset > b.End && anew, c.suspect && c.offset > b.First && first.After(c.note.time):
		at.offset, at.verdict = b.First, wasMade
	case c.offset > b.End:
		at.offset, at.verdict = b.End, wasCut
	case c.offset < b.First:
		at.offset, at.verdict, at.gap = b.First, hasGap, b.First-c.offset
	}
	if at.verdict == isFresh || at.verdict == wasMade || at.verdict == wasCut {
		at.incarnation = max(c.note.incarnation+1, now.UnixMilli())
	}
	return at
}

// locate finds where to go on in a partition. An answer that the offset lies above the end must be given twice: right after a leader was lost,
// a broker may not yet know how far the log goes.
func (c *Cluster) locate(ctx context.Context, topic string, partition int, committed commit) (resumption, error) {
	for again := false; ; again = true {
		found, err := c.bounds(ctx, topic, []int{partition})
		if err != nil {
			return resumption{}, err
		}
		b := found[partition]
		if committed.offset <= b.End || again {
			var first time.Time
			if (committed.offset > b.End || committed.suspect) && b.End > b.First {
				if first, err = c.timeAt(ctx, topic, partition, b.First); err != nil {
					return resumption{}, err
				}
			}
			return resume(committed, b, first, c.clock.Now()), nil
		}
		if !sleep(ctx, metadataTTL) {
			return resumption{}, ctx.Err()
		}
	}
}

// timeAt is the time of the first record at or above an offset; zero if there is none.
func (c *Cluster) timeAt(ctx context.Context, topic string, partition int, offset int64) (time.Time, error) {
	f, err := c.fetch(ctx, topic, partition, offset)
	if err != nil || len(f.records) == 0 {
		return time.Time{}, err
	}
	return f.records[0].Time, nil
}

// errOutside is wrapped by the error of a fetch at an offset that the log does not have.
var errOutside = errors.New("the offset is outside of the log")
