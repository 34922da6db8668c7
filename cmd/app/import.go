package app

// Taking over rooms that existed before the stream began.

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// importBatch bounds the memory of an import: a room's fields are written at the latest after so many events of it.
const importBatch = 5000

// ImportRooms reads state events in client format with room_id, one JSON object a line, and fills in what is not known of their rooms. What the stream has told already stays: it is
// newer. It can be run again, and while workers run.
func ImportRooms(ctx context.Context, cfg *config.Config, r io.Reader, w io.Writer) error {
	store, err := quietRedis(cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	cluster, err := quietKafka(cfg)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if _, err := cluster.Topics(ctx, cfg.Topics.RoomState); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if _, err := store.Start(ctx, clock.System{}.Now()); err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	writer := cluster.NewWriter(stream.WriterConfig{})
	defer writer.Close()
	imp := &pipeline.Import{Store: store, Writer: writer, Topic: cfg.Topics.RoomState, Clock: clock.System{}, Batch: importBatch}
	lines := bufio.NewReaderSize(r, 1<<20)
	number, bad := 0, 0
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("line %d: %w", number+1, err)
		}
		if len(line) > 0 {
			number++
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if why := imp.Add(ctx, line); errors.As(why, new(*pipeline.Unreadable)) {
				bad++
				fmt.Fprintf(w, "line %d: left out: %v\n", number, why)
			} else if why != nil {
				return fmt.Errorf("line %d: %w", number, why)
			}
		}
		if err != nil {
			break
		}
	}
	if err := imp.Flush(ctx); err != nil {
		return err
	}
	fmt.Fprintf(w, "%d rooms, %d state events, %d of them new", imp.Rooms(), imp.Events(), imp.Filled())
	if bad > 0 {
		fmt.Fprintf(w, ", %d lines left out\n", bad)
		return fmt.Errorf("%d of %d lines were left out", bad, number)
	}
	fmt.Fprintln(w)
	return nil
}
