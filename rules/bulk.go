package rules

// This file evaluates one event for many recipients at once. What does not depend
// on the recipient is evaluated once: a condition for all rulesets that have it, a
// ruleset for all recipients that share it.
//
// A ruleset is taken in two parts. Of the default rules, those that match whoever
// the recipient is are the same for all rulesets: one number with a bit for each.
// The few that ask for a mention, a name or an id are asked for each recipient,
// after a look that mostly says no, and add their bit. Of the user's own rules, the
// first that matches is found once for each ruleset. The first enabled default rule
// before it, if there is one, decides; otherwise it does.

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// Evaluator evaluates one event for many recipients. The zero value is ready. It
// keeps memory from call to call, the rulesets of the last recipients among it; it
// is not safe for concurrent use: each goroutine needs its own.
type Evaluator struct {
	c       context // of the event that is being evaluated
	options Options
	shared  shared
	bound   [2]fact // that the event is in its room and by its sender

	matching uint64     // default rules that match whoever the recipient is
	asking   []question // those that depend on the recipient

	known []verdict // hash table of the rulesets seen, by their identity
	epoch uint32    // of the entries that are of this event
}

// question is a default rule that matches if what it asks of the recipient holds:
// all else that it asks of the event does.
type question struct {
	bit        uint64
	conditions []condition
}

// verdict is what a ruleset makes of the event, whoever the recipient is.
type verdict struct {
	rules  *Ruleset
	own    *rule  // the first of the user's own rules that matches, or nil
	before uint64 // the enabled default rules before it
	epoch  uint32
}

// Evaluate decides for each recipient by their own rules, as [Ruleset.Evaluate]
// does. The decisions are in the order of the recipients and take the place of
// what out held. A recipient without rules gets the zero decision; a nil room is
// one of which nothing is known.
func (e *Evaluator) Evaluate(ev *Event, room *Room, recipients []Recipient, out []Decision) []Decision {
	out = slices.Grow(out[:0], len(recipients))[:len(recipients)]
	i := slices.IndexFunc(recipients, func(r Recipient) bool { return r.Rules != nil })
	if i < 0 {
		clear(out)
		return out
	}
	e.begin(ev, room, recipients[i].Rules)
	e.resize(len(recipients))
	var last *verdict
	for i := range recipients {
		r := &recipients[i]
		switch {
		case r.Rules == nil:
			out[i] = Decision{}
			continue
		case r.Rules.options != e.options:
			out[i] = r.Rules.Evaluate(ev, room, r) // another deployment's: not what this is for
			continue
		case r.ProfileTag != "" || r.Rules.global.plan.personal:
			out[i] = e.alone(r)
			continue
		case last == nil || last.rules != r.Rules:
			last = e.verdict(r.Rules)
		}
		e.decide(&out[i], last, r)
	}
	e.c = context{}
	return out
}

// decide sets the decision for a recipient from what their rules make of the event
// and the default rules that match for them.
func (e *Evaluator) decide(out *Decision, v *verdict, r *Recipient) {
	if hit := e.defaultsFor(r) & v.before; hit != 0 {
		*out = v.rules.global.plan.defaults[bits.TrailingZeros64(hit)].decision
	} else if v.own != nil {
		*out = v.own.decision
	} else {
		*out = Decision{}
	}
}

// defaultsFor returns the bits of the default rules that match for a recipient,
// enabled or not.
func (e *Evaluator) defaultsFor(r *Recipient) uint64 {
	matching := e.matching
	e.c.who = r
	for i := range e.asking {
		q := &e.asking[i]
		holds := true
		for _, c := range q.conditions {
			holds = holds && c.holds(&e.c)
		}
		if holds {
			matching |= q.bit
		}
	}
	return matching
}

// verdict returns what a ruleset makes of the event.
func (e *Evaluator) verdict(rs *Ruleset) *verdict {
	mask := len(e.known) - 1
	i := int(binary.LittleEndian.Uint64(rs.identity[:])) & mask
	for e.known[i].epoch == e.epoch {
		if e.known[i].rules == rs {
			return &e.known[i]
		}
		i = (i + 1) & mask
	}
	v := &e.known[i]
	*v = verdict{rules: rs, epoch: e.epoch}
	e.c.who = nobody
	for i := range rs.global.plan.steps {
		s := &rs.global.plan.steps[i]
		v.before |= s.defaults
		if v.own = e.firstOwn(s); v.own != nil {
			break
		}
	}
	return v
}

// nobody is the recipient of conditions that don't ask for one.
var nobody = &Recipient{}

// firstOwn returns the first of the user's rules of a step that matches, or nil.
func (e *Evaluator) firstOwn(s *step) *rule {
	list := &s.own
	if s.bound != nil && !e.isBound(s) {
		list = &s.free
	}
	for i, trigger := range list.triggers {
		if e.shared.facts.has(trigger) && list.rules[i].matches(&e.c) {
			return list.rules[i]
		}
	}
	return nil
}

// isBound reports whether some rule is for the room or the sender of the event.
func (e *Evaluator) isBound(s *step) bool {
	for _, f := range e.bound {
		if _, ok := s.bound[f]; ok {
			return true
		}
	}
	return false
}

// alone decides for a recipient whose decision can't be shared: one with a
// profile tag, or with rules of their own that ask for the recipient.
func (e *Evaluator) alone(r *Recipient) Decision {
	defaults := e.defaultsFor(r)
	e.c.who = r
	if device, ok := r.Rules.devices[r.ProfileTag]; ok {
		if rule := e.walk(&device.plan, defaults); rule != nil {
			return rule.decision
		}
	}
	if rule := e.walk(&r.Rules.global.plan, defaults); rule != nil {
		return rule.decision
	}
	return Decision{}
}

// walk returns the first rule of a plan that matches for the recipient in the
// context, or nil.
func (e *Evaluator) walk(p *plan, defaults uint64) *rule {
	for i := range p.steps {
		s := &p.steps[i]
		if hit := s.defaults & defaults; hit != 0 {
			return p.defaults[bits.TrailingZeros64(hit)]
		}
		if rule := e.firstOwn(s); rule != nil {
			return rule
		}
	}
	return nil
}
