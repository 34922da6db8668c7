// Package pushers has the words that the pipeline and the delivery of notifications share: a [Pusher] is where a device wants to be
// notified, a [Notification] is what one device is told, a [Delivery] is one notification on its way to one pusher, an [Outcome] is what a push service
// answered, a [Step] what follows from that.
//
// How a notification looks on the wire, and what each answer of a service means, belongs to the packages below: one per kind of push service.
package pushers

// Where a device wants to be notified.

import (
	"errors"
	"log/slog"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Format is what a pusher wants to be told of an event (Client-Server API, POST /pushers/set, data.format).
type Format string

// The formats. Any other name means full, as an empty one does.
const (
	FormatFull        Format = ""
	FormatEventIDOnly Format = "event_id_only"
)

// Pusher is a registered pusher of a user, as GET /_matrix/client/v3/pushers shows it (Client-Server API, "Push Notifications").
type Pusher struct {
	Kind       string // "http", the only kind that is pushed to
	AppID      string
	Pushkey    Pushkey
	PushkeyTS  int64 // when the pushkey was last set, in seconds since 1970; 0 if unknown
	ProfileTag string
	URL        string         // where to POST, as the user gave it: hostile until checked
	Format     Format         // of data.format
	Data       jsontext.Value // the data dictionary without url, as it goes to the gateway; nil if it would be empty
	Disabled   bool           // "enabled": false (MSC3881)
	NoCounts   bool           // data.disable_badge_count: no counts are to be sent at all (MSC4076)
	EventsOnly bool           // data.events_only: no notification of counts alone (as Sygnal's Web Push clients ask for it)
}

// LogValue implements [slog.LogValuer] without the key.
func (p Pusher) LogValue() slog.Value {
	return slog.GroupValue(slog.String("app_id", p.AppID), slog.Any("pushkey", p.Pushkey))
}

// wirePusher is a pusher as clients register it and homeservers list it.
type wirePusher struct {
	Kind       string                    `json:"kind"`
	AppID      string                    `json:"app_id"`
	Pushkey    string                    `json:"pushkey"`
	ProfileTag jsontext.Value            `json:"profile_tag"`
	PushkeyTS  jsontext.Value            `json:"pushkey_ts"`
	Data       map[string]jsontext.Value `json:"data"`
	Enabled    jsontext.Value            `json:"enabled"`
	EnabledOld jsontext.Value            `json:"org.matrix.msc3881.enabled"`
}

// ParsePusher reads the object of GET /pushers. What must be right to push at all (kind, app_id, pushkey, data.url of an http pusher) is an error when it is not;
// optional fields of a wrong type count as absent.
func ParsePusher(raw []byte) (Pusher, error) {
	var w wirePusher
	if err := json.Unmarshal(raw, &w); err != nil {
		return Pusher{}, errors.New("pusher: not an object with the text fields kind, app_id and pushkey and an object data")
	}
	p := Pusher{Kind: w.Kind, AppID: w.AppID, Pushkey: NewPushkey(w.Pushkey), ProfileTag: text(w.ProfileTag)}
	if p.AppID == "" || p.Pushkey.IsZero() {
		return Pusher{}, errors.New("pusher: app_id and pushkey must not be empty")
	}
	_ = json.Unmarshal(w.PushkeyTS, &p.PushkeyTS) // optional: 0 if it is no integer
	p.Disabled = string(w.Enabled) == "false" || w.Enabled == nil && string(w.EnabledOld) == "false"
	p.URL, p.Format = text(w.Data["url"]), Format(text(w.Data["format"]))
	p.NoCounts = isTrue(w.Data["disable_badge_count"]) || isTrue(w.Data["org.matrix.msc4076.disable_badge_count"])
	p.EventsOnly = isTrue(w.Data["events_only"])
	if p.Kind == "http" && p.URL == "" {
		return Pusher{}, errors.New("pusher: data.url of an http pusher must be a text")
	}
	delete(w.Data, "url")
	if len(w.Data) > 0 {
		data, err := json.Marshal(w.Data, json.Deterministic(true))
		if err != nil {
			return Pusher{}, errors.New("pusher: data is not valid JSON")
		}
		p.Data = data
	}
	return p, nil
}

func isTrue(raw jsontext.Value) bool { return string(raw) == "true" }

// text is the text that raw holds, or "" if it holds something else.
func text(raw jsontext.Value) string {
	var s string
	if raw.Kind() != '"' || json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}
