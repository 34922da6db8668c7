package rules

// This file tells in words what a condition asks, and what it saw.

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxShown is the length in bytes of values in an explanation.
const maxShown = 120

// shorten cuts what is too long to be read.
func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes)", s[:cut], len(s))
}

// describe tells what a condition asks, and the value that it is held against.
func describe(cond condition, c *context) (asks, saw string) {
	switch cond := cond.(type) {
	case *eventMatch:
		return cond.describe(), c.show(&cond.key)
	case *propertyIs:
		return fmt.Sprintf("%s is %s", cond.key.text, cond.value.show()), c.show(&cond.key)
	case *propertyContains:
		return fmt.Sprintf("%s contains %s", cond.key.text, cond.value.show()), c.show(&cond.key)
	case containsDisplayName:
		return fmt.Sprintf("content.body contains the display name %q as words", c.who.DisplayName), c.show(&keyBody)
	case containsLocalpart:
		return fmt.Sprintf("content.body contains the user name %q as a word", localpart(c.who.UserID)), c.show(&keyBody)
	case *isMe:
		return fmt.Sprintf("%s is %s", cond.key.text, orNobody(c.who.UserID)), c.show(&cond.key)
	case *containsMe:
		return fmt.Sprintf("%s contains %s", cond.key.text, orNobody(c.who.UserID)), c.show(&cond.key)
	case *memberCount:
		return fmt.Sprintf("the number of joined members %s %d", cond.operator, cond.n), c.showCount()
	case *permission:
		return fmt.Sprintf("the sender's power level >= %d, for notifications.%s", c.room.notificationLevel(cond.name), cond.name), c.showLevel()
	case *profileTag:
		return fmt.Sprintf("the pusher's profile tag is %q", cond.tag), fmt.Sprintf("%q", c.who.ProfileTag)
	case *relatedMatch:
		return cond.describe(c)
	case *roomSupports:
		return "the room version supports " + cond.feature, fmt.Sprintf("room version %q with %q", c.room.Version, c.room.VersionFeatures)
	case *threadSubscription:
		return fmt.Sprintf("the event is in a thread, and the recipient's subscription is %t", cond.subscribed), c.showThread()
	case *never:
		return "never: " + cond.why, "nothing"
	}
	return fmt.Sprintf("%T", cond), "?"
}

func (m *eventMatch) describe() string {
	how := "matches"
	switch {
	case m.part:
		how = "contains (implicit asterisks)"
	case m.key.body:
		how = "contains words that match"
	}
	return fmt.Sprintf("%s %s %q", m.key.text, how, shorten(m.pattern.source))
}

func (r *relatedMatch) describe(c *context) (asks, saw string) {
	asks = "an event related by " + r.relType + " exists"
	related, ok := c.room.Related[r.relType]
	if !ok || related.Event == nil {
		return asks, "none"
	}
	there := context{ev: related.Event, room: c.room, who: c.who}
	saw = "one"
	if related.IsFallingBack {
		saw = "one, a fallback"
	}
	var inner string
	switch {
	case r.me != nil:
		inner, saw = describe(r.me, &there)
	case r.match != nil:
		inner, saw = describe(r.match, &there)
	default:
		return asks, saw
	}
	return asks + ", and its " + inner, saw
}

// show tells the value at a key, as JSON.
func (c *context) show(k *key) string {
	if c.extensible && c.ev.hasMarkup && k.body {
		return fmt.Sprintf("the text %q", shorten(c.ev.markup))
	}
	n := c.ev.find(k)
	if n == nil {
		return "no such property"
	}
	value := shorten(c.ev.raw[n.from:n.to])
	if n.kind == inert {
		return value + " (neither a string, boolean, null nor an integer within ±(2^53-1))"
	}
	return value
}

func (s scalar) show() string {
	switch s.kind {
	case text:
		return fmt.Sprintf("%q", shorten(s.str))
	case boolean:
		return fmt.Sprint(s.num == 1)
	case integer:
		return fmt.Sprint(s.num)
	}
	return "null"
}

func (c *context) showCount() string {
	if c.room.MemberCount < 0 {
		return "an unknown number"
	}
	return fmt.Sprint(c.room.MemberCount)
}

func (c *context) showLevel() string {
	sender := c.ev.Sender()
	switch n, known := c.room.SenderLevel(sender); {
	case !known:
		return "an unknown level"
	case n == infiniteLevel && slices.Contains(c.room.Creators, sender):
		return "a creator of the room, above all levels"
	default:
		return fmt.Sprint(n)
	}
}

func (c *context) showThread() string {
	switch {
	case c.room.ThreadID == "" && c.ev.ThreadID() == "":
		return "no thread"
	case c.who.Thread == SubscriptionUnknown:
		return "a thread, the subscription is unknown"
	}
	return fmt.Sprintf("a thread, subscribed: %t", c.who.Thread == Subscribed)
}

func orNobody(userID string) string {
	if strings.TrimSpace(userID) == "" {
		return "the recipient (unknown)"
	}
	return fmt.Sprintf("%q", userID)
}
