package main

// The commands about pushers: the rejection guard, restoring, listing, trying.

import (
	"context"
	"errors"
	"strings"

	"tocsin/cmd/app"
)

type pushersCommand struct {
	Guard   guardCommand          `cmd:"" help:"The rejection guard, which holds pushers when an app's pushkeys are rejected in a wave."`
	Restore restorePushersCommand `cmd:"" help:"Bring removed pushers back. The last 30 days are kept."`
	List    listPushersCommand    `cmd:"" help:"List a user's pushers, and what keeps each from being pushed to. No pushkey is shown."`
	Test    testPushersCommand    `cmd:"" help:"Send a test notification to a user's pushers, and say in words what their push services answer. Whatever that is, no pusher is removed, and nothing is tried again."`
}

type guardCommand struct {
	Show  showGuardCommand  `cmd:"" default:"1" help:"Show which apps' guards have tripped."`
	Reset resetGuardCommand `cmd:"" help:"Reset the guard of an app: its held pushers are pushed to again."`
}

type showGuardCommand struct{ configFlag }

// Run prints the apps.
func (c showGuardCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.ShowGuard(ctx, cfg, on.stdout)
}

type resetGuardCommand struct {
	configFlag
	App string `arg:"" help:"App id, as the guard shows it."`
}

// Run says what it did.
func (c resetGuardCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.ResetGuard(ctx, cfg, c.App, on.stdout)
}

type restorePushersCommand struct {
	configFlag
	App    string `required:"" help:"App ids, as a pattern: im.vector.app.*, or * for all." placeholder:"GLOB"`
	Since  moment `required:"" help:"Removed since then: a time such as 2026-01-31T08:00:00Z, or so long ago, such as 2h." placeholder:"TIME"`
	User   string `help:"Pushers of this user only." placeholder:"@USER:SERVER"`
	DryRun bool   `help:"Only tell how many there are."`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (c restorePushersCommand) Validate() error {
	if err := app.CheckApps(c.App); err != nil {
		return err
	}
	if c.User != "" {
		return checkUser(c.User)
	}
	return nil
}

// checkUser says if that can be no user id.
func checkUser(id string) error {
	if _, server, _ := strings.Cut(id, ":"); !strings.HasPrefix(id, "@") || server == "" {
		return errors.New("--user must be a user id, such as @alice:example.org")
	}
	return nil
}

// Run prints how far it comes and what it did.
func (c restorePushersCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.RestorePushers(ctx, cfg, app.RestoreOptions{Apps: c.App, Since: c.Since.at, UserID: c.User, DryRun: c.DryRun}, on.stdout)
}

type listPushersCommand struct {
	configFlag
	User string `required:"" help:"The user." placeholder:"@USER:SERVER"`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (c listPushersCommand) Validate() error {
	if c.User == "" {
		return nil // kong says that it is missing
	}
	return checkUser(c.User)
}

// Run prints a line for each pusher.
func (c listPushersCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.ListPushers(ctx, cfg, c.User, on.stdout)
}

type testPushersCommand struct {
	configFlag
	User    string `required:"" help:"The user." placeholder:"@USER:SERVER"`
	App     string `required:"" help:"App ids, as a pattern: im.vector.app.*, or * for all." placeholder:"GLOB"`
	Pushkey string `help:"This pusher only, by the hash of its pushkey that list shows." placeholder:"HASH"`
	Type    string `help:"Type of the event that the notification seems to be about. Apps that are told of calls alone want m.call.invite, and ring." default:"m.room.message" placeholder:"TYPE"`
	Force   bool   `help:"Send even what a worker would not: to pushers that are paused, held or disabled, and to users in shadow."`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (c testPushersCommand) Validate() error {
	if c.User == "" || c.App == "" {
		return nil // kong says that it is missing
	}
	if err := app.CheckApps(c.App); err != nil {
		return err
	}
	return checkUser(c.User)
}

// Run prints what each push service answers.
func (c testPushersCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.TryPushers(ctx, cfg, app.TryOptions{UserID: c.User, Apps: c.App, Pushkey: c.Pushkey, Type: c.Type, Force: c.Force}, on.stdout)
}
