package apns

// Asking Apple whether it would take a push of the app.

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"

	"tocsin/pushers"
)

// nobody is a device token that no device has.
var nobody [32]byte

// Check asks Apple whether it would take a push of the app, and tells no device: it pushes to a device token that is none, and Apple looks at credentials and topic before it says so. The
// error says what is wrong and what to do.
func (s *Sender) Check(ctx context.Context) error {
	p, err := s.cfg.push(s.cfg.probe())
	if err != nil {
		return err
	}
	x := &exchange{push: &p, body: p.payload.body(s.cfg.limit())}
	o := s.deliver(ctx, x, 0)
	reason, _ := readReply(x.reply)
	if o.Verdict == pushers.Delivered || x.status == http.StatusBadRequest && reason == "BadDeviceToken" {
		return nil
	}
	if o.Reason == reasonUnproven { // of this device token that is no wonder, but Apple says something else of it
		o.Reason = reason
	}
	text := fmt.Sprintf("%s (%s)", Words(o), o.Reason)
	if o.Cause != nil && x.status == 0 {
		return fmt.Errorf("%s: %w", text, o.Cause)
	}
	return fmt.Errorf("%s", text)
}

// probe is a delivery to nobody of something that the app is told of.
func (c *Config) probe() *pushers.Delivery {
	n := pushers.Notification{EventID: "$check", RoomID: "!check", Type: "m.room.message", Prio: pushers.PrioHigh}
	switch {
	case len(c.Events) > 0:
		n.Type = c.Events[0]
	case c.PushType == PushVoIP:
		n.Type = "m.call.invite"
	}
	pushkey := base64.StdEncoding.EncodeToString(nobody[:])
	if c.TokenFormat == TokenHex {
		pushkey = hex.EncodeToString(nobody[:])
	}
	n.Device.Pusher.Pushkey, n.Device.Pusher.Format = pushers.NewPushkey(pushkey), pushers.FormatEventIDOnly
	return &pushers.Delivery{ID: "check", Notification: n}
}

// Proof is what the app proves itself with, for people: a key and its team, or a certificate and when it expires.
func (s *Sender) Proof() string {
	id := s.links.present()
	if id.key != nil {
		return fmt.Sprintf("key %s of team %s", id.key.id, id.key.team)
	}
	return fmt.Sprintf("certificate that expires at %s", id.expiry().UTC().Format("2006-01-02 15:04:05 MST"))
}
