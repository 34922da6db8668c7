package webpush_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"tocsin/pushers"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// goldens are notifications by the name of the file that holds what the browser reads.
func goldens() map[string]pushers.Delivery {
	with := func(data map[string]any, change func(*pushers.Notification)) pushers.Delivery {
		d := to("browser", data)
		change(&d.Notification)
		return d
	}
	nothing := map[string]any(nil)
	session := map[string]any{"default_payload": map[string]any{"session_id": "s1", "room_id": "not this", "aps": map[string]any{"x": []int{1}}}}
	content := func(text string) func(*pushers.Notification) {
		return func(n *pushers.Notification) { n.Content = jsontext.Value(text) }
	}
	long := strings.Repeat("ü", 999)
	return map[string]pushers.Delivery{
		"full":                 with(nothing, func(*pushers.Notification) {}),
		"full_default_payload": with(session, func(*pushers.Notification) {}),
		"full_bad_default":     with(map[string]any{"default_payload": "text"}, func(*pushers.Notification) {}),
		"full_low":             with(nothing, func(n *pushers.Notification) { n.Prio = pushers.PrioLow }),
		"full_smallest": with(nothing, func(n *pushers.Notification) {
			*n = pushers.Notification{EventID: "$1", RoomID: "!r", Type: "m.room.message", Sender: "@a:b", Device: n.Device}
		}),
		"full_member_target": with(nothing, func(n *pushers.Notification) {
			n.Type, n.IsMember, n.Membership, n.UserIsTarget, n.Content = "m.room.member", true, "invite", true, jsontext.Value(`{"membership":"invite"}`)
		}),
		"full_member_other": with(nothing, func(n *pushers.Notification) {
			n.Type, n.IsMember, n.Membership, n.Content = "m.room.member", true, "join", jsontext.Value(`{"membership":"join"}`)
		}),
		"full_text_of_1000":     with(nothing, content(`{"body":"`+long+`x"}`)),
		"full_text_of_1001":     with(nothing, content(`{"body":"`+long+`xy"}`)),
		"full_ciphertext_short": with(nothing, content(`{"algorithm":"m.megolm.v1.aes-sha2","ciphertext":"`+strings.Repeat("A", 2000)+`"}`)),
		"full_ciphertext_long":  with(nothing, content(`{"algorithm":"m.megolm.v1.aes-sha2","ciphertext":"`+strings.Repeat("A", 2001)+`"}`)),
		"full_ciphertext_olm":   with(nothing, content(`{"ciphertext":{"key":{"type":0}},"body":7}`)),
		"event_id_only": with(session, func(n *pushers.Notification) {
			n.Device.Pusher.Format = pushers.FormatEventIDOnly
		}),
		"counts_only": with(session, func(n *pushers.Notification) {
			*n = pushers.Notification{Counts: pushers.Counts{Unread: 3, MissedCalls: 1}, Device: n.Device}
		}),
		"counts_only_clear": with(nothing, func(n *pushers.Notification) {
			*n = pushers.Notification{NoMissedCalls: true, Device: n.Device}
		}),
		"shrunk_content":  with(nothing, content(`{"body":"a short text","msgtype":"m.text","more":"`+strings.Repeat("x", 4000)+`"}`)),
		"shrunk_text":     with(session, content(`{"body":"`+strings.Repeat(`\u0001`, 900)+`","msgtype":"m.text"}`)),
		"shrunk_names":    with(nothing, func(n *pushers.Notification) { n.RoomName = strings.Repeat("N", 4000) }),
		"shrunk_sender":   with(nothing, func(n *pushers.Notification) { n.Sender = "@" + strings.Repeat("s", 4000) + ":x" }),
		"shrunk_defaults": with(map[string]any{"default_payload": map[string]any{"x": strings.Repeat("x", 4000)}}, func(*pushers.Notification) {}),
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	for name, d := range goldens() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := webpush.Body(&d.Notification, webpush.MaxBody)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) > webpush.MaxBody {
				t.Errorf("%d bytes", len(got))
			}
			checkGolden(t, name, got)
		})
	}
}

// checkGolden compares a text with that of a golden file, which is written in lines for people.
func checkGolden(t *testing.T, name string, text []byte) {
	t.Helper()
	pretty := jsontext.Value(text).Clone()
	if err := pretty.Indent(jsontext.WithIndent("  ")); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	stack.Golden(t, filepath.Join("testdata", name+".json"), string(pretty)+"\n", *update)
}

func TestBodyFaults(t *testing.T) {
	t.Parallel()
	for _, content := range []string{`[]`, `{"half`, `{"a":1,"a":2}`, `null`, `"text"`} {
		d := to("browser", nil)
		d.Notification.Content = jsontext.Value(content)
		if got, err := webpush.Body(&d.Notification, webpush.MaxBody); err == nil {
			t.Errorf("%s: no error, but %s", content, got)
		}
	}
	d := to("browser", nil)
	d.Notification.EventID = "$" + strings.Repeat("e", 4000)
	if got, err := webpush.Body(&d.Notification, webpush.MaxBody); err == nil {
		t.Errorf("no error, but %s", got)
	}
}

// TestBodyFits holds that whatever a notification says, what is told of it fits to the byte, has the ids, and fills the room there is with the text.
func TestBodyFits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := to("browser", nil)
		n := &d.Notification
		text := rapid.StringOfN(rapid.Rune(), 0, 1200, -1).Draw(t, "text") // of characters, and so UTF-8
		quoted, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		n.Content = jsontext.Value(`{"msgtype":"m.text","body":` + string(quoted) + `}`)
		n.RoomName = rapid.StringN(0, 200, -1).Draw(t, "room name")
		limit := rapid.IntRange(110, webpush.MaxBody).Draw(t, "limit")
		got, err := webpush.Body(n, limit)
		if err != nil {
			t.Fatal(err)
		}
		var read struct {
			EventID string `json:"event_id"`
			RoomID  string `json:"room_id"`
			Content *struct {
				Body string `json:"body"`
			} `json:"content"`
		}
		if err := json.Unmarshal(got, &read); err != nil || read.EventID != n.EventID || read.RoomID != n.RoomID || len(got) > limit {
			t.Fatalf("limit %d: %d bytes, %v: %s", limit, len(got), err, got)
		}
		if read.Content == nil || read.Content.Body == text {
			return
		}
		if kept, chopped := strings.CutSuffix(read.Content.Body, "…"); !chopped || !strings.HasPrefix(text, kept) || len([]rune(read.Content.Body)) < 1000 && len(got) < limit-6 {
			t.Errorf("limit %d: %d bytes with the text %q of %q", limit, len(got), read.Content.Body, text)
		}
	})
}

// TestEndlessDefaultPayload has a default_payload that no message holds: it takes the place of nothing.
func TestEndlessDefaultPayload(t *testing.T) {
	t.Parallel()
	n := message("", jsontext.Value(`{"default_payload":{"x":"`+strings.Repeat("x", 7*webpush.MaxBody)+`"}}`))
	got, err := webpush.Body(&n, webpush.MaxBody)
	n.Device.Pusher.Data = nil
	want, _ := webpush.Body(&n, webpush.MaxBody)
	if err != nil || string(got) != string(want) {
		t.Errorf("got %s, %v", got, err)
	}
}
