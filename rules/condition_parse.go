package rules

// This file reads conditions as users and homeservers write them.

import (
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// rawCondition is a condition before its parameters are known to be right.
type rawCondition struct {
	Kind             jsontext.Value `json:"kind"`
	Key              jsontext.Value `json:"key"`
	Pattern          jsontext.Value `json:"pattern"`
	Value            jsontext.Value `json:"value"`
	Is               jsontext.Value `json:"is"`
	ProfileTag       jsontext.Value `json:"profile_tag"`
	RelType          jsontext.Value `json:"rel_type"`
	IncludeFallbacks jsontext.Value `json:"include_fallbacks"`
	Feature          jsontext.Value `json:"feature"`
	Subscribed       jsontext.Value `json:"subscribed"`

	// In default rules the value or pattern may be the recipient's user_id or
	// user_localpart. Users can't ask for that.
	Own jsontext.Value `json:"own"`
}

// conditionParser reads conditions under a deployment's options.
type conditionParser struct {
	options Options
	// builtin says that the rules are our own defaults: exact patterns in every
	// dialect, and conditions on the recipient's own id.
	builtin bool
}

// parse reads one condition. One that can't hold is a *never that says why.
func (p *conditionParser) parse(raw jsontext.Value) condition {
	var c rawCondition
	if raw.Kind() != '{' || json.Unmarshal(raw, &c) != nil {
		return &never{"not a well-formed object"}
	}
	kind, ok := stringOf(c.Kind)
	if !ok {
		return &never{"kind is not a string"}
	}
	if p.builtin && c.Own != nil {
		return parseOwn(kind, &c)
	}
	switch kind {
	case "event_match":
		return p.eventMatch(c.Key, c.Pattern)
	case "event_property_is":
		return parseProperty(&c, false)
	case "event_property_contains":
		return parseProperty(&c, true)
	case "contains_display_name":
		return containsDisplayName{}
	case "room_member_count":
		return parseMemberCount(c.Is)
	case "sender_notification_permission":
		if name, ok := stringOf(c.Key); ok {
			return &permission{name}
		}
		return &never{"key is not a string"}
	case "profile_tag":
		if tag, ok := stringOf(c.ProfileTag); ok {
			return &profileTag{tag}
		}
		return &never{"profile_tag is not a string"}
	}
	return p.experimental(kind, &c)
}

// experimental reads the conditions of proposals, if their features are on.
func (p *conditionParser) experimental(kind string, c *rawCondition) condition {
	f := p.options.Features
	switch kind {
	case "im.nheko.msc3664.related_event_match", "related_event_match":
		if f.RelatedEvents {
			return p.relatedMatch(c)
		}
	case "org.matrix.msc3931.room_version_supports", "room_version_supports":
		if f.RoomVersionSupports {
			if feature, ok := stringOf(c.Feature); ok {
				return &roomSupports{feature}
			}
			return &never{"feature is not a string"}
		}
	case "io.element.msc4306.thread_subscription", "thread_subscription":
		if f.ThreadSubscriptions {
			if subscribed, ok := boolOf(c.Subscribed); ok {
				return &threadSubscription{subscribed}
			}
			return &never{"subscribed is not a boolean"}
		}
	}
	return &never{unknownKind}
}

// eventMatch reads the parameters of event_match.
func (p *conditionParser) eventMatch(rawKey, rawPattern jsontext.Value) condition {
	name, ok := stringOf(rawKey)
	if !ok {
		return &never{"key is not a string"}
	}
	source, ok := stringOf(rawPattern)
	if !ok {
		return &never{"pattern is not a string"}
	}
	return p.match(parseKey(name), source)
}

// match makes an event_match of a key and a pattern.
func (p *conditionParser) match(k key, source string) condition {
	if len(source) > MaxPattern {
		return &never{"pattern is longer than 65536 bytes"}
	}
	m := &eventMatch{key: k, onBody: k.body, pattern: *compilePattern(source)}
	m.part = p.options.implicitAsterisks() && !p.builtin && !m.pattern.wild
	return m
}

// parseProperty reads the parameters of event_property_is and
// event_property_contains.
func parseProperty(c *rawCondition, contains bool) condition {
	name, ok := stringOf(c.Key)
	if !ok {
		return &never{"key is not a string"}
	}
	if c.Value == nil {
		return &never{"value is missing"}
	}
	value := parseScalar(string(c.Value))
	if value.kind < null {
		return &never{"value is not a string, integer, boolean or null"}
	}
	if contains {
		return &propertyContains{parseKey(name), value}
	}
	return &propertyIs{parseKey(name), value}
}

// parseMemberCount reads a comparison such as >=10. Without an operator it is an
// equality.
func parseMemberCount(raw jsontext.Value) condition {
	is, ok := stringOf(raw)
	if !ok {
		return &never{"is is not a string"}
	}
	digits := strings.TrimLeft(is, "=<>")
	operator := is[:len(is)-len(digits)]
	switch operator {
	case "":
		operator = "=="
	case "==", "<", ">", "<=", ">=":
	default:
		return &never{"is has an unknown operator"}
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return &never{"is has no decimal number"}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		n = math.MaxInt64 // larger than any room, whatever it is exactly
	}
	return &memberCount{operator, n}
}

// relatedMatch reads the parameters of related_event_match.
func (p *conditionParser) relatedMatch(c *rawCondition) condition {
	relType, ok := stringOf(c.RelType)
	if !ok {
		return &never{"rel_type is not a string"}
	}
	r := &relatedMatch{relType: relType}
	if c.IncludeFallbacks != nil {
		if r.fallbacks, ok = boolOf(c.IncludeFallbacks); !ok {
			return &never{"include_fallbacks is not a boolean"}
		}
	}
	if c.Key == nil {
		return r
	}
	match, ok := p.eventMatch(c.Key, c.Pattern).(*eventMatch)
	if !ok {
		return &never{"key or pattern is not a string"}
	}
	r.match = match
	return r
}

// parseOwn reads a condition of a default rule on the recipient's own user id.
func parseOwn(kind string, c *rawCondition) condition {
	name, _ := stringOf(c.Key)
	own, _ := stringOf(c.Own)
	relType, _ := stringOf(c.RelType)
	switch {
	case kind == "event_match" && own == "user_localpart":
		return containsLocalpart{}
	case kind == "event_match":
		return &isMe{parseKey(name)}
	case kind == "event_property_contains":
		return &containsMe{parseKey(name)}
	default:
		return &relatedMatch{relType: relType, me: &isMe{parseKey(name)}}
	}
}
