package rules

// This file is what extensible events (MSC1767) change: the text of a message
// is a list of representations, and most rules do not apply in such rooms.

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FeatureExtensibleEvents is the room version feature of rooms with extensible
// events, the only one that the condition room_version_supports can name
// (MSC3932).
const FeatureExtensibleEvents = "org.matrix.msc3932.extensible_events"

var (
	keyMarkup         = parseKey(`content.m\.markup`)
	keyUnstableMarkup = parseKey(`content.org\.matrix\.msc1767\.markup`)
)

// plainMarkup returns the plain text among the representations of an extensible
// event, in lower case, and whether the event has a list of them. In a room of
// extensible events this text stands for content.body; it is empty when no
// representation is plain text.
func (e *Event) plainMarkup() (string, bool) {
	n := e.find(&keyUnstableMarkup)
	if n == nil {
		n = e.find(&keyMarkup)
	}
	if n == nil || n.kind != array {
		return "", false
	}
	var list []jsontext.Value
	if err := json.Unmarshal([]byte(e.raw[n.from:n.to]), &list); err != nil {
		return "", false // can't be: it was parsed as a list
	}
	for _, raw := range list {
		var form struct {
			Type jsontext.Value `json:"mimetype"`
			Body jsontext.Value `json:"body"`
		}
		if raw.Kind() != '{' || json.Unmarshal(raw, &form) != nil {
			break
		}
		mimetype, _ := stringOf(form.Type)
		body, isText := stringOf(form.Body)
		if isText && (form.Type == nil || mimetype == "text/plain") {
			return strings.ToLower(body), true
		}
	}
	return "", true
}

// exemptFromExtensible says which rules apply in rooms with extensible events
// though they have no condition on the room version: all content rules, and
// these.
func exemptFromExtensible(kind Kind, id string) bool {
	switch id {
	case ruleMaster, ruleRoomNotif, ruleContainsDisplayName:
		return true
	}
	return kind == KindContent
}
