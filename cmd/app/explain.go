package app

// Why did this user (not) get a push?

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"tocsin/config"
	"tocsin/pipeline"
)

// ExplainOptions say what is to be explained, and from what.
type ExplainOptions struct {
	UserID string
	Event  []byte // an event in client format, with its room_id
	// State and Rules stand in for the running deployment's Redis: state events of the room from before the event, one a line, and the user's push
	// rules as clients and homeservers hold them. With both nil, Redis is asked.
	State io.Reader
	Rules []byte
}

// Explain writes which rule decides about an event for a user, and why: rule by rule, condition by condition.
func Explain(ctx context.Context, cfg *config.Config, opts ExplainOptions, w io.Writer) error {
	e, err := pipeline.ParseEvent(opts.Event)
	if err != nil {
		return fmt.Errorf("the event can't be read: %w", err)
	}
	if opts.State == nil && opts.Rules == nil {
		return explainLive(ctx, cfg, opts.UserID, e, w)
	}
	fields := map[string]pipeline.VersionedValue{}
	if opts.Rules != nil {
		fields[pipeline.RulesField] = pipeline.VersionedValue{Value: string(opts.Rules)}
	}
	room := pipeline.NewRoom(e.RoomID, cfg.Homeserver.ServerName)
	if opts.State != nil {
		if err := foldState(room, opts.State); err != nil {
			return err
		}
	}
	pipeline.Explain(w, room, pipeline.ReadAccount(opts.UserID, fields, cfg.Rules.Options()), e)
	return nil
}

// explainLive asks what the deployment knows now.
func explainLive(ctx context.Context, cfg *config.Config, userID string, e *pipeline.Event, w io.Writer) error {
	store, err := openRedis(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer store.Close()
	saved, err := store.LoadRoom(ctx, e.RoomID)
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	accounts, err := store.Accounts(ctx, []string{userID})
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	counts, err := store.Counts(ctx, []string{userID})
	if err != nil {
		return fmt.Errorf("redis: %w", err)
	}
	if saved.Rev == 0 {
		fmt.Fprintf(w, "Nothing is known of room %s.\n", e.RoomID)
	}
	pipeline.Explain(w, pipeline.LoadRoom(e.RoomID, cfg.Homeserver.ServerName, saved), pipeline.ReadAccount(userID, accounts[0], cfg.Rules.Options()), e)
	fmt.Fprintln(w)
	pipeline.SavedRooms(w, counts[0])
	return nil
}

// foldState makes a room of its state events, one JSON object a line.
func foldState(room *pipeline.Room, r io.Reader) error {
	lines := bufio.NewReader(r)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("state, line %d: %w", number, err)
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			e, why := pipeline.ParseEvent(line)
			switch {
			case why != nil:
				return fmt.Errorf("state, line %d: %w", number, why)
			case e.RoomID != room.ID:
				return fmt.Errorf("state, line %d: the event is of room %s, not of %s", number, e.RoomID, room.ID)
			}
			room.Fold(e, int64(number), map[string]string{})
		}
		if err != nil {
			return nil
		}
	}
}
