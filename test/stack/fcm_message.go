package stack

// What FCM reads in a request, by code of its own, as strictly as Google does.

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// FCMMessage is a message (FCM HTTP v1, Message). Fields that were absent are zero.
type FCMMessage struct {
	Data         map[string]string `json:"data"`
	Notification *struct {
		Title string `json:"title"`
		Body  string `json:"body"`
		Image string `json:"image"`
	} `json:"notification"`
	Android *FCMAndroid `json:"android"`
	WebPush *struct {
		Headers      map[string]string         `json:"headers"`
		Data         map[string]string         `json:"data"`
		Notification map[string]jsontext.Value `json:"notification"`
		Options      struct {
			Link  string `json:"link"`
			Label string `json:"analytics_label"`
		} `json:"fcm_options"`
	} `json:"webpush"`
	APNs *struct {
		Headers map[string]string         `json:"headers"`
		Payload map[string]jsontext.Value `json:"payload"`
		Options struct {
			Image string `json:"image"`
			Label string `json:"analytics_label"`
		} `json:"fcm_options"`
		LiveActivityToken string `json:"live_activity_token"`
	} `json:"apns"`
	Options *struct {
		Label string `json:"analytics_label"`
	} `json:"fcm_options"`
	Token     string `json:"token"`
	Topic     string `json:"topic"`
	Condition string `json:"condition"`
}

// FCMAndroid is how a message is handled on its way to an Android device (FCM HTTP v1, AndroidConfig).
type FCMAndroid struct {
	CollapseKey           string            `json:"collapse_key"`
	Priority              string            `json:"priority"`
	TTL                   string            `json:"ttl"`
	RestrictedPackageName string            `json:"restricted_package_name"`
	Data                  map[string]string `json:"data"`
	Notification          *struct {
		Title                 string         `json:"title"`
		Body                  string         `json:"body"`
		Icon                  string         `json:"icon"`
		Color                 string         `json:"color"`
		Sound                 string         `json:"sound"`
		Tag                   string         `json:"tag"`
		ClickAction           string         `json:"click_action"`
		BodyLocKey            string         `json:"body_loc_key"`
		BodyLocArgs           []string       `json:"body_loc_args"`
		TitleLocKey           string         `json:"title_loc_key"`
		TitleLocArgs          []string       `json:"title_loc_args"`
		ChannelID             string         `json:"channel_id"`
		Ticker                string         `json:"ticker"`
		Sticky                bool           `json:"sticky"`
		EventTime             string         `json:"event_time"`
		LocalOnly             bool           `json:"local_only"`
		NotificationPriority  string         `json:"notification_priority"`
		DefaultSound          bool           `json:"default_sound"`
		DefaultVibrateTimings bool           `json:"default_vibrate_timings"`
		DefaultLightSettings  bool           `json:"default_light_settings"`
		VibrateTimings        []string       `json:"vibrate_timings"`
		Visibility            string         `json:"visibility"`
		NotificationCount     int            `json:"notification_count"`
		LightSettings         jsontext.Value `json:"light_settings"`
		Image                 string         `json:"image"`
		Proxy                 string         `json:"proxy"`
	} `json:"notification"`
	Options *struct {
		Label string `json:"analytics_label"`
	} `json:"fcm_options"`
	DirectBootOK           bool `json:"direct_boot_ok"`
	BandwidthConstrainedOK bool `json:"bandwidth_constrained_ok"`
	RestrictedSatelliteOK  bool `json:"restricted_satellite_ok"`
}

// FCMFault says why FCM would not take a message.
type FCMFault struct {
	Words string
	Field string // which one, where that is known: "message.token"
}

func (f *FCMFault) Error() string { return strings.TrimPrefix(f.Field+": "+f.Words, ": ") }

// The limits of FCM, in bytes of payload.
const (
	fcmMost      = 4096
	fcmMostTopic = 2048
)

