package main

// The commands offsets show and reset: where do the consumer groups stand?

import (
	"context"
	"errors"

	"tocsin/cmd/app"
)

type offsetsCommand struct {
	Show  showOffsetsCommand  `cmd:"" help:"Show where each stage's group stands in each partition: committed, end, lag, and the time of the next record."`
	Reset resetOffsetsCommand `cmd:"" help:"Put a group elsewhere, while no worker uses it. Says what follows; --yes does it."`
}

type showOffsetsCommand struct{ configFlag }

// Run prints the table.
func (c showOffsetsCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.ShowOffsets(ctx, cfg, on.stdout)
}

type resetOffsetsCommand struct {
	configFlag
	Group      string `help:"Group: rooms, users, accounts, or retry.TIER such as retry.5s." required:"" placeholder:"GROUP"`
	ToTime     moment `help:"To the first record that is not older: a time such as 2026-01-31T08:00:00Z, or so long ago, such as 2h." placeholder:"TIME"`
	ToEarliest bool   `help:"To the first record that Kafka still has."`
	ToLatest   bool   `help:"To the end: what has not been read is left out for good."`
	Partition  int    `help:"This partition alone; -1: all." default:"-1"`
	DryRun     bool   `help:"Say what would be done, and do nothing."`
	Yes        bool   `help:"Do it."`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (c resetOffsetsCommand) Validate() error {
	n := 0
	for _, given := range []bool{c.ToTime.text != "", c.ToEarliest, c.ToLatest} {
		if given {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("one of --to-time, --to-earliest and --to-latest is needed")
	case c.Partition < -1:
		return errors.New("--partition must be a partition, or -1 for all")
	}
	return nil
}

// Run prints what it does and what follows.
func (c resetOffsetsCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.ResetOffsets(ctx, cfg, app.ResetOptions{
		Group: c.Group, Time: c.ToTime.at, Latest: c.ToLatest, Partition: c.Partition, DryRun: c.DryRun, Yes: c.Yes,
	}, on.stdout)
}
