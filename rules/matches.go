package rules

// This file remembers which patterns match the body of one event, so that each is
// matched once, however many recipients have it.

// matches is a hash table of patterns, by their text. The zero value is empty.
type matches struct {
	table []matched
	used  int
	epoch uint32 // of the entries that are of this event
}

// matched is a pattern that the body was matched with.
type matched struct {
	lower string
	epoch uint32
	part  bool
	holds bool
}

// reset forgets all patterns.
func (m *matches) reset() {
	m.used = 0
	if m.epoch++; m.epoch == 0 { // it has gone round: entries of long ago would count
		clear(m.table)
		m.epoch = 1
	}
}

// body reports whether the body matches.
func (m *matches) body(cond *eventMatch, body string) bool {
	if 2*m.used >= len(m.table) {
		m.grow()
	}
	mask := len(m.table) - 1
	i := int(cond.pattern.hash) & mask
	for ; m.table[i].epoch == m.epoch; i = (i + 1) & mask {
		if known := &m.table[i]; known.lower == cond.pattern.lower && known.part == cond.part {
			return known.holds
		}
	}
	holds := cond.matchBody(body)
	m.table[i] = matched{cond.pattern.lower, m.epoch, cond.part, holds}
	m.used++
	return holds
}

// grow makes a larger table. What is in it is matched again, once.
func (m *matches) grow() {
	m.table = make([]matched, max(64, 2*len(m.table)))
	m.used = 0
}
