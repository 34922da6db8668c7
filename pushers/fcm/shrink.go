package fcm

// Making a message as short as FCM takes it.

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// worth says how long a message holds on to a field: the higher, the sooner it is given away.
type worth uint8

const (
	needed    worth = iota // never given away: what is left of a message in the end
	ids                    // which event it is, and where
	private                // what the client asked to be told: without it, a client with several accounts may not know which of them is meant
	kind                   // what the event is: down to here it is the form event_id_only
	names                  // of the sender and the room
	alias                  // of the room
	body                   // what the message says
	content                // what it says besides
	formatted              // what it says, a second time
)

// field is one text of the data of a message.
type field struct {
	worth   worth
	isProse bool   // its beginning says something, too
	name    string // as JSON it is raw
	value   string // as JSON it is raw
	raw     []byte // name and value as JSON; nil if it was given away
}

// text adds a text that is of no use unless it is whole.
func (m *message) text(worth worth, name, value string) {
	m.add(field{worth: worth, name: name, value: value})
}

// prose adds a text that can be cut.
func (m *message) prose(worth worth, name, value string) {
	m.add(field{worth: worth, isProse: true, name: name, value: value})
}

// add adds a field that has a value.
func (m *message) add(f field) {
	if f.value == "" {
		return
	}
	start := len(m.written)
	m.written = appendField(m.written, f.name, f.value)
	f.raw = m.written[start:len(m.written):len(m.written)]
	m.fields = append(m.fields, f)
}

// appendField appends name and value as JSON.
func appendField(b []byte, name, value string) []byte {
	return appendText(append(appendText(b, name), ':'), value)
}

// body is the request body, in at most limit bytes if that can be.
func (m *message) body(limit int) []byte {
	if over := m.size() - limit; over > 0 {
		m.shrink(over)
	}
	b := append(make([]byte, 0, m.size()), m.head...)
	first := true
	for _, f := range m.fields {
		if f.raw == nil {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, f.raw...)
	}
	return append(b, m.tail...)
}

// size is the length of the body as it is now.
func (m *message) size() int {
	size, told := len(m.head)+len(m.tail), 0
	for _, f := range m.fields {
		if f.raw != nil {
			size += len(f.raw)
			told++
		}
	}
	return size + max(told-1, 0) // commas
}

// shrink takes over bytes away, or as many as there are. Of fields that are worth the same, the longest goes first.
func (m *message) shrink(over int) {
	order := make([]*field, 0, len(m.fields))
	for i := range m.fields {
		if f := &m.fields[i]; f.worth != needed && f.raw != nil {
			order = append(order, f)
		}
	}
	slices.SortStableFunc(order, func(a, b *field) int {
		return cmp.Or(cmp.Compare(b.worth, a.worth), cmp.Compare(len(b.raw), len(a.raw)))
	})
	for _, f := range order {
		if over <= 0 || f.isProse && f.cut(over) {
			return
		}
		over -= len(f.raw) + len(",")
		f.raw = nil
	}
}

const ellipsis = "…"

// cut takes over bytes, or a few more, off the end of a text, between two characters; false if nothing would be left of it.
func (f *field) cut(over int) bool {
	room := len(f.raw) - over - len(appendText(nil, f.name)) - len(`:""`) - len(ellipsis)
	end := 0 // of what is kept
	var escaped [16]byte
	for end < len(f.value) {
		_, width := utf8.DecodeRuneInString(f.value[end:])
		if room -= len(appendText(escaped[:0], f.value[end:end+width])) - len(`""`); room < 0 {
			break
		}
		end += width
	}
	if end == 0 {
		return false
	}
	f.value = f.value[:end] + ellipsis
	f.raw = appendField(make([]byte, 0, len(f.raw)), f.name, f.value)
	return true
}
