package state

// The rejection guard's memory: pushkeys of each app that were tried and rejected lately, and guards that have tripped. A pushkey is known here by its hash alone.

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

var (
	//go:embed lua/reject.lua
	rejectLua string
	//go:embed lua/reset_guard.lua
	resetGuardLua string

	rejectScript     = newScript(rejectLua)
	resetGuardScript = newScript(resetGuardLua)
)

var _ pipeline.GuardStore = (*Store)(nil)

const (
	maxTrips         = 1000 // guards that have tripped: users name apps as they like, and all workers read the list each second
	maxTriedTogether = 5000 // pushkeys in one command or script
)

// triedKey names the pushkeys of an app that were tried in the minute of at.
func (s *Store) triedKey(appID string, at time.Time) string {
	return s.keys.guard("tried:"+strconv.FormatInt(at.Unix()/60, 10), appID)
}

// triedKeys are those of the window that ends at now, the minute of now first. The window begins within the last of them.
func (s *Store) triedKeys(appID string, now time.Time, window time.Duration) []string {
	var all []string
	for back := time.Duration(0); back < window+time.Minute; back += time.Minute {
		all = append(all, s.triedKey(appID, now.Add(-back)))
	}
	return all
}

// NoteTried implements [pipeline.GuardStore].
func (s *Store) NoteTried(ctx context.Context, at time.Time, window time.Duration, tried map[string][]string) error {
	type part struct {
		key    string
		hashes []any
	}
	var parts []part
	for app, keys := range tried {
		for len(keys) > 0 {
			now := keys[:min(len(keys), maxTriedTogether)]
			keys = keys[len(now):]
			parts = append(parts, part{s.triedKey(app, at), anys(now)})
		}
	}
	_, err := s.ask(ctx, "note which pushkeys were tried", len(parts), func(pipe redis.Pipeliner, i int) {
		pipe.PFAdd(ctx, parts[i].key, parts[i].hashes...)
		pipe.PExpire(ctx, parts[i].key, window+3*time.Minute) // clocks differ
	})
	return err
}

// anys is a list as the driver takes it.
func anys(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}

// Reject implements [pipeline.GuardStore].
func (s *Store) Reject(ctx context.Context, r pipeline.Rejection, limits pipeline.GuardLimits) (pipeline.Ruling, error) {
	const op = "ask the rejection guard"
	if many := len(r.Tried) - maxTriedTogether; many > 0 {
		if err := s.NoteTried(ctx, r.At, limits.Window, map[string][]string{r.AppID: r.Tried[:many]}); err != nil {
			return pipeline.Ruling{}, err
		}
		r.Tried = r.Tried[many:]
	}
	keys := append([]string{s.keys.tripped(), s.keys.guard("rejected", r.AppID), s.keys.guard("held", r.AppID), s.keys.guard("sum", r.AppID)}, s.triedKeys(r.AppID, r.At, limits.Window)...)
	args := append([]any{r.AppID, r.Pushkey, r.At.UnixMilli(), r.At.Add(-limits.Window).UnixMilli(), limits.Window.Milliseconds(), limits.Rejections, limits.Percent,
		rand.Text()[:10], maxTrips}, anys(r.Tried)...)
	answer, err := s.runOne(ctx, op, rejectScript, keys, args...)
	if err != nil {
		return pipeline.Ruling{}, err
	}
	ruling, ok := parseRuling(answer)
	if !ok {
		return ruling, s.fail(ctx, op, errUnreadable)
	}
	return ruling, nil
}

// parseRuling reads what reject.lua returns.
func parseRuling(answer *redis.Cmd) (r pipeline.Ruling, ok bool) {
	values, err := answer.Slice()
	if err != nil || len(values) != 4 {
		return r, false
	}
	what, ok1 := values[0].(int64)
	rejected, ok2 := values[1].(int64)
	tried, ok3 := values[2].(int64)
	text, ok4 := values[3].(string)
	r = pipeline.Ruling{Hold: what != 0, Rejected: rejected, Tried: tried}
	ok = ok1 && ok2 && ok3 && ok4
	if ok && text != "" {
		r.Trip, ok = parseTrip(text)
	}
	return r, ok
}

// parseTrip reads "name ms rejected tried".
func parseTrip(text string) (pipeline.Trip, bool) {
	parts := strings.Split(text, " ")
	if len(parts) != 4 || parts[0] == "" {
		return pipeline.Trip{}, false
	}
	var n [3]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(parts[i+1], 10, 64); err != nil {
			return pipeline.Trip{}, false
		}
	}
	return pipeline.Trip{ID: parts[0], At: time.UnixMilli(n[0]).UTC(), Rejected: n[1], Tried: n[2]}, true
}

// Trips implements [pipeline.GuardStore].
func (s *Store) Trips(ctx context.Context) (map[string]pipeline.Trip, error) {
	const op = "read which rejection guards have tripped"
	answers, err := s.ask(ctx, op, 1, func(pipe redis.Pipeliner, _ int) { pipe.HGetAll(ctx, s.keys.tripped()) })
	if err != nil {
		return nil, err
	}
	trips := map[string]pipeline.Trip{}
	for app, text := range answers[0].(*redis.MapStringStringCmd).Val() {
		trip, ok := parseTrip(text)
		if !ok {
			return nil, s.fail(ctx, op, errUnreadable)
		}
		trips[app] = trip
	}
	return trips, nil
}

// RejectedSince is about how many pushkeys of each app have been rejected since its guard tripped, in their order.
func (s *Store) RejectedSince(ctx context.Context, appIDs []string) ([]int64, error) {
	answers, err := s.ask(ctx, "count the pushers that are held", len(appIDs), func(pipe redis.Pipeliner, i int) {
		pipe.PFCount(ctx, s.keys.guard("held", appIDs[i]))
	})
	if err != nil {
		return nil, err
	}
	held := make([]int64, len(appIDs))
	for i, answer := range answers {
		held[i] = answer.(*redis.IntCmd).Val()
	}
	return held, nil
}

// ResetGuard lets the guard of an app begin anew; false if it had not tripped. Pushers that were held are pushed to again.
func (s *Store) ResetGuard(ctx context.Context, appID string, now time.Time, window time.Duration) (pipeline.Trip, bool, error) {
	const op = "reset a rejection guard"
	keys := []string{s.keys.tripped(), s.keys.guard("rejected", appID), s.keys.guard("held", appID)}
	ahead := 2 * time.Minute // of workers whose clocks are
	keys = append(keys, s.triedKeys(appID, now.Add(ahead), window+ahead)...)
	answer, err := s.runOne(ctx, op, resetGuardScript, keys, appID)
	if err != nil {
		return pipeline.Trip{}, false, err
	}
	text, err := answer.Text()
	if err != nil || text == "" {
		return pipeline.Trip{}, false, s.fail(ctx, op, err)
	}
	trip, ok := parseTrip(text)
	if !ok {
		return trip, false, s.fail(ctx, op, fmt.Errorf("%w (the guard is reset)", errUnreadable))
	}
	return trip, true, nil
}
