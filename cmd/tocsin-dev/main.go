// Command tocsin-dev is tocsin to be looked at: the very same worker with everything that it needs in one process, and nothing to install.
//
//	tocsin-dev                     live: sample traffic, and who was pushed by which rule, or why not
//	tocsin-dev replay FILE.jsonl   recorded input through the same pipeline, and one line for each thing that left it
//
// See the packages demo and replay below it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"tocsin/cmd/tocsin-dev/demo"
	"tocsin/cmd/tocsin-dev/replay"
)

// Exit statuses.
const (
	exitFailed = 1 // something went wrong on the way
	exitUsage  = 2 // the command line or the input is wrong: nothing was done
)

// cli is the command line.
type cli struct {
	LogLevel slog.Level `default:"warn" placeholder:"LEVEL" help:"What the worker says on standard error: debug, info, warn or error (${default})."`

	Live   live       `cmd:"" default:"withargs" help:"Show the worker with sample traffic (the default)."`
	Replay replayFile `cmd:"" help:"Feed recorded input through the pipeline, and write what leaves it."`
}

// live is the demo.
type live struct {
	Data string `placeholder:"DIR" help:"Keep the broker's data in this folder. Default: a temporary one, removed at the end."`
}

// replayFile is a replay.
type replayFile struct {
	File string `arg:"" help:"Input as JSON lines; - is standard input."`
}

// Help shows the form of the input.
func (replayFile) Help() string {
	return `Each line is a record of one of the two input topics,

  {"topic":"events"|"account","key":"…","value":{…}|"raw string"|null,"headers":{"…":"…"}}

or one of

  {"config":{…}}                                 settings, by the keys of the configuration file; first line only
  {"gateway":{"status":503,"times":2}}           how the push gateway answers the next requests
  {"gateway":{"rejected":["pushkey"],"times":1}}
  {"gateway":{"delay":"200ms","times":5}}
  {"wait":"idle"}                                go on when all is settled

The clock follows origin_server_ts. Standard output gets one line for each push request, dead letter and rejected pusher.
Exit status: 0, 1 if something failed, 2 if the input or the command line is not of this form.`
}

// session is what a command gets from the outside.
type session struct {
	ctx, hard context.Context // end with the first and the second signal
	log       slog.Handler
}

func main() { os.Exit(run(os.Args[1:], os.Stderr)) }

// run is main with its exit status.
func run(args []string, stderr io.Writer) int {
	var c cli
	parser := kong.Must(&c, kong.Name("tocsin-dev"), kong.Description("The tocsin worker with an embedded Kafka, Redis and push gateway."), kong.UsageOnError())
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(stderr, "tocsin-dev:", err)
		return exitUsage
	}
	ctx, hard, stop := signals()
	defer stop()
	s := &session{ctx, hard, slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.LogLevel})}
	if err := command.Run(s); err != nil {
		fmt.Fprintln(stderr, "tocsin-dev:", err)
		var input *replay.InputError
		if errors.As(err, &input) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

// signals returns a context that ends with the first signal to stop, and one that ends with the second.
func signals() (ctx, hard context.Context, stop func()) {
	ctx, soft := context.WithCancel(context.Background())
	hard, cut := context.WithCancel(context.Background())
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE) // also when nobody reads any more: what was started is tidied up
	done := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for _, end := range []func(){soft, cut} {
			select {
			case <-caught:
				end()
			case <-done:
				return
			}
		}
	}()
	return ctx, hard, func() {
		signal.Stop(caught)
		close(done)
		<-watched
		soft()
		cut()
	}
}

// Run shows the demo until the first signal.
func (l live) Run(s *session) error {
	return demo.Run(s.ctx, s.hard, demo.Options{Data: l.Data, Output: os.Stdout, Colours: demo.Colours(os.Stdout), Log: s.log})
}

// Run replays the file.
func (r replayFile) Run(s *session) error {
	return replay.Run(s.ctx, replay.Options{File: r.File, Stdin: os.Stdin, Output: os.Stdout, Log: slog.New(s.log)})
}
