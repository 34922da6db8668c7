package rules

// This file evaluates the rules of one recipient, one rule after the other. It
// is the plain reading of the specification, and the oracle that the bulk
// evaluator is tested against.

import (
	"bytes"
	"slices"
)

// Recipient is the user an event is evaluated for, in the room of the event.
type Recipient struct {
	UserID string
	// DisplayName is the recipient's display name in the room, "" if there is
	// none. For their own membership event it is the one in the event.
	DisplayName string
	// ProfileTag is the tag of the pusher that is decided for. Empty, or a tag
	// that the rules have no scope for, is decided by the global rules alone.
	ProfileTag string
	// Rules are the recipient's rules. Without rules nothing notifies: ask
	// Compile(nil, …) for the defaults.
	Rules *Ruleset
	// Thread says whether the recipient is subscribed to the event's thread.
	// Only MSC4306 uses it.
	Thread Subscription
}

// Subscription is whether a recipient is subscribed to a thread.
type Subscription uint8

const (
	SubscriptionUnknown Subscription = iota
	Subscribed
	Unsubscribed
)

// Decision is what follows from an event for one recipient. The zero value means
// that no rule matched: no notification.
type Decision struct {
	RuleID string // of the rule that matched, "" if none did
	Kind   Kind   // of that rule

	Notify    bool // there is a notification, and the event counts as unread
	Coalesce  bool // the notification may be merged with others; Notify holds, too
	Highlight bool

	// Tweaks of the matched rule, even if it does not notify. They are shared:
	// don't change them.
	Tweaks Tweaks
}

// equal reports whether two decisions are the same.
func (d *Decision) equal(e *Decision) bool {
	same := func(a, b Tweak) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }
	return d.RuleID == e.RuleID && d.Kind == e.Kind && d.Notify == e.Notify && d.Coalesce == e.Coalesce &&
		d.Highlight == e.Highlight && slices.EqualFunc(d.Tweaks, e.Tweaks, same)
}

// Evaluate decides for one recipient: r.Rules is not looked at, rs is evaluated.
// A nil room is one of which nothing is known. It never fails, and is safe for
// concurrent use.
func (rs *Ruleset) Evaluate(ev *Event, room *Room, r *Recipient) Decision {
	if rs == nil {
		return Decision{}
	}
	c := rs.newContext(ev, room, r)
	for _, scope := range []scope{rs.devices[r.ProfileTag], rs.global} {
		for _, rule := range scope.rules {
			if rule.matches(&c) {
				return rule.decision
			}
		}
	}
	return Decision{}
}

// unknownRoom is a room of which nothing is known.
var unknownRoom = &Room{MemberCount: -1}

func (rs *Ruleset) newContext(ev *Event, room *Room, r *Recipient) context {
	if room == nil {
		room = unknownRoom
	}
	return context{
		ev: ev, room: room, who: r,
		extensible: rs.options.Features.RoomVersionSupports && room.supports(FeatureExtensibleEvents),
	}
}
