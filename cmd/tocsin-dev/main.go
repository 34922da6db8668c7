// Command tocsin-dev is tocsin to be looked at: the very same worker with everything that it needs in one process, and nothing to install.
//
//	tocsin-dev                     live: sample traffic, and who was pushed by which rule, or why not
//	tocsin-dev replay FILE.jsonl   recorded input through the same pipeline, and one line for each thing that left it
//	tocsin-dev fake-providers      push services that fail when they are told to, for a worker that is set up as a real one
//
// See the packages demo, replay and rehearse below it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"tocsin/cmd/tocsin-dev/demo"
	"tocsin/cmd/tocsin-dev/rehearse"
	"tocsin/cmd/tocsin-dev/replay"
	"tocsin/test/stack"
)

// Exit statuses.
const (
	exitFailed = 1 // something went wrong on the way
	exitUsage  = 2 // the command line or the input is wrong: nothing was done
)

// cli is the command line.
type cli struct {
	LogLevel slog.Level `default:"warn" placeholder:"LEVEL" help:"What the worker says on standard error: debug, info, warn or error (${default})."`

	Live          live          `cmd:"" default:"withargs" help:"Show the worker with sample traffic (the default)."`
	Replay        replayFile    `cmd:"" help:"Feed recorded input through the pipeline, and write what leaves it."`
	FakeProviders fakeProviders `cmd:"" help:"Run push services that fail when they are told to, for rehearsals with a worker of your own."`
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
  {"provider":{"app_id":"…","status":410,"reason":"Unregistered","times":1}}
  {"provider":{"provider":"apns","fault":"reset"}}
  {"wait":"idle"}                                go on when all is settled

The clock follows origin_server_ts. Standard output gets one line for each push request, dead letter and rejected pusher.

Apps of the settings' section "apps" are told directly, by push services that are part of the replay: whatever the section says of keys
and addresses, no file is opened and nobody else is asked. {"config":{"apps":{"im.vector.ios":{"type":"apns","topic":"im.vector.app"}}}} is enough.
How the services answer is said by "provider" lines, which have the same members and faults as those of "tocsin-dev fake-providers".

Exit status: 0, 1 if something failed, 2 if the input or the command line is not of this form.`
}

// fakeProviders are push services for rehearsals.
type fakeProviders struct {
	Data    string   `placeholder:"DIR" help:"Keep keys, ports and the configuration for the worker in this folder. Default: a temporary one, removed at the end."`
	Listen  string   `default:"127.0.0.1" placeholder:"ADDRESS" help:"Address that the services listen on (${default})."`
	Host    string   `placeholder:"NAME" help:"Name or address by which the worker finds them. Default: what --listen says; needed if that is 0.0.0.0 or ::."`
	Port    int      `default:"7441" help:"Port of APNs; FCM, Web Push and the gateway have the next ones (${default}). 0: free ones, the same again with the same --data."`
	Control string   `default:"127.0.0.1:7440" placeholder:"HOST:PORT" help:"Address that takes commands by HTTP (${default}). It asks for no password."`
	APNs    []string `name:"apns" default:"org.example.ios" sep:"none" placeholder:"APP_ID" help:"Apps at APNs, by app id or pattern; may be repeated (${default})."`
	FCM     []string `name:"fcm" default:"org.example.android" sep:"none" placeholder:"APP_ID" help:"The same at FCM (${default})."`
	WebPush []string `name:"webpush" default:"org.example.web" sep:"none" placeholder:"APP_ID" help:"The same at a Web Push service (${default})."`
	Gateway []string `name:"gateway" default:"org.example.desktop" sep:"none" placeholder:"APP_ID" help:"The same at a Matrix push gateway (${default})."`
}

// Help shows how a rehearsal goes.
func (fakeProviders) Help() string {
	return `It begins with the section "apps" that the worker needs, on standard error and as apps.yaml in the folder. Then standard output gets one
line for each push, as from "tocsin-dev replay":

  {"kind":"push","provider":"apns","app_id":"…","headers":{…},"body":{…},"status":200}

While the worker pushes, each line of standard input, or of the body of a POST request to the control address, changes what the services do:

  {"provider":{"provider":"apns","status":503,"reason":"ServiceUnavailable","times":100}}     answers to the next pushes, queued
  {"provider":{"app_id":"…","status":429,"headers":{"Retry-After":"30"},"delay":"2s"}}
  {"provider":{"provider":"fcm","fault":"silence","rate":0.05}}                               to one of twenty, from now on
  {"provider":{"provider":"gateway","rejected":["pushkey"]}}
  {"clear":{"provider":"apns"}}                                                               forget them; {"clear":{}} all
  {"outage":{"provider":"apns","how":"refused"}}                                              or silent; off ends it

Faults: of apns ` + faults(stack.ProviderAPNs) + `;
of fcm ` + faults(stack.ProviderFCM) + `;
of webpush and gateway ` + faults(stack.ProviderGateway) + `.

GET of the control address shows how things stand. Any device token and any endpoint is taken. Ctrl-C ends it.`
}

func faults(provider string) string { return strings.Join(stack.ProviderFaults(provider), ", ") }

// session is what a command gets from the outside.
type session struct {
	ctx, hard context.Context // end with the first and the second signal
	log       slog.Handler
	stdout    io.Writer
}

// readOutput is an output that ends a command when nobody reads it any more, so that what was started is tidied up. SIGPIPE is no sign of that: connections that break raise it, too,
// and here they break by intent.
type readOutput struct {
	io.Writer
	end context.CancelFunc
}

func (o readOutput) Write(p []byte) (int, error) {
	n, err := o.Writer.Write(p)
	if err != nil {
		o.end()
	}
	return n, err
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
	ctx, unread := context.WithCancel(ctx)
	defer unread()
	s := &session{ctx, hard, slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.LogLevel}), readOutput{os.Stdout, unread}}
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
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	signal.Ignore(syscall.SIGPIPE) // writing fails then: see readOutput
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
		signal.Reset(syscall.SIGPIPE)
		close(done)
		<-watched
		soft()
		cut()
	}
}

// Run shows the demo until the first signal.
func (l live) Run(s *session) error {
	return demo.Run(s.ctx, s.hard, demo.Options{Data: l.Data, Output: s.stdout, Colours: demo.Colours(os.Stdout), Log: s.log})
}

// Run replays the file.
func (r replayFile) Run(s *session) error {
	return replay.Run(s.ctx, replay.Options{File: r.File, Stdin: os.Stdin, Output: s.stdout, Log: slog.New(s.log)})
}

// Run runs the services until the first signal.
func (f fakeProviders) Run(s *session) error {
	apps := map[string][]string{}
	for provider, names := range map[string][]string{stack.ProviderAPNs: f.APNs, stack.ProviderFCM: f.FCM, stack.ProviderWebPush: f.WebPush, stack.ProviderGateway: f.Gateway} {
		apps[provider] = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	}
	return rehearse.Run(s.ctx, rehearse.Options{
		Data: f.Data, Listen: f.Listen, Host: f.Host, Port: f.Port, Control: f.Control, Apps: apps, Commands: os.Stdin, Output: s.stdout, Guide: os.Stderr,
	})
}
