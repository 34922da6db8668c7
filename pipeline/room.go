package pipeline

// What is known of a room, folded from its state events.

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pipeline/stream"
	"tocsin/rules"
)

// maxPosition bounds positions: Redis keeps them as doubles, exact below 2^53.
const maxPosition = 1 << 53

// Membership of a user in a room (Client-Server API, m.room.member).
type Membership string

// The memberships that matter here.
const (
	Join   Membership = "join"
	Invite Membership = "invite"
	Leave  Membership = "leave"
	Ban    Membership = "ban"
	Knock  Membership = "knock"
)

// Member is a user's membership in a room.
type Member struct {
	Membership  Membership
	DisplayName string // "" if the event had none
	Since       int64  // position of the member event: who renames moves to the end
}

// Room is what is known of a room. It belongs to the lane of its room and is never shared.
type Room struct {
	ID      string
	Members map[string]Member // all that are not gone: joined, invited, knocking, banned
	Name    string            // m.room.name
	Alias   string            // m.room.canonical_alias, alias
	Rules   rules.Room        // what push rules ask: member count, power levels, version, creators

	rev        int64    // of what is saved
	generation int64    // of the record that last used it
	done       doneMark // last record that is folded in
	order      order
	server     string   // the homeserver's own name
	local      []string // joined local users, sorted; nil: to be made
	recent     recentEvents
}

// NewRoom is a room of which nothing is known, seen from the homeserver called server.
func NewRoom(id, server string) *Room {
	return &Room{ID: id, Members: map[string]Member{}, server: server}
}

// IsLocal says whether a user belongs to the homeserver called server.
func IsLocal(userID, server string) bool {
	return strings.HasPrefix(userID, "@") && len(userID) > len(server)+2 && strings.HasSuffix(userID, server) && userID[len(userID)-len(server)-1] == ':' &&
		strings.IndexByte(userID, ':') == len(userID)-len(server)-1
}

// LocalJoined are the joined users of the homeserver, sorted. The slice is the room's own until the next Fold.
func (r *Room) LocalJoined() []string {
	if r.local == nil {
		r.local = []string{}
		for id, m := range r.Members {
			if m.Membership == Join && IsLocal(id, r.server) {
				r.local = append(r.local, id)
			}
		}
		slices.Sort(r.local)
	}
	return r.local
}

// Names of the fields in which a room is saved. A member's field is memberField and the user id.
const (
	fieldDone   = "done"
	fieldOrder  = "order"
	fieldCreate = "create"
	fieldPower  = "power"
	fieldName   = "name"
	fieldAlias  = "alias"
	memberField = "m|"

	textMark = "=" // stands before a name or alias, so that an empty one is a value too
)

