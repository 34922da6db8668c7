package apns

// What is told of a push beside its payload: to which device, in which app, how urgently, and under which names.

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"tocsin/pushers"
)

// push is one push as it goes out.
type push struct {
	token    string // of the device, in hexadecimal digits
	id       string // apns-id
	topic    string // apns-topic; "": the certificate says it
	pushType string // apns-push-type
	priority int    // apns-priority
	expires  int64  // apns-expiration, in seconds since 1970: 0 for one try; keepAsLong if nothing is said
	collapse string // apns-collapse-id; "": none
	payload  payload
}

// keepAsLong leaves it to Apple how long a push is kept.
const keepAsLong = -1

// The priorities of Apple.
const (
	atOnce       = 10
	withoutHurry = 5
)

// maxToken is the longest device token in bytes. They have been 32 bytes so far; Apple says that this may change.
const maxToken = 128

// errPushkey says nothing of the key: it is a secret.
var errPushkey = errors.New("the pushkey is not written as token_format says")

// push is what tells d; its payload's object is nil if there is nothing to tell.
func (c *Config) push(d *pushers.Delivery) (push, error) {
	n := &d.Notification
	p := push{payload: c.payload(n)}
	if p.payload.object == nil {
		return p, nil
	}
	token, err := c.deviceToken(n.Device.Pusher.Pushkey.Reveal())
	if err != nil {
		return push{}, err
	}
	p.token, p.id, p.pushType = token, apnsID(d), p.payload.pushType
	p.topic, p.collapse, p.expires = c.topic(p.pushType), c.collapseID(d), c.expiration(d)
	p.priority = withoutHurry
	if n.Prio != pushers.PrioLow && p.pushType != PushBackground {
		p.priority = atOnce
	}
	return p, nil
}

// deviceToken is the device token that a pushkey holds, in hexadecimal digits.
func (c *Config) deviceToken(pushkey string) (string, error) {
	var token []byte
	var err error
	if c.TokenFormat == TokenHex {
		token, err = hex.DecodeString(pushkey)
	} else {
		token, err = decodeBase64(pushkey)
	}
	if err != nil || len(token) == 0 || len(token) > maxToken {
		return "", errPushkey
	}
	return hex.EncodeToString(token), nil
}

// decodeBase64 reads either alphabet, padded or not, as apps write them.
func decodeBase64(s string) ([]byte, error) {
	alphabet := base64.RawStdEncoding
	if strings.ContainsAny(s, "-_") {
		s, alphabet = strings.NewReplacer("+", "-", "/", "_").Replace(s), base64.RawURLEncoding
	}
	return alphabet.DecodeString(strings.TrimRight(s, "="))
}

// topic is the app's bundle id with what its push type wants behind it.
func (c *Config) topic(pushType string) string {
	suffix := suffixes[pushType]
	if c.Topic == "" || strings.HasSuffix(c.Topic, suffix) {
		return c.Topic
	}
	return c.Topic + suffix
}

// expiration is when Apple is to give up a device that is not connected.
func (c *Config) expiration(d *pushers.Delivery) int64 {
	switch {
	case !c.Store:
		return 0
	case d.Expires.IsZero():
		return keepAsLong
	}
	return d.Expires.Add(time.Second - 1).Unix() // up to the next second
}

// collapseID names what replaces what on the device, and tells Apple neither user nor room.
func (c *Config) collapseID(d *pushers.Delivery) string {
	n := &d.Notification
	switch {
	case c.Collapse == CollapseNone:
		return ""
	case c.subject(n) == onlyCounts: // even of an event: it must not replace what shows of its room
		return named("badge", d.UserID)
	case c.Collapse == CollapseEvent:
		return named("event", d.UserID, n.EventID)
	case isCall(n.Type): // a message must not replace what rings
		return named("call", d.UserID, n.RoomID)
	}
	return named("room", d.UserID, n.RoomID)
}

// named is a short name of parts that does not tell them.
func named(parts ...string) string {
	var space [256]byte
	sum := sha256.Sum256(fmt.Appendf(space[:0], "%q", parts))
	return base64.RawURLEncoding.EncodeToString(sum[:24])
}

// apnsID names one (event, pusher) for Apple, the same at each attempt: a UUID of version 8 (RFC 9562, section 5.8) made of the delivery's id. Counts alone
// of a pusher are all one delivery, so they are told apart by what they say.
func apnsID(d *pushers.Delivery) string {
	name := d.ID
	if n := &d.Notification; n.CountsOnly() {
		name = fmt.Sprintf("%s %d %d", d.ID, n.Counts.Unread, n.Counts.MissedCalls)
	}
	u, err := hex.DecodeString(name)
	if err != nil || len(u) != 16 {
		sum := sha256.Sum256([]byte(name))
		u = sum[:16]
	}
	u[6], u[8] = u[6]&0x0f|0x80, u[8]&0x3f|0x80
	digits := hex.EncodeToString(u)
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}
