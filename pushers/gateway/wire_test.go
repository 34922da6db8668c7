package gateway_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tocsin/pushers"
	"tocsin/pushers/gateway"
	"tocsin/test/stack"
)

var update = flag.Bool("update", false, "write the golden files anew")

// message is a notification with everything in it that a message can have.
func message() pushers.Notification {
	return pushers.Notification{
		EventID: "$3957tyerfgewrf384", RoomID: "!slw48wfj34rtnrf:example.com", Type: "m.room.message", Sender: "@exampleuser:matrix.org",
		SenderDisplayName: "Major Tom", RoomName: "Mission Control", RoomAlias: "#exampleroom:matrix.org",
		Content: jsontext.Value(`{"msgtype":"m.text","body":"I'm floating in a most peculiar way."}`),
		Prio:    pushers.PrioHigh, Counts: pushers.Counts{Unread: 2, MissedCalls: 1},
		Device: pushers.Device{
			Pusher: pushers.Pusher{
				Kind: "http", AppID: "org.matrix.matrixConsole.ios", Pushkey: pushers.NewPushkey("V2h5IG9uIGVhcnRoIGRpZCB5b3UgZGVjb2RlIHRoaXM/"),
				PushkeyTS: 12345678, URL: "https://push.example/_matrix/push/v1/notify", Data: jsontext.Value(`{"default_payload":{"aps":{"mutable-content":1}}}`),
			},
			Tweaks: jsontext.Value(`{"sound":"bing","highlight":true}`),
		},
	}
}

// goldens are notifications by the name of the file that holds their body.
func goldens() map[string]pushers.Notification {
	with := func(change func(*pushers.Notification)) pushers.Notification {
		n := message()
		change(&n)
		return n
	}
	return map[string]pushers.Notification{
		"full": message(),
		"full_smallest": {
			EventID: "$1", RoomID: "!r", Type: "m.room.message", Sender: "@a:b", Prio: pushers.PrioLow,
			Device: pushers.Device{Pusher: pushers.Pusher{AppID: "app", Pushkey: pushers.NewPushkey("key")}},
		},
		"full_empty_objects": with(func(n *pushers.Notification) {
			n.Content, n.Device.Pusher.Data, n.Device.Tweaks = jsontext.Value(`{}`), jsontext.Value(` { } `), jsontext.Value(`{}`)
		}),
		"full_member_target": with(func(n *pushers.Notification) {
			n.Type, n.IsMember, n.Membership, n.UserIsTarget = "m.room.member", true, "invite", true
			n.Content = jsontext.Value(`{"membership":"invite"}`)
		}),
		"full_member_other": with(func(n *pushers.Notification) {
			n.Type, n.IsMember, n.Membership = "m.room.member", true, "join"
			n.Content = jsontext.Value(`{"membership":"join"}`)
		}),
		"full_unread_only":       with(func(n *pushers.Notification) { n.Counts.MissedCalls = 0 }),
		"full_missed_calls_only": with(func(n *pushers.Notification) { n.Counts.Unread = 0 }),
		"full_zero_counts":       with(func(n *pushers.Notification) { n.Counts = pushers.Counts{} }),
		"full_other_format":      with(func(n *pushers.Notification) { n.Device.Pusher.Format = "poem" }),
		"full_text_as_it_is": with(func(n *pushers.Notification) {
			n.RoomName, n.SenderDisplayName = "<b>A & B</b> \u2028 \"quoted\" \\ \x01", "no UTF-8: \xff."
			n.Content = jsontext.Value("{ \"b\" : 1.0e+2,\n\t\"a\":\"\\u00e9 é \\/ <&> \\ud83d\\ude00\", \"b \":[1 , 2] }")
		}),
		"event_id_only": with(func(n *pushers.Notification) {
			n.Device.Pusher.Format = pushers.FormatEventIDOnly
			n.Device.Pusher.Data = jsontext.Value(`{"format":"event_id_only"}`)
		}),
		"event_id_only_member": with(func(n *pushers.Notification) {
			n.Device.Pusher.Format, n.IsMember, n.Membership, n.UserIsTarget = pushers.FormatEventIDOnly, true, "invite", true
			n.Counts, n.Prio = pushers.Counts{}, pushers.PrioLow
		}),
		"counts_only":          {Counts: pushers.Counts{Unread: 3}, Prio: pushers.PrioLow, Device: message().Device},
		"counts_only_calls":    {Counts: pushers.Counts{Unread: 3, MissedCalls: 2}, Device: message().Device},
		"counts_only_no_calls": {NoMissedCalls: true, Device: pushers.Device{Pusher: pushers.Pusher{AppID: "app", Pushkey: pushers.NewPushkey("key")}}},
		"counts_only_clear":    {Device: pushers.Device{Pusher: pushers.Pusher{AppID: "app", Pushkey: pushers.NewPushkey("key"), Format: pushers.FormatEventIDOnly}}},
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	for name, n := range goldens() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := gateway.Body(&n)
			if err != nil {
				t.Fatal(err)
			}
			if !jsontext.Value(got).IsValid() {
				t.Errorf("not valid JSON: %s", got)
			}
			if !strings.Contains(string(got), string(n.Content)) && !strings.HasPrefix(name, "event_id_only") {
				t.Errorf("the content did not go out byte for byte: %s", got)
			}
			stack.Golden(t, filepath.Join("testdata", name+".json"), string(got), *update)
		})
	}
}

