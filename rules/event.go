package rules

// This file is the event as conditions see it: a flat list of the properties of
// one JSON object, found by key.

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Event is one room event in client format, parsed once and then evaluated for
// any number of recipients. It is immutable and safe for concurrent use.
//
// Every property can be matched by a condition, whatever its place: the
// top-level ones (type, sender, state_key, …), those of content and of
// unsigned. None is required, and none has to have the type that the
// specification asks for; a condition on a property of the wrong type fails.
type Event struct {
	raw     string   // the JSON text
	nodes   []node   // one for each member of an object that is not inside an array
	entries []scalar // the elements of arrays, without arrays and objects
	table   []int32  // open-addressing hash table: pathHash → index in nodes + 1

	hasBody bool   // content.body is a string
	body    string // content.body in lower case

	hasMarkup bool   // content has a list of extensible-event markup
	markup    string // its plain text in lower case

	mentions bool   // content has the key m.mentions, with whatever value
	threadID string // of a direct m.thread relation
}

// node is one member of an object.
type node struct {
	hash     pathHash
	parent   int32 // index of the object it is a member of; -1 is the event
	from, to int32 // its value in raw
	first, n int32 // its scalar entries, if it is an array
	name     string
	scalar
}

// valueKind says what a JSON value is to conditions.
type valueKind uint8

const (
	inert   valueKind = iota // a float, an integer out of range: never matches
	object                   // matched through its members only
	array                    // matched by event_property_contains
	null                     // the four kinds of scalars
	boolean                  // num is 0 or 1
	integer                  // num is within ±(2^53−1)
	text                     // str
)

// scalar is a JSON value that conditions can compare.
type scalar struct {
	kind valueKind
	num  int64
	str  string
}

// maxInteger bounds the integers of Matrix' canonical JSON.
const maxInteger = 1<<53 - 1

// equal reports whether two scalars have the same type and value.
func (s scalar) equal(t scalar) bool {
	return s == t && s.kind >= null
}

// find returns the property that the key names, or nil.
func (e *Event) find(k *key) *node {
	mask := len(e.table) - 1
	if mask < 0 {
		return nil
	}
	for i := int(k.hash) & mask; e.table[i] != 0; i = (i + 1) & mask {
		n := &e.nodes[e.table[i]-1]
		if n.hash == k.hash && e.isAt(n, k.parts) {
			return n
		}
	}
	return nil
}

// isAt reports whether n is at the path of member names.
func (e *Event) isAt(n *node, parts []string) bool {
	for i := len(parts) - 1; i >= 0; i-- {
		if n == nil || n.name != parts[i] {
			return false
		}
		if n.parent < 0 {
			return i == 0
		}
		n = &e.nodes[n.parent]
	}
	return false
}

// str returns the string that the key names.
func (e *Event) str(k *key) (string, bool) {
	if n := e.find(k); n != nil && n.kind == text {
		return n.str, true
	}
	return "", false
}

// The properties that this package and its callers ask for by name.
var (
	keyType      = parseKey("type")
	keySender    = parseKey("sender")
	keyRoomID    = parseKey("room_id")
	keyEventID   = parseKey("event_id")
	keyStateKey  = parseKey("state_key")
	keyContent   = parseKey("content")
	keyBody      = parseKey("content.body")
	keyMentions  = parseKey(`content.m\.mentions`)
	keyMentioned = parseKey(`content.m\.mentions.user_ids`)
	keyRelType   = parseKey(`content.m\.relates_to.rel_type`)
	keyRelatesTo = parseKey(`content.m\.relates_to.event_id`)
)

// Type returns the event's type, or "" if it has none that is a string.
func (e *Event) Type() string { return e.top(&keyType) }

// Sender returns the sender's user id, or "".
func (e *Event) Sender() string { return e.top(&keySender) }

// RoomID returns the room id, or "".
func (e *Event) RoomID() string { return e.top(&keyRoomID) }

// ID returns the event id, or "".
func (e *Event) ID() string { return e.top(&keyEventID) }

// StateKey returns the state key, and whether this is a state event.
func (e *Event) StateKey() (string, bool) { return e.str(&keyStateKey) }

// Content returns the JSON text of content, or nil if the event has none.
func (e *Event) Content() jsontext.Value {
	if n := e.find(&keyContent); n != nil {
		return jsontext.Value(e.raw[n.from:n.to])
	}
	return nil
}

// HasMentions reports whether content has the key m.mentions, whatever its
// value: that is what disables the legacy mention rules.
func (e *Event) HasMentions() bool { return e.mentions }

// ThreadID returns the id of the thread root that the event names in a direct
// m.thread relation, or "".
func (e *Event) ThreadID() string { return e.threadID }

func (e *Event) top(k *key) string {
	s, _ := e.str(k)
	return s
}

// digest keeps the facts that are asked for most often.
func (e *Event) digest() {
	if body, ok := e.str(&keyBody); ok {
		e.hasBody, e.body = true, strings.ToLower(body)
	}
	e.mentions = e.find(&keyMentions) != nil
	if rel, _ := e.str(&keyRelType); rel == "m.thread" {
		e.threadID = e.top(&keyRelatesTo)
	}
	e.markup, e.hasMarkup = e.plainMarkup()
}
