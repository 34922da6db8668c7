package rules

// This file is how the bulk evaluator sees the rules of a scope: default rules as
// bits of a number, the user's own with what they need to match.

// plan is the enabled rules of one scope in a form that is quick to evaluate.
type plan struct {
	own  ruleList
	near [fewRules]trigger // the triggers of own or free, if they are few: not a cache line away
	// Where many of the user's rules are bound to a room or a sender, as those
	// that mute rooms are, bound has the facts that these need, and free the other
	// rules: an event in another room by another sender asks the free ones alone.
	bound *facts
	free  ruleList

	all      uint64  // the bits of all default rules
	defaults []*rule // the default rules by their bit, as the user has changed them
	personal bool    // an own rule has conditions that depend on the recipient
}

// fewRules is how many rules are quicker asked than recalled.
const fewRules = 8

// ruleList is a list of a user's own rules, in their order, in three parts of the
// same length: what is looked at for every event is close together.
type ruleList struct {
	triggers []trigger
	before   []uint64 // the bits of the default rules that are tried before the rule
	rules    []*rule
}

// manyBound is how many bound rules make it worth to keep them apart.
const manyBound = 8

// noBit marks rules that are no default rule of ours.
const noBit = -1

// newPlan makes the plan of a scope's rules, which are in order. Builtin are the
// defaults of the deployment, by their bit; those in the scope are in that order.
func newPlan(ordered, builtin []*rule) plan {
	p := plan{defaults: builtin}
	for _, r := range ordered {
		switch {
		case !r.enabled || r.canNotMatch():
		case r.bit != noBit:
			p.addDefault(r)
		default:
			p.own.add(r, p.all)
			p.personal = p.personal || len(r.personal) > 0
		}
	}
	p.divide()
	return p
}

// settle brings the triggers near, once the plan is where it stays.
func (p *plan) settle() {
	for _, list := range []*ruleList{&p.own, &p.free} {
		if n := len(list.triggers); 0 < n && n <= fewRules {
			list.triggers = p.near[:copy(p.near[:], list.triggers)]
			return
		}
	}
}

func (p *plan) addDefault(r *rule) {
	p.all |= 1 << r.bit
	if p.defaults[r.bit] != r { // one list serves all who have changed nothing
		p.defaults = append([]*rule(nil), p.defaults...)
		p.defaults[r.bit] = r
	}
}

func (l *ruleList) add(r *rule, before uint64) {
	l.triggers = append(l.triggers, r.trigger)
	l.before = append(l.before, before)
	l.rules = append(l.rules, r)
}

// divide keeps rules that are bound to a room or a sender apart if there are
// many.
func (p *plan) divide() {
	var bound []fact
	var free ruleList
	for i, r := range p.own.rules {
		if f, ok := r.boundTo(); ok {
			bound = append(bound, f)
		} else {
			free.add(r, p.own.before[i])
		}
	}
	if len(bound) < manyBound {
		return
	}
	p.bound, p.free = newFacts(bound), free
}

// boundTo returns the fact that the event is in the one room, or by the one
// sender, that the rule is for.
func (r *rule) boundTo() (fact, bool) {
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
func (r *rule) canNotMatch() bool {
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
