package pipeline

// Events that others relate to, for the rules of MSC3664.

import "tocsin/rules"

// maxRecent bounds the events of a room that are kept for it. Most replies are to what was said a moment ago; one to an older event, or to one from before this worker owned the room, matches no
// condition on related events, as one to an event that the homeserver does not have.
const maxRecent = 200

// recentEvents are the last events of a room, by id. The zero value is empty.
type recentEvents struct {
	byID map[string]*rules.Event
	ids  []string // oldest first
}

func (r *recentEvents) add(e *Event) {
	if _, known := r.byID[e.ID]; known || e.ID == "" {
		return
	}
	if r.byID == nil {
		r.byID = map[string]*rules.Event{}
	}
	if len(r.ids) == maxRecent {
		delete(r.byID, r.ids[0])
		r.ids = r.ids[1:]
	}
	r.byID[e.ID] = e.Parsed
	r.ids = append(r.ids, e.ID)
}

// of are the events that e relates to, by relation type; the one it replies to under m.in_reply_to (Client-Server API, "Forming relationships between events", "Rich replies").
func (r *recentEvents) of(e *Event) map[string]rules.RelatedEvent {
	relates := member(e.Content, "m.relates_to")
	related := map[string]rules.RelatedEvent{}
	note := func(kind, id string, fallingBack bool) {
		if to := r.byID[id]; to != nil && kind != "" {
			related[kind] = rules.RelatedEvent{Event: to, IsFallingBack: fallingBack}
		}
	}
	note(contentText(relates, "rel_type"), contentText(relates, "event_id"), false)
	note("m.in_reply_to", contentText(member(relates, "m.in_reply_to"), "event_id"), string(member(relates, "is_falling_back")) == "true")
	return related
}
