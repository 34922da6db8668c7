package rules

// This file is how the bulk evaluator sees the rules of a scope: default rules as
// bits of a number, the user's own with what they need to match.

import "crypto/sha256"

// plan is the enabled rules of one scope in a form that is quick to evaluate. With
// thousands of different rulesets the time goes into fetching them from memory, so
// the fields are in the order in which they are read: what nearly every event needs
// is in the first two cache lines, of 64 bytes each.
type plan struct {
	key      optionsKey   // of the options it is compiled under
	personal bool         // an own rule has conditions that depend on the recipient
	divided  bool         // some rules are apart, see bound
	all      uint64       // the bits of all default rules
	defaults *defaultList // as the user has changed them
	triggers []trigger    // of the user's own rules, in their order
	_        [16]byte

	near [fewRules]trigger // where triggers are, if they are few

	// Where many of the user's rules are bound to a room or a sender, as those
	// that mute rooms are, bound has the facts that these need, as in a small set of
	// facts, and the lists above and below hold the other rules alone. An event that
	// may have such a fact is asked of every rule: they are in every.
	bound [8]uint64
	more  *facts // the same facts in a set of their own, if they are too many for bound
	every *ruleList

	rules []ownRule // for each trigger
}

// ruleList is a list of a user's own rules, in their order, as in a plan.
type ruleList struct {
	triggers []trigger
	rules    []ownRule
}

// ownRule is a rule of the user's own in its place.
type ownRule struct {
	*rule
	before uint64 // the bits of the default rules that are tried before it
}

// defaultList is the default rules of a scope by their bit.
type defaultList struct{ rules []*rule }

const (
	fewRules  = 8  // are quicker asked than recalled
	manyBound = 8  // bound rules are worth to be kept apart
	mostBound = 64 // facts fit into the small set
	noBit     = -1 // of rules that are no default rule of ours
)

// newPlan makes the plan of a scope's rules, which are in order; the default ones
// are in the order of their bits.
func (c *Compiler) newPlan(ordered []*rule) plan {
	p := plan{key: c.options.key()}
	defaults := c.all
	var own, free ruleList
	var bound []fact
	for _, r := range ordered {
		switch {
		case !r.enabled || r.canNotMatch():
		case r.bit != noBit:
			p.all |= 1 << r.bit
			if defaults[r.bit] != r {
				defaults = append([]*rule(nil), defaults...)
				defaults[r.bit] = r
			}
		default:
			own.add(r, p.all)
			if f, ok := r.boundTo(); ok {
				bound = append(bound, f)
			} else {
				free.add(r, p.all)
			}
			p.personal = p.personal || len(r.personal) > 0
		}
	}
	p.defaults = c.shareDefaults(defaults)
	p.divide(own, free, bound)
	return p
}

// divide sets the lists of own rules, apart if it is worth it.
func (p *plan) divide(own, free ruleList, bound []fact) {
	list := own
	if len(bound) >= manyBound {
		p.divided, p.every, list = true, &own, free
		small := facts{bits: p.bound[:], shift: boundShift}
		for _, f := range bound {
			small.add(f)
		}
		if len(bound) > mostBound {
			p.more = newFacts(bound)
		}
	}
	p.triggers, p.rules = list.triggers, list.rules
}

// boundShift leads from a fact to its place among the 512 bits of bound.
const boundShift = 32 - 9

// mayBind reports whether some rule may be bound to the fact.
func (p *plan) mayBind(f fact) bool {
	i := f >> boundShift
	return p.bound[i/64]&(1<<(i%64)) != 0 && (p.more == nil || p.more.has(f))
}

// settle brings the triggers near, once the plan is where it stays.
func (p *plan) settle() {
	if len(p.triggers) <= fewRules {
		p.triggers = p.near[:copy(p.near[:], p.triggers)]
	}
}

func (l *ruleList) add(r *rule, before uint64) {
	l.triggers = append(l.triggers, r.trigger)
	l.rules = append(l.rules, ownRule{r, before})
}

// shareDefaults returns the list of these default rules that others have already.
func (c *Compiler) shareDefaults(list []*rule) *defaultList {
	h := sha256.New()
	for _, r := range list {
		h.Write(r.identity[:])
	}
	return c.defaultLists.share(identity(h.Sum(nil)), &defaultList{list})
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
