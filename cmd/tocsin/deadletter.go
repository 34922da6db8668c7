package main

// The commands dead-letter list, show and replay: what became of what could not be delivered or read?

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"tocsin/cmd/app"
)

type deadLetterCommand struct {
	List   listDeadLettersCommand   `cmd:"" help:"List dead letters, one a line, oldest first: neither pushkeys nor content."`
	Show   showDeadLetterCommand    `cmd:"" help:"Show one dead letter."`
	Replay replayDeadLettersCommand `cmd:"" help:"Send dead letters back to be tried again: deliveries as first attempts, other records to the topic that they came from. What was delivered meanwhile is not sent again."`
}

// deadLetterFilter are the flags that say which dead letters are meant.
type deadLetterFilter struct {
	Reason []string `help:"Given up for one of these reasons, such as exhausted." placeholder:"REASON"`
	Stage  []string `help:"Given up by one of these stages." placeholder:"STAGE"`
	Topic  []string `help:"Came from one of these topics." placeholder:"TOPIC"`
	App    string   `help:"Deliveries to apps whose app_id matches: * is any text, ? any character." placeholder:"GLOB"`
	Since  moment   `help:"Given up since then: a time such as 2026-01-31T08:00:00Z, or so long ago, such as 2h." placeholder:"TIME"`
	Until  moment   `help:"Given up before then." placeholder:"TIME"`
	Limit  int      `help:"The oldest so many; 0: all." default:"0"`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (f deadLetterFilter) Validate() error {
	if f.Limit < 0 {
		return errors.New("--limit must not be negative")
	}
	return nil
}

func (f deadLetterFilter) options() app.DeadLetterOptions {
	return app.DeadLetterOptions{Reasons: f.Reason, Stages: f.Stage, Topics: f.Topic, App: f.App, Since: f.Since.at, Until: f.Until.at, Limit: f.Limit}
}

// name is the same for the same flags; how many are meant makes no difference to which.
func (f deadLetterFilter) name() string {
	return fmt.Sprintf("%q %q %q %q %q %q", f.Reason, f.Stage, f.Topic, f.App, f.Since.text, f.Until.text)
}

type listDeadLettersCommand struct {
	configFlag
	deadLetterFilter
	JSON bool `name:"json" help:"JSON lines."`
}

// Run prints the letters, and to standard error how far it is.
func (c listDeadLettersCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	opts := c.options()
	opts.JSON = c.JSON
	return app.ListDeadLetters(ctx, cfg, opts, on.stdout, on.stderr)
}

type showDeadLetterCommand struct {
	configFlag
	ID     string `arg:"" help:"The dead letter's id, as list prints it: PARTITION@OFFSET."`
	Value  bool   `help:"Show its value, too. What people wrote is in it: it is private. Pushkeys are hidden." xor:"value"`
	Reveal bool   `help:"Write the value as it is, and nothing else: with pushkeys, by which anybody can push to a device, and with control characters." xor:"value"`
}

// Run prints one letter.
func (c showDeadLetterCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.ShowDeadLetter(ctx, cfg, c.ID, app.ShowOptions{Value: c.Value, Reveal: c.Reveal}, on.stdout)
}

// perSecond is a rate on the command line: 100 or 100/s.
type perSecond int

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *perSecond) UnmarshalText(text []byte) error {
	var n int
	if _, err := fmt.Sscanf(strings.TrimSuffix(string(text), "/s")+"\n", "%d\n", &n); err != nil || n < 1 || n > 1_000_000 {
		return fmt.Errorf("%q is no rate from 1/s to 1000000/s", text)
	}
	*r = perSecond(n)
	return nil
}

type replayDeadLettersCommand struct {
	configFlag
	deadLetterFilter
	Rate   perSecond `help:"Letters a second." default:"100/s"`
	DryRun bool      `help:"Say what would be done, and write nothing."`
	Force  bool      `help:"Also account records and state events, which may replace newer ones, and calls, which are over."`
	Resume bool      `help:"Go on where the last replay with the same filters ended."`
}

// Run prints what is left out and, at the end, how many were replayed.
func (c replayDeadLettersCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.ReplayDeadLetters(ctx, cfg, app.ReplayOptions{
		DeadLetterOptions: c.options(), Rate: int(c.Rate), DryRun: c.DryRun, Force: c.Force, Resume: c.Resume, Name: c.name(),
	}, on.stdout, on.stderr)
}
