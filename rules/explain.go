package rules

// This file explains a decision: every rule in order, every condition with the
// value it saw, and why the rule decided or did not.

import (
	"fmt"
	"io"
	"strings"
)

// Trace is the explanation of one decision.
type Trace struct {
	// Rules are all rules that could have decided, in the order in which they are
	// tried.
	Rules    []RuleTrace
	Decision Decision
}

// RuleTrace is what happened to one rule.
type RuleTrace struct {
	Scope      string // "global", or the profile tag of the device scope
	Device     bool   // the scope is a device's
	Kind       Kind
	RuleID     string
	Outcome    Outcome
	Conditions []ConditionTrace // none if the rule has none, or was not asked
}

// ConditionTrace is what one condition saw.
type ConditionTrace struct {
	Asks  string // the condition in words
	Saw   string // the value it was held against
	Holds bool
}

// Outcome says what became of a rule.
type Outcome string

const (
	OutcomeMatched    Outcome = "matched: it decides"
	OutcomeFailed     Outcome = "does not match"
	OutcomeDisabled   Outcome = "disabled"
	OutcomeMentions   Outcome = "out of force: the event has m.mentions"
	OutcomeExtensible Outcome = "out of force: the room has extensible events, which the rule does not know"
	OutcomeLater      Outcome = "not asked: a rule before it decided"
)

// Explain decides as [Ruleset.Evaluate] does, and tells how.
func (rs *Ruleset) Explain(ev *Event, room *Room, r *Recipient) Trace {
	t := Trace{Decision: rs.Evaluate(ev, room, r)}
	if rs == nil {
		return t
	}
	c := rs.newContext(ev, room, r)
	decided := false
	add := func(rules []*rule, scope string, device bool) {
		for _, rule := range rules {
			rt := RuleTrace{Scope: scope, Device: device, Kind: rule.kind, RuleID: rule.id}
			rt.Outcome, rt.Conditions = rule.explain(&c, decided)
			decided = decided || rt.Outcome == OutcomeMatched
			t.Rules = append(t.Rules, rt)
		}
	}
	add(rs.devices[r.ProfileTag].rules, r.ProfileTag, true)
	add(rs.global.rules, "global", false)
	return t
}

// explain tells what becomes of the rule.
func (r *rule) explain(c *context, decided bool) (Outcome, []ConditionTrace) {
	switch {
	case decided:
		return OutcomeLater, nil
	case !r.enabled:
		return OutcomeDisabled, nil
	case r.legacy && c.ev.mentions:
		return OutcomeMentions, nil
	case !r.extensible && c.extensible:
		return OutcomeExtensible, nil
	}
	outcome := OutcomeMatched
	conditions := make([]ConditionTrace, len(r.conditions))
	for i, condition := range r.conditions {
		asks, saw := describe(condition, c)
		conditions[i] = ConditionTrace{asks, saw, condition.holds(c)}
		if !conditions[i].Holds {
			outcome = OutcomeFailed
		}
	}
	return outcome, conditions
}

// WriteTo writes the trace for people to read. Rules after the one that decided
// are not written.
func (t Trace) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	for i, r := range t.Rules {
		if r.Outcome == OutcomeLater {
			fmt.Fprintf(&b, "%d more rules are not asked.\n", len(t.Rules)-i)
			break
		}
		r.write(&b, i+1)
	}
	b.WriteString(t.Decision.describe())
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}

// String returns what WriteTo writes.
func (t Trace) String() string {
	var b strings.Builder
	_, _ = t.WriteTo(&b)
	return b.String()
}

func (r *RuleTrace) write(b *strings.Builder, number int) {
	scope := ""
	if r.Device {
		scope = fmt.Sprintf(" (device scope %q)", r.Scope)
	}
	fmt.Fprintf(b, "%3d. %s %s%s: %s\n", number, r.Kind, r.RuleID, scope, r.Outcome)
	if len(r.Conditions) == 0 && r.Outcome == OutcomeMatched {
		b.WriteString("       + no conditions: it matches every event\n")
	}
	for _, c := range r.Conditions {
		mark := "-"
		if c.Holds {
			mark = "+"
		}
		fmt.Fprintf(b, "       %s %s; saw %s\n", mark, c.Asks, c.Saw)
	}
}

// describe tells the decision and its reason in a sentence.
func (d Decision) describe() string {
	if d.RuleID == "" {
		return "No notification: no rule matches.\n"
	}
	var does []string
	if len(d.Tweaks) > 0 {
		tweaks, _ := d.Tweaks.MarshalJSON() // of valid values
		does = append(does, "with tweaks "+string(tweaks))
	}
	if d.Coalesce {
		does = append(does, "coalesced with others")
	}
	verdict := "Notification"
	if !d.Notify {
		verdict = "No notification"
	}
	if len(does) > 0 {
		verdict += " " + strings.Join(does, ", ")
	}
	because := "it matches first"
	if !d.Notify {
		because = "it matches first, and its actions do not notify"
	}
	return fmt.Sprintf("%s, because of the %s rule %s: %s.\n", verdict, d.Kind, d.RuleID, because)
}
