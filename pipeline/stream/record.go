package stream

// Records, and what a stage does with them.

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"
)

// Header is one header of a record.
type Header = kafka.Header

// Record is one record of a partition, as it was read.
type Record struct {
	Topic       string
	Partition   int
	Offset      int64
	Key         []byte // nil if the record has none
	Value       []byte // nil for a tombstone; empty, not nil, for a value of no bytes
	Headers     []Header
	Time        time.Time // as the producer wrote it; [Config.Clock]'s present if it wrote none
	Generation  int64     // counts up in this process with each new assignment: what was cached in an earlier one must be checked
	Incarnation int64     // of the offsets' numbering: rises when offsets are given out a second time (the topic was made anew, or its log was cut), or may have been (nothing was committed). Milliseconds of some past moment, never 0 in a Consumer on a real clock
	// Again says that the record was done before and is read once more, because what its handling saved may be lost: the handler saves it again, and tells nobody a second time.
	Again bool
}

// Header is the value of the last header of that name, and whether there is one.
func (r *Record) Header(name string) (string, bool) {
	for i := len(r.Headers) - 1; i >= 0; i-- {
		if r.Headers[i].Key == name {
			return string(r.Headers[i].Value), true
		}
	}
	return "", false
}

// Task is a piece of a record's work that belongs to one lane. The tasks of a lane are done in order, one after another; those of
// different lanes side by side.
type Task struct {
	Lane   string
	Record *Record
	Work   any // the stage's own
}

// Handler is a stage's work. Both methods may be called from many goroutines at once, within the limits stated.
//
// An error of either means that nothing is lost and the call is to be made again: a server is away, not a record is bad (that goes to the dead
// letter, and the way continues). The exception is an error that wraps [ErrStop].
type Handler interface {
	// Take is called with the records of one partition in offset order, as many as are at hand. Calls for one partition never overlap.
	// A record is done when Take has returned and all its tasks are done; without a task, at once.
	Take(ctx context.Context, batch []*Record) ([]Task, error)
	// Do does the waiting tasks of one lane, oldest first. Calls for one lane never overlap. ctx ends when the time to drain is over.
	Do(ctx context.Context, lane string, tasks []Task) error
}

// ErrStop in an error says that the stage can't go on with this partition and must not skip anything either: a newer version of tocsin wrote the record.
// The partition is left where it is until it is assigned anew.
var ErrStop = errors.New("the partition is left alone")

// Message is a record to be written.
type Message struct {
	Topic     string
	Partition int // AnyPartition: chosen by the key, as Java's default partitioner does (murmur2)
	Key       []byte
	Value     []byte // nil writes a tombstone
	Headers   []Header
	Time      time.Time
}

// AnyPartition leaves the choice of the partition to the key.
const AnyPartition = -1

// Progress is how far a consumer has come in one partition.
type Progress struct {
	Group, Topic string
	Partition    int
	Position     int64     // next offset to be taken; -1, like Watermark and End, until it is known where to begin
	Watermark    int64     // all offsets below are done: what a commit would say
	End          int64     // as the broker last said; the lag is End - Watermark
	WaitsUntil   time.Time // when the record at Position is due on [Config.Clock], past if it is about to go on; zero if it doesn't wait
	Stopped      error     // why the partition is left alone; nil if it is not
	Stuck        int       // calls of the handler that take longer than Config.StuckAfter: [Consumer.Stuck] names them
}
