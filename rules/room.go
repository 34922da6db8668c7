package rules

// This file is what conditions need to know of the room.

import (
	"slices"
	"strconv"
	"strings"
)

// Room is what push rules need to know of a room: its state before the event
// that is evaluated, and the few facts about the event that only the room can
// tell. It is only read.
type Room struct {
	// Version is the room version. Empty and unknown ones count as "1".
	Version string
	// MemberCount is the number of joined members; negative is unknown.
	MemberCount int
	PowerLevels PowerLevels
	// Creators are the users who created the room: the sender of the create
	// event (from room version 11 on; its content.creator before), and in room
	// version 12 also content.additional_creators. None means that the create
	// event is unknown, and so are power levels without an event for them.
	Creators []string
	// VersionFeatures are the features that the room version supports, beyond
	// those that are known of it.
	VersionFeatures []string
	// ThreadID is the root of the thread that the event is in, found over its
	// relations, or "". If it is "", a direct m.thread relation of the event
	// counts.
	ThreadID string
	// Related are the events that the event relates to, by rel_type, and the one
	// it replies to under m.in_reply_to. Only MSC3664 uses them.
	Related map[string]RelatedEvent

	// The sender's level, if it is given and need not be computed.
	senderLevel givenLevel
}

// RelatedEvent is an event that the evaluated one relates to.
type RelatedEvent struct {
	Event *Event
	// IsFallingBack says that it is a reply only for the sake of clients that
	// know no threads.
	IsFallingBack bool
}

// givenLevel overrides the level that follows from the room's state.
type givenLevel struct {
	given, known bool
	n            int64
}

// SenderLevel returns the user's power level in the room before the event, and
// whether it is known.
//
// Source: Matrix specification, m.room.power_levels; creators in room version
// 12: MSC4289.
func (r *Room) SenderLevel(userID string) (int64, bool) {
	isCreator := slices.Contains(r.Creators, userID)
	version := r.version()
	switch {
	case isCreator && version >= 12:
		return infiniteLevel, true
	case r.senderLevel.given:
		return r.senderLevel.n, r.senderLevel.known
	case r.PowerLevels.present:
		if n, ok := r.PowerLevels.users[userID].in(version); ok {
			return n, true
		}
		n, ok := r.PowerLevels.usersDefault.in(version)
		if !ok {
			n = 0
		}
		return n, true
	case isCreator:
		return creatorLevel, true
	default:
		return 0, len(r.Creators) > 0
	}
}

// notificationLevel returns the level that a sender needs for the given kind of
// notification, such as room.
func (r *Room) notificationLevel(name string) int64 {
	if n, ok := r.PowerLevels.notifications[name].in(r.version()); ok {
		return n
	}
	return defaultNotificationLevel
}

// version returns the number of the room version whose rules apply. Of unstable
// versions, such as org.matrix.msc1767.10, it is the number at the end.
func (r *Room) version() int {
	v := r.Version
	if v == "org.matrix.hydra.11" {
		return 12 // what became version 12
	}
	n, err := strconv.Atoi(v[strings.LastIndexByte(v, '.')+1:])
	if err != nil || n < 1 {
		return 1
	}
	return n
}

// supports reports whether the room version has a feature.
func (r *Room) supports(feature string) bool {
	return slices.Contains(r.VersionFeatures, feature) ||
		feature == FeatureExtensibleEvents && strings.HasPrefix(r.Version, "org.matrix.msc1767.")
}
