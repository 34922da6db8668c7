package gateway

// The request body of POST /_matrix/push/v1/notify.

import (
	"bytes"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pushers"
)

// Body is the request body that tells a gateway of n, in the format that the pusher asks for (Push Gateway API, POST
// /_matrix/push/v1/notify). The same notification gives the same bytes.
//
// The full format has the event id twice: as event_id, and as id for gateways that were built by the first text of the specification.
// The format event_id_only has what the specification requires of it, and prio, which the tweaks have decided that it leaves out. Counts alone
// are counts and devices in either format, without prio and tweaks: there is nothing to wake anybody for.
//
// An error says that content, data or tweaks are not what they should be: a fault of who composed n.
func Body(n *pushers.Notification) ([]byte, error) {
	return body(n, []*pushers.Device{&n.Device})
}

// body is the request body that tells these devices of n.
func body(n *pushers.Notification, devices []*pushers.Device) ([]byte, error) {
	o := newObject(512 + len(n.Content) + len(n.Device.Pusher.Data))
	withTweaks := true
	switch {
	case n.CountsOnly():
		withTweaks = false
	case n.Device.Pusher.Format == pushers.FormatEventIDOnly:
		o.text("event_id", n.EventID)
		o.text("room_id", n.RoomID)
		withTweaks = false
	default:
		o.event(n)
	}
	if !n.CountsOnly() {
		o.text("prio", string(n.Prio))
	}
	o.counts(n)
	o.open("devices", '[')
	for _, d := range devices {
		o.device(d, withTweaks)
	}
	o.close(']')
	return o.end()
}

// event appends what the full format tells of the event itself.
func (o *object) event(n *pushers.Notification) {
	o.text("id", n.EventID)
	o.text("event_id", n.EventID)
	o.text("room_id", n.RoomID)
	o.text("type", n.Type)
	o.text("sender", n.Sender)
	o.text("sender_display_name", n.SenderDisplayName)
	o.text("room_name", n.RoomName)
	o.text("room_alias", n.RoomAlias)
	if n.IsMember {
		o.text("membership", n.Membership)
		o.flag("user_is_target", n.UserIsTarget)
	}
	o.raw("content", n.Content)
}

// counts appends the counts that are not zero. Of counts alone a zero is told, too: nothing else can clear a badge.
func (o *object) counts(n *pushers.Notification) {
	withUnread := n.Counts.Unread != 0 || n.CountsOnly()
	withCalls := n.Counts.MissedCalls != 0 || n.CountsOnly() && n.NoMissedCalls
	if !withUnread && !withCalls {
		return
	}
	o.open("counts", '{')
	if withUnread {
		o.number("unread", int64(n.Counts.Unread))
	}
	if withCalls {
		o.number("missed_calls", int64(n.Counts.MissedCalls))
	}
	o.close('}')
}

// device appends one element of devices.
func (o *object) device(d *pushers.Device, withTweaks bool) {
	o.openElement('{')
	o.text("app_id", d.Pusher.AppID)
	o.text("pushkey", d.Pusher.Pushkey.Reveal())
	if d.Pusher.PushkeyTS != 0 {
		o.number("pushkey_ts", d.Pusher.PushkeyTS)
	}
	o.dictionary("data", d.Pusher.Data)
	if withTweaks {
		o.dictionary("tweaks", d.Tweaks)
	}
	o.close('}')
}

// object writes JSON by hand, because the raw parts must go out byte for byte: encoders reformat them. Members that would be empty are left out.
type object struct {
	buf []byte
	err error // the first one
}

func newObject(size int) *object {
	return &object{buf: append(make([]byte, 0, size), `{"notification":{`...)}
}

// end closes what newObject opened.
func (o *object) end() ([]byte, error) {
	if o.err != nil {
		return nil, o.err
	}
	return append(o.buf, '}', '}'), nil
}

// name begins a member, behind a comma if it is not the first.
func (o *object) name(name string) {
	o.comma()
	o.buf = append(o.buf, '"')
	o.buf = append(o.buf, name...)
	o.buf = append(o.buf, '"', ':')
}

func (o *object) comma() {
	if last := o.buf[len(o.buf)-1]; last != '{' && last != '[' {
		o.buf = append(o.buf, ',')
	}
}

func (o *object) open(name string, bracket byte) {
	o.name(name)
	o.buf = append(o.buf, bracket)
}

func (o *object) openElement(bracket byte) {
	o.comma()
	o.buf = append(o.buf, bracket)
}

func (o *object) close(bracket byte) { o.buf = append(o.buf, bracket) }

func (o *object) text(name, value string) {
	if value == "" {
		return
	}
	o.name(name)
	o.buf, _ = jsontext.AppendQuote(o.buf, value) // the error tells of bytes that are not UTF-8; U+FFFD stands in for them
}

func (o *object) number(name string, value int64) {
	o.name(name)
	o.buf = strconv.AppendInt(o.buf, value, 10)
}

func (o *object) flag(name string, value bool) {
	o.name(name)
	o.buf = strconv.AppendBool(o.buf, value)
}

// raw appends JSON as it is.
func (o *object) raw(name string, value jsontext.Value) {
	if len(value) == 0 {
		return
	}
	if value.Kind() != '{' || !value.IsValid() {
		o.fail(name)
		return
	}
	o.name(name)
	o.buf = append(o.buf, value...)
}

// dictionary is raw for an object that is left out if it has no members.
func (o *object) dictionary(name string, value jsontext.Value) {
	if isEmptyObject(value) {
		return
	}
	o.raw(name, value)
}

func (o *object) fail(name string) {
	if o.err == nil {
		o.err = fmt.Errorf("%s of the notification is not a JSON object", name) // without the bytes: they are a secret
	}
}

// isEmptyObject says that value is {}, however it is spaced.
func isEmptyObject(value jsontext.Value) bool {
	inside, isObject := bytes.CutPrefix(bytes.TrimLeft(value, space), []byte("{"))
	return isObject && bytes.HasPrefix(bytes.TrimLeft(inside, space), []byte("}"))
}

// space is what JSON allows between tokens (RFC 8259, section 2).
const space = " \t\r\n"
