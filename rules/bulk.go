package rules

// This file evaluates one event for many recipients at once. What does not depend
// on the recipient is evaluated once: a condition for all rulesets that have it, a
// ruleset for all recipients that share it.
//
// A ruleset is taken in two parts. Of the default rules, those that match whoever
// the recipient is are the same for all rulesets: one number with a bit for each.
// The few that ask for a mention, a name or an id are asked for each recipient,
// after a look that mostly says no, and add their bit. Of the user's own rules, the
// first that matches is found; a look at its trigger (see trigger.go) tells of most
// that they don't. The first default rule that comes before it, if one matches,
// decides; otherwise it does.

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
	options optionsKey
	shared  shared
	bound   [2]fact // that the event is in its room and by its sender

	matching uint64     // default rules that match whoever the recipient is
	asking   []question // those that depend on the recipient

	known []known // hash table of the large rulesets seen, by their identity
	epoch uint32  // of the entries that are of this event
}

// question is a default rule that matches if what it asks of the recipient holds:
// all else that it asks of the event does.
type question struct {
	bit        uint64
	conditions []condition
}

// verdict is what the rules of a scope make of the event as far as the user's own
// rules go.
type verdict struct {
	own    *rule  // the first that matches, or nil
	before uint64 // the enabled default rules that are tried before it
}

// known is the verdict of a ruleset, whoever the recipient is.
type known struct {
	rules *Ruleset
	epoch uint32
	verdict
}

// Evaluate decides for each recipient by their own rules, as [Ruleset.Evaluate]
// does. The decisions are in the order of the recipients and take the place of
// what out held. A recipient without rules gets the zero decision; a nil room is
// one of which nothing is known.
func (e *Evaluator) Evaluate(ev *Event, room *Room, recipients []Recipient, out []Decision) []Decision {
	out = slices.Grow(out[:0], len(recipients))[:len(recipients)]
	first := slices.IndexFunc(recipients, func(r Recipient) bool { return r.Rules != nil })
	if first < 0 {
		clear(out)
		return out
	}
	e.begin(ev, room, recipients[first].Rules)
	e.resize(len(recipients))
	for i := range recipients {
		r := &recipients[i]
		switch {
		case r.Rules == nil:
			out[i] = Decision{}
		case r.Rules.global.plan.key != e.options: // another deployment's: not what this is for
			out[i] = r.Rules.Evaluate(ev, room, r)
		default:
			e.decide(&out[i], r)
		}
	}
	e.c = context{}
	return out
}

// decide sets the decision for a recipient.
func (e *Evaluator) decide(out *Decision, r *Recipient) {
	matching := e.defaultsFor(r)
	if r.ProfileTag != "" {
		if device, ok := r.Rules.devices[r.ProfileTag]; ok {
			if rule := device.plan.winner(e.ask(&device.plan), matching); rule != nil {
				*out = rule.decision
				return
			}
		}
	}
	p := &r.Rules.global.plan
	var v verdict
	if len(p.triggers) <= fewRules || p.personal {
		v = e.ask(p)
	} else {
		v = e.recall(r.Rules)
	}
	if rule := p.winner(v, matching); rule != nil {
		*out = rule.decision
	} else {
		*out = Decision{}
	}
}

// winner returns the first rule that matches, be it a default one or the user's
// own, or nil.
func (p *plan) winner(v verdict, matching uint64) *rule {
	if hit := matching & v.before; hit != 0 {
		return p.defaults.rules[bits.TrailingZeros64(hit)]
	}
	return v.own
}

// defaultsFor returns the bits of the default rules that match for a recipient,
// enabled or not, and makes the recipient the one that conditions ask for.
func (e *Evaluator) defaultsFor(r *Recipient) uint64 {
	e.c.who = r
	matching := e.matching
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

// ask finds the first of the user's own rules that matches for the recipient.
func (e *Evaluator) ask(p *plan) verdict {
	triggers, rules := p.triggers, p.rules
	if p.divided && (p.mayBind(e.bound[0]) || p.mayBind(e.bound[1])) {
		triggers, rules = p.every.triggers, p.every.rules
	}
	for i, trigger := range triggers {
		if e.shared.facts.fires(trigger) && rules[i].matches(&e.c) {
			return verdict{rules[i].rule, rules[i].before}
		}
	}
	return verdict{nil, p.all}
}

// recall returns the verdict of a ruleset whose rules don't depend on the
// recipient, found once for all who share it.
func (e *Evaluator) recall(rs *Ruleset) verdict {
	mask := len(e.known) - 1
	i := int(binary.LittleEndian.Uint64(rs.identity[:])) & mask
	for ; e.known[i].epoch == e.epoch; i = (i + 1) & mask {
		if e.known[i].rules == rs {
			return e.known[i].verdict
		}
	}
	e.known[i] = known{rs, e.epoch, e.ask(&rs.global.plan)}
	return e.known[i].verdict
}
