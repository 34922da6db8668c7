package pipeline

// Who may see an event: the room's history visibility, and when its members came.

// Visibility is a room's history visibility (Client-Server API, "Room history visibility").
type Visibility string

// The visibilities.
const (
	VisibleInvited Visibility = "invited"        // to members, from the invite on
	VisibleJoined  Visibility = "joined"         // to members, from the join on
	VisibleShared  Visibility = "shared"         // to members, all of it
	VisibleWorld   Visibility = "world_readable" // to everybody
)

// visibilityOf reads the text of an m.room.history_visibility event: what is unknown is shared, as a room without such an event.
func visibilityOf(text string) Visibility {
	for _, v := range [...]Visibility{VisibleInvited, VisibleJoined, VisibleWorld} {
		if text == string(v) {
			return v
		}
	}
	return VisibleShared
}

// mayHide says whether an event at position may be hidden from some who are joined now: that takes a room that hides history, and somebody who joined after it. Positions of a
// homeserver's stream come a little out of order; offsets never do.
func (r *Room) mayHide(position int64) bool {
	return position < r.lastJoin && (r.Visibility == VisibleInvited || r.Visibility == VisibleJoined)
}

// sees says whether a joined user may see an event at position, by the visibility before it.
func (r *Room) sees(userID string, position int64) bool {
	m := r.Members[userID]
	if m.Joined < position {
		return true
	}
	switch r.Visibility {
	case VisibleJoined:
		return false
	case VisibleInvited:
		return m.Invited != never && m.Invited < position
	default:
		return true
	}
}
