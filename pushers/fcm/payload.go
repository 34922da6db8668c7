package fcm

// The request body of messages:send.

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pushers"
)

// Body is the request body that tells FCM of d, at most 4096 bytes long (FCM HTTP v1, projects.messages.send). The same delivery gives the same bytes at the same time.
//
// It is a data message: texts by the names that Matrix clients know from the gateway Sygnal. A pusher's data.default_payload is merged into it. Counts alone are told
// even when they are zero, silently, and the newest one is enough for a device that was away. What is too long gives its least important parts
// away, a text at its end first; so a body is longer than the limit only if the pushkey and the overrides are.
//
// An error says that content is not what it should be: a fault of who composed d.
func (c Config) Body(d *pushers.Delivery, now time.Time) ([]byte, error) {
	m, err := c.message(d, now)
	if err != nil {
		return nil, err
	}
	return m.body(maxBody), nil
}

const (
	// maxBody is what FCM takes of a payload. How it counts is told in rough words only, so the whole body counts here: keys, quotes, pushkey and all.
	maxBody = 4096
	// maxTTL is the longest that FCM keeps a message.
	maxTTL = 28 * 24 * time.Hour
)

// message is a request body whose data can still be made shorter.
type message struct {
	head    []byte // up to the data
	fields  []field
	written []byte // what the fields are as JSON, one after another
	tail    []byte // behind the data
}

// message composes what d tells, in full.
func (c Config) message(d *pushers.Delivery, now time.Time) (*message, error) {
	n := &d.Notification
	m := &message{fields: make([]field, 0, 16), written: make([]byte, 0, 1024)}
	m.head = append(make([]byte, 0, 256), `{"message":{"token":`...)
	m.head = appendText(m.head, n.Device.Pusher.Pushkey.Reveal())
	m.head = append(m.head, `,"data":{`...)
	if err := c.tell(m, n); err != nil {
		return nil, err
	}
	m.tail = append(make([]byte, 0, 256), `},"android":`...)
	m.tail = c.appendAndroid(m.tail, d, now)
	if !n.CountsOnly() {
		m.tail = c.appendOthers(m.tail)
	}
	m.tail = append(m.tail, `}}`...)
	return m, nil
}

// tell adds the data of n.
func (c Config) tell(m *message, n *pushers.Notification) error {
	if n.CountsOnly() {
		m.counts(n)
		return nil
	}
	m.text(ids, "event_id", n.EventID)
	m.text(ids, "room_id", n.RoomID)
	full := c.Content && n.Device.Pusher.Format != pushers.FormatEventIDOnly
	if full {
		m.text(kind, "type", n.Type)
		m.text(kind, "sender", n.Sender)
		m.prose(names, "room_name", n.RoomName)
		m.text(alias, "room_alias", n.RoomAlias)
		m.prose(names, "sender_display_name", n.SenderDisplayName)
		if n.IsMember {
			m.text(kind, "membership", n.Membership)
		}
	}
	m.text(needed, "prio", priority(n))
	m.counts(n)
	if full {
		if err := m.content(n.Content); err != nil {
			return err
		}
	}
	m.defaults(n.Device.Pusher.Data)
	return nil
}

// counts adds the counts that are not zero. Of counts alone a zero is told, too: nothing else can clear a badge.
func (m *message) counts(n *pushers.Notification) {
	if n.Counts.Unread != 0 || n.CountsOnly() {
		m.text(needed, "unread", strconv.Itoa(n.Counts.Unread))
	}
	if n.Counts.MissedCalls != 0 || n.CountsOnly() && n.NoMissedCalls {
		m.text(needed, "missed_calls", strconv.Itoa(n.Counts.MissedCalls))
	}
}

// content adds the texts of an event's content; what is not a text has no place in a data message.
func (m *message) content(raw jsontext.Value) error {
	if len(raw) == 0 {
		return nil
	}
	all, err := members(raw)
	if err != nil {
		return fmt.Errorf("content of the notification is not a JSON object") // without the bytes: they are a secret
	}
	for _, c := range all {
		value, isText := textOf(c.value)
		if !isText {
			continue
		}
		switch c.name {
		case "body":
			m.prose(body, "content_body", value)
		case "formatted_body":
			m.text(formatted, "content_formatted_body", value)
		case "msgtype":
			m.text(kind, "content_msgtype", value)
		default:
			m.text(content, "content_"+c.name, value)
		}
	}
	return nil
}

