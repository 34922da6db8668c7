package pipeline

// From a counted notice to what one device is told.

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"tocsin/pushers"
)

// Compose is the notification of a notice for one pusher of a user, with the counts as they are now. Pure.
func Compose(n *Notice, userID string, v *Verdict, p pushers.Pusher, counts pushers.Counts) pushers.Notification {
	e := n.Event
	out := pushers.Notification{
		EventID: e.ID, RoomID: n.RoomID, Type: e.Type, Sender: e.Sender, RoomAlias: e.Room.Alias, Content: e.Content, Counts: counts, Prio: prio(e, v),
		Device: pushers.Device{Pusher: p, Tweaks: v.Tweaks},
	}
	if e.SenderKnown {
		out.SenderDisplayName = cmp.Or(e.SenderName, e.Sender)
	}
	if e.Type == "m.room.member" && e.StateKey != nil {
		out.IsMember, out.UserIsTarget = true, *e.StateKey == userID
		out.Membership = contentText(e.Content, "membership")
	}
	out.RoomName = e.Room.For(userID, out.UserIsTarget && out.Membership == string(Invite), e.SenderKnown)
	return out
}

// prio is high for what should wake the device at once: an encrypted event (its device must look whether it matters), a highlight or a sound.
func prio(e *NoticeEvent, v *Verdict) pushers.Prio {
	if e.Type == "m.room.encrypted" || v.Highlight || v.Sound {
		return pushers.PrioHigh
	}
	return pushers.PrioLow
}

// Badge is counts.unread: rooms with something unread, or all that is unread, and pending invites.
func Badge(rooms map[string]Unread, count string) pushers.Counts {
	var c pushers.Counts
	for _, u := range rooms {
		n, _ := u.Count()
		if count == BadgeRooms {
			n = min(n, 1)
		}
		if u.PendingInvite() {
			n++
		}
		c.Unread += n
	}
	return c
}

// dropped says why a notification is not sent after all, or "".
func dropped(n *Notice, a *Account, u *Unread, pushFrom time.Time) string {
	e := n.Event
	switch {
	case n.since().Before(pushFrom):
		return "before_start"
	case a.Deactivated:
		return "deactivated"
	case e.Sender != "" && a.Ignores(e.Sender):
		return "ignored"
	case u.Redacted(n.Position):
		return "redacted"
	case e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == a.UserID:
		if contentText(e.Content, "membership") == string(Invite) && !u.InvitePending(n.Position) {
			return "answered"
		}
	case u.Passed(n.Position, n.Thread):
		return "read"
	}
	return ""
}

// deliveryID names one (event, pusher) for good: the same after a crash, a rebalance and each retry.
func deliveryID(n *Notice, userID string, p *pushers.Pusher) string {
	event := n.Event.ID
	if event == "" {
		event = fmt.Sprintf("%s/%d@%d", n.Origin.Topic, n.Origin.Partition, n.Origin.Offset)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", n.RoomID, event, userID, p.AppID, p.Pushkey.Reveal()))
	return hex.EncodeToString(sum[:16])
}

// Expiry is how long a notification is worth sending, by the class of its event.
type Expiry struct {
	Call    time.Duration // m.call.invite: nobody rings for a call that is over
	Message time.Duration // all else
}

// of is when the notice's event is not worth sending any more.
func (x Expiry) of(n *Notice) time.Time {
	if n.Event.Type == "m.call.invite" {
		return n.since().Add(x.Call)
	}
	return n.since().Add(x.Message)
}
