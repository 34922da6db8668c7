package rules

// This file puts the rules of a user into the order in which they are tried, and
// fills in the defaults.

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// arrange compiles the rules of one scope and puts them into order: the master
// rule, then by kind the user's own rules and after them the defaults. The
// global scope has all of the defaults, others only those written. Verbatim rules
// are all as written, and in the order as written.
func (r *reader) arrange(rules lists, complete bool) scope {
	var master, ordered []*rule
	for _, kind := range kinds {
		if r.verbatim {
			for _, l := range rules[kind] {
				if rule := r.own(kind, &l); rule != nil {
					ordered = append(ordered, rule)
				}
			}
			continue
		}
		own, defaults := r.arrangeKind(kind, rules[kind], complete)
		if kind != KindPostContent {
			ordered = append(ordered, own...)
		}
		for _, rule := range defaults {
			if rule.id == ruleMaster && kind == KindOverride {
				master = append(master, rule)
			} else {
				ordered = append(ordered, rule)
			}
		}
	}
	return r.compiler.scope(append(master, ordered...))
}

// arrangeKind compiles the rules of one kind: the user's own as listed, and the
// default ones in our order. A default rule that we don't know comes after the
// known one that it follows in the list; before all of them if it precedes them;
// and last if the list has none that we know.
func (r *reader) arrangeKind(kind Kind, list []listed, complete bool) (own, defaults []*rule) {
	known := r.compiler.defaults[kind]
	written := make([]*rule, len(known))     // the known default rules of the list
	unknown := make([][]*rule, len(known)+1) // at i: those that come before known[i]
	place, anyKnown := 0, false
	var seen int
	for _, l := range list {
		id := l.raw.id()
		if !strings.HasPrefix(id, ".") {
			if rule := r.own(kind, &l); rule != nil {
				own = append(own, rule)
			}
			continue
		}
		i := r.compiler.position(kind, id)
		switch {
		case i >= 0:
			anyKnown = true
			if id != ruleMaster {
				place = i + 1
			}
			if written[i] == nil {
				written[i] = r.edited(known[i], &l)
			} else {
				r.problem(l.path, "the rule occurs twice; only the first is used")
			}
		case r.compiler.off(kind, id):
			// It belongs to a feature that is off.
		default:
			if rule := r.own(kind, &l); rule != nil {
				unknown[place] = append(unknown[place], rule)
				seen++
			}
		}
	}
	if !anyKnown && seen > 0 {
		unknown[0], unknown[len(known)] = nil, unknown[0]
	}
	for i, rule := range known {
		defaults = append(defaults, unknown[i]...)
		switch {
		case written[i] != nil:
			defaults = append(defaults, written[i])
		case complete:
			defaults = append(defaults, rule)
		}
	}
	return own, append(defaults, unknown[len(known)]...)
}

// own compiles a rule with conditions of its own, or returns nil.
func (r *reader) own(kind Kind, l *listed) *rule {
	if r.rules++; r.rules > MaxRules {
		if r.rules == MaxRules+1 {
			r.problem(l.path, fmt.Sprintf("there are more than %d rules; this and those after it are left out", MaxRules))
		}
		return nil
	}
	if r.compiler.options.NoLegacyMentions && isLegacyMention(l.raw.id()) {
		return nil
	}
	rule, reason := r.parser.compile(kind, &l.raw)
	if reason != "" {
		r.problem(l.path, reason)
		return nil
	}
	r.check(rule, l.path)
	return rule
}

// check reports conditions that can't hold because they are malformed, and turns
// slow patterns beyond the limit into such.
func (r *reader) check(rule *rule, path string) {
	for i, c := range rule.conditions {
		path := fmt.Sprintf("%s.conditions[%d]", path, i)
		switch c := c.(type) {
		case *eventMatch:
			if c.pattern.wild && strings.Contains(c.pattern.lower, "?") {
				if r.slow++; r.slow > MaxSlowPatterns {
					rule.conditions[i] = &never{"too many patterns with a question mark"}
					rule.identity = sha256.Sum256(rule.identity[:]) // not the same rule as where it is within the limit
				}
				if r.slow == MaxSlowPatterns+1 {
					r.problem(path, fmt.Sprintf("there are more than %d patterns with a question mark; this and those after it never match", MaxSlowPatterns))
				}
			}
		case *never:
			if c.why != unknownKind {
				r.problem(path, c.why)
			}
		}
	}
}

// edited returns a default rule with what the user may change of it: whether it
// is enabled, and its actions. It is the original if nothing is changed.
func (r *reader) edited(original *rule, l *listed) *rule {
	edited := *original
	if l.raw.Enabled != nil {
		if on, ok := boolOf(l.raw.Enabled); ok {
			edited.enabled = on
		} else {
			r.problem(l.path, "enabled is not a boolean; the default is used")
		}
	}
	if l.raw.Actions != nil {
		if actions, ok := elements(l.raw.Actions); ok {
			edited.decide(actions)
		} else {
			r.problem(l.path, "actions is not a list; the default is used")
		}
	}
	if edited.enabled == original.enabled && edited.decision.equal(&original.decision) {
		return original
	}
	// Conditions often name the user, and are ignored: they make no difference.
	written := rawRule{ID: l.raw.ID, Enabled: l.raw.Enabled, Actions: l.raw.Actions}
	edited.identity = written.identify(original.kind, asEdited)
	return &edited
}
