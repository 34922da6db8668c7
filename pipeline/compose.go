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

// Compose is the notification of a notice for one pusher of a user, with the counts as they are now, unless the pusher wants none. Pure.
func Compose(n *Notice, userID string, v *Verdict, p pushers.Pusher, counts pushers.Counts) pushers.Notification {
	e := n.Event
	if p.NoCounts {
		counts = pushers.Counts{}
	}
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

// dropped says why a notification that a rule asked for, of the global rules or those of a profile tag, is not sent after all, or "".
func dropped(n *Notice, a *Account, u *Unread, rule, profileTag string, pushFrom time.Time) string {
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
	case a.Rules.Mutes(n.RoomID, profileTag, rule):
		return "muted"
	case e.Type == "m.room.member" && e.StateKey != nil && *e.StateKey == a.UserID:
		if n.invites() && !u.InvitePending(n.Position) {
			return "answered"
		}
	case u.Passed(n.Position, n.Thread):
		return "read"
	}
	return ""
}

// deliveryID names one (event, pusher) for good: the same after a crash, a rebalance and each retry. So it does the counts alone of one pusher, whatever they are.
func (e *errand) deliveryID() string {
	n, p := e.notice, &e.pusher
	if e.alone {
		return hashed(fmt.Appendf(nil, "badge %q %q %q", e.user.ID, p.AppID, p.Pushkey.Reveal()))
	}
	event := n.Event.ID
	if event == "" {
		event = fmt.Sprintf("at %d", n.Position) // not its offset: those are given out again when the topic is made anew
	}
	return hashed(fmt.Appendf(nil, "%q %q %q %q %q", n.RoomID, event, e.user.ID, p.AppID, p.Pushkey.Reveal()))
}

// ledgerID is the delivery's name in the ledger; "" of counts alone, which are told again and again.
func (e *errand) ledgerID() string {
	if e.alone {
		return ""
	}
	return e.deliveryID()
}

func hashed(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Expiry is how long a notification is worth sending, by the class of its event.
type Expiry struct {
	Call    time.Duration // m.call.invite: nobody rings for a call that is over
	Message time.Duration // all else
}

// of is when the notice's event is not worth sending any more.
func (x Expiry) of(n *Notice) time.Time {
	if n.Event != nil && n.Event.Type == "m.call.invite" {
		return n.since().Add(x.Call)
	}
	return n.since().Add(x.Message)
}
