package rules

// This file is what the bulk evaluator does once for each event, before it looks
// at the recipients.

import "slices"

// shared is what conditions share while one event is evaluated.
type shared struct {
	facts    facts
	mentions mentions
	matches  matches
}

// mentions are the users whom an event mentions.
type mentions struct {
	list []string
	set  map[string]struct{} // instead of list, if there are many
}

// manyMentions is how many mentions are quicker found in a set than in a list.
const manyMentions = 8

func (m *mentions) has(userID string) bool {
	if len(m.list) > manyMentions {
		_, ok := m.set[userID]
		return ok
	}
	return slices.Contains(m.list, userID)
}

// collect learns whom the event mentions.
func (m *mentions) collect(ev *Event) {
	m.list = m.list[:0]
	n := ev.find(&keyMentioned)
	if n == nil || n.kind != array {
		return
	}
	for _, entry := range ev.entries[n.first : n.first+n.n] {
		if entry.kind == text && entry.str != "" {
			m.list = append(m.list, entry.str)
		}
	}
	if len(m.list) > manyMentions {
		m.set = make(map[string]struct{}, len(m.list))
		for _, userID := range m.list {
			m.set[userID] = struct{}{}
		}
	}
}

// collect learns what there is to know of an event.
func (s *shared) collect(ev *Event, body string, members int) {
	s.matches.reset()
	s.facts.collect(ev, body, members)
	s.mentions.collect(ev)
}

// begin prepares for an event and rulesets with the options of rs.
func (e *Evaluator) begin(ev *Event, room *Room, rs *Ruleset) {
	e.options = rs.global.plan.key
	e.c = rs.newContext(ev, room, nil)
	e.c.shared = &e.shared
	body, _ := e.c.body()
	e.shared.collect(ev, body, e.c.room.MemberCount)
	e.bound = [2]fact{
		valueFact(keyRoomID.hash, scalar{kind: text, str: ev.RoomID()}),
		valueFact(keySender.hash, scalar{kind: text, str: ev.Sender()}),
	}
	e.askDefaults(rs.builtin)
}

// askDefaults finds the default rules that match whoever the recipient is, and
// those that ask for the recipient.
func (e *Evaluator) askDefaults(builtin []*rule) {
	e.matching, e.asking = 0, e.asking[:0]
	for i, r := range builtin {
		switch {
		case !r.applies(&e.c), !e.shared.facts.fires(r.trigger), !e.mayHold(r):
		case len(r.personal) == 0:
			e.matching |= 1 << i
		default:
			e.asking = append(e.asking, question{bit: 1 << i, conditions: r.personal})
		}
	}
}

// mayHold reports whether the conditions of a rule can all hold for somebody.
func (e *Evaluator) mayHold(r *rule) bool {
	for _, c := range r.conditions {
		holds := true
		switch c := c.(type) {
		case containsDisplayName, containsLocalpart:
			_, holds = e.c.body()
		case *containsMe:
			holds = len(e.shared.mentions.list) > 0
		case *isMe:
			_, holds = e.c.ev.str(&c.key)
		default:
			holds = dependsOnRecipient(c) || c.holds(&e.c)
		}
		if !holds {
			return false
		}
	}
	return true
}

// resize makes the table of rulesets large enough for n of them, and empties it.
func (e *Evaluator) resize(n int) {
	size := 64
	for size < 2*n {
		size *= 2
	}
	if len(e.known) < size || e.epoch == 1<<32-1 {
		e.known, e.epoch = make([]known, max(size, len(e.known))), 0
	}
	e.epoch++
}
