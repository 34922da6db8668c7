package rules

// This file is how the bulk evaluator sees a list of rules: default rules as bits
// of a number, the user's own with what they need to match.

import "math/bits"

// plan is a list of rules in a form that is quick to evaluate. It holds enabled
// rules only.
type plan struct {
	steps    []step
	defaults []*rule // the default rules by their bit, as the user has changed them
	personal bool    // an own rule has conditions that depend on the recipient
}

// step is a part of the list: either some default rules, or some of the user's.
type step struct {
	// defaults has the bits of these default rules. They are tried in the order
	// of their bits, and all bits of a later step are higher.
	defaults uint64

	// own are the user's rules, if defaults is 0.
	own ruleList
	// Where many of them are bound to a room or a sender, as those that mute
	// rooms are, bound has the facts that these need, and free the others: an
	// event in another room by another sender asks the free ones alone.
	bound map[fact]struct{}
	free  ruleList
}

// ruleList is a list of rules with their triggers, apart so that the triggers of
// many rules share a cache line.
type ruleList struct {
	triggers []fact
	rules    []*rule
}

func (l *ruleList) add(r *rule) {
	l.triggers = append(l.triggers, r.trigger)
	l.rules = append(l.rules, r)
}

// manyBound is how many bound rules make it worth to keep them apart.
const manyBound = 8

// noBit marks rules that are no default rule of ours.
const noBit = -1

// newPlan makes the plan of a list of rules. All are the defaults of the
// deployment, by their bit.
func newPlan(list, all []*rule) plan {
	p := plan{defaults: all}
	for _, r := range list {
		switch {
		case !r.enabled || canNotMatch(r):
		case r.bit != noBit:
			p.addDefault(r)
		default:
			p.addOwn(r)
		}
	}
	for i := range p.steps {
		p.steps[i].divide()
	}
	return p
}

func (p *plan) addDefault(r *rule) {
	last := len(p.steps) - 1
	if last < 0 || p.steps[last].defaults == 0 || bits.Len64(p.steps[last].defaults) > r.bit {
		p.steps = append(p.steps, step{})
		last++
	}
	p.steps[last].defaults |= 1 << r.bit
	if p.defaults[r.bit] != r {
		p.defaults = append([]*rule(nil), p.defaults...)
		p.defaults[r.bit] = r
	}
}

func (p *plan) addOwn(r *rule) {
	last := len(p.steps) - 1
	if last < 0 || p.steps[last].defaults != 0 {
		p.steps = append(p.steps, step{})
		last++
	}
	p.steps[last].own.add(r)
	p.personal = p.personal || len(r.personal) > 0
}

// divide keeps rules that are bound to a room or a sender apart if there are
// many.
func (s *step) divide() {
	bound := map[fact]struct{}{}
	var free ruleList
	for _, r := range s.own.rules {
		if f, ok := boundTo(r); ok {
			bound[f] = struct{}{}
		} else {
			free.add(r)
		}
	}
	if len(bound) >= manyBound {
		s.bound, s.free = bound, free
	}
}

// boundTo returns the fact that the event is in the one room, or by the one
// sender, that the rule is for.
func boundTo(r *rule) (fact, bool) {
	for _, c := range r.conditions {
		var k *key
		switch c := c.(type) {
		case *eventMatch:
			k = &c.key
		case *propertyIs:
			k = &c.key
		default:
			continue
		}
		if k.text == keyRoomID.text || k.text == keySender.text {
			if f, rank := conditionTrigger(c); rank == rankValue {
				return f, true
			}
		}
	}
	return always, false
}

// canNotMatch reports whether a rule has a condition that never holds.
func canNotMatch(r *rule) bool {
	for _, c := range r.conditions {
		if _, ok := c.(*never); ok {
			return true
		}
	}
	return false
}

// dependsOnRecipient reports whether a condition can hold for one recipient and
// not for another.
func dependsOnRecipient(c condition) bool {
	switch c := c.(type) {
	case containsDisplayName, containsLocalpart, *isMe, *containsMe, *profileTag, *threadSubscription:
		return true
	case *relatedMatch:
		return c.me != nil
	}
	return false
}
