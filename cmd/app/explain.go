package app

// Why did this user (not) get a push?

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pushers"
)

// ExplainOptions say what is to be explained, and from what.
type ExplainOptions struct {
	UserID string
	Event  []byte // an event in client format, with its room_id
	// State and Rules stand in for what the running deployment's Redis knows of the room and of the user's rules: state events of the room from before the event, one a line, and push
	// rules as clients and homeservers hold them.
	State   io.Reader
	Rules   []byte
	Offline bool // don't ask Redis: what is not given is unknown
}

// Explain writes which rule decides about an event for a user, and why: rule by rule, condition by condition.
func Explain(ctx context.Context, cfg *config.Config, opts ExplainOptions, w io.Writer) error {
	e, err := pipeline.ParseEvent(opts.Event)
	if err != nil {
		return fmt.Errorf("the event can't be read: %w", err)
	}
	var room *pipeline.Room
	var fields map[string]pipeline.VersionedValue
	var counts map[string][]byte
	if opts.Offline {
		room, fields = pipeline.NewRoom(e.RoomID, homeserver(cfg)), map[string]pipeline.VersionedValue{}
	} else if room, fields, counts, err = lookUp(ctx, cfg, opts.UserID, e.RoomID, w); err != nil {
		return err
	}
	if opts.Rules != nil {
		fields[pipeline.RulesField] = pipeline.VersionedValue{Value: string(opts.Rules)}
	}
	if opts.State != nil {
		room = pipeline.NewRoom(e.RoomID, homeserver(cfg))
		if err := foldState(room, opts.State); err != nil {
			return err
		}
	}
	if _, ok := fields[pipeline.RulesField]; !ok {
		fmt.Fprintln(w, "No push rules are known of the user: the defaults apply.")
	}
	tally, err := pipeline.SumSaved(counts)
	if err != nil {
		return err
	}
	badges := pipeline.NewBadges(cfg.Badge)
	pipeline.Explain(w, room, pipeline.ReadAccount(opts.UserID, fields, cfg.Rules.Options()), e, func(p *pushers.Pusher) string {
		text := toldThrough(cfg.Apps, p.AppID, p.URL)
		if _, listed := cfg.Apps.Listed(p.AppID); listed == nil {
			text = through(pushers.ProviderGateway, place(p.URL), "")
		}
		if !opts.Offline && !p.NoCounts {
			text += fmt.Sprintf(", badge %d", tally.Badge(badges.Count(p.AppID)).Unread)
		}
		return text
	})
	fmt.Fprintln(w)
	pipeline.SavedRooms(w, counts)
	return nil
}

// lookUp asks what the running deployment knows now.
func lookUp(ctx context.Context, cfg *config.Config, userID, roomID string, w io.Writer) (*pipeline.Room, map[string]pipeline.VersionedValue, map[string][]byte, error) {
	store, err := quietRedis(cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	defer store.Close()
	room, err := pipeline.LoadRoom(ctx, store, roomID, homeserver(cfg))
	if err != nil {
		return nil, nil, nil, err
	}
	accounts, err := store.Accounts(ctx, []string{userID})
	if err != nil {
		return nil, nil, nil, err
	}
	counts, err := store.Counts(ctx, []string{userID})
	if err != nil {
		return nil, nil, nil, err
	}
	if !room.Known() {
		fmt.Fprintf(w, "Redis knows nothing of room %s.\n", roomID)
	}
	if meta, _, err := store.Meta(ctx); err != nil {
		return nil, nil, nil, err
	} else if !meta.Restored.IsZero() {
		fmt.Fprintf(w, "Redis was rebuilt at %s: what the user had unread before then is not known.\n", meta.Restored.Format(time.RFC3339))
	}
	return room, accounts[0], counts[0].Rooms, nil
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

// place is a URL up to its path, which may be wrong, and without what may be a secret in it; "" of what is no URL.
func place(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
