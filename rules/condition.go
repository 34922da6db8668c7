package rules

// This file is the conditions of rules: what each kind asks of an event, its
// room and the recipient.
//
// Source: Matrix specification, push rules, "Conditions"; the experimental ones
// from the proposals named at each.

import (
	"slices"
	"strings"
)

// condition is one condition of a rule. It holds or not; it never fails. What it
// does not understand does not hold.
type condition interface {
	holds(c *context) bool
}

// context is what a condition is asked about: one event in its room for one
// recipient.
type context struct {
	ev   *Event
	room *Room
	who  *Recipient
	// extensible says that the room has extensible events and that the
	// deployment knows them.
	extensible bool
	// shared is what the bulk evaluator knows of the event; nil elsewhere.
	shared *shared
}

// body returns the text of the message in lower case, if there is any.
func (c *context) body() (string, bool) {
	if c.extensible && c.ev.hasMarkup {
		return c.ev.markup, true
	}
	return c.ev.body, c.ev.hasBody
}

// scalar returns the value at a key; it is inert if there is none.
func (c *context) scalar(k *key) scalar {
	if c.extensible && c.ev.hasMarkup && k.body {
		return scalar{kind: text, str: c.ev.markup}
	}
	if n := c.ev.find(k); n != nil {
		return n.scalar
	}
	return scalar{}
}

// eventMatch is event_match: a pattern that the string at a key must match. On
// content.body some words of it must match; the value of another key must match
// as a whole.
type eventMatch struct {
	onBody  bool // the key is content.body
	part    bool // any part may match: implicit asterisks
	pattern pattern
	key     key
}

func (m *eventMatch) holds(c *context) bool {
	if m.onBody {
		body, ok := c.body()
		switch {
		case !ok:
			return false
		case c.shared != nil:
			return c.shared.matches.body(m, body)
		}
		return m.matchBody(body)
	}
	s, ok := c.ev.str(&m.key)
	return ok && m.matchOther(s)
}

// matchBody matches a body in lower case.
func (m *eventMatch) matchBody(body string) bool {
	if m.part {
		return strings.Contains(body, m.pattern.lower)
	}
	return m.pattern.matchWords(body)
}

func (m *eventMatch) matchOther(s string) bool {
	if m.part {
		return m.pattern.matchPart(s)
	}
	return m.pattern.matchValue(s)
}

// propertyIs is event_property_is: the value at a key has this type and is
// exactly this. It is also how room and sender rules match.
type propertyIs struct {
	key   key
	value scalar
}

func (p *propertyIs) holds(c *context) bool {
	return c.scalar(&p.key).equal(p.value)
}

// propertyContains is event_property_contains: the array at a key has an element
// of this type that is exactly this.
type propertyContains struct {
	key   key
	value scalar
}

func (p *propertyContains) holds(c *context) bool {
	return c.ev.contains(&p.key, p.value)
}

// contains reports whether the array at the key has the scalar as an element.
func (e *Event) contains(k *key, value scalar) bool {
	n := e.find(k)
	return n != nil && n.kind == array && value.kind >= null &&
		slices.Contains(e.entries[n.first:n.first+n.n], value)
}

// containsDisplayName is contains_display_name: the recipient's display name in
// the room occurs, as words, in the body. The name is literal: a user whose name
// is * is not mentioned by everything.
type containsDisplayName struct{}

func (containsDisplayName) holds(c *context) bool {
	return c.bodyContains(c.who.DisplayName)
}

// bodyContains reports whether a literal name, if there is one, occurs as words in
// the body.
func (c *context) bodyContains(name string) bool {
	body, ok := c.body()
	switch {
	case !ok || name == "":
		return false
	case c.shared != nil && !c.shared.facts.mayContain(name):
		return false
	}
	return containsName(body, name)
}

// containsLocalpart is how .m.rule.contains_user_name matches: the local part of
// the recipient's user id occurs, as a word, in the body. It is literal.
type containsLocalpart struct{}

