package demo

// What a person sees: each event, and under it who was pushed by which rule with which unread count, or why not. All of it comes from the
// worker's own log.

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// The messages of the worker's log that the screen shows, and their level.
const (
	evaluatedMessage = "event evaluated" // debug
	settledMessage   = "push settled"    // info
)

// quiet is how long after an event the last of its pushes may come before the screen says who was not told.
const quiet = 300 * time.Millisecond

// remembered bounds the events whose late pushes can still be named.
const remembered = 1000

// shown is an event as the screen knows it: the worker's log has no content.
type shown struct {
	room, sender, text string
	raw                []byte   // the event itself
	members            []string // joined when it was sent

	heard map[string]bool // users whose pushes have been shown
}

// Screen prints. What it is told, it prints in that order; it is safe for concurrent use. [Screen.Run] must be running.
type Screen struct {
	w     io.Writer
	paint paint
	why   func(e *shown, user string) string
	in    chan func()
	ended chan struct{}

	// Run's own:
	events map[string]*shown
	order  []string // of events, oldest first
	open   *shown   // the event that was printed last, and still is to be closed
	close  *time.Timer
}

// NewScreen prints on w. why says why a user was not told of an event.
func NewScreen(w io.Writer, colours bool, why func(e *shown, user string) string) *Screen {
	s := &Screen{w: w, paint: paint{colours}, why: why, in: make(chan func(), 64), ended: make(chan struct{}), events: map[string]*shown{}}
	s.close = time.NewTimer(time.Hour)
	return s
}

// Run prints until ctx ends.
func (s *Screen) Run(ctx context.Context) {
	defer close(s.ended)
	for {
		select {
		case print := <-s.in:
			print()
		case <-s.close.C:
			s.shut()
		case <-ctx.Done():
			return
		}
	}
}

// do hands something to Run; after the end it is dropped.
func (s *Screen) do(print func()) {
	select {
	case s.in <- print:
	case <-s.ended:
	}
}

// expect announces an event, so that the screen can say what it was about.
func (s *Screen) expect(id string, e shown) {
	s.do(func() {
		e.heard = map[string]bool{}
		s.events[id] = &e
		if s.order = append(s.order, id); len(s.order) > remembered {
			delete(s.events, s.order[0])
			s.order = s.order[1:]
		}
	})
}

// note prints a remark of its own.
func (s *Screen) note(text string) {
	s.do(func() {
		s.shut()
		s.line(s.paint.dim(clock() + "  ── " + text))
	})
}

func (s *Screen) line(text string) { fmt.Fprintln(s.w, strings.TrimRight(text, " ")) }

// The columns of an event's line, and how far what came of it is set in.
const (
	roomColumn   = 13
	senderColumn = 12
	saidColumn   = 15
	reasonColumn = 34
	whoColumn    = 16
	indent       = "          "
)

// evaluated prints an event.
func (s *Screen) evaluated(id string) {
	e := s.events[id]
	if e == nil {
		return // not of those that are to be seen
	}
	s.shut()
	s.line("")
	s.line(clock() + "  " + s.paint.cyan(pad(e.room, roomColumn)) + s.paint.bold(pad(localpart(e.sender), senderColumn)) + clip(e.text, 70))
	s.open = e
	s.close.Reset(quiet)
}

// shut says who was not told of the open event, and why: users with the same reason in one line.
func (s *Screen) shut() {
	e := s.open
	if e == nil {
		return
	}
	s.open = nil
	slices.Sort(e.members)
	var reasons []string
	users := map[string][]string{}
	for _, user := range e.members {
		if user == e.sender || e.heard[user] {
			continue
		}
		reason := s.why(e, user)
		if users[reason] == nil {
			reasons = append(reasons, reason)
		}
		users[reason] = append(users[reason], localpart(user))
	}
	for _, reason := range reasons {
		who := strings.Join(users[reason], ", ")
		s.line(indent + s.paint.dim("·  "+pad("not pushed", saidColumn)+pad(reason, reasonColumn)+who))
	}
}

// settled prints what became of one (event, pusher).
func (s *Screen) settled(p push) {
	e := s.events[p.event]
	if e == nil {
		return
	}
	e.heard[p.user] = true
	if e != s.open {
		s.shut()
		s.line("")
		s.line(clock() + "  " + s.paint.dim("about what "+localpart(e.sender)+" said in "+e.room+": “"+clip(e.text, 40)+"”"))
	} else {
		s.close.Reset(quiet)
	}
	who := localpart(p.user) + "'s " + p.device()
	say := func(mark, said string, colour func(string) string, reason, more string) {
		s.line(indent + mark + "  " + colour(pad(said, saidColumn)) + pad(reason, reasonColumn) + pad(who, whoColumn) + more)
	}
	switch p.action {
	case "settle":
		said := "pushed"
		if p.attempt > 1 {
			said = fmt.Sprintf("pushed (try %d)", p.attempt)
		}
		say("→", said, s.paint.green, "by "+p.rule, s.paint.bold(fmt.Sprintf("unread %d", p.unread)))
	case "retry":
		say("↻", "tried in vain", s.paint.yellow, p.why(), "waits in a retry topic")
	case "remove":
		say("✕", "rejected", s.paint.red, "the device is gone", "the pusher is removed, the homeserver is told")
	case "dead_letter":
		say("✕", "given up", s.paint.red, p.why(), "is in the dead-letter topic")
	default:
		say("·", "not pushed", s.paint.dim, p.why(), "")
	}
}

// push is the worker's line about one (event, pusher).
type push struct {
	event, user, app, rule, action, reason, detail string
	unread, attempt                                int64
}

// device is the last word of the app id.
func (p push) device() string { return p.app[strings.LastIndexByte(p.app, '.')+1:] }

func (p push) why() string {
	return strings.Trim(cmp.Or(p.reason, p.detail, p.action), " ")
}

func clock() string { return time.Now().Format("15:04:05") }

// handler is the worker's log: what the screen shows goes there, the rest to the next handler.
type handler struct {
	screen *Screen
	next   slog.Handler
}

// NewHandler puts the screen before another handler.
func NewHandler(s *Screen, next slog.Handler) slog.Handler { return &handler{s, next} }

// Enabled implements [slog.Handler]: the screen needs all levels.
func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements [slog.Handler].
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	switch r.Message {
	case evaluatedMessage:
		id := text(r, "event_id")
		h.screen.do(func() { h.screen.evaluated(id) })
	case settledMessage:
		p := push{
			event: text(r, "event_id"), user: text(r, "user_id"), app: text(r, "app_id"), rule: text(r, "rule"), action: text(r, "action"), reason: text(r, "reason"), detail: text(r, "detail"),
			unread: number(r, "unread"), attempt: number(r, "attempt"),
		}
		h.screen.do(func() { h.screen.settled(p) })
	default:
		if h.next.Enabled(ctx, r.Level) {
			return h.next.Handle(ctx, r)
		}
	}
	return nil
}

// WithAttrs implements [slog.Handler].
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &handler{h.screen, h.next.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{h.screen, h.next.WithGroup(name)}
}

// attr is one attribute of a log record.
func attr(r slog.Record, key string) (v slog.Value) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == key {
			v = a.Value.Resolve()
			return false
		}
		return true
	})
	return v
}

func text(r slog.Record, key string) string {
	if v := attr(r, key); v.Kind() == slog.KindString {
		return v.String()
	}
	return ""
}

func number(r slog.Record, key string) int64 {
	if v := attr(r, key); v.Kind() == slog.KindInt64 {
		return v.Int64()
	}
	return 0
}
