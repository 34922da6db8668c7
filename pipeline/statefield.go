package pipeline

// The form in which a room's state is saved: one field for each thing that anybody asks for, "POSITION VALUE", where POSITION is where the value became the room's state (imported: 0).

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Names of the fields in which a room is saved. A member's field is memberField and the user id; that of receipts which wait for an event, waitingField and its id.
const (
	fieldDone       = "done"  // no state
	fieldOrder      = "order" // no state
	fieldCreate     = "create"
	fieldPower      = "power"
	fieldName       = "name"
	fieldAlias      = "alias"
	fieldVisibility = "visibility"
	fieldTombstone  = "tombstone"
	memberField     = "m|"
	waitingField    = "w|" // no state
)

// stateTypes are the types of the events that the fields are made of. All have the empty state key, but for members.
var stateTypes = map[string]string{
	fieldCreate: "m.room.create", fieldPower: "m.room.power_levels", fieldName: "m.room.name", fieldAlias: "m.room.canonical_alias",
	fieldVisibility: "m.room.history_visibility", fieldTombstone: "m.room.tombstone",
}

// stateEvent is the type and state key of the event that a field is made of.
func stateEvent(field string) (kind, stateKey string) {
	if user, ok := strings.CutPrefix(field, memberField); ok {
		return "m.room.member", user
	}
	return stateTypes[field], ""
}

// StateField is the field that a state event changes and what it becomes at a position, or "" if the event is of a type that nobody asks for, or malformed
// (it then changes nothing). Pure: [Room.Fold] and `tocsin rooms import` share it. A higher position wins wherever two values of a field meet; of two at the same position, the later written.
func StateField(e *Event, position int64) (field, value string) {
	if e.StateKey == nil {
		return "", ""
	}
	if e.Type == "m.room.member" {
		m := memberOf(e, position)
		if m.Membership == "" {
			return "", ""
		}
		return memberField + *e.StateKey, m.value()
	}
	if *e.StateKey != "" {
		return "", ""
	}
	switch e.Type {
	case "m.room.create":
		field, value = fieldCreate, e.Sender+" "+string(compact(e.Content))
	case "m.room.power_levels":
		field, value = fieldPower, string(compact(e.Content))
	case "m.room.name":
		field, value = fieldName, title{shortText(contentText(e.Content, "name")), hashOf(e.ID)}.value()
	case "m.room.canonical_alias":
		field, value = fieldAlias, title{shortText(contentText(e.Content, "alias")), hashOf(e.ID)}.value()
	case "m.room.history_visibility":
		field, value = fieldVisibility, string(visibilityOf(contentText(e.Content, "history_visibility")))
	case "m.room.tombstone":
		field, value = fieldTombstone, shortText(contentText(e.Content, "replacement_room"))
	default:
		return "", ""
	}
	return field, at(position, value)
}

func at(position int64, value string) string { return strconv.FormatInt(position, 10) + " " + value }

// cutPosition takes a saved value apart.
func cutPosition(saved string) (position int64, value string, ok bool) {
	number, value, ok := strings.Cut(saved, " ")
	position, err := strconv.ParseInt(number, 10, 64)
	return position, value, ok && err == nil
}

// title is a room's name or alias, and the event that gave it.
type title struct {
	text  string
	event eventHash
}

func (t title) value() string { return t.event.String() + " " + t.text }

func parseTitle(value string) title {
	hash, text, _ := strings.Cut(value, " ")
	return title{text, parseHash(hash)}
}

// memberOf is what a membership event makes of its target at a position, as if nothing were known of the target before; without a membership if it is malformed.
func memberOf(e *Event, position int64) Member {
	m := Member{
		Membership: parseMembership(contentText(e.Content, "membership")), DisplayName: shortText(contentText(e.Content, "displayname")),
		Position: position, Since: position, Joined: never, Invited: never, Event: hashOf(e.ID),
	}
	switch m.Membership {
	case Join:
		m.Joined = position
	case Invite:
		m.Invited = position
	}
	return m
}

// value is the member as it is saved: "POSITION MEMBERSHIP SINCE JOINED INVITED EVENT NAME". The three are told as the way back from POSITION: most are 0.
func (m *Member) value() string {
	b := strconv.AppendInt(make([]byte, 0, 64), m.Position, 10)
	b = append(append(b, ' '), m.Membership...)
	for _, p := range []int64{m.Since, m.Joined, m.Invited} {
		b = append(b, ' ')
		if p == never {
			b = append(b, '-')
		} else {
			b = strconv.AppendInt(b, m.Position-p, 10)
		}
	}
	b = append(append(b, ' '), m.Event.String()...)
	return string(append(append(b, ' '), m.DisplayName...))
}

// parseMember reads what value wrote.
func parseMember(saved string) (m Member, ok bool) {
	position, rest, ok := cutPosition(saved)
	membership, rest, _ := strings.Cut(rest, " ")
	m = Member{Membership: parseMembership(membership), Position: position}
	for _, p := range []*int64{&m.Since, &m.Joined, &m.Invited} {
		var number string
		number, rest, _ = strings.Cut(rest, " ")
		if back, err := strconv.ParseInt(number, 10, 64); err == nil {
			*p = position - back
		} else {
			*p = never
		}
	}
	hash, name, _ := strings.Cut(rest, " ")
	m.Event, m.DisplayName = parseHash(hash), strings.Clone(name) // not the whole of what was read
	return m, ok && m.Membership != ""
}

// parseMembership is "" for what is none.
func parseMembership(s string) Membership {
	for _, m := range [...]Membership{Join, Leave, Invite, Ban, Knock} {
		if s == string(m) {
			return m // and not a part of what was read
		}
	}
	return ""
}

// eventHash tells a state event from others of its room in few bytes; 0 is no event. It is a part of SHA-256: nobody finds an event id that takes another one's place by chance.
type eventHash uint64

const eventHashBytes = 6

func hashOf(eventID string) eventHash {
	if eventID == "" {
		return 0
	}
	return eventHash(hashName(eventID) >> (64 - 8*eventHashBytes))
}

func (h eventHash) String() string {
	if h == 0 {
		return "-"
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(h))
	return base64.RawURLEncoding.EncodeToString(b[8-eventHashBytes:])
}

func parseHash(s string) eventHash {
	var b [8]byte
	if base64.RawURLEncoding.DecodedLen(len(s)) != eventHashBytes {
		return 0
	}
	if _, err := base64.RawURLEncoding.Decode(b[8-eventHashBytes:], []byte(s)); err != nil {
		return 0
	}
	return eventHash(binary.BigEndian.Uint64(b[:]))
}

// maxText bounds names: clients and homeservers allow 256 bytes or so, and a room has many.
const maxText = 1024

func shortText(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "")
}

// compact is an object without white space; {} for an event without content.
func compact(content jsontext.Value) jsontext.Value {
	if content == nil {
		return jsontext.Value("{}")
	}
	c := content.Clone()
	if c.Compact() != nil {
		return jsontext.Value("{}")
	}
	return c
}
