package stack

// What a device reads in a push of Apple's, by code of its own.

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// APNsPayload is the payload of a push ("Generating a remote notification" at developer.apple.com) with what Matrix apps expect beside it.
type APNsPayload struct {
	APS         APNsAPS                   `json:"-"`
	RoomID      string                    `json:"room_id"`
	EventID     string                    `json:"event_id"`
	Type        string                    `json:"type"`
	UnreadCount *int                      `json:"unread_count"`
	MissedCalls *int                      `json:"missed_calls"`
	Rest        map[string]jsontext.Value `json:",embed"`
}

// APNsAPS is what Apple reads of a payload.
type APNsAPS struct {
	Alert             APNsAlert      `json:"-"`
	AnyAlert          jsontext.Value `json:"alert"` // as it came: a text or an object
	Badge             *int           `json:"badge"`
	Sound             jsontext.Value `json:"sound"`
	ThreadID          string         `json:"thread-id"`
	Category          string         `json:"category"`
	ContentAvailable  int            `json:"content-available"`
	MutableContent    int            `json:"mutable-content"`
	TargetContentID   string         `json:"target-content-id"`
	InterruptionLevel string         `json:"interruption-level"`
	RelevanceScore    float64        `json:"relevance-score"`
	FilterCriteria    string         `json:"filter-criteria"`
}

// APNsAlert is what a push shows.
type APNsAlert struct {
	Title        string   `json:"title"`
	Subtitle     string   `json:"subtitle"`
	Body         string   `json:"body"`
	LocKey       string   `json:"loc-key"`
	LocArgs      []string `json:"loc-args"`
	TitleLocKey  string   `json:"title-loc-key"`
	TitleLocArgs []string `json:"title-loc-args"`
}

// DecodeAPNs reads a payload strictly: what is known has its type, aps has no unknown members, and no member comes twice.
func DecodeAPNs(payload []byte) (APNsPayload, error) {
	var p APNsPayload
	if err := json.Unmarshal(payload, &p); err != nil {
		return APNsPayload{}, fmt.Errorf("payload of a push: %w", err)
	}
	aps := p.Rest["aps"]
	delete(p.Rest, "aps")
	if aps == nil {
		return p, nil
	}
	if err := json.Unmarshal(aps, &p.APS, json.RejectUnknownMembers(true)); err != nil {
		return APNsPayload{}, fmt.Errorf("payload of a push: aps: %w", err)
	}
	if err := p.APS.readAlert(); err != nil {
		return APNsPayload{}, fmt.Errorf("payload of a push: aps.alert: %w", err)
	}
	return p, nil
}

// readAlert reads an alert: a text alone is its body.
func (a *APNsAPS) readAlert() error {
	switch a.AnyAlert.Kind() {
	case 0:
		return nil
	case '"':
		return json.Unmarshal(a.AnyAlert, &a.Alert.Body)
	case '{':
		return json.Unmarshal(a.AnyAlert, &a.Alert, json.RejectUnknownMembers(true))
	}
	return errors.New("it is neither a text nor an object")
}
