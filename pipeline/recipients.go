package pipeline

// Whom an event concerns.

// Recipients are the local users whose rules are asked about the event, before it is folded in: the joined ones without the sender; of a membership event its target alone, if it is in
// the room or being invited (as Synapse, a deliberate departure from the specification: nobody's phone should ring because somebody else left). Never changes the room's own slice.
func Recipients(r *Room, e *Event) []string {
	if e.StateKey != nil && e.Type == "m.room.member" {
		target := *e.StateKey
		invited := Membership(contentText(e.Content, "membership")) == Invite
		if target == e.Sender || !IsLocal(target, r.server) || !invited && r.Members[target].Membership != Join {
			return nil
		}
		return []string{target}
	}
	joined := r.LocalJoined()
	out := make([]string, 0, len(joined))
	for _, id := range joined {
		if id != e.Sender {
			out = append(out, id)
		}
	}
	return out
}
