package pipeline

// Reading a record of matrix.room-events.

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pipeline/stream"
	"tocsin/rules"
)

// MaxEventBytes bounds a record's value. A Matrix event has at most 64 KiB (Client-Server API, "Size limits"); receipts of a large room are
// larger.
const MaxEventBytes = 1 << 20

// Control headers of a record of matrix.room-events.
const (
	HeaderNotify         = "notify"          // "false": changes state, notifies nobody
	HeaderState          = "state"           // "false": never changes state
	HeaderStreamPosition = "stream-position" // the homeserver's own order
)

// maxID bounds ids, types and state keys. The specification allows 255 bytes ("Size limits"); old rooms have some of 255 characters.
const maxID = 1024

// maxStreamPosition leaves room for several epochs below maxPosition.
const maxStreamPosition = 1 << 50

// Event is an event of a room, as it came.
type Event struct {
	ID       string // "" if the homeserver left it out
	RoomID   string
	Type     string
	Sender   string
	StateKey *string // nil: no state event
	Content  jsontext.Value
	Redacts  string // of m.room.redaction, at the top level or, from room version 11, in the content
	// RelType and RelatesTo are the event's relation (Client-Server API, "Forming relationships between events"), both or none. A reply alone is none.
	RelType, RelatesTo string
	Raw                jsontext.Value
	Parsed             *rules.Event // what push rules see; nil for receipts

	Receipts []Receipt // of an ephemeral m.receipt event
	LeftOut  int       // parts of it that were malformed
	IsEDU    bool      // an ephemeral event: it has no place in its room

	Silent         bool  // notify: false
	NotState       bool  // state: false
	StreamPosition int64 // -1 if the homeserver sends none
}

// IsState says whether the event changes the room's state.
func (e *Event) IsState() bool { return e.StateKey != nil && !e.NotState }

// Receipt says that a user has read up to an event.
type Receipt struct {
	UserID   string
	EventID  string
	ThreadID string // "": unthreaded
}

// Unreadable says why a record can't be used. It goes to the dead-letter topic.
type Unreadable struct {
	Reason string // a class, such as "not_object": a metric's label and the dead letter's header
	Err    error  // what exactly was wrong, for people; without content
}

// Error implements error.
func (u *Unreadable) Error() string { return u.Reason + ": " + u.Err.Error() }

// Unwrap implements the interface of errors.Is.
func (u *Unreadable) Unwrap() error { return u.Err }

