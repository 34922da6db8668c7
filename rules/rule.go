package rules

// This file is one push rule: its kind, its conditions and what it decides.

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Kind is the kind of a push rule. Kinds are tried in the order of the
// constants.
type Kind string

const (
	KindOverride Kind = "override"
	KindContent  Kind = "content"
	// KindPostContent holds the default rules of thread subscriptions (MSC4306);
	// users can't have rules of this kind.
	KindPostContent Kind = "postcontent"
	KindRoom        Kind = "room"
	KindSender      Kind = "sender"
	KindUnderride   Kind = "underride"
)

// kinds are all kinds in their order.
var kinds = [...]Kind{KindOverride, KindContent, KindPostContent, KindRoom, KindSender, KindUnderride}

// rule is one compiled rule. It is immutable. What the evaluators read first comes
// first.
type rule struct {
	enabled    bool
	legacy     bool // out of force when the event has m.mentions
	extensible bool // applies in rooms with extensible events
	conditions []condition
	near       [2]condition // where conditions are, if they are few
	trigger    trigger      // without it no event matches
	personal   []condition  // those that depend on the recipient
	decision   Decision     // if the rule matches

	id       string
	kind     Kind
	bit      int // the place among the deployment's default rules, or noBit
	identity identity
}

// identity tells rules of different content apart: equal ones have the same.
type identity [sha256.Size]byte

// The origins of a rule: equal text means different rules where a default rule's
// conditions are ours, not those written.
const (
	asWritten = "as written"
	asEdited  = "a default rule with changes"
	asBuiltIn = "a default rule"
)

// identify returns the identity of a rule as it is written.
func (r *rawRule) identify(kind Kind, origin string) identity {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(origin), []byte(kind), r.ID, r.Enabled, r.Conditions, r.Actions, r.Pattern} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write(part)
	}
	return identity(h.Sum(nil))
}

// matches reports whether the rule is in force and all its conditions hold.
func (r *rule) matches(c *context) bool {
	if !r.inForce(c) {
		return false
	}
	for _, condition := range r.conditions {
		if !condition.holds(c) {
			return false
		}
	}
	return true
}

// inForce reports whether the rule is asked at all about this event.
func (r *rule) inForce(c *context) bool {
	return r.enabled && r.applies(c)
}

// applies reports whether the rule would be asked about this event if it were
// enabled.
func (r *rule) applies(c *context) bool {
	return !(r.legacy && c.ev.mentions) && (r.extensible || !c.extensible)
}

// rawRule is a rule as users and homeservers write it.
type rawRule struct {
	Kind       jsontext.Value `json:"kind"` // in batch input only
	ID         jsontext.Value `json:"rule_id"`
	Enabled    jsontext.Value `json:"enabled"`
	Conditions jsontext.Value `json:"conditions"`
	Actions    jsontext.Value `json:"actions"`
	Pattern    jsontext.Value `json:"pattern"`
}

// decodeRule takes a rule apart. The reason is "" if it is well-formed.
func decodeRule(raw jsontext.Value) (r rawRule, reason string) {
	if raw.Kind() != '{' {
		return r, "the rule is not an object"
	}
	if json.Unmarshal(raw, &r) != nil {
		return r, "the rule is not well-formed (a repeated key, or invalid UTF-8)"
	}
	return r, ""
}

// id returns the rule's id, or "".
func (r *rawRule) id() string {
	id, _ := stringOf(r.ID)
	return id
}

// enabled returns whether the rule is enabled; one that doesn't say so is.
func (r *rawRule) enabled() (on, ok bool) {
	if r.Enabled == nil || r.Enabled.Kind() == 'n' {
		return true, true
	}
	return boolOf(r.Enabled)
}

// compile makes a rule of the given kind. The reason is "" if that is possible.
func (p *conditionParser) compile(kind Kind, raw *rawRule) (_ *rule, reason string) {
	origin := asWritten
	if p.builtin {
		origin = asBuiltIn
	}
	r := &rule{id: raw.id(), kind: kind, bit: noBit, identity: raw.identify(kind, origin)}
	var ok bool
	if r.enabled, ok = raw.enabled(); !ok {
		return nil, "enabled is not a boolean"
	}
	conditions, reason := p.conditions(kind, raw)
	if reason != "" {
		return nil, reason
	}
	r.conditions = append(r.near[:0], conditions...)
	actions, ok := elements(raw.Actions)
	if !ok && raw.Actions != nil {
		return nil, "actions is not a list"
	}
	r.legacy = isLegacyMention(r.id)
	r.extensible = exemptFromExtensible(kind, r.id) || mindsRoomVersion(r.conditions)
	r.decide(actions)
	r.prepare()
	return r, ""
}

// prepare sets what the bulk evaluator wants to know of the rule's conditions.
func (r *rule) prepare() {
	r.trigger = triggerOf(r.conditions)
	for _, c := range r.conditions {
		if dependsOnRecipient(c) {
			r.personal = append(r.personal, c)
		}
	}
}

// conditions returns what the rule asks of an event: the kinds content, room and
// sender have one fixed condition each.
func (p *conditionParser) conditions(kind Kind, raw *rawRule) (_ []condition, reason string) {
	switch {
	case kind == KindRoom:
		return []condition{&propertyIs{keyRoomID, scalar{kind: text, str: raw.id()}}}, ""
	case kind == KindSender:
		return []condition{&propertyIs{keySender, scalar{kind: text, str: raw.id()}}}, ""
	case kind == KindContent && !p.builtin:
		source, ok := stringOf(raw.Pattern)
		if !ok {
			return nil, "pattern is not a string"
		}
		return []condition{p.match(keyBody, source)}, ""
	}
	list, ok := elements(raw.Conditions)
	if !ok && raw.Conditions != nil {
		return nil, "conditions is not a list"
	}
	conditions := make([]condition, len(list))
	for i, c := range list {
		conditions[i] = p.parse(c)
	}
	return conditions, ""
}

// decide sets what the rule decides from its actions.
func (r *rule) decide(actions []jsontext.Value) {
	out := parseActions(actions)
	r.decision = Decision{
		RuleID: r.id, Kind: r.kind,
		Notify: out.notify, Coalesce: out.coalesce, Highlight: out.highlight,
		Tweaks: out.tweaks,
	}
}

// mindsRoomVersion reports whether the conditions ask for a room version.
func mindsRoomVersion(conditions []condition) bool {
	for _, c := range conditions {
		if _, ok := c.(*roomSupports); ok {
			return true
		}
	}
	return false
}
