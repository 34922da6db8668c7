package pipeline

// Why a user is, or is not, notified of an event: what the rooms stage would decide, in words.

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"tocsin/pushers"
	"tocsin/rules"
)

// ParseEvent reads an event in client format with its room_id, as matrix.room-events carries it, or returns an [*Unreadable].
func ParseEvent(value []byte) (*Event, error) { return parseEvent(value) }

// ReadAccount makes an account of its saved fields.
func ReadAccount(userID string, fields map[string]VersionedValue, options rules.Options) *Account {
	return decodeAccount(userID, fields, internRules(options, slog.New(slog.DiscardHandler)))
}

// RulesField is the saved field that holds a user's rules, for [ReadAccount].
const RulesField = typePushRules

// Explain writes why the account's user is, or is not, notified of the event in a room as it stands before the event. through says which push service a pusher is told through.
func Explain(w io.Writer, room *Room, a *Account, e *Event, through func(*pushers.Pusher) string) {
	fmt.Fprintf(w, "event     %s %s by %s in %s\n", cmp.Or(e.ID, "(no event_id)"), e.Type, cmp.Or(e.Sender, "(no sender)"), e.RoomID)
	version := cmp.Or(room.Rules.Version, "unknown")
	fmt.Fprintf(w, "room      %s, version %s, %d joined, of them %d users of %s\n", cmp.Or(room.Name, room.Alias, "without a name"), version, room.Rules.MemberCount, len(room.LocalJoined()), room.homeserver.Name)
	fmt.Fprintf(w, "          history visibility %s%s\n", room.Visibility, replaced(room))
	member := room.Members[a.UserID]
	fmt.Fprintf(w, "user      %s, %s, display name %q, %d pushers\n\n", a.UserID, cmp.Or(string(member.Membership), "not in the room"), displayName(room, e, a.UserID), len(a.Pushers))

	if why := notAsked(room, a, e); why != "" {
		fmt.Fprintf(w, "The rules are not asked: %s.\n", why)
		return
	}
	fmt.Fprintln(w, "Global rules, which alone count as unread:")
	explainRules(w, room, a, e, "")
	for _, tag := range a.Tags {
		fmt.Fprintf(w, "\nPushers with profile tag %q:\n", tag)
		explainRules(w, room, a, e, tag)
	}
	if len(a.Pushers) == 0 {
		fmt.Fprintln(w, "\nNo pusher is registered: a notification is counted, and nothing is sent.")
	}
	for i := range a.Pushers {
		p := &a.Pushers[i]
		fmt.Fprintf(w, "\npusher    %s %s, told through %s%s\n", p.AppID, p.Pushkey, through(&p.Pusher), tagged(p.ProfileTag))
	}
}

// replaced tells of a room's tombstone.
func replaced(room *Room) string {
	switch {
	case room.Tombstone == nil:
		return ""
	case *room.Tombstone == "":
		return "; closed by a tombstone"
	default:
		return "; closed by a tombstone, which names " + *room.Tombstone
	}
}

func tagged(tag string) string {
	if tag == "" {
		return ""
	}
	return fmt.Sprintf(", profile tag %q", tag)
}

func explainRules(w io.Writer, room *Room, a *Account, e *Event, tag string) {
	r := rules.Recipient{UserID: a.UserID, DisplayName: displayName(room, e, a.UserID), ProfileTag: tag, Rules: a.Rules}
	fmt.Fprint(w, a.Rules.Explain(e.Parsed, &room.Rules, &r))
}

// notAsked says why a user's rules are not asked about an event, or "".
func notAsked(room *Room, a *Account, e *Event) string {
	switch {
	case e.IsEDU:
		return "a receipt notifies nobody"
	case e.Silent:
		return "the header notify: false says that the event notifies nobody"
	case a.UserID == e.Sender:
		return "the user sent the event"
	case !IsLocal(a.UserID, room.homeserver.Name):
		return "the user belongs to another homeserver than " + room.homeserver.Name
	case !room.homeserver.Tells(a.UserID):
		return "the user belongs to an application service (homeserver.appservice_users)"
	case a.Deactivated:
		return "the account is deactivated"
	case e.Sender != "" && a.Ignores(e.Sender):
		return "the user ignores the sender"
	case slices.Contains(Recipients(room, e, maxPosition), a.UserID):
		return ""
	case e.Type == "m.room.member":
		return "a membership event concerns its target alone, if it is in the room or invited"
	}
	return "the user is not joined to the room"
}

// SavedRooms names the rooms in which a user has something saved as unread, with the numbers, for people.
func SavedRooms(w io.Writer, saved map[string][]byte) {
	for _, room := range slices.Sorted(maps.Keys(saved)) {
		u, err := DecodeUnread(saved[room])
		if err != nil {
			fmt.Fprintf(w, "unread    %s: %v\n", room, err)
			continue
		}
		notifications, highlights := u.Count()
		if notifications > 0 || u.PendingInvite() {
			invite := ""
			if u.PendingInvite() {
				invite = ", invited"
			}
			fmt.Fprintf(w, "unread    %s: %d, of them %d highlights%s\n", room, notifications, highlights, invite)
		}
	}
}
