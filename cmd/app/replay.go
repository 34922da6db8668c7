package app

// Dead letters go back to where they are tried again.

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"time"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// ReplayOptions say how dead letters are replayed.
type ReplayOptions struct {
	DeadLetterOptions
	Rate   int    // letters a second
	DryRun bool   // write nothing
	Force  bool   // also what may do harm
	Resume bool   // leave out what an earlier replay of the same name has done
	Name   string // of the replay: the same for the same letters
}

// replay is one run of ReplayDeadLetters.
type replay struct {
	*letters
	opts   ReplayOptions
	plan   pipeline.Replay
	writer *stream.Writer
	group  string // its commits remember how far it is
	stdout io.Writer
	begun  time.Time

	waiting []reply
	places  map[int]int64 // all below is written, or need not be, once what waits is written
	sure    map[int]int64 // all below is written, or need not be
	saved   time.Time     // when sure was committed

	written, deliveries, records, refused int
}

// reply is a letter and what its replay writes.
type reply struct {
	letter  *pipeline.DeadLetter
	message stream.Message
}

const (
	bunchesPerSecond = 10              // letters are written in bunches, so that Kafka's answers are no limit to the rate
	largestBunch     = 500             // letters
	lastWords        = 5 * time.Second // to note how far it came, when it is interrupted
)

// ReplayDeadLetters sends dead letters back to where they are tried again, and tells stdout what it did. It may be repeated: what was delivered is not sent again.
func ReplayDeadLetters(ctx context.Context, cfg *config.Config, opts ReplayOptions, stdout, stderr io.Writer) error {
	if opts.Rate < 1 {
		return fmt.Errorf("a rate of %d letters a second", opts.Rate)
	}
	l, err := openLetters(ctx, cfg, opts.DeadLetterOptions, stderr)
	if err != nil {
		return err
	}
	defer l.cluster.Close()
	topics, err := l.cluster.Topics(ctx, topicNames(cfg)...)
	if err != nil && !errors.Is(err, stream.ErrMissingTopic) {
		return fmt.Errorf("kafka: %w", err)
	}
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s force=%v", opts.Name, opts.Force)
	r := &replay{
		letters: l, opts: opts, writer: l.cluster.NewWriter(stream.WriterConfig{}), group: cfg.Kafka.GroupPrefix + ".replay." + hex.EncodeToString(hash.Sum(nil)), stdout: stdout, begun: time.Now(),
		places: map[int]int64{}, sure: map[int]int64{},
		plan: pipeline.Replay{Topics: cfg.Topics, Force: opts.Force, Partitions: func(topic string) int { return topics[topic].Partitions }},
	}
	defer r.writer.Close()
	if opts.Resume {
		marks, err := l.cluster.Committed(ctx, r.group, cfg.Topics.DeadLetter)
		if err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		for p, mark := range marks {
			r.places[p] = mark.Offset
		}
	}
	return r.run(ctx)
}

// run replays all, and sums up.
func (r *replay) run(ctx context.Context) error {
	from := maps.Clone(r.places)
	err := r.each(ctx, from, func(partition int, next int64) { r.places[partition] = next }, func(d *pipeline.DeadLetter) error { return r.add(ctx, d) })
	if err == nil {
		err = r.write(ctx)
	}
	if len(r.waiting) == 0 {
		r.sure = maps.Clone(r.places)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWords)
	defer cancel()
	err = errors.Join(err, r.remember(ctx))
	verb := "replayed"
	if r.opts.DryRun {
		verb = "dry run: would replay"
	}
	fmt.Fprintf(r.stdout, "%s %d: %d deliveries, %d records; left out %d\n", verb, r.deliveries+r.records, r.deliveries, r.records, r.refused)
	if err != nil && !r.opts.DryRun {
		return fmt.Errorf("not finished: the same command with --resume goes on: %w", err)
	}
	return err
}

// add replays one letter, or says why not.
func (r *replay) add(ctx context.Context, d *pipeline.DeadLetter) error {
	m, err := r.plan.Message(d, clock.System{}.Now())
	if err != nil {
		return r.refuse(d, err)
	}
	if r.opts.DryRun {
		r.count(d)
		_, err := fmt.Fprintf(r.stdout, "would go to %s  %s\n", m.Topic, letterLine(d))
		return err
	}
	r.waiting = append(r.waiting, reply{d, m})
	if len(r.waiting) < min(max(r.opts.Rate/bunchesPerSecond, 1), largestBunch) {
		return nil
	}
	return r.write(ctx)
}

// refuse says that a letter is not replayed.
func (r *replay) refuse(d *pipeline.DeadLetter, why error) error {
	r.refused++
	_, err := fmt.Fprintf(r.stdout, "left out  %s: %v\n", letterLine(d), why)
	return err
}

func (r *replay) count(d *pipeline.DeadLetter) {
	if d.Delivery != nil {
		r.deliveries++
	} else {
		r.records++
	}
}

// write writes what waits, when its time has come.
func (r *replay) write(ctx context.Context) error {
	if len(r.waiting) == 0 {
		return nil
	}
	due := time.NewTimer(time.Until(r.begun.Add(time.Duration(float64(r.written) / float64(r.opts.Rate) * float64(time.Second)))))
	defer due.Stop()
	select {
	case <-due.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	messages := make([]stream.Message, len(r.waiting))
	for i, w := range r.waiting {
		messages[i] = w.message
	}
	err := r.writer.Write(ctx, messages...)
	if errors.Is(err, stream.ErrTooLarge) {
		err = r.writeEach(ctx)
	} else if err == nil {
		for _, w := range r.waiting {
			r.count(w.letter)
		}
	}
	if err != nil {
		return err
	}
	r.written += len(r.waiting)
	r.waiting, r.sure = nil, maps.Clone(r.places)
	if time.Since(r.saved) > time.Second {
		return r.remember(ctx)
	}
	return nil
}

// writeEach finds out which of a bunch its topic refuses. The others are written a second time, which is as good as once.
func (r *replay) writeEach(ctx context.Context) error {
	for _, w := range r.waiting {
		err := r.writer.Write(ctx, w.message)
		if err == nil {
			r.count(w.letter)
		} else if errors.Is(err, stream.ErrTooLarge) {
			err = r.refuse(w.letter, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remember notes how far the replay is, for the next one of the same name.
func (r *replay) remember(ctx context.Context) error {
	if r.opts.DryRun {
		return nil
	}
	r.saved = time.Now()
	if err := r.cluster.Remember(ctx, r.group, r.cfg.Topics.DeadLetter, r.sure); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	return nil
}
