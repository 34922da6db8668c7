package rules

// This file asks, long after an event was evaluated, whether its room has been
// muted since.

// Mutes reports whether a notification of an event in a room is silenced by rules
// that ask for nothing but the room: the master rule, or a rule for exactly this
// room, that does not notify and comes before the rule that has decided to
// notify, ruleID. A room rule without actions, for example, does not mute what
// an override rule has let through (a mention); an override rule that has the
// room as its one condition mutes everything.
//
// It is for a notification that was decided for a pusher of that profile tag some
// time ago, and looks at the rules of now: those that have decided it never mute
// it. Safe for concurrent use.
func (rs *Ruleset) Mutes(roomID, profileTag, ruleID string) bool {
	if rs == nil {
		return false
	}
	for _, scope := range []scope{rs.devices[profileTag], rs.global} {
		for _, rule := range scope.rules {
			switch {
			case !rule.enabled:
			case rule.id == ruleID && rule.decision.Notify:
				return false
			case rule.isAboutRoom(roomID) && !(rs.options.Features.RoomVersionSupports && !rule.extensible):
				// Where there are rooms of extensible events, it takes the room version
				// to know whether such a rule applies: it is passed over.
				return !rule.decision.Notify
			}
		}
	}
	return false
}

// isAboutRoom reports whether the rule matches every event of the room, whatever
// it is.
func (r *rule) isAboutRoom(roomID string) bool {
	for _, c := range r.conditions {
		switch c := c.(type) {
		case *propertyIs:
			if c.key.text != keyRoomID.text || !c.value.equal(scalar{kind: text, str: roomID}) {
				return false
			}
		case *eventMatch:
			if c.key.text != keyRoomID.text || !c.matchOther(roomID) {
				return false
			}
		default:
			return false
		}
	}
	return !r.legacy
}
