package pipeline

// What is known of a room, folded from its state events.

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

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
	DisplayName string    // "" if the event had none, or is redacted
	Position    int64     // where this became the room's state
	Since       int64     // position of the member event itself: who renames moves to the end, and a state reset moves nobody
	Joined      int64     // position of the join that began the present stay, which renames leave alone; never
	Invited     int64     // position of the invite before it; never
	Event       eventHash // the member event; 0 if it had no id, or is redacted
}

// never stands for the position of what did not happen. What was there before the stream began has position 0.
const never = -1

// follow takes over from the membership before what goes on: a stay, and the invite before it.
func (m *Member) follow(before Member) {
	switch {
	case m.Membership != Join:
	case before.Membership == Join:
		m.Joined, m.Invited = before.Joined, before.Invited
	case before.Membership == Invite:
		m.Invited = before.Invited
	}
}

// Room is what is known of a room. It belongs to the lane of its room and is never shared.
type Room struct {
	ID         string
	Members    map[string]Member // all that are not gone: joined, invited, knocking, banned
	Name       string            // m.room.name
	Alias      string            // m.room.canonical_alias, alias
	Visibility Visibility        // m.room.history_visibility
	Tombstone  *string           // m.room.tombstone: the room that replaces it, perhaps ""; nil: none
	Rules      rules.Room        // what push rules ask: member count, power levels, version, creators

	homeserver Homeserver
	gone       map[string]int64     // who has left, and where: a late event must not bring them back
	since      map[string]int64     // where the fields that are no members became the room's state
	titles     map[string]eventHash // the events of name and alias
	named      map[eventHash]string // members with a display name, by their event; nil: to be made
	local      []string             // joined users who are told, sorted; nil: to be made
	lastJoin   int64                // the highest Joined
	highest    int64                // the highest position of state
	heroes     heroes
	waiting    waitingReceipts
	recent     recentEvents

	rev        string   // of what is saved; "": nothing
	done       doneMark // last record that is folded in
	order      order
	generation int64 // of the record that last used it
	weight     uint32
}

// NewRoom is a room of which nothing is known, seen from a homeserver.
func NewRoom(id string, homeserver Homeserver) *Room { return newRoom(id, homeserver, 0) }

func newRoom(id string, homeserver Homeserver, fields int) *Room {
	return &Room{
		ID: id, Members: make(map[string]Member, fields), Visibility: VisibleShared, homeserver: homeserver,
		gone: map[string]int64{}, since: map[string]int64{}, titles: map[string]eventHash{},
	}
}

// roomLoader is what it takes to load a room, see [RoomStore].
type roomLoader interface {
	LoadRoom(ctx context.Context, roomID string, begin func(fields int) func(field, value string)) (rev string, err error)
}

// LoadRoom reads a room as it is saved. Its memory is what the room needs, and a page of its fields.
func LoadRoom(ctx context.Context, store roomLoader, id string, homeserver Homeserver) (*Room, error) {
	var r *Room
	rev, err := store.LoadRoom(ctx, id, func(fields int) func(field, value string) {
		r = newRoom(id, homeserver, fields)
		return func(field, value string) { r.set(field, value) }
	})
	if err != nil {
		return nil, err
	}
	r.rev = rev
	if r.order == (order{}) && r.highest > 0 { // rebuilt from the changelog, which tells of state alone
		r.order = rebuiltOrder(r.highest)
	}
	return r, nil
}

// Known says whether anything was saved of the room.
func (r *Room) Known() bool { return r.rev != "" }

// IsLocal says whether a user belongs to the homeserver called server.
func IsLocal(userID, server string) bool {
	return strings.HasPrefix(userID, "@") && len(userID) > len(server)+2 && strings.HasSuffix(userID, server) && userID[len(userID)-len(server)-1] == ':' &&
		strings.IndexByte(userID, ':') == len(userID)-len(server)-1
}

// LocalJoined are the joined users of the homeserver who are told of events (those of application services are not), sorted. The slice is the room's own until the next Fold.
func (r *Room) LocalJoined() []string {
	if r.local == nil {
		r.local = []string{}
		for id, m := range r.Members {
			if m.Membership == Join && r.homeserver.Tells(id) {
				r.local = append(r.local, id)
			}
		}
		slices.Sort(r.local)
	}
	return r.local
}

// Fold makes the state event part of the room at a position, unless what is known is of a higher one, and notes the fields that it changed in changed.
func (r *Room) Fold(e *Event, position int64, changed map[string]string) {
	r.fold(e, position, position, changed)
}

