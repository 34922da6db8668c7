package apns

// What a device is told: the payload of a push.

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pushers"
)

// The longest payloads that Apple takes, in bytes ("Generating a remote notification" at developer.apple.com).
const (
	maxPayload     = 4096
	maxPayloadVoIP = 5120
)

// Payload is the body of the push that tells a device of n, nil if there is nothing to tell it. It is never longer than Apple takes. The same notification gives
// the same bytes.
//
// What the pusher's data has as default_payload goes out with each event, and what is told beside it stands at the top level, where Element's app looks for it.
//
//   - [FormEventIDOnly]: room_id, event_id, unread_count, and missed_calls if there are any. What to show is up to default_payload and the app.
//   - [FormNames] and [FormFull]: aps.alert with a loc-key and its arguments, aps.badge, room_id and event_id. See alert for the keys.
//   - Counts alone are aps.badge, without default_payload: there is nothing to wake anybody for.
func (c *Config) Payload(n *pushers.Notification) []byte {
	return c.payload(n).body(c.limit())
}

func (c *Config) limit() int {
	if c.PushType == PushVoIP {
		return maxPayloadVoIP
	}
	return maxPayload
}

// payload is a payload before it is fitted into what Apple takes.
type payload struct {
	object   object // nil: there is nothing to tell
	pushType string
}

func (p payload) body(limit int) []byte {
	if p.object == nil {
		return nil
	}
	return fit(p.object, limit)
}

// subject is what a device is told of.
type subject uint8

const (
	noSubject    subject = iota
	onlyCounts           // as on a badge
	onlyIDs              // of the event, with counts
	whatHappened         // in texts, with ids and counts
)

// subject decides what a device is told of n, and reads nothing of what that will be.
func (c *Config) subject(n *pushers.Notification) subject {
	alone := noSubject // counts can be told by apps that show alerts, or nothing so far
	if c.withCounts(n) && (c.PushType == "" || c.PushType == PushAlert || c.PushType == PushBackground) {
		alone = onlyCounts
	}
	switch {
	case n.CountsOnly():
		return alone
	case !c.tells(n.Type):
		return noSubject
	case c.Form == FormEventIDOnly || n.Device.Pusher.Format == pushers.FormatEventIDOnly || c.PushType == PushBackground:
		return onlyIDs
	case !shows(n):
		return alone
	}
	return whatHappened
}

func (c *Config) payload(n *pushers.Notification) payload {
	switch c.subject(n) {
	case onlyCounts:
		badge := number(n.Counts.Unread + n.Counts.MissedCalls)
		return payload{object{{name: "aps", value: object{{name: "badge", value: badge}}}}, PushAlert}
	case onlyIDs:
		return c.identifying(n, defaultPayload(n.Device.Pusher.Data))
	case whatHappened:
		return c.alerting(n, defaultPayload(n.Device.Pusher.Data))
	}
	return payload{}
}

// identifying is the payload of an event without its texts.
func (c *Config) identifying(n *pushers.Notification, o object) payload {
	if c.PushType == PushBackground {
		o.set("aps", silent(o.aps()))
	}
	c.event(n, &o)
	if c.withCounts(n) {
		o.set("unread_count", number(n.Counts.Unread))
		if n.Counts.MissedCalls > 0 {
			o.set("missed_calls", number(n.Counts.MissedCalls))
		}
	}
	return payload{o, c.typeOf(o)}
}

// alerting is the payload of an event with its texts.
func (c *Config) alerting(n *pushers.Notification, o object) payload {
	key, args := alert(n, c.Form == FormFull)
	list := make(texts, len(args))
	for i, arg := range args {
		list[i] = text(arg)
	}
	aps := o.aps()
	shown, _ := aps.get("alert").(object) // the app's own title and the like stay
	shown.set("loc-key", quoted(key))
	shown.set("loc-args", list)
	aps.set("alert", shown)
	if c.withCounts(n) {
		aps.set("badge", number(n.Counts.Unread+n.Counts.MissedCalls))
	}
	o.set("aps", aps)
	c.event(n, &o)
	return payload{o, c.typeOf(o)}
}

// event adds what the event is called.
func (c *Config) event(n *pushers.Notification, o *object) {
	o.set("room_id", quoted(n.RoomID))
	o.set("event_id", quoted(n.EventID))
	if c.IncludeType {
		o.set("type", quoted(n.Type))
	}
}

func (c *Config) withCounts(n *pushers.Notification) bool {
	return c.Badge && !n.Device.Pusher.NoCounts
}

// typeOf is the push type of an event's payload. Apple wants to hear "background" of one of which nothing shows.
func (c *Config) typeOf(o object) string {
	if c.PushType != "" {
		return c.PushType
	}
	aps := o.aps()
	if aps.get("content-available") != nil && aps.get("alert") == nil && aps.get("badge") == nil && aps.get("sound") == nil {
		return PushBackground
	}
	return PushAlert
}

// silent is aps of a push of which nothing shows.
func silent(aps object) object {
	aps = aps.without("alert", "badge", "sound")
	aps.set("content-available", number(1))
	return aps
}

// defaultPayload is what the pusher's data has of that name. It, or aps in it, counts as absent if it is no object: that is the app's fault, and no reason to tell its user
// nothing.
func defaultPayload(data jsontext.Value) object {
	var d struct {
		DefaultPayload object `json:"default_payload"`
	}
	if json.Unmarshal(data, &d) != nil {
		return object{}
	}
	o := d.DefaultPayload
	i := o.find("aps")
	if i < 0 {
		return o
	}
	aps := parseAPS(asRaw(o[i].value))
	if aps == nil {
		return o.without("aps")
	}
	o[i].value = aps
	return o
}

// parseAPS looks into aps as far as texts may be cut in it. It is nil if aps is no object.
func parseAPS(r jsontext.Value) object {
	aps := parse(r)
	if i := aps.find("alert"); i >= 0 {
		aps[i].value = shorten(aps[i].value)
		if shown := parse(asRaw(aps[i].value)); shown != nil {
			if j := shown.find("body"); j >= 0 {
				shown[j].value = shorten(shown[j].value)
			}
			aps[i].value = shown
		}
	}
	return aps
}

// shorten makes a text of raw JSON that is one.
func shorten(v value) value {
	var s string
	if r := asRaw(v); r.Kind() != '"' || json.Unmarshal(r, &s) != nil {
		return v
	}
	return text(s)
}

func asRaw(v value) jsontext.Value {
	r, _ := v.(raw)
	return jsontext.Value(r)
}

// aps is the member of that name, empty if there is none.
func (o object) aps() object {
	aps, _ := o.get("aps").(object)
	return aps
}

// get is the value of that name, nil if there is none.
func (o object) get(name string) value {
	if i := o.find(name); i >= 0 {
		return o[i].value
	}
	return nil
}

// quoted is a text that is not cut: a part of an id is worth nothing.
func quoted(s string) raw {
	b, _ := jsontext.AppendQuote(nil, s)
	return raw(b)
}
