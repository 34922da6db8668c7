package state

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
)

func TestPause(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		pause := func(p pipeline.Pause) {
			t.Helper()
			if err := s.Pause(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		resume := func(apps string, want bool) {
			t.Helper()
			if got, err := s.Resume(ctx, apps); err != nil || got != want {
				t.Fatalf("Resume(%q) = %v, %v; want %v", apps, got, err, want)
			}
		}
		stands := func(want ...pipeline.Pause) {
			t.Helper()
			got, err := s.Paused(ctx)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		}
		all := pipeline.Pause{At: at, By: "alice on host 1"}
		ios, web := pipeline.Pause{Apps: "im.app.ios*", At: at.Add(time.Second), By: "bob"}, pipeline.Pause{Apps: "a web app", At: at}
		stands()
		resume("", false)
		pause(all)
		pause(pipeline.Pause{At: at.Add(time.Hour), By: "bob"}) // the first order stays
		pause(ios)
		pause(web)
		stands(all, web, ios)
		resume("", true)
		resume("", false)
		resume("im.app.*", false)
		stands(web, ios)
		resume("im.app.ios*", true)
		resume("a web app", true)
		stands()
	})
}

func TestControl(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		var said strings.Builder
		c := pipeline.NewControl(s, slog.New(slog.NewTextHandler(&said, nil)))
		if !c.Paused("app") {
			t.Error("it sends before it knows whether it may")
		}
		for _, step := range []struct {
			pause, resume string
			want          string // paused of ios, web, iOS
		}{
			{"", "", "yes yes yes"},
			{"i*s", "", "yes yes yes"},
			{"", "all", "yes no no"},
			{"{web,iOS}", "", "yes yes yes"},
			{"", "i*s", "no yes yes"},
			{"", "{web,iOS}", "no no no"},
		} {
			var err error
			switch step.resume {
			case "":
				err = s.Pause(ctx, pipeline.Pause{Apps: step.pause, At: time.UnixMilli(1), By: "alice"})
			case "all":
				_, err = s.Resume(ctx, "")
			default:
				_, err = s.Resume(ctx, step.resume)
			}
			if err == nil {
				err = c.Poll(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, app := range []string{"ios", "web", "iOS"} {
				got = append(got, map[bool]string{true: "yes", false: "no"}[c.Paused(app)])
			}
			if strings.Join(got, " ") != step.want {
				t.Errorf("%+v: %v", step, got)
			}
		}
		if err := c.Poll(ctx); err != nil { // nothing new to tell
			t.Fatal(err)
		}
		if text := said.String(); strings.Count(text, "is paused") != 3 || strings.Count(text, "is resumed") != 3 || !strings.Contains(text, "by=alice") {
			t.Errorf("said:\n%s", text)
		}

		// A pattern that can't be read was meant to hold something: it holds all.
		if err := s.Pause(ctx, pipeline.Pause{Apps: "{"}); err != nil {
			t.Fatal(err)
		}
		if err := c.Poll(ctx); err != nil || !c.Paused("any") {
			t.Errorf("a pattern that can't be read does not hold: %v", err)
		}
	})
}

// Without Redis the orders that were known stand, whatever they were.
func TestControlWithoutRedis(t *testing.T) {
	t.Parallel()
	s, ctx := open(t, single(t)), t.Context()
	c := pipeline.NewControl(s, slog.New(slog.DiscardHandler))
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if c.Poll(gone) == nil || !c.Paused("app") {
		t.Error("it sends before it knows whether it may")
	}
	if err := c.Poll(ctx); err != nil || c.Paused("app") {
		t.Fatalf("paused, and nobody said so: %v", err)
	}
	if c.Poll(gone) == nil || c.Paused("app") {
		t.Error("paused because Redis does not answer")
	}
	if err := s.Pause(ctx, pipeline.Pause{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Poll(ctx); err != nil || !c.Paused("app") {
		t.Fatalf("not paused: %v", err)
	}
	if c.Poll(gone) == nil || !c.Paused("app") {
		t.Error("resumed because Redis does not answer")
	}
}

// Run follows the orders.
func TestControlRuns(t *testing.T) {
	t.Parallel()
	s := open(t, single(t))
	c := pipeline.NewControl(s, slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { c.Run(ctx) })
	eventually(t, "the first look", func() bool { return !c.Paused("app") })
	if err := s.Pause(ctx, pipeline.Pause{Apps: "app"}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pause", func() bool { return c.Paused("app") && !c.Paused("other") })
	if _, err := s.Resume(ctx, "app"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the pause", func() bool { return !c.Paused("app") })
	stop()
}
