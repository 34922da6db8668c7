package main

// The command explain: why did this user (not) get a push?

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"tocsin/cmd/app"
	"tocsin/config"
	"tocsin/rules"
)

type explainCommand struct {
	configFlag
	Batch bool   `help:"Answer questions on standard input, JSON lines in and out. No configuration or server is needed."`
	User  string `help:"User id whose rules are asked." placeholder:"@USER:SERVER"`
	Event string `help:"File with the event, as clients see it, with its room_id; - is standard input." placeholder:"FILE"`
	State string `help:"File with the room's state events, JSON lines, instead of what Redis knows of the room." placeholder:"FILE"`
	Rules string `help:"File with the user's push rules (m.push_rules, or GET /pushrules/), instead of what Redis knows of the user." placeholder:"FILE"`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (c explainCommand) Validate() error {
	if c.Batch {
		return nil
	}
	switch _, server, _ := strings.Cut(c.User, ":"); {
	case c.User == "" || c.Event == "":
		return errors.New("--user and --event are needed, or --batch")
	case !strings.HasPrefix(c.User, "@") || server == "":
		return errors.New("--user must be a user id, such as @alice:example.org")
	}
	return nil
}

// Run explains one event for one user, or answers a batch.
func (c explainCommand) Run(ctx context.Context, on call) error {
	if c.Batch {
		return rules.Batch(on.stdin, on.stdout)
	}
	cfg, offline, err := c.settings(on.environ)
	if err != nil {
		return err
	}
	opts := app.ExplainOptions{UserID: c.User, Offline: offline}
	if opts.Event, err = readFile(c.Event, on.stdin); err != nil {
		return misuse(err)
	}
	if c.Rules != "" {
		if opts.Rules, err = readFile(c.Rules, on.stdin); err != nil {
			return misuse(err)
		}
	}
	if c.State != "" {
		state, err := readFile(c.State, on.stdin)
		if err != nil {
			return misuse(err)
		}
		opts.State = bytes.NewReader(state)
	}
	return app.Explain(ctx, cfg, opts, on.stdout)
}

// settings is the configuration. With files instead of Redis none is needed: the user's server is then the homeserver, and Redis is not asked.
func (c explainCommand) settings(environ []string) (cfg *config.Config, offline bool, err error) {
	named := func(variable string) bool {
		return strings.HasPrefix(variable, "TOCSIN_") && !strings.HasPrefix(variable, "TOCSIN_TEST_")
	}
	if (c.State != "" || c.Rules != "") && c.Config == "" && !slices.ContainsFunc(environ, named) {
		cfg := config.Default()
		_, cfg.Homeserver.ServerName, _ = strings.Cut(c.User, ":")
		return cfg, true, nil
	}
	cfg, err = c.load(environ)
	return cfg, false, err
}

// readFile reads a file, or standard input for "-".
func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}
