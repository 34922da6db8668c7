package main

// The commands and their flags.

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"tocsin/cmd/app"
	"tocsin/config"
)

type commandLine struct {
	Worker     workerCommand     `cmd:"" help:"Run the pipeline until SIGTERM or SIGINT."`
	Check      checkCommand      `cmd:"" help:"Look whether the pipeline could run: configuration, topics, Redis, the credentials of apps."`
	Explain    explainCommand    `cmd:"" help:"Say why a user is, or is not, notified of an event: rule by rule, condition by condition."`
	Topics     topicsCommand     `cmd:"" help:"Kafka topics."`
	Rooms      roomsCommand      `cmd:"" help:"Rooms' state."`
	Rebuild    rebuildCommand    `cmd:"" help:"Bring back what Redis has lost: rulesets, pushers and room state, from Kafka. All workers must be stopped."`
	DeadLetter deadLetterCommand `cmd:"" help:"What could not be delivered or read."`
	Offsets    offsetsCommand    `cmd:"" help:"Where the stages' consumer groups stand."`
	Pushers    pushersCommand    `cmd:"" help:"Users' pushers."`
	Pause      pauseCommand      `cmd:"" help:"Hold all sending, or that to some apps, without a restart. What waits longer than it is worth delivering (delivery.expiry) expires."`
	Resume     resumeCommand     `cmd:"" help:"Let paused sending go on."`
	Paused     pausedCommand     `cmd:"" help:"Show what is paused."`
	AppConfig  appConfigCommand  `cmd:"" name:"appconfig" help:"Print the managed app configuration of Element for iOS, for a device management: XML with the deployment's URLs."`
	Health     healthCommand     `cmd:"" help:"Ask the worker on this machine whether it is ready."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

type topicsCommand struct {
	Create createTopicsCommand `cmd:"" help:"Make the topics that are missing. Those that exist are left alone."`
}

type roomsCommand struct {
	Import importRoomsCommand `cmd:"" help:"Take over the current state of rooms that existed before; what the stream already said stays."`
}

// call is what a command works with.
type call struct {
	process
	hard context.Context // ends when there is no time left for a clean stop
}

// configFlag is the flag of all commands that need the configuration.
type configFlag struct {
	Config string `help:"Configuration file (TOCSIN_CONFIG). Variables of the environment go above it, and are enough without it." placeholder:"FILE"`
}

// load reads the configuration.
func (f configFlag) load(environ []string) (*config.Config, error) {
	file := f.Config
	for _, e := range environ {
		if name, ok := strings.CutPrefix(e, "TOCSIN_CONFIG="); ok && f.Config == "" {
			file = name
		}
	}
	cfg, err := config.Load(file, environ)
	if err != nil && !config.IsFault(err) {
		return nil, misuse(err)
	}
	return cfg, err
}

type workerCommand struct {
	configFlag
	Stages []string `help:"Stages to run: ${enum}. All without this flag." enum:"${stages}" placeholder:"STAGE"`
}

// Run ends with the clean context, at the latest with the hard one.
func (c workerCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	worker, err := app.New(cfg, app.Options{Stages: c.Stages, Log: cfg.Log.New(on.stderr)})
	if err != nil { // a file that the configuration names
		return misuse(err)
	}
	return worker.Run(ctx, on.hard)
}

type checkCommand struct{ configFlag }

// Run prints a line for each check.
func (c checkCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.Check(ctx, cfg, on.stdout)
}

type createTopicsCommand struct {
	configFlag
	Partitions  int `help:"Partitions of each topic." default:"12"`
	Replication int `help:"Copies of each partition; 0: as the brokers are set." default:"0"`
}

// Validate is kong's hook: what can't be is a wrong command line.
func (c createTopicsCommand) Validate() error {
	if c.Partitions < 1 {
		return fmt.Errorf("--partitions must be at least 1, not %d", c.Partitions)
	}
	if c.Replication < 0 {
		return fmt.Errorf("--replication must not be negative")
	}
	return nil
}

// Run prints what it made.
func (c createTopicsCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.CreateTopics(ctx, cfg, app.TopicOptions{Partitions: c.Partitions, Replication: c.Replication}, on.stdout)
}

type importRoomsCommand struct {
	configFlag
	File string `arg:"" help:"JSON lines, each a state event with its room_id; - is standard input."`
}

// Run prints how far it came.
func (c importRoomsCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	in := on.stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return misuse(err)
		}
		defer f.Close()
		in = f
	}
	return app.ImportRooms(ctx, cfg, in, on.stdout)
}

type rebuildCommand struct{ configFlag }

// Run prints how far it is.
func (c rebuildCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	return app.Rebuild(ctx, cfg, on.stdout)
}

type healthCommand struct{ configFlag }

// Run asks /readyz at the address that the configuration names, as a container's health check does.
func (c healthCommand) Run(ctx context.Context, on call) error {
	cfg, err := c.load(on.environ)
	if err != nil {
		return err
	}
	address := cfg.Admin.Dial()
	if address == "" {
		return fmt.Errorf("admin.listen is empty: the worker answers no one")
	}
	return askReady(ctx, "http://"+address+"/readyz", on.stdout)
}

// askReady is an error unless the worker says that it is ready; its answer says why.
func askReady(ctx context.Context, url string, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("the worker does not answer: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return fmt.Errorf("the worker does not answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the worker is not ready: %s", strings.TrimSpace(string(answer)))
	}
	_, err = fmt.Fprintln(w, "ready")
	return err
}

type versionCommand struct{}

// Run prints what the Go toolchain wrote into the binary.
func (versionCommand) Run(on call) error {
	version, revision := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(on.stdout, "tocsin %s%s (%s, %s/%s)\n", version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
