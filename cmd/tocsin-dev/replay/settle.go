package replay

// When nothing runs: how replay knows that the worker has done all that it can do now, and what it waits for.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tocsin/pipeline/stream"
	"tocsin/test/stack"
)

const (
	// glance is how often the worker's progress is looked at. It is what a line costs at least, so it is short.
	glance = 200 * time.Microsecond
	// patience is how long nothing may move, with work to do, before replay gives up: more than any time-out of the worker.
	patience = 2 * time.Minute
)

// rest is a state in which nothing runs.
type rest struct {
	wakes time.Time // when the first of what waits for the clock is due; zero if nothing waits
}

// settle waits until nothing runs: each record has been read and what follows from it is done, or waits for the clock.
//
// The worker is looked at first and the ends of the log are asked for afterwards. If each consumer had then done all that lies below the
// ends, nobody was left who could have written more: all writes of a consumer are acknowledged before its own watermark moves.
func (r *run) settle(ctx context.Context) (rest, error) {
	var before []stream.Progress
	moved := time.Now()
	for {
		progress := r.worker.Progress()
		if err := r.alive(ctx, progress); err != nil {
			return rest{}, err
		}
		_, busy := r.look(progress)
		if busy == "" {
			if err := r.log.Refresh(ctx, r.topics.all, r.topics.partitions); err != nil {
				return rest{}, err
			}
			var found rest
			if found, busy = r.look(progress); busy == "" {
				busy = r.direct.busy()
			}
			if busy == "" {
				return found, r.report(ctx)
			}
		}
		if !slices.Equal(progress, before) {
			before, moved = progress, time.Now()
		} else if time.Since(moved) > patience {
			return rest{}, fmt.Errorf("nothing has moved for %v, but there is work: %s", patience, busy)
		}
		time.Sleep(glance)
	}
}

// look says what the worker is doing, or what it waits for if it does nothing. It goes by the ends of the log as last seen.
func (r *run) look(progress []stream.Progress) (found rest, busy string) {
	now := r.clock.Now()
	covered := map[stack.Place]bool{}
	for _, p := range progress {
		at := stack.Place{Topic: p.Topic, Partition: p.Partition}
		switch {
		case p.Stopped != nil:
			continue // alive reports it
		case p.Position < r.log.End(at) && p.WaitsUntil.IsZero(), p.Group != "" && p.Watermark < p.Position:
			return rest{}, fmt.Sprintf("%s is at %d of %d in topic %s, partition %d, and done up to %d", p.Group, p.Position, r.log.End(at), p.Topic, p.Partition, p.Watermark)
		case !p.WaitsUntil.IsZero() && !p.WaitsUntil.After(now):
			return rest{}, fmt.Sprintf("%s wakes in topic %s, partition %d", p.Group, p.Topic, p.Partition)
		case !p.WaitsUntil.IsZero() && (found.wakes.IsZero() || p.WaitsUntil.Before(found.wakes)):
			found.wakes = p.WaitsUntil
		}
		if p.Group != "" {
			covered[at] = true
		}
	}
	for _, topic := range r.topics.consumed {
		for partition := range r.topics.partitions {
			if !covered[stack.Place{Topic: topic, Partition: partition}] {
				return rest{}, fmt.Sprintf("nobody reads topic %s, partition %d", topic, partition)
			}
		}
	}
	return found, ""
}

// alive reports a worker that has ended, or that can't go on.
func (r *run) alive(ctx context.Context, progress []stream.Progress) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("interrupted: %w", err)
	}
	if err := r.out.Err(); err != nil {
		return err
	}
	select {
	case <-r.ended:
		return errors.Join(errors.New("the worker has ended"), r.endedBy)
	default:
	}
	var stopped []string
	for _, p := range progress {
		if p.Stopped != nil {
			stopped = append(stopped, fmt.Sprintf("topic %s, partition %d: %v", p.Topic, p.Partition, p.Stopped))
		}
	}
	if len(stopped) > 0 {
		return fmt.Errorf("the worker can't go on: %s", strings.Join(stopped, "; "))
	}
	return nil
}
