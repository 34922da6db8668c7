package state

// Operators' orders to hold sending.

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

var _ pipeline.ControlStore = (*Store)(nil)

// The fields of the control hash: one for all sending, one for each pattern of apps.
const (
	pausedField    = "paused"
	pausedAppField = "paused app "
)

func pauseField(apps string) string {
	if apps == "" {
		return pausedField
	}
	return pausedAppField + apps
}

// Pause implements [pipeline.ControlStore].
func (s *Store) Pause(ctx context.Context, p pipeline.Pause) error {
	_, err := s.ask(ctx, "pause", 1, func(pipe redis.Pipeliner, _ int) {
		pipe.HSetNX(ctx, s.keys.control(), pauseField(p.Apps), strconv.FormatInt(p.At.UnixMilli(), 10)+" "+p.By)
	})
	return err
}

// Resume implements [pipeline.ControlStore].
func (s *Store) Resume(ctx context.Context, apps string) (bool, error) {
	answers, err := s.ask(ctx, "resume", 1, func(pipe redis.Pipeliner, _ int) { pipe.HDel(ctx, s.keys.control(), pauseField(apps)) })
	if err != nil {
		return false, err
	}
	return answers[0].(*redis.IntCmd).Val() > 0, nil
}

// Paused implements [pipeline.ControlStore]. An order that can't be read in full stands all the same.
func (s *Store) Paused(ctx context.Context) ([]pipeline.Pause, error) {
	answers, err := s.ask(ctx, "read whether sending is paused", 1, func(pipe redis.Pipeliner, _ int) { pipe.HGetAll(ctx, s.keys.control()) })
	if err != nil {
		return nil, err
	}
	var orders []pipeline.Pause
	for field, text := range answers[0].(*redis.MapStringStringCmd).Val() {
		apps, ofApp := strings.CutPrefix(field, pausedAppField)
		if !ofApp && field != pausedField {
			continue // a newer version's
		}
		if !ofApp {
			apps = ""
		}
		at, by, _ := strings.Cut(text, " ")
		ms, _ := strconv.ParseInt(at, 10, 64)
		orders = append(orders, pipeline.Pause{Apps: apps, At: time.UnixMilli(ms).UTC(), By: by})
	}
	slices.SortFunc(orders, func(a, b pipeline.Pause) int { return strings.Compare(a.Apps, b.Apps) })
	return orders, nil
}
