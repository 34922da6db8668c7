package rehearse

// The commands that change what the services do.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/test/stack"
)

// maxCommand is longer than any command needs to be.
const maxCommand = 1 << 20

// read hands out the lines of the commands until there are no more, or ctx ends. A reader that waits for a line can't be woken: it ends with the line, or with the process.
func (r *rehearsal) read(ctx context.Context) <-chan []byte {
	lines := make(chan []byte)
	if r.opts.Commands == nil {
		return lines
	}
	go func() {
		scanner := bufio.NewScanner(r.opts.Commands)
		scanner.Buffer(nil, maxCommand)
		for scanner.Scan() {
			line := slices.Clone(scanner.Bytes())
			if len(strings.TrimSpace(string(line))) == 0 {
				continue
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
		if err := scanner.Err(); err != nil && ctx.Err() == nil {
			r.tell("no more commands are read: " + err.Error())
		}
	}()
	return lines
}

// command is one line: exactly one of its members is there.
type command struct {
	Provider jsontext.Value `json:"provider"`
	Clear    *struct {
		Provider string `json:"provider"`
		AppID    string `json:"app_id"`
	} `json:"clear"`
	Outage *struct {
		Provider string       `json:"provider"`
		How      stack.Outage `json:"how"`
	} `json:"outage"`
}

// do does what a line says, and tells in words what that was.
func (r *rehearsal) do(line []byte) (told string, err error) {
	var c command
	if err := json.Unmarshal(line, &c, json.RejectUnknownMembers(true)); err != nil {
		return "", err
	}
	var given []string
	for name, there := range map[string]bool{"provider": c.Provider != nil, "clear": c.Clear != nil, "outage": c.Outage != nil} {
		if there {
			given = append(given, name)
		}
	}
	if len(given) != 1 {
		return "", errors.New("a command is one of provider, clear and outage")
	}
	switch {
	case c.Provider != nil:
		return r.script(c.Provider)
	case c.Clear != nil:
		if err := r.known(c.Clear.Provider); err != nil {
			return "", fmt.Errorf("clear: %w", err)
		}
		return fmt.Sprintf("answers forgotten: %d", r.providers.Clear(c.Clear.Provider, c.Clear.AppID)), nil
	}
	if err := r.providers.Outage(c.Outage.Provider, c.Outage.How); err != nil {
		return "", fmt.Errorf("outage: %w", err)
	}
	return "outage: " + r.outages(), nil
}

func (r *rehearsal) script(raw []byte) (string, error) {
	answer, err := stack.ParseProviderAnswer(raw)
	if err == nil {
		err = r.known(answer.Provider)
	}
	if err == nil {
		err = r.providers.Script(answer)
	}
	if err != nil {
		return "", fmt.Errorf("provider: %w", err)
	}
	return fmt.Sprintf("answers waiting: %d", r.providers.Waiting()), nil
}

// known reports a service that does not run.
func (r *rehearsal) known(provider string) error {
	if provider == "" || slices.Contains(r.only, provider) {
		return nil
	}
	return fmt.Errorf("provider %q is none of those that run: %s", provider, strings.Join(r.only, ", "))
}

// outages says of each service how it can be reached.
func (r *rehearsal) outages() string {
	found := r.providers.Outages()
	words := make([]string, len(r.only))
	for i, provider := range r.only {
		words[i] = provider + " " + string(found[provider])
	}
	return strings.Join(words, ", ")
}
