package apns

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"tocsin/pushers"
)

func TestAlert(t *testing.T) {
	t.Parallel()
	const from, room = "Major Tom", "Mission Control"
	says := func(kind string) string { return `{"msgtype":"` + kind + `","body":"hello"}` }
	call := func(media string) string { return `{"offer":{"type":"offer","sdp":"v=0\r\n` + media + `\r\n"}}` }
	for _, tc := range []struct {
		name, eventType, content string
		change                   func(*pushers.Notification)
		key                      string
		args                     []string
	}{
		{"text", "m.room.message", says("m.text"), nil, "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", []string{from, room, "hello"}},
		{"notice", "m.room.message", says("m.notice"), nil, "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", []string{from, room, "hello"}},
		{"image", "m.room.message", says("m.image"), nil, "IMAGE_FROM_USER_IN_ROOM", []string{from, "hello", room}},
		{"emote", "m.room.message", says("m.emote"), nil, "ACTION_FROM_USER_IN_ROOM", []string{room, from, "hello"}},
		{"encrypted", "m.room.encrypted", `{"algorithm":"m.megolm.v1.aes-sha2","ciphertext":"x"}`, nil, "MSG_FROM_USER_IN_ROOM", []string{from, room}},
		{"no content", "m.room.message", ``, nil, "MSG_FROM_USER_IN_ROOM", []string{from, room}},
		{"no body", "m.room.message", `{"msgtype":"m.image"}`, nil, "MSG_FROM_USER_IN_ROOM", []string{from, room}},
		{"a body that is no text", "m.room.message", `{"msgtype":"m.text","body":7}`, nil, "MSG_FROM_USER_IN_ROOM", []string{from, room}},
		{"a kind that is no text", "m.room.message", `{"msgtype":[],"body":"hello"}`, nil, "MSG_FROM_USER_IN_ROOM", []string{from, room}},
		{"two bodies", "m.room.message", `{"msgtype":"m.text","body":"a","body":"b"}`, nil, "MSG_FROM_USER_IN_ROOM", []string{from, room}},
		{"alias alone", "m.room.message", says("m.text"), func(n *pushers.Notification) { n.RoomName = "" }, "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", []string{from, "#mission:matrix.org", "hello"}},
		{"text, no room", "m.room.message", says("m.text"), noRoom, "MSG_FROM_USER_WITH_CONTENT", []string{from, "hello"}},
		{"image, no room", "m.room.message", says("m.image"), noRoom, "IMAGE_FROM_USER", []string{from, "hello"}},
		{"emote, no room", "m.room.message", says("m.emote"), noRoom, "ACTION_FROM_USER", []string{from, "hello"}},
		{"encrypted, no room", "m.room.encrypted", `{}`, noRoom, "MSG_FROM_USER", []string{from}},
		{"voice call", "m.call.invite", call("m=audio 1"), nil, "VOICE_CALL_FROM_USER", []string{from}},
		{"video call", "m.call.invite", call("m=video 1"), nil, "VIDEO_CALL_FROM_USER", []string{from}},
		{"a call of something", "m.call.invite", `{"offer":"m=video"}`, nil, "VOICE_CALL_FROM_USER", []string{from}},
		{"invite", "m.room.member", `{}`, func(n *pushers.Notification) { n.UserIsTarget, n.Membership = true, "invite" }, "USER_INVITE_TO_NAMED_ROOM", []string{from, room}},
		{"invite, no room", "m.room.member", `{}`, func(n *pushers.Notification) { noRoom(n); n.UserIsTarget, n.Membership = true, "invite" }, "USER_INVITE_TO_CHAT", []string{from}},
		{"invite of another", "m.room.member", `{}`, func(n *pushers.Notification) { n.Membership = "invite" }, "", nil},
		{"kicked", "m.room.member", `{}`, func(n *pushers.Notification) { n.UserIsTarget, n.Membership = true, "leave" }, "", nil},
		{"sticker", "m.sticker", `{"body":"hello"}`, nil, "MSG_FROM_USER", []string{from}},
		{"no name", "m.sticker", ``, func(n *pushers.Notification) { n.SenderDisplayName = "" }, "MSG_FROM_USER", []string{"@tom:matrix.org"}},
		{"no sender", "m.sticker", ``, func(n *pushers.Notification) { n.SenderDisplayName, n.Sender = "", "" }, "MSG_FROM_USER", []string{" "}},
		{"a long name", "m.sticker", ``, func(n *pushers.Notification) { n.SenderDisplayName = strings.Repeat("é", 1025) }, "MSG_FROM_USER", []string{strings.Repeat("é", 1024)}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			n := message()
			n.Type, n.Content = tc.eventType, jsontext.Value(tc.content)
			if tc.change != nil {
				tc.change(&n)
			}
			if shown := shows(&n); shown != (tc.key != "") {
				t.Errorf("shows something: %v", shown)
			}
			if tc.key == "" {
				return
			}
			key, args := alert(&n, true)
			if diff := cmp.Diff(tc.args, args); key != tc.key || diff != "" {
				t.Errorf("got %s, want %s; (-want +got)\n%s", key, tc.key, diff)
			}
			if _, told := alert(&n, false); len(told) > 0 && strings.Contains(strings.Join(told, "\n"), "hello") {
				t.Errorf("content is told without being asked for: %q", told)
			}
		})
	}
}

func noRoom(n *pushers.Notification) { n.RoomName, n.RoomAlias = "", "" }