// defaults adds what the client wants to be told each time. It can't say what the event says, nor use names that FCM has for itself; what is not a text goes as the
// JSON that it is, because a data message takes texts alone. A default_payload that is no object is none.
func (m *message) defaults(data jsontext.Value) {
	if len(data) == 0 {
		return
	}
	var wanted struct {
		Payload jsontext.Value `json:"default_payload"`
	}
	if json.Unmarshal(data, &wanted) != nil || wanted.Payload.Kind() != '{' {
		return
	}
	all, err := members(wanted.Payload)
	if err != nil {
		return
	}
	taken := make(map[string]bool, len(m.fields)) // both may be thousands, which users make up
	for _, f := range m.fields {
		taken[f.name] = true
	}
	for _, w := range all {
		value, isText := textOf(w.value)
		if !isText {
			value = string(w.value)
		}
		if w.value.Kind() != 'n' && !taken[w.name] && !isReserved(w.name) {
			m.text(private, w.name, value)
		}
	}
}

// isReserved says that FCM refuses a message that has such data.
func isReserved(name string) bool {
	return name == "" || name == "from" || name == "message_type" || name == "collapse_key" || strings.HasPrefix(name, "google") || strings.HasPrefix(name, "gcm")
}

// appendAndroid appends how the message is handled on its way: an override wins over what would be there.
func (c Config) appendAndroid(b []byte, d *pushers.Delivery, now time.Time) []byte {
	o := object{append(b, '{')}
	set := func(name string) bool {
		return slices.ContainsFunc(c.Overrides.android, func(m member) bool { return m.name == name })
	}
	n := &d.Notification
	if !set("priority") {
		o.text("priority", priority(n))
	}
	if !d.Expires.IsZero() && !set("ttl") {
		left := min(max(d.Expires.Sub(now), 0), maxTTL)
		o.text("ttl", strconv.FormatInt(int64(left/time.Second), 10)+"s")
	}
	if key := c.collapseKey(d); key != "" && !set("collapse_key") {
		o.text("collapse_key", key)
	}
	for _, m := range c.Overrides.android {
		if !n.CountsOnly() || m.name != "notification" {
			o.raw(m.name, m.value)
		}
	}
	return append(o.b, '}')
}

// appendOthers appends the other overrides.
func (c Config) appendOthers(b []byte) []byte {
	for _, m := range c.Overrides.others {
		b = append(b, ',')
		b = append(appendText(b, m.name), ':')
		b = append(b, m.value...)
	}
	return b
}

// priority is how urgently FCM wakes the device. Counts alone wake nobody.
func priority(n *pushers.Notification) string {
	if n.CountsOnly() || n.Prio == pushers.PrioLow {
		return "normal"
	}
	return "high"
}

// collapseKey names the messages of which the newest is enough; "" if each is wanted. A room goes by a hash, which is another one for each user, so that Google can't see
// who is in a room together.
func (c Config) collapseKey(d *pushers.Delivery) string {
	switch {
	case d.Notification.CountsOnly():
		return "counts"
	case !c.CollapseRooms || d.Notification.RoomID == "":
		return ""
	}
	sum := sha256.Sum256([]byte(d.UserID + "\x00" + d.Notification.RoomID))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// textOf is the text that raw holds; false if it holds something else.
func textOf(raw jsontext.Value) (string, bool) {
	if raw.Kind() != '"' {
		return "", false
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	return string(text), err == nil
}

// object writes the members of a JSON object.
type object struct{ b []byte }

func (o *object) text(name, value string) {
	o.name(name)
	o.b = appendText(o.b, value)
}

func (o *object) raw(name string, value jsontext.Value) {
	o.name(name)
	o.b = append(o.b, value...)
}

func (o *object) name(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(appendText(o.b, name), ':')
}

// appendText appends text as JSON. U+FFFD stands in for bytes that are not UTF-8, of which the error tells.
func appendText(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text)
	return b
}
