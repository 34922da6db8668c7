package stack

// What a gateway reads in a request, by code of its own.

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Notification is the body of POST /_matrix/push/v1/notify (Push Gateway API). Fields that were absent are zero.
type Notification struct {
	ID                string                    `json:"id"`
	EventID           string                    `json:"event_id"`
	RoomID            string                    `json:"room_id"`
	Type              string                    `json:"type"`
	Sender            string                    `json:"sender"`
	SenderDisplayName string                    `json:"sender_display_name"`
	RoomName          string                    `json:"room_name"`
	RoomAlias         string                    `json:"room_alias"`
	UserIsTarget      bool                      `json:"user_is_target"`
	Prio              string                    `json:"prio"`
	Membership        string                    `json:"membership"`
	Content           map[string]jsontext.Value `json:"content"`
	Counts            *Counts                   `json:"counts"`
	Devices           []Device                  `json:"devices"`
}

// Counts is what the badge is to show.
type Counts struct {
	Unread      int `json:"unread"`
	MissedCalls int `json:"missed_calls"`
}

// Device is one device that is to be told.
type Device struct {
	AppID     string                    `json:"app_id"`
	Pushkey   string                    `json:"pushkey"`
	PushkeyTS int64                     `json:"pushkey_ts"`
	Data      map[string]jsontext.Value `json:"data"`
	Tweaks    map[string]jsontext.Value `json:"tweaks"`
}

// DecodeNotification reads a body strictly: a member that the specification doesn't name is an error, so is a repeated one.
func DecodeNotification(body []byte) (Notification, error) {
	var n struct {
		Notification Notification `json:"notification"`
	}
	if err := json.Unmarshal(body, &n, json.RejectUnknownMembers(true)); err != nil {
		return Notification{}, fmt.Errorf("body of a push: %w", err)
	}
	if len(n.Notification.Devices) == 0 {
		return Notification{}, fmt.Errorf("body of a push: devices is missing or empty")
	}
	return n.Notification, nil
}
