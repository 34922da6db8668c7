package main

// The commands that hold sending and let it go on.

import (
	"context"
	"os"
	"strings"

	"tocsin/cmd/app"
)

type pauseCommand struct {
	configFlag
	App string `help:"Only these apps: a pattern of app ids, such as im.vector.app.*." placeholder:"GLOB"`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (c pauseCommand) Validate() error { return app.CheckApps(c.App) }

// Run says what it did.
func (c pauseCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.Pause(ctx, cfg, c.App, whoIs(on.environ), on.stdout)
}

// whoIs names the operator for other operators.
func whoIs(environ []string) string {
	var who []string
	for _, e := range environ {
		if name, ok := strings.CutPrefix(e, "USER="); ok && name != "" {
			who = append(who, name)
		}
	}
	if host, err := os.Hostname(); err == nil {
		who = append(who, "on "+host)
	}
	return strings.Join(who, " ")
}

type resumeCommand struct {
	configFlag
	App string `help:"Only what was paused with this same pattern." placeholder:"GLOB"`
}

// Run says what it did, and what is paused still.
func (c resumeCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.Resume(ctx, cfg, c.App, on.stdout)
}

type pausedCommand struct{ configFlag }

// Run prints what is paused.
func (c pausedCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.Paused(ctx, cfg, on.stdout)
}