func (containsLocalpart) holds(c *context) bool {
	return c.bodyContains(localpart(c.who.UserID))
}

// localpart returns what is between @ and the first colon of a user id.
func localpart(userID string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(userID, "@"), ":")
	return name
}

// isMe is an event_match on the recipient's own user id, which only default
// rules can ask for. It ignores case, as event_match does, but is literal.
type isMe struct{ key key }

func (m *isMe) holds(c *context) bool {
	s, ok := c.ev.str(&m.key)
	return ok && c.who.UserID != "" && equalLower(s, strings.ToLower(c.who.UserID))
}

// containsMe is an event_property_contains on the recipient's own user id, which
// only the default rule for mentions can ask for.
type containsMe struct{ key key }

func (m *containsMe) holds(c *context) bool {
	if c.shared != nil {
		return c.shared.mentions.has(c.who.UserID)
	}
	return c.who.UserID != "" && c.ev.contains(&m.key, scalar{kind: text, str: c.who.UserID})
}

// memberCount is room_member_count: the number of joined members compares so
// with a number.
type memberCount struct {
	operator string // ==, <, >, <= or >=
	n        int64
}

func (m *memberCount) holds(c *context) bool {
	count := int64(c.room.MemberCount)
	if count < 0 {
		return false
	}
	switch m.operator {
	case "<":
		return count < m.n
	case ">":
		return count > m.n
	case "<=":
		return count <= m.n
	case ">=":
		return count >= m.n
	default:
		return count == m.n
	}
}

// permission is sender_notification_permission: the sender may notify in this
// way, by the power levels before the event.
type permission struct{ name string }

func (p *permission) holds(c *context) bool {
	level, known := c.room.SenderLevel(c.ev.Sender())
	return known && level >= c.room.notificationLevel(p.name)
}

// profileTag is profile_tag, of the text of 2015: the pusher has this tag.
type profileTag struct{ tag string }

func (p *profileTag) holds(c *context) bool {
	return c.who.ProfileTag != "" && c.who.ProfileTag == p.tag
}

// relatedMatch is im.nheko.msc3664.related_event_match: an event that this one
// relates to exists and, if there is a match, matches.
type relatedMatch struct {
	relType   string
	fallbacks bool        // replies that only stand in for a thread count, too
	match     *eventMatch // nil: being there is enough
	me        *isMe       // instead of match, in the default rule
}

func (r *relatedMatch) holds(c *context) bool {
	related, ok := c.room.Related[r.relType]
	if !ok || related.Event == nil || related.IsFallingBack && !r.fallbacks {
		return false
	}
	there := context{ev: related.Event, room: c.room, who: c.who}
	switch {
	case r.me != nil:
		return r.me.holds(&there)
	case r.match != nil:
		return r.match.holds(&there)
	}
	return true
}

// roomSupports is org.matrix.msc3931.room_version_supports.
type roomSupports struct{ feature string }

func (r *roomSupports) holds(c *context) bool {
	return r.feature == FeatureExtensibleEvents && c.room.supports(r.feature)
}

// threadSubscription is io.element.msc4306.thread_subscription: the event is in
// a thread, and the recipient is, or is not, subscribed to it.
type threadSubscription struct{ subscribed bool }

func (t *threadSubscription) holds(c *context) bool {
	if c.room.ThreadID == "" && c.ev.ThreadID() == "" {
		return false
	}
	want := Unsubscribed
	if t.subscribed {
		want = Subscribed
	}
	return c.who.Thread == want
}

// never is a condition of an unknown kind, of a feature that is off, or with
// missing or wrong parameters. It does not hold.
type never struct{ why string }

func (*never) holds(*context) bool { return false }

// unknownKind is why a condition of a kind that is not known never holds. It is
// no problem of the rule: the kind may be of a later specification.
const unknownKind = "the kind of condition is not known"
