package apns

// The texts of a notification: keys into the app's own translations, with their arguments.

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
)

// maxArgument is how long an argument may be, in characters. What it leaves is still fitted into the payload as a whole.
const maxArgument = 1024

// shows says that n is anything to show: of the changes of memberships, only invites are.
func shows(n *pushers.Notification) bool {
	return n.Type != "m.room.member" || n.UserIsTarget && n.Membership == "invite"
}

// alert is the loc-key and the loc-args of n, which shows something, as Matrix clients for iOS have their translations. Content is told
// only withContent.
//
// The order of the arguments belongs to the key. That ACTION_FROM_USER_IN_ROOM names the room first is no mistake here.
func alert(n *pushers.Notification, withContent bool) (key string, args []string) {
	from := cut(cmp.Or(n.SenderDisplayName, n.Sender, " "))
	room := cut(cmp.Or(n.RoomName, n.RoomAlias))
	switch n.Type {
	case "m.room.message", "m.room.encrypted":
		w := wording{}
		if withContent {
			w = readWording(n)
		}
		if room == "" {
			return w.direct(from)
		}
		return w.inRoom(from, room)
	case "m.call.invite":
		if hasVideo(n) {
			return "VIDEO_CALL_FROM_USER", []string{from}
		}
		return "VOICE_CALL_FROM_USER", []string{from}
	case "m.room.member":
		if room == "" {
			return "USER_INVITE_TO_CHAT", []string{from}
		}
		return "USER_INVITE_TO_NAMED_ROOM", []string{from, room}
	}
	return "MSG_FROM_USER", []string{from}
}

// wording is what can be shown of a message.
type wording struct{ kind, body string }

func readWording(n *pushers.Notification) wording {
	var content struct {
		Kind any `json:"msgtype"`
		Body any `json:"body"`
	}
	if json.Unmarshal(n.Content, &content) != nil {
		return wording{}
	}
	kind, isText := content.Kind.(string)
	body, hasBody := content.Body.(string)
	if !isText || !hasBody {
		return wording{}
	}
	return wording{kind, cut(body)}
}

func (w wording) inRoom(from, room string) (string, []string) {
	switch {
	case w.body == "":
		return "MSG_FROM_USER_IN_ROOM", []string{from, room}
	case w.kind == "m.image":
		return "IMAGE_FROM_USER_IN_ROOM", []string{from, w.body, room}
	case w.kind == "m.emote":
		return "ACTION_FROM_USER_IN_ROOM", []string{room, from, w.body}
	}
	return "MSG_FROM_USER_IN_ROOM_WITH_CONTENT", []string{from, room, w.body}
}

func (w wording) direct(from string) (string, []string) {
	switch {
	case w.body == "":
		return "MSG_FROM_USER", []string{from}
	case w.kind == "m.image":
		return "IMAGE_FROM_USER", []string{from, w.body}
	case w.kind == "m.emote":
		return "ACTION_FROM_USER", []string{from, w.body}
	}
	return "MSG_FROM_USER_WITH_CONTENT", []string{from, w.body}
}

// hasVideo looks into the session description of a call (Client-Server API, m.call.invite).
func hasVideo(n *pushers.Notification) bool {
	var content struct {
		Offer struct {
			SDP string `json:"sdp"`
		} `json:"offer"`
	}
	return json.Unmarshal(n.Content, &content) == nil && strings.Contains(content.Offer.SDP, "m=video")
}

// cut is the first characters of a text, as many as an argument may have.
func cut(text string) string {
	if len(text) <= maxArgument || utf8.RuneCountInString(text) <= maxArgument {
		return text
	}
	count := 0
	for i := range text {
		if count == maxArgument {
			return text[:i]
		}
		count++
	}
	return text
}
