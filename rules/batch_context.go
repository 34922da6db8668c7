package rules

// This file reads the context of a question: the facts about the room, the
// recipient and the deployment.

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// rawContext is the context of a question. What is absent, null or of a wrong
// type is unknown.
type rawContext struct {
	UserID      jsontext.Value `json:"user_id"`      // of the recipient
	DisplayName jsontext.Value `json:"display_name"` // of the recipient
	ProfileTag  jsontext.Value `json:"device_profile_tag"`
	Subscribed  jsontext.Value `json:"thread_subscribed"`

	MemberCount   jsontext.Value `json:"room_member_count"`
	SenderLevel   jsontext.Value `json:"sender_power_level"`        // null is unknown; absent: from power_levels
	Notifications jsontext.Value `json:"notification_power_levels"` // the map notifications, as found
	PowerLevels   jsontext.Value `json:"power_levels"`              // the content of m.room.power_levels
	Version       jsontext.Value `json:"room_version"`
	VersionHas    jsontext.Value `json:"room_version_features"`
	Creators      jsontext.Value `json:"room_creators"`
	Related       jsontext.Value `json:"related_events"` // {rel_type: {"event", "is_falling_back"}}

	Features jsontext.Value `json:"features"` // {proposal: bool}
	Dialect  jsontext.Value `json:"dialect"`
}

// options returns how the deployment evaluates.
func (c *rawContext) options() (Options, error) {
	var opts Options
	if dialect, ok := stringOf(c.Dialect); ok {
		opts.Dialect = Dialect(dialect)
	}
	if c.Features.Kind() == '{' {
		_ = eachMember(c.Features, func(name string, value jsontext.Value) {
			on, _ := boolOf(value)
			_ = opts.SetFeature(name, on) // one that is not known changes nothing
		})
	}
	return opts, opts.Validate()
}

// recipient returns the recipient, without rules.
func (c *rawContext) recipient() Recipient {
	var r Recipient
	r.UserID, _ = stringOf(c.UserID)
	r.DisplayName, _ = stringOf(c.DisplayName)
	r.ProfileTag, _ = stringOf(c.ProfileTag)
	if subscribed, ok := boolOf(c.Subscribed); ok {
		r.Thread = Unsubscribed
		if subscribed {
			r.Thread = Subscribed
		}
	}
	return r
}

// room returns the room before the event.
func (c *rawContext) room() (*Room, error) {
	r := &Room{MemberCount: -1, Creators: stringsOf(c.Creators), VersionFeatures: stringsOf(c.VersionHas)}
	r.Version, _ = stringOf(c.Version)
	if count := parseLevel(c.MemberCount); count.exact {
		r.MemberCount = int(count.n)
	}
	if c.PowerLevels.Kind() == '{' {
		r.PowerLevels = ParsePowerLevels(c.PowerLevels)
	}
	if c.Notifications.Kind() == '{' {
		r.PowerLevels.notifications = parseLevels(c.Notifications)
	}
	if c.SenderLevel != nil {
		l := parseLevel(c.SenderLevel)
		r.senderLevel = givenLevel{given: true, known: l.found, n: l.n}
	}
	return r, c.related(r)
}

// related reads the events that the event relates to.
func (c *rawContext) related(r *Room) (err error) {
	if c.Related.Kind() != '{' {
		return nil
	}
	r.Related = map[string]RelatedEvent{}
	_ = eachMember(c.Related, func(relType string, value jsontext.Value) {
		var related RelatedEvent
		_ = eachMember(value, func(name string, value jsontext.Value) {
			switch name {
			case "event":
				event, parseErr := ParseEvent(value)
				if parseErr != nil {
					err = fmt.Errorf("related_events: %w", parseErr)
				}
				related.Event = event
			case "is_falling_back":
				related.IsFallingBack, _ = boolOf(value)
			}
		})
		r.Related[relType] = related
	})
	return err
}

// stringsOf returns the strings of a list.
func stringsOf(v jsontext.Value) []string {
	var list []string
	values, _ := elements(v)
	for _, value := range values {
		if s, ok := stringOf(value); ok {
			list = append(list, s)
		}
	}
	return list
}
