package webpush

// What a browser is told: the text that is encrypted for it.

import (
	"errors"
	"fmt"
	"maps"
	"sort"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pushers"
)

// MaxBody is how many bytes fit into a message that every push service must take: 4096 encrypted (RFC 8030, section 7.2), less what encryption adds.
const MaxBody = maxSealed - sealing

const (
	maxText       = 1000 // characters of content.body: more than a browser shows
	maxCiphertext = 2000 // of content.ciphertext: more would displace the rest
	ellipsis      = "…"
)

// payload is a notification on its way to be as small as it must.
type payload struct {
	event    map[string]any            // what the event and the counts give
	content  map[string]jsontext.Value // of the event; nil if nothing is told of it
	defaults map[string]jsontext.Value // default_payload of the pusher, which the rest goes above
}

// Body tells of n in limit bytes at most: a JSON object with the default_payload of the pusher and, above it, room_id, room_name, room_alias, membership,
// event_id, sender, sender_display_name, user_is_target, type, content, unread and missed_calls, as far as they are known and not zero; for counts alone,
// unread in any case. The format event_id_only has the ids and counts alone. The same notification gives the same bytes.
//
// What would be too large loses what matters least, step by step: what content has besides body and msgtype, the end of body, content, the names, all but ids and counts,
// default_payload. An error says that content is not what it should be, or that the ids alone are too large.
func Body(n *pushers.Notification, limit int) ([]byte, error) {
	p, err := newPayload(n)
	if err != nil {
		return nil, err
	}
	for _, step := range []func(){
		func() {},
		func() { keep(p.content, "body", "msgtype") },
		func() { p.chopText(limit) },
		func() { p.content = nil },
		func() {
			delete(p.event, "room_name")
			delete(p.event, "room_alias")
			delete(p.event, "sender_display_name")
		},
		func() { keep(p.event, "event_id", "room_id", "unread", "missed_calls") },
		func() { p.defaults = nil },
	} {
		step()
		text, err := p.encode()
		if err != nil || len(text) <= limit {
			return text, err
		}
	}
	return nil, fmt.Errorf("the ids of the notification alone are more than %d bytes", limit)
}

func newPayload(n *pushers.Notification) (*payload, error) {
	p := &payload{event: map[string]any{}, defaults: readDefaults(n.Device.Pusher.Data)}
	p.text("event_id", n.EventID)
	p.text("room_id", n.RoomID)
	if n.Counts.Unread != 0 || n.CountsOnly() {
		p.event["unread"] = n.Counts.Unread
	}
	if n.Counts.MissedCalls != 0 || n.CountsOnly() && n.NoMissedCalls {
		p.event["missed_calls"] = n.Counts.MissedCalls
	}
	if n.CountsOnly() || n.Device.Pusher.Format == pushers.FormatEventIDOnly {
		return p, nil
	}
	p.text("type", n.Type)
	p.text("sender", n.Sender)
	p.text("sender_display_name", n.SenderDisplayName)
	p.text("room_name", n.RoomName)
	p.text("room_alias", n.RoomAlias)
	if n.IsMember {
		p.text("membership", n.Membership)
		p.event["user_is_target"] = n.UserIsTarget
	}
	return p, p.readContent(n.Content)
}

// maxDefaults is longer than any default_payload that fits into a message, even if each of its characters is escaped.
const maxDefaults = 6 * MaxBody

// readDefaults is default_payload in the data of a pusher; nil if it is no object, or so long that it could not be told: users make up what they like, and it is gone through at each notification.
func readDefaults(data jsontext.Value) map[string]jsontext.Value {
	var defaults map[string]jsontext.Value
	if raw := readOptions(data).DefaultPayload; len(raw) > maxDefaults || json.Unmarshal(raw, &defaults) != nil {
		return nil
	}
	return defaults
}

func (p *payload) text(name, value string) {
	if value != "" {
		p.event[name] = value
	}
}

// readContent takes of content what a browser can show.
func (p *payload) readContent(raw jsontext.Value) error {
	if len(raw) == 0 {
		return nil
	}
	if json.Unmarshal(raw, &p.content) != nil || p.content == nil {
		return errors.New("content of the notification is not a JSON object") // without the bytes: they are a secret
	}
	delete(p.content, "formatted_body")
	if text, ok := p.contentText("body"); ok && utf8.RuneCountInString(text) > maxText {
		p.setBody(string([]rune(text)[:maxText-1]) + ellipsis)
	}
	if text, ok := p.contentText("ciphertext"); ok && utf8.RuneCountInString(text) > maxCiphertext {
		delete(p.content, "ciphertext")
	}
	return nil
}

// contentText is a member of content that is a text.
func (p *payload) contentText(name string) (text string, ok bool) {
	raw := p.content[name]
	return text, raw.Kind() == '"' && json.Unmarshal(raw, &text) == nil
}

func (p *payload) setBody(text string) {
	p.content["body"], _ = jsontext.AppendQuote(nil, text) // the error tells of bytes that are not UTF-8, which a text that was decoded has not
}

// chopText leaves as much of content.body as fits into limit bytes, to the byte.
func (p *payload) chopText(limit int) {
	text, ok := p.contentText("body")
	if !ok {
		return
	}
	runes := []rune(text)
	tooMuch := sort.Search(len(runes), func(n int) bool {
		p.setBody(string(runes[:n]) + ellipsis)
		encoded, err := p.encode()
		return err != nil || len(encoded) > limit
	})
	p.setBody(string(runes[:max(tooMuch-1, 0)]) + ellipsis)
}

func (p *payload) encode() ([]byte, error) {
	all := make(map[string]any, len(p.defaults)+len(p.event)+1)
	for name, value := range p.defaults {
		all[name] = value
	}
	maps.Copy(all, p.event)
	if p.content != nil {
		all["content"] = p.content
	}
	return json.Marshal(all, json.Deterministic(true))
}

// keep deletes all but the members of these names.
func keep[V any](object map[string]V, names ...string) {
	maps.DeleteFunc(object, func(name string, _ V) bool {
		for _, kept := range names {
			if name == kept {
				return false
			}
		}
		return true
	})
}
