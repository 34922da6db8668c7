package pipeline

// Whom an event concerns.

import "slices"

// Recipients are the local users whose rules are asked about the event at its position, before it is folded in: the joined ones without the sender and without those who may not see it,
// because they joined after it; of a membership event its target alone, if it is in the room or being invited (as Synapse, a deliberate departure from the specification: nobody's phone
// should ring because somebody else left). Users of application services are none. The slice may be the room's own, until the next Fold: it is for reading.
func Recipients(r *Room, e *Event, position int64) []string {
	if e.StateKey != nil && e.Type == "m.room.member" {
		target := *e.StateKey
		invited := Membership(contentText(e.Content, "membership")) == Invite
		if target == e.Sender || !r.homeserver.Tells(target) || !invited && r.Members[target].Membership != Join {
			return nil
		}
		return []string{target}
	}
	joined := r.LocalJoined()
	if !r.mayHide(position) {
		i, sends := slices.BinarySearch(joined, e.Sender)
		if !sends {
			return joined
		}
		return slices.Concat(joined[:i], joined[i+1:])
	}
	var out []string
	for _, id := range joined {
		if id != e.Sender && r.sees(id, position) {
			out = append(out, id)
		}
	}
	return out
}