// DecodeFCM reads the body of messages:send strictly: what Google doesn't document is a fault.
func DecodeFCM(body []byte) (m FCMMessage, validateOnly bool, fault *FCMFault) {
	var request struct {
		ValidateOnly bool       `json:"validate_only"`
		Message      FCMMessage `json:"message"`
	}
	if err := json.Unmarshal(body, &request, json.RejectUnknownMembers(true)); err != nil {
		fault = &FCMFault{Words: "Invalid JSON payload received. " + err.Error()}
		if semantic := (*json.SemanticError)(nil); errors.As(err, &semantic) {
			fault.Field = strings.ReplaceAll(strings.TrimPrefix(string(semantic.JSONPointer), "/"), "/", ".")
		}
		return FCMMessage{}, false, fault
	}
	m = request.Message
	for _, check := range []func(FCMMessage) *FCMFault{fcmTarget, fcmData, fcmAndroid, fcmSize} {
		if fault := check(m); fault != nil {
			return m, request.ValidateOnly, fault
		}
	}
	return m, request.ValidateOnly, nil
}

func fcmTarget(m FCMMessage) *FCMFault {
	targets := 0
	for _, target := range []string{m.Token, m.Topic, m.Condition} {
		if target != "" {
			targets++
		}
	}
	switch {
	case targets == 0:
		return &FCMFault{Words: "Recipient of the message is not set.", Field: "message"}
	case targets > 1:
		return &FCMFault{Words: "oneof field 'target' is already set.", Field: "message"}
	case strings.ContainsAny(m.Token, " \t\n\""):
		return &FCMFault{Words: "The registration token is not a valid FCM registration token", Field: "message.token"}
	case m.Topic != "" && !fcmTopic.MatchString(m.Topic):
		return &FCMFault{Words: "Malformed topic name", Field: "message.topic"}
	}
	return nil
}

var (
	fcmTopic = regexp.MustCompile(`^[a-zA-Z0-9-_.~%]+$`)
	fcmTTL   = regexp.MustCompile(`^([0-9]{1,9})(\.[0-9]{1,9})?s$`)
)

func fcmData(m FCMMessage) *FCMFault {
	for key := range m.Data {
		if key == "" || key == "from" || key == "message_type" || strings.HasPrefix(key, "google") || strings.HasPrefix(key, "gcm") {
			return &FCMFault{Words: "Invalid data payload key: " + key, Field: "message.data"}
		}
	}
	return nil
}

func fcmAndroid(m FCMMessage) *FCMFault {
	if m.Android == nil {
		return nil
	}
	if p := strings.ToLower(m.Android.Priority); p != "" && p != "high" && p != "normal" {
		return &FCMFault{Words: fmt.Sprintf("Invalid value at 'message.android.priority' %q", p), Field: "message.android.priority"}
	}
	if m.Android.TTL == "" {
		return nil
	}
	parts := fcmTTL.FindStringSubmatch(m.Android.TTL)
	if parts == nil {
		return &FCMFault{Words: "Illegal duration format; duration must end with 's'", Field: "message.android.ttl"}
	}
	if seconds, err := strconv.Atoi(parts[1]); err != nil || seconds > int(4*7*24*time.Hour/time.Second) {
		return &FCMFault{Words: "Invalid TTL", Field: "message.android.ttl"}
	}
	return nil
}

// fcmSize counts keys and values of the data, and what else a device would get as the JSON that it is.
func fcmSize(m FCMMessage) *FCMFault {
	size := 0
	for key, value := range m.Data {
		size += len(key) + len(value)
	}
	var shown []any
	if m.Notification != nil {
		shown = append(shown, m.Notification)
	}
	if m.WebPush != nil {
		shown = append(shown, m.WebPush)
	}
	if m.APNs != nil {
		shown = append(shown, m.APNs)
	}
	if m.Android != nil && m.Android.Notification != nil {
		shown = append(shown, m.Android.Notification)
	}
	for _, part := range shown {
		raw, err := json.Marshal(part, json.OmitZeroStructFields(true))
		if err != nil {
			return &FCMFault{Words: err.Error()}
		}
		size += len(raw)
	}
	most := fcmMost
	if m.Token == "" {
		most = fcmMostTopic
	}
	if size > most {
		return &FCMFault{Words: fmt.Sprintf("Android message is too big: %d bytes", size)}
	}
	return nil
}
