package pipeline

// The retry stage: what is due goes back to its user's lane.

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"tocsin/clock"
	"tocsin/pipeline/stream"
)

// Retry is the retry stage of one tier. It only waits (the stream holds each record until it is due) and writes back: the user's lane alone checks, counts and sends, so a late
// retry can't lower a badge.
type Retry struct {
	Writer      writer
	DeadLetters undertaker
	Topic       string // tocsin.notifications
	Clock       clock.Clock
	Delay       time.Duration
	Log         *slog.Logger
}

// Due is when a record's delay is over. A record from the future (a clock that runs ahead) waits no longer than one written now.
func (r *Retry) Due(rec *stream.Record) time.Time {
	now := r.Clock.Now()
	if rec.Time.After(now) {
		return now.Add(r.Delay)
	}
	return rec.Time.Add(r.Delay)
}

// Take implements [stream.Handler].
func (r *Retry) Take(ctx context.Context, batch []*stream.Record) ([]stream.Task, error) {
	back := make([]stream.Message, len(batch))
	for i, rec := range batch {
		back[i] = stream.Message{Topic: r.Topic, Partition: stream.AnyPartition, Key: rec.Key, Value: rec.Value, Headers: rec.Headers, Time: r.Clock.Now()}
	}
	err := r.Writer.Write(ctx, back...)
	switch {
	case !errors.Is(err, stream.ErrTooLarge):
		return nil, err
	case len(batch) == 1:
		return nil, bury(ctx, r.DeadLetters, batch[0], "retry", unreadable("too_large", "the record does not fit into %s", r.Topic), r.Log)
	}
	for i := range batch { // what was written already comes twice, and is the same delivery
		if _, err := r.Take(ctx, batch[i:i+1]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// Do implements [stream.Handler]; there are no tasks.
func (r *Retry) Do(context.Context, string, []stream.Task) error { return nil }
