package replay

// The output: one line for each thing that left the pipeline.

import (
	"cmp"
	"fmt"
	"io"
	"net/url"
	"strings"
	"sync"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline/stream"
	"tocsin/test/stack"
)

// output writes lines, each at once. It is safe for concurrent use. After an error it writes nothing more, and Err tells it.
type output struct {
	mu   sync.Mutex
	w    io.Writer
	err  error
	urls map[string]string // pushers' URLs as they were fed: each by itself, and by what is left of it in a request
}

// deadLetterLine is a record of the dead-letter topic.
type deadLetterLine struct {
	Kind   string  `json:"kind"`
	Topic  string  `json:"topic"`  // that the record came from
	Reason string  `json:"reason"` // a fixed word
	Value  *string `json:"value"`  // as it came; null for a tombstone
}

// feedbackLine is a record of the feedback topic: it names a pusher in clear, for the homeserver to delete it.
type feedbackLine struct {
	Kind    string `json:"kind"`
	UserID  string `json:"user_id"`
	AppID   string `json:"app_id"`
	Pushkey string `json:"pushkey"`
	Reason  string `json:"reason"`
}

// Err is the first error of writing.
func (o *output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// knows remembers the URL of a pusher; "" is none.
func (o *output) knows(pusher string) {
	if pusher == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.urls[pusher], o.urls[onTheWire(pusher)] = pusher, pusher
}

// push writes a request that a gateway received.
func (o *output) push(r stack.Request) {
	o.mu.Lock()
	own := cmp.Or(o.urls[r.URL], o.urls[onTheWire(r.URL)], r.URL)
	o.mu.Unlock()
	p := stack.ProviderPush{Provider: stack.ProviderGateway, URL: own, Body: r.Body, Status: r.Status}
	o.write(p.Line())
}

// direct writes a push that a push service received directly.
func (o *output) direct(p stack.ProviderPush) { o.write(p.Line()) }

// deadLetter writes a record of the dead-letter topic.
func (o *output) deadLetter(r *stack.Record) error {
	line := deadLetterLine{Kind: "dead_letter", Topic: r.Header(stream.HeaderOriginTopic), Reason: r.Header(stream.HeaderReason)}
	if r.Value != nil {
		text := strings.ToValidUTF8(string(r.Value), "\uFFFD")
		line.Value = &text
	}
	return o.encode(line)
}

// feedback writes a record of the feedback topic.
func (o *output) feedback(r *stack.Record) error {
	line := feedbackLine{Kind: "feedback"}
	if err := json.Unmarshal(r.Value, &line); err != nil {
		return fmt.Errorf("topic %s, offset %d: not a feedback record: %w", r.Topic, r.Offset, err)
	}
	return o.encode(line)
}

func (o *output) encode(line any) error {
	raw, err := json.Marshal(line)
	if err != nil {
		return err
	}
	o.write(raw)
	return nil
}

func (o *output) write(line []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		if _, err := o.w.Write(append(line, '\n')); err != nil {
			o.err = fmt.Errorf("write the output: %w", err)
		}
	}
}

// onTheWire is what a gateway can see of a URL: its host and what is asked of it, but neither the scheme nor a fragment.
func onTheWire(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.User != nil {
		return raw // never asked for: see delivery
	}
	return strings.ToLower(u.Host) + u.RequestURI()
}
