package model

// What pushers are told, and what they should have been.

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
)

// phone is one pusher of a user.
type phone struct {
	user         *user
	app, key     string
	tag          string
	eventsOnly   bool // no notification of counts alone
	noCounts     bool // no counts at all
	messages     bool // its app's badge counts messages
	unread       number
	calls        number
	told         bool // of unread
	disconnected bool // removed
}

// number is one that a phone shows.
type number struct {
	n        int
	sure     bool // the pipeline knows, too, that it was told
	excepted bool // it changed silently: it is right again only when it is told
}

// wants says whether the phone is told of counts alone.
func (p *phone) wants() bool { return !p.eventsOnly && !p.noCounts }

// ruleTag is the profile tag whose rules the phone follows: there are none for others than these.
func (p *phone) ruleTag() string {
	if p.tag == "hush" || p.tag == "loud" {
		return p.tag
	}
	return ""
}

func (p *phone) String() string { return p.key }

// pushOf is an event that a phone is told of.
type pushOf struct {
	mark  int
	phone string
}

// told is how often that was done.
type told struct {
	settled int
	allowed int // once, and once more for each crash that may have kept the ledger from knowing
}

// spoken is a phone that was sent something, and the event.
type spoken struct {
	phone *phone
	pushOf
}

// debt is an event that a phone is to be told of, unless nobody waits for it any more.
type debt struct {
	event *event
	user  *user
	phone *phone
}

// Deliver is the push service: it tells a phone, or does not.
func (w *world) Deliver(_ context.Context, d pushers.Delivery) pushers.Step {
	p := w.phones[d.Notification.Device.Pusher.Pushkey.Reveal()]
	push := pushOf{markOf(&d.Notification), p.key}
	w.spoken = append(w.spoken, spoken{p, push})
	switch w.faults.strikes("Deliver") {
	case crashBefore:
		p.unsure()
		panic(errCrash)
	case crashAfter:
		w.hear(p, &d.Notification)
		p.unsure()
		panic(errCrash)
	}
	step := pushers.Step{Action: pushers.Settle, Verdict: pushers.Delivered}
	if w.flaky > 0 && w.rng.IntN(w.flaky) == 0 {
		step = []pushers.Step{{Action: pushers.Again, Verdict: pushers.Retry}, {Action: pushers.Again, Unsent: true}, {Action: pushers.Again, Verdict: pushers.Uncertain}}[w.rng.IntN(3)]
	}
	doubt := step.Verdict == pushers.Uncertain
	arrives := step.Action == pushers.Settle || doubt && w.rng.IntN(2) == 0
	w.note("    %s is sent %s: %v%s, arrived %v", p, describe(&d.Notification), step.Action, map[bool]string{true: " in doubt"}[doubt], arrives)
	w.expected(p, &d.Notification)
	if arrives {
		w.hear(p, &d.Notification)
		if step.Action == pushers.Settle && !d.Notification.CountsOnly() {
			t := w.toldOf(push)
			if t.settled++; t.settled > t.allowed {
				w.fail("%s was told of event %d %d times, and crashes explain no more than %d", p, push.mark, t.settled, t.allowed)
			}
		}
	}
	if doubt {
		p.unsure()
	}
	return step
}

// unsure notes that the pipeline can't know what the phone was told last.
func (p *phone) unsure() { p.unread.sure, p.calls.sure = false, false }

func describe(n *pushers.Notification) string {
	calls := ""
	if n.Counts.MissedCalls > 0 || n.NoMissedCalls {
		calls = fmt.Sprintf(" and %d calls", n.Counts.MissedCalls)
	}
	if n.CountsOnly() {
		return fmt.Sprintf("the badge %d%s", n.Counts.Unread, calls)
	}
	return fmt.Sprintf("event %d with the badge %d%s", markOf(n), n.Counts.Unread, calls)
}

// markOf is the mark of the event that a notification tells of.
func markOf(n *pushers.Notification) int { return markIn(n.Content) }

func markIn(eventContent []byte) int {
	var content struct {
		Mark string `json:"mark"`
	}
	_ = json.Unmarshal(eventContent, &content)
	mark, _ := strconv.Atoi(content.Mark)
	return mark
}

// expected says whether the notification is one that may be sent.
func (w *world) expected(p *phone, n *pushers.Notification) {
	switch {
	case p.disconnected:
		w.fail("%s is told something though it is removed", p)
	case n.CountsOnly():
		if !p.wants() {
			w.fail("%s is told of counts alone", p)
		}
		calls := n.Counts.MissedCalls
		if p.told && p.unread.sure && p.unread.n == n.Counts.Unread && p.calls.n == calls && (p.calls.sure || calls == 0 && !n.NoMissedCalls) {
			w.fail("%s is told the badge %d (%d calls) that it was told last", p, n.Counts.Unread, calls)
		}
	default:
		e := w.marks[markOf(n)]
		d, evaluated := e.told[p.user.id]
		switch {
		case !evaluated || !d[p.ruleTag()].notify:
			w.fail("%s is told of event %d, that its rules do not want", p, e.mark)
		case p.user.ignores[e.sender]:
			w.fail("%s is told of event %d, whose sender is ignored", p, e.mark)
		case w.settled && w.rooms[e.room].moot(e, p.user.id):
			w.fail("%s is told of event %d, that is read or redacted", p, e.mark)
		case p.noCounts && n.Counts != pushers.Counts{}:
			w.fail("%s is told counts", p)
		}
	}
}

// moot says whether nobody waits for a push of the event any more.
func (r *room) moot(e *event, userID string) bool {
	l := r.lines(userID)
	switch {
	case e.isInvite(): // redacted or not, it stands
		return slices.ContainsFunc(r.stays[userID], func(s stay) bool { return s.membership != "invite" && e.at.compare(s.at) <= 0 })
	case e.kind == "m.room.member": // who was kicked has nothing to read there
		return false
	}
	return e.redacted || l.passed(e)
}

// hear is what the phone does with a notification.
func (w *world) hear(p *phone, n *pushers.Notification) {
	if p.noCounts {
		return
	}
	if n.CountsOnly() || n.Counts.Unread != 0 {
		p.told = true
		p.unread = number{n: n.Counts.Unread, sure: true}
	}
	if n.Counts.MissedCalls != 0 || n.CountsOnly() && n.NoMissedCalls {
		p.calls = number{n: n.Counts.MissedCalls, sure: true}
	}
}

// checkPhones looks at all phones when nothing is under way any more.
func (w *world) checkPhones() {
	for _, d := range w.debts {
		if w.rooms[d.event.room].moot(d.event, d.user.id) || d.user.ignores[d.event.sender] || d.phone.disconnected {
			continue
		}
		if w.toldOf(pushOf{d.event.mark, d.phone.key}).settled == 0 {
			w.fail("%s was not told of event %d", d.phone, d.event.mark)
		}
	}
	w.debts = nil
	for _, u := range w.users {
		for _, p := range u.pushers {
			if !p.told || !p.wants() {
				continue
			}
			unread, calls := w.badge(u.id, p.messages)
			if p.unread.n != unread && !p.unread.excepted || p.calls.n != calls && !p.calls.excepted {
				w.fail("%s shows the badge %d (%d calls), and it is %d (%d calls)", p, p.unread.n, p.calls.n, unread, calls)
			}
		}
	}
}

func (w *world) toldOf(push pushOf) *told {
	if w.told[push] == nil {
		w.told[push] = &told{allowed: 1}
	}
	return w.told[push]
}