// fold is Fold for an event whose own position may be another one: a state reset makes an old event the state again.
func (r *Room) fold(e *Event, position, own int64, changed map[string]string) {
	if !e.IsState() {
		return
	}
	field, value := StateField(e, position)
	if field == "" {
		return
	}
	if user, ok := strings.CutPrefix(field, memberField); ok {
		m := memberOf(e, position)
		m.Since = own
		m.follow(r.Members[user])
		value = m.value()
	}
	if r.set(field, value) {
		changed[field] = value
	}
}

// Redact takes out of the room what a redaction takes out of a state event that is the room's state now: a display name, the name, the alias (Client-Server API, "Redactions"; memberships and
// power levels stay). The redacted value has the position of the one before.
func (r *Room) Redact(eventID string, changed map[string]string) {
	event := hashOf(eventID)
	if event == 0 {
		return
	}
	for field, of := range r.titles {
		if of == event {
			changed[field] = at(r.since[field], title{}.value())
			r.set(field, changed[field])
		}
	}
	if user, ok := r.byEvent()[event]; ok {
		m := r.Members[user]
		m.DisplayName, m.Event = "", 0
		changed[memberField+user] = m.value()
		r.setMember(user, m)
	}
}

// byEvent are the members who have a name to lose, by their event. Most rooms never see a redaction and don't keep it.
func (r *Room) byEvent() map[eventHash]string {
	if r.named == nil {
		r.named = map[eventHash]string{}
		for user, m := range r.Members {
			if m.DisplayName != "" {
				r.named[m.Event] = user
			}
		}
	}
	return r.named
}

// set takes one saved field over, unless what is known is of a higher position.
func (r *Room) set(field, value string) bool {
	if user, ok := strings.CutPrefix(field, memberField); ok {
		m, ok := parseMember(value)
		return ok && r.setMember(user, m)
	}
	if event, ok := strings.CutPrefix(field, waitingField); ok {
		r.waiting.load(event, value)
		return true
	}
	switch field {
	case fieldDone:
		r.done = parseDone(value)
		return true
	case fieldOrder:
		r.order = parseOrder(value)
		return true
	}
	position, value, ok := cutPosition(value)
	if known, is := r.since[field]; !ok || is && known > position {
		return false
	}
	r.since[field] = position
	r.highest = max(r.highest, position)
	switch field {
	case fieldName, fieldAlias:
		r.setTitle(field, parseTitle(value))
	case fieldPower:
		r.Rules.PowerLevels = rules.ParsePowerLevels([]byte(value))
	case fieldCreate:
		sender, content, _ := strings.Cut(value, " ")
		r.Rules.Version, r.Rules.Creators = creators(sender, jsontext.Value(content))
	case fieldVisibility:
		r.Visibility = visibilityOf(value)
	case fieldTombstone:
		r.Tombstone = &value
	}
	return true
}

func (r *Room) setTitle(field string, t title) {
	r.titles[field] = t.event
	if field == fieldName {
		r.Name = t.text
	} else {
		r.Alias = t.text
	}
}

func (r *Room) setMember(user string, m Member) bool {
	before, is := r.Members[user]
	left, was := r.gone[user]
	if is && before.Position > m.Position || was && left > m.Position {
		return false
	}
	r.highest = max(r.highest, m.Position)
	delete(r.gone, user)
	if m.Membership == Leave {
		delete(r.Members, user)
		r.gone[user] = m.Position
	} else {
		r.Members[user] = m
	}
	r.heroes.change(user, before, m)
	if r.named != nil {
		delete(r.named, before.Event)
		if m.Membership != Leave && m.DisplayName != "" {
			r.named[m.Event] = user
		}
	}
	if m.Membership == Join {
		r.lastJoin = max(r.lastJoin, m.Joined)
	}
	if joined := m.Membership == Join; joined != (before.Membership == Join) {
		r.countJoined(user, joined)
	}
	return true
}

// countJoined keeps what depends on who is joined.
func (r *Room) countJoined(user string, joined bool) {
	r.Rules.MemberCount--
	if joined {
		r.Rules.MemberCount += 2
	}
	if r.local == nil || !r.homeserver.Tells(user) {
		return
	}
	i, found := slices.BinarySearch(r.local, user)
	switch {
	case joined && !found:
		r.local = slices.Insert(r.local, i, user)
	case !joined && found:
		r.local = slices.Delete(r.local, i, i+1)
	}
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