// StateField is the field that a state event changes and what it becomes, or "" if the event is of a type that nobody asks for, or malformed
// (it then changes nothing). Pure: [Room.Fold] and `tocsin rooms import` share it.
func StateField(e *Event, position int64) (field, value string) {
	if e.StateKey == nil {
		return "", ""
	}
	if e.Type == "m.room.member" {
		membership := Membership(contentText(e.Content, "membership"))
		switch membership {
		case Join, Invite, Leave, Ban, Knock:
		default:
			return "", ""
		}
		return memberField + *e.StateKey, fmt.Sprintf("%s %d %s", membership, position, shortText(contentText(e.Content, "displayname")))
	}
	if *e.StateKey != "" {
		return "", ""
	}
	switch e.Type {
	case "m.room.create":
		return fieldCreate, e.Sender + " " + string(compact(e.Content))
	case "m.room.power_levels":
		return fieldPower, string(compact(e.Content))
	case "m.room.name":
		return fieldName, textMark + shortText(contentText(e.Content, "name"))
	case "m.room.canonical_alias":
		return fieldAlias, textMark + shortText(contentText(e.Content, "alias"))
	}
	return "", ""
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

// Fold makes the state event part of the room, and notes the fields that it changed in changed.
func (r *Room) Fold(e *Event, position int64, changed map[string]string) {
	if !e.IsState() {
		return
	}
	if field, value := StateField(e, position); field != "" {
		r.set(field, value)
		changed[field] = value
	}
}

// set takes one saved field over.
func (r *Room) set(field, value string) {
	switch field {
	case fieldDone:
		r.done = parseDone(value)
	case fieldOrder:
		r.order = parseOrder(value)
	case fieldName:
		r.Name = strings.TrimPrefix(value, textMark)
	case fieldAlias:
		r.Alias = strings.TrimPrefix(value, textMark)
	case fieldPower:
		r.Rules.PowerLevels = rules.ParsePowerLevels([]byte(value))
	case fieldCreate:
		sender, content, _ := strings.Cut(value, " ")
		r.Rules.Version, r.Rules.Creators = creators(sender, jsontext.Value(content))
	default:
		if user, ok := strings.CutPrefix(field, memberField); ok {
			r.setMember(user, value)
		}
	}
}

func (r *Room) setMember(user, value string) {
	membership, rest, _ := strings.Cut(value, " ")
	since, name, _ := strings.Cut(rest, " ")
	m := Member{Membership: Membership(membership), DisplayName: name}
	m.Since, _ = strconv.ParseInt(since, 10, 64)
	before := r.Members[user].Membership
	if m.Membership == Leave || m.Membership == "" {
		delete(r.Members, user) // its field stays, so that an import can't bring it back
	} else {
		r.Members[user] = m
	}
	if before == Join {
		r.Rules.MemberCount--
	}
	if m.Membership == Join {
		r.Rules.MemberCount++
	}
	if (before == Join) != (m.Membership == Join) && IsLocal(user, r.server) {
		r.local = nil
	}
}

// LoadRoom makes a room of what was saved.
func LoadRoom(id, server string, rec RoomRecord) *Room {
	r := NewRoom(id, server)
	r.rev = rec.Rev
	for field, value := range rec.Fields {
		r.set(field, value)
	}
	return r
}

// creators are the room's version and who made it: content.creator before version 11, the sender of the create event from then on, and from version 12
// the additional creators too (room version specifications; MSC2175, MSC4289).
func creators(sender string, content jsontext.Value) (version string, users []string) {
	version = contentText(content, "room_version")
	number, err := strconv.Atoi(version)
	if version == "" {
		number, err = 1, nil // "Defaults to 1 if the key does not exist" (m.room.create)
	}
	creator := contentText(content, "creator")
	if err == nil && number < 11 && creator != "" {
		return version, []string{creator}
	}
	users = []string{sender}
	if err == nil && number >= 12 {
		elements(member(content, "additional_creators"), func(v jsontext.Value) {
			if id := textOf(v); id != "" {
				users = append(users, id)
			}
		})
	}
	return version, users
}

// doneMark is the last record of a room that is folded in, with all that follows from it durable.
type doneMark struct {
	incarnation int64
	partition   int
	offset      int64
	known       bool
}

func markOf(rec *stream.Record) doneMark {
	return doneMark{incarnation: rec.Incarnation, partition: rec.Partition, offset: rec.Offset, known: true}
}

// covers says whether rec was folded in before. Offsets of another partition or of an earlier life of the topic can't be compared: a record from there is new.
func (d doneMark) covers(rec *stream.Record) bool {
	return d.known && d.incarnation == rec.Incarnation && d.partition == rec.Partition && rec.Offset <= d.offset
}

func (d doneMark) String() string {
	return fmt.Sprintf("%d %d %d", d.incarnation, d.partition, d.offset)
}

func parseDone(s string) doneMark {
	var d doneMark
	n, err := fmt.Sscanf(s, "%d %d %d", &d.incarnation, &d.partition, &d.offset)
	d.known = err == nil && n == 3
	return d
}

// order gives each event of a room its position: the homeserver's stream position if it sends one, else the offset. Which of the two is latched; when it changes, or
// the numbers begin again (another partition, a topic made anew), a new epoch opens above all earlier positions, so that positions never run backwards.
type order struct {
	source string // "stream INCARNATION", or "offset INCARNATION PARTITION"
	base   int64  // added to what the source says
	start  int64  // the first position of the epoch
	last   int64  // the highest position given
}

// epochSlack leaves room below the first event of an epoch, for stream positions that come a little out of order.
const epochSlack = 1000

// next is the position of the event.
func (o *order) next(e *Event, rec *stream.Record) int64 {
	source, raw := fmt.Sprintf("offset %d %d", rec.Incarnation, rec.Partition), rec.Offset
	if e.StreamPosition >= 0 {
		source, raw = fmt.Sprintf("stream %d", rec.Incarnation), e.StreamPosition
	}
	if source != o.source {
		o.source = source
		o.start = o.last + 1 // position 0 is before everything
		o.base = o.start + epochSlack - raw
	}
	position := max(o.base+raw, o.start)
	o.last = max(o.last, position)
	return position
}

func (o order) String() string { return fmt.Sprintf("%d %d %d %s", o.base, o.start, o.last, o.source) }

func parseOrder(s string) order {
	var o order
	fields := strings.SplitN(s, " ", 4)
	if len(fields) < 4 {
		return o
	}
	for i, n := range []*int64{&o.base, &o.start, &o.last} {
		*n, _ = strconv.ParseInt(fields[i], 10, 64)
	}
	o.source = fields[3]
	return o
}
