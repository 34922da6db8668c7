// Command tocsin turns a Matrix homeserver's stream of events into push notifications.
//
//	tocsin worker --config tocsin.yaml          run the pipeline until SIGTERM
//	tocsin check --config tocsin.yaml           look whether it could run
//	tocsin explain --user U --event FILE        say why a user is, or is not, notified of an event
//	tocsin topics create --config tocsin.yaml   make the topics that are missing
//	tocsin rooms import FILE                    take over the state of rooms that were there before
//	tocsin pushers guard|restore|list           see and undo what became of users' pushers
//	tocsin pushers test --user U --app A        send a test notification, and say what became of it
//	tocsin pause, resume, paused                hold sending, and let it go on
//	tocsin rebuild                              bring back from Kafka what Redis has lost
//	tocsin dead-letter list|show|replay         look at what could not be delivered or read, and send it back
//	tocsin offsets show|reset                   look where the stages stand, and put one elsewhere
//	tocsin appconfig --homeserver URL           print what phones under device management are told
//	tocsin health                               ask the running worker whether it is ready
//
// This package has flags and wiring alone: the work is in package app, and what can be configured in package config. Without --config the file
// that TOCSIN_CONFIG names is read; without both, the environment is the whole configuration.
//
// The exit status is 0 if it went well, 1 if it failed or was cut short, and 2 if the command line or the configuration is wrong.
// SIGTERM or SIGINT stops cleanly; a second one stops at once.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"tocsin/cmd/app"
	"tocsin/config"
)

// The exit statuses.
const (
	succeeded = 0
	failed    = 1
	misused   = 2
)

func main() {
	p := process{environ: os.Environ(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	stop := listen(p.stderr, os.Exit)
	status := p.run(stop.clean, stop.hard, os.Args[1:])
	stop.release()
	os.Exit(status)
}

// process is what the operating system gives a command.
type process struct {
	environ        []string
	stdin          io.Reader
	stdout, stderr io.Writer
}

// run carries out a command line and is its exit status. Both contexts are the operator's wish to end: see [stopping].
func (p process) run(ctx, hard context.Context, args []string) int {
	var commands commandLine
	exited := false // by --help, which ends the reading of the command line
	parser, err := kong.New(&commands,
		kong.Name("tocsin"),
		kong.Description("Turns a Matrix homeserver's stream of events into push notifications."),
		kong.Vars{"stages": strings.Join(app.Stages, ",")},
		kong.Writers(p.stdout, p.stderr),
		kong.Exit(func(int) { exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		panic(err) // the command line's own definition is wrong
	}
	line, err := parser.Parse(args)
	if exited {
		return succeeded
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "tocsin: %v\nTry tocsin --help.\n", err)
		return misused
	}
	line.BindTo(ctx, (*context.Context)(nil))
	err = line.Run(call{process: p, hard: hard})
	p.complain(err)
	return status(err, hard)
}

// status is the exit status of a command that ended with err.
func status(err error, hard context.Context) int {
	var misuse misuseError
	switch {
	case config.IsFault(err), errors.As(err, &misuse), errors.Is(err, app.ErrUsage):
		return misused
	case err != nil, hard.Err() != nil:
		return failed
	default:
		return succeeded
	}
}

// misuseError marks an error as the command line's or the configuration's.
type misuseError struct{ error }

func misuse(err error) error        { return misuseError{err} }
func (e misuseError) Unwrap() error { return e.error }

// complain tells a person what went wrong.
func (p process) complain(err error) {
	var faults config.Faults
	switch {
	case err == nil:
	case errors.As(err, &faults) && len(faults) > 1:
		lines := strings.ReplaceAll(faults.Error(), "\n", "\n  ")
		fmt.Fprintf(p.stderr, "tocsin: the configuration has %d faults:\n  %s\n", len(faults), lines)
	case errors.As(err, &faults):
		fmt.Fprintf(p.stderr, "tocsin: the configuration has a fault:\n  %v\n", faults)
	default:
		fmt.Fprintf(p.stderr, "tocsin: %v\n", err)
	}
}