func unreadable(reason, format string, args ...any) error {
	return &Unreadable{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// wireEvent has the members that decide where an event belongs. They are raw, so that one of a wrong type can be named.
type wireEvent struct {
	ID       jsontext.Value `json:"event_id"`
	RoomID   jsontext.Value `json:"room_id"`
	Type     jsontext.Value `json:"type"`
	Sender   jsontext.Value `json:"sender"`
	StateKey jsontext.Value `json:"state_key"`
	Content  jsontext.Value `json:"content"`
	Redacts  jsontext.Value `json:"redacts"`
}

// DecodeEvent reads a record of matrix.room-events, or returns an [*Unreadable].
func DecodeEvent(rec *stream.Record) (*Event, error) {
	if rec.Value == nil {
		return nil, unreadable("null", "the record has no value")
	}
	e, err := parseEvent(rec.Value)
	if err != nil {
		return nil, err
	}
	if string(rec.Key) != e.RoomID {
		return nil, unreadable("wrong_key", "the record's key must be the room_id, so that one worker sees all events of the room")
	}
	return e, e.control(rec)
}

// parseEvent reads an event in client format.
func parseEvent(value []byte) (*Event, error) {
	switch {
	case len(bytes.TrimSpace(value)) == 0:
		return nil, unreadable("empty", "the record's value is empty")
	case len(value) > MaxEventBytes:
		return nil, unreadable("too_large", "the record's value has %d bytes, more than %d", len(value), MaxEventBytes)
	}
	parsed, err := rules.ParseEvent(value)
	if err != nil {
		return nil, &Unreadable{Reason: jsonReason(err), Err: err}
	}
	var w wireEvent
	if err := json.Unmarshal(value, &w); err != nil {
		return nil, unreadable("invalid_json", "not readable as an event")
	}
	e := &Event{Raw: value, Parsed: parsed, StreamPosition: -1}
	stateKey, err := e.fill(&w)
	if err != nil {
		return nil, err
	}
	if w.StateKey != nil {
		e.StateKey = &stateKey
	}
	if e.Type == "m.receipt" && e.ID == "" && e.Sender == "" {
		// A user can send an event of any type, but an ephemeral one has neither id nor sender: nobody can read in another's name.
		e.IsEDU, e.Parsed = true, nil
		e.Receipts, e.LeftOut = receipts(e.Content)
	}
	return e, nil
}

// fill takes the members over and checks their types.
func (e *Event) fill(w *wireEvent) (stateKey string, err error) {
	for _, f := range []struct {
		name     string
		raw      jsontext.Value
		to       *string
		required bool
	}{
		{"type", w.Type, &e.Type, true},
		{"room_id", w.RoomID, &e.RoomID, true},
		{"sender", w.Sender, &e.Sender, false},
		{"event_id", w.ID, &e.ID, false},
		{"state_key", w.StateKey, &stateKey, false},
	} {
		switch {
		case f.raw == nil && f.required:
			return "", unreadable("no_"+f.name, "the event has no %s", f.name)
		case f.raw == nil:
		case f.raw.Kind() != '"':
			return "", unreadable("wrong_type", "%s is no text", f.name)
		default:
			if err := json.Unmarshal(f.raw, f.to); err != nil {
				return "", unreadable("invalid_json", "%s is no valid text", f.name)
			}
			if len(*f.to) > maxID {
				return "", unreadable("too_large", "%s has %d bytes, more than %d", f.name, len(*f.to), maxID)
			}
			if f.required && *f.to == "" {
				return "", unreadable("no_"+f.name, "%s is empty", f.name)
			}
		}
	}
	if w.Content != nil && w.Content.Kind() != '{' {
		return "", unreadable("wrong_type", "content is no object")
	}
	e.Content = w.Content
	e.RelType, e.RelatesTo = relation(e.Content)
	if e.Type == "m.room.redaction" {
		if e.Redacts = textOf(w.Redacts); e.Redacts == "" {
			e.Redacts = contentText(e.Content, "redacts")
		}
	}
	return stateKey, nil
}

// relation is what an event with this content relates to, and how.
func relation(content jsontext.Value) (kind, eventID string) {
	relates := member(content, "m.relates_to")
	kind, eventID = contentText(relates, "rel_type"), contentText(relates, "event_id")
	if kind == "" || eventID == "" || len(eventID) > maxID {
		return "", ""
	}
	return kind, eventID
}

// control reads the control headers.
func (e *Event) control(rec *stream.Record) error {
	if v, ok := rec.Header(HeaderNotify); ok {
		e.Silent = v == "false"
	}
	if v, ok := rec.Header(HeaderState); ok {
		e.NotState = v == "false"
	}
	if v, ok := rec.Header(HeaderStreamPosition); ok {
		p, err := strconv.ParseInt(v, 10, 64)
		if err != nil || p < 0 || p >= maxStreamPosition {
			return unreadable("stream_position", "header %s is no number from 0 to 2^50", HeaderStreamPosition)
		}
		e.StreamPosition = p
	}
	return nil
}

// jsonReason is the class of an error of rules.ParseEvent.
func jsonReason(err error) string {
	switch {
	case errors.Is(err, rules.ErrNotObject):
		return "not_object"
	case errors.Is(err, rules.ErrDuplicateKey):
		return "duplicate_key"
	case errors.Is(err, rules.ErrTooDeep):
		return "too_deep"
	}
	return "invalid_json"
}

// receipts reads the content of an m.receipt event (Client-Server API, "Receipts"): event id, type, user. What is malformed is left out, and counted.
func receipts(content jsontext.Value) (out []Receipt, leftOut int) {
	members(content, func(eventID string, types jsontext.Value) {
		if types.Kind() != '{' || eventID == "" || len(eventID) > maxID {
			leftOut++
			return
		}
		members(types, func(kind string, users jsontext.Value) {
			if kind != "m.read" && kind != "m.read.private" {
				return // m.fully_read and unknown ones clear nothing
			}
			if users.Kind() != '{' {
				leftOut++
			}
			members(users, func(userID string, data jsontext.Value) {
				thread := member(data, "thread_id")
				if data.Kind() != '{' || thread != nil && textOf(thread) == "" || max(len(userID), len(thread)) > maxID {
					leftOut++
					return // not unthreaded: what is no thread's name must not clear all threads
				}
				out = append(out, Receipt{UserID: userID, EventID: eventID, ThreadID: textOf(thread)})
			})
		})
	})
	return out, leftOut
}

// members calls visit for each member of an object, in order; anything else has none.
func members(raw jsontext.Value, visit func(name string, value jsontext.Value)) {
	if raw.Kind() != '{' {
		return
	}
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	if _, err := d.ReadToken(); err != nil {
		return
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return
		}
		key := name.String()
		value, err := d.ReadValue()
		if err != nil {
			return
		}
		visit(key, value)
	}
}

// textOf is the text that raw holds, or "" if it holds anything else.
func textOf(raw jsontext.Value) string {
	var s string
	if raw.Kind() != '"' || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

// contentText is the text of one member of an object, or "".
func contentText(object jsontext.Value, name string) string { return textOf(member(object, name)) }

// member is one member of an object, or nil.
func member(object jsontext.Value, name string) jsontext.Value {
	var found jsontext.Value
	members(object, func(n string, value jsontext.Value) {
		if n == name {
			found = append(found, value...) // the decoder reuses its buffer
		}
	})
	return found
}

// elements calls visit for each element of an array; anything else has none.
func elements(raw jsontext.Value, visit func(value jsontext.Value)) {
	if raw.Kind() != '[' {
		return
	}
	d := jsontext.NewDecoder(bytes.NewReader(raw))
	if _, err := d.ReadToken(); err != nil {
		return
	}
	for d.PeekKind() != ']' {
		value, err := d.ReadValue()
		if err != nil {
			return
		}
		visit(value)
	}
}
