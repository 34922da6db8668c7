// Package rehearse lets an operator rehearse an outage: it runs push services that are fakes, for a worker that is real.
//
// [Run] starts them (APNs, FCM, Web Push, a push gateway), writes what a worker needs to push to them, and then one line of JSON for each push that they receive:
//
//	{"kind":"push","provider":"apns","app_id":"org.example.ios","headers":{"apns-topic":"org.example.ios",…},"body":{…},"status":200}
//	{"kind":"push","url":"https://…/_matrix/push/v1/notify","body":{…},"status":200}      of the push gateway
//
// # Commands
//
// They take commands as JSON lines on the standard input, and as the body of POST requests to the control address, while a worker pushes:
//
//	{"provider":{"provider":"apns","status":503,"reason":"ServiceUnavailable","times":100}}     how the next pushes are answered; behind what waits already
//	{"provider":{"app_id":"org.example.android","status":429,"headers":{"Retry-After":"30"}}}
//	{"provider":{"provider":"fcm","delay":"2s","fault":"silence","rate":0.05}}                  one push of twenty, from now on
//	{"clear":{"provider":"apns"}}                                                              forget such answers; {} is all of them
//	{"outage":{"provider":"apns","how":"refused"}}                                             refused, silent, or off; without provider: all services
//
// A GET request to the control address shows how things stand. [stack.ProviderAnswer] and [stack.ProviderFaults] have what can be answered.
//
// A folder that is given by Options.Data keeps keys and ports, so that the services can be stopped and started like those of an outage, and the worker needs no new
// configuration.
package rehearse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"

	"tocsin/test/stack"
)

// Options say where the services are, for which apps, and where commands come from.
type Options struct {
	Data     string              // folder of keys and configuration, made if need be; "": a temporary one, removed at the end
	Listen   string              // address that the services listen on; "": 127.0.0.1
	Host     string              // name or address by which the worker finds them; "": Listen
	Port     int                 // of APNs; FCM, Web Push and the gateway have the next ones; 0: those of an earlier start in Data, or free ones
	Control  string              // address (host:port) of the control
	Apps     map[string][]string // app ids or patterns of them, by provider. A service without apps is not started
	Commands io.Reader           // commands, a line each; nil: none. When Run returns it may still be read from, once
	Output   io.Writer           // gets a line for each push, and nothing else
	Guide    io.Writer           // gets what people read: the configuration to use, and what became of commands
}

// rehearsal is one run.
type rehearsal struct {
	opts      Options
	providers *stack.Providers
	only      []string

	mu        sync.Mutex // guards what follows, and all writing
	tallies   map[string]*tally
	unwritten error // why a push could not be written down; nil: all were
	stop      context.CancelFunc
}

// tally is what one service has received.
type tally struct {
	pushes  map[int]int // by status as answered; 0: not answered
	refusal string      // why the last push that was wrong in itself is
}

// Run runs the services until ctx ends.
func Run(ctx context.Context, opts Options) (err error) {
	if ip := net.ParseIP(opts.Listen); opts.Host == "" && ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("%s is no address that a worker could find the services by: name one", opts.Listen)
	}
	if opts.Data == "" {
		if opts.Data, err = os.MkdirTemp("", "tocsin-providers-*"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(opts.Data)) }()
	} else if err := os.MkdirAll(opts.Data, 0o700); err != nil {
		return err
	}
	if opts.Data, err = filepath.Abs(opts.Data); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &rehearsal{opts: opts, tallies: map[string]*tally{}, stop: stop}
	ports := map[string]int{}
	for i, provider := range stack.AllProviders() {
		if len(opts.Apps[provider]) == 0 {
			continue
		}
		r.only = append(r.only, provider)
		r.tallies[provider] = &tally{pushes: map[int]int{}}
		if opts.Port != 0 {
			ports[provider] = opts.Port + i
		}
	}
	if len(r.only) == 0 {
		return errors.New("no app is named, so there is no service to start")
	}
	r.providers, err = stack.StartProviders(stack.ProvidersOptions{
		Dir: opts.Data, Only: r.only, Listen: opts.Listen, Host: opts.Host, Ports: ports, Others: stack.TakeOthers, Observe: r.received,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.providers.Close()) }()
	return r.run(ctx)
}

// run takes commands until ctx ends.
func (r *rehearsal) run(ctx context.Context) error {
	control, err := listenControl(r.opts.Control, r)
	if err != nil {
		return err
	}
	if err := r.guide(control.address()); err != nil {
		return errors.Join(err, control.close())
	}
	lines := r.read(ctx)
	var group errgroup.Group
	group.Go(func() error {
		<-ctx.Done()
		return control.close()
	})
	group.Go(control.serve)
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case line := <-lines:
			told, err := r.do(line)
			if err != nil {
				told = "not understood: " + err.Error()
			}
			r.tell(told)
		}
	}
	err = group.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(err, r.unwritten)
}

// received writes a push down.
func (r *rehearsal) received(p stack.ProviderPush) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tallies[p.Provider]
	t.pushes[p.Status]++
	if p.Fault != "" {
		t.refusal = p.Fault
	}
	if r.unwritten != nil {
		return
	}
	if _, err := r.opts.Output.Write(append(p.Line(), '\n')); err != nil {
		r.unwritten = fmt.Errorf("write a push down: %w", err)
		r.stop()
	}
}

// tell says something to people.
func (r *rehearsal) tell(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(r.opts.Guide, text) // if nobody can read it, the pushes still count
}