func TestBodyRefusesWhatIsNoObject(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{`[]`, `"text"`, `null`, `{"a":1`, `{"a":1}}`, `{"a":1,"a":2}`, "{\"a\":\"\xff\"}", `}, "sender":"@other:b"`, ` `} {
		for name, n := range map[string]pushers.Notification{
			"content": {EventID: "$1", Content: jsontext.Value(raw)},
			"data":    {EventID: "$1", Device: pushers.Device{Pusher: pushers.Pusher{Data: jsontext.Value(raw)}}},
			"tweaks":  {EventID: "$1", Device: pushers.Device{Tweaks: jsontext.Value(raw)}},
		} {
			want := name + " of the notification is not a JSON object"
			if body, err := gateway.Body(&n); err == nil || err.Error() != want {
				t.Errorf("%s %q: got %s and the error %v, want %s", name, raw, body, err, want)
			}
		}
	}
}

// FuzzBody holds that whatever texts and content an event has, the body is valid JSON that says the same.
func FuzzBody(f *testing.F) {
	f.Add("$1", "m.room.message", "A \"B\" \\ <c>", `{"body":"x"}`)
	f.Fuzz(func(t *testing.T, eventID, eventType, name, content string) {
		n := pushers.Notification{EventID: eventID, Type: eventType, RoomName: name, Content: jsontext.Value(content)}
		body, err := gateway.Body(&n)
		if err != nil {
			return
		}
		var got struct {
			Notification struct {
				EventID  string         `json:"event_id"`
				ID       string         `json:"id"`
				Type     string         `json:"type"`
				RoomName string         `json:"room_name"`
				Content  jsontext.Value `json:"content"`
			} `json:"notification"`
		}
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if n.CountsOnly() {
			return
		}
		told := []string{got.Notification.EventID, got.Notification.ID, got.Notification.Type, got.Notification.RoomName}
		if diff := cmp.Diff([]string{valid(eventID), valid(eventID), valid(eventType), valid(name)}, told); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		if content = strings.Trim(content, " \t\r\n"); content != string(got.Notification.Content) {
			t.Errorf("content %q became %q", content, got.Notification.Content)
		}
	})
}

// valid is s with U+FFFD for each byte that is not UTF-8.
func valid(s string) string { return string([]rune(s)) }

// TestBodyHoldsOnlyWhatTheFormatNames tries every combination of absent and present parts.
func TestBodyHoldsOnlyWhatTheFormatNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := pushers.Notification{
			EventID: "$1", RoomID: "!r", Type: rapid.SampledFrom([]string{"", "m.room.message"}).Draw(t, "type"), Sender: "@a:b",
			RoomName: rapid.SampledFrom([]string{"", "name"}).Draw(t, "name"), IsMember: rapid.Bool().Draw(t, "member"),
			Prio: rapid.SampledFrom([]pushers.Prio{"", pushers.PrioHigh, pushers.PrioLow}).Draw(t, "prio"), Content: jsontext.Value(`{"a":1}`),
			Counts: pushers.Counts{Unread: rapid.IntRange(0, 2).Draw(t, "unread"), MissedCalls: rapid.IntRange(0, 2).Draw(t, "missed")},
			Device: pushers.Device{Pusher: pushers.Pusher{Format: pushers.FormatEventIDOnly, Data: jsontext.Value(`{"d":1}`)}, Tweaks: jsontext.Value(`{"t":1}`)},
		}
		body, err := gateway.Body(&n)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]map[string]any
		if err := json.Unmarshal(body, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{"event_id": "$1", "room_id": "!r", "devices": []any{map[string]any{"data": map[string]any{"d": 1.0}}}}
		if n.Prio != "" {
			want["prio"] = string(n.Prio)
		}
		counts := map[string]any{}
		if n.Counts.Unread > 0 {
			counts["unread"] = float64(n.Counts.Unread)
		}
		if n.Counts.MissedCalls > 0 {
			counts["missed_calls"] = float64(n.Counts.MissedCalls)
		}
		if len(counts) > 0 {
			want["counts"] = counts
		}
		if diff := cmp.Diff(want, got["notification"]); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
}
