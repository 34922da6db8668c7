package pushers

// What one device is told.

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Prio says how urgently a device should be woken (Push Gateway API, notification.prio).
type Prio string

// The priorities. A gateway takes an absent one for high.
const (
	PrioHigh Prio = "high"
	PrioLow  Prio = "low"
)

// Counts is what a badge shows (Push Gateway API, notification.counts). Zero counts are left out of a notification.
type Counts struct {
	Unread      int // rooms (or messages, by configuration) with unread notifications, and pending invites
	MissedCalls int
}

// Notification is one event as one user's devices are told of it. It is complete: a format picks from it, and adds nothing.
//
// One without EventID and Type is about no event: it tells the counts alone, and to whom; unread ones even if they are zero, so that a badge can be cleared.
type Notification struct {
	EventID           string
	RoomID            string
	Type              string
	Sender            string
	SenderDisplayName string         // in that room; "" if unknown
	RoomName          string         // as the recipient would see it; "" if the room has none
	RoomAlias         string         // the room's canonical alias; "" if it has none
	Membership        string         // of m.room.member events only
	UserIsTarget      bool           // of m.room.member events only: the state key is the recipient
	IsMember          bool           // the event is an m.room.member event
	Content           jsontext.Value // as it came; nil if the event had none
	Prio              Prio
	Counts            Counts
	NoMissedCalls     bool // of counts alone: tell that there are no missed calls, too, because more were told before
	Device            Device
}

// CountsOnly says that the notification is about no event.
func (n *Notification) CountsOnly() bool { return n.EventID == "" && n.Type == "" }

// Device is the pusher that is told, with the tweaks that the push rules set for it.
type Device struct {
	Pusher Pusher
	Tweaks jsontext.Value // an object, or nil if no tweak was set; a tweak that was set without a value is true in it
}

// Delivery is one notification on its way to one pusher: the unit of delivery, of retry and of the dead letter.
type Delivery struct {
	ID           string // the same for each attempt at the same (event, pusher)
	UserID       string
	Notification Notification
	Attempt      int       // attempts made before this one
	FirstFailure time.Time // of the first of them; zero if there was none
	Since        time.Time // Kafka time of the record that it came from: its age counts from here
	Expires      time.Time // when nobody wants it any more
}
