package state

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
)

func TestStart(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		if _, ok, err := s.Meta(ctx); ok || err != nil {
			t.Fatalf("Meta before the first start: %v, %v; want false", ok, err)
		}
		now := time.Date(2026, 11, 22, 6, 0, 0, 123456789, time.FixedZone("", 3600))
		first, err := s.Start(ctx, now)
		if err != nil || !first.FirstStart.Equal(now.Truncate(time.Millisecond)) || first.Shards != cfg.Shards || len(first.Epoch) < 20 {
			t.Fatalf("Start = %+v, %v", first, err)
		}
		later, err := open(t, cfg).Start(ctx, now.Add(time.Hour))
		if diff := cmp.Diff(first, later); err != nil || diff != "" {
			t.Errorf("a later Start: %v (-first +later):\n%s", err, diff)
		}
		read, ok, err := s.Meta(ctx)
		if diff := cmp.Diff(first, read); !ok || err != nil || diff != "" {
			t.Errorf("Meta: %v, %v (-first +read):\n%s", ok, err, diff)
		}
		cfg.Shards = 8
		_, err = open(t, cfg).Start(ctx, now)
		if !errors.Is(err, ErrShards) || !strings.Contains(err.Error(), "says 8,") || !strings.Contains(err.Error(), "written with 256") {
			t.Errorf("Start with 8 shards: %v", err)
		}
		if err := s.client().Del(ctx, s.keys.meta()).Err(); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := s.Meta(ctx); ok || err != nil {
			t.Errorf("Meta after the loss: %v, %v; want false", ok, err)
		}
		if anew, err := s.Start(ctx, now); err != nil || anew.Epoch == first.Epoch {
			t.Errorf("Start after the loss: %+v, %v; want a new epoch", anew, err)
		}
	})
}

// TestManyStartAtOnce has several workers start on an empty Redis: one of them is first, and all hear of it.
func TestManyStartAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		got := make([]pipeline.Meta, 8)
		var workers sync.WaitGroup
		for i := range got {
			s := open(t, cfg)
			workers.Go(func() {
				var err error
				if got[i], err = s.Start(t.Context(), time.UnixMilli(int64(1000*i))); err != nil {
					t.Error(err)
				}
			})
		}
		workers.Wait()
		for i := range got {
			if got[i] != got[0] {
				t.Errorf("worker %d was told %+v, worker 0 %+v", i, got[i], got[0])
			}
		}
	})
}
