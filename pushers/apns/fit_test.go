package apns

import (
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"tocsin/pushers"
)

// Whatever a notification holds, its payload is JSON of no more bytes than Apple takes, texts are cut between characters, and the longest by no more than it takes.
func TestFit(t *testing.T) {
	t.Parallel()
	texts := rapid.OneOf(rapid.String(), rapid.Map(rapid.IntRange(0, 3000), func(n int) string { return strings.Repeat("a", n) }),
		rapid.Map(rapid.IntRange(0, 1100), func(n int) string { return strings.Repeat("\U0001F514", n) }),
		rapid.Map(rapid.IntRange(0, 1100), func(n int) string { return strings.Repeat("\x01\"\\", n) }),
		rapid.Map(rapid.IntRange(0, 1100), func(n int) string { return strings.Repeat("é\xff", n) }))
	rapid.Check(t, func(t *rapid.T) {
		cfg, n := Defaults(), message()
		cfg.Form = rapid.SampledFrom([]string{FormEventIDOnly, FormNames, FormFull}).Draw(t, "form")
		cfg.PushType = rapid.SampledFrom([]string{"", PushAlert, PushBackground, PushVoIP}).Draw(t, "type")
		n.SenderDisplayName, n.RoomName, n.EventID, n.RoomID = texts.Draw(t, "sender"), texts.Draw(t, "room"), texts.Draw(t, "event"), texts.Draw(t, "id")
		n.Type = rapid.SampledFrom([]string{"m.room.message", "m.call.invite"}).Draw(t, "event type")
		n.Content = asJSON(map[string]any{"msgtype": "m.text", "body": texts.Draw(t, "body")})
		aps := map[string]any{"alert": map[string]any{"title": texts.Draw(t, "title"), "body": texts.Draw(t, "alert")}}
		n.Device.Pusher.Data = asJSON(map[string]any{"default_payload": map[string]any{"a": texts.Draw(t, "a"), "b": texts.Draw(t, "b"), "aps": aps}})

		p := cfg.payload(&n)
		if p.object == nil {
			return
		}
		got := cfg.Payload(&n)
		if len(got) > cfg.limit() {
			t.Fatalf("%d bytes of %d", len(got), cfg.limit())
		}
		if !jsontext.Value(got).IsValid() {
			t.Fatalf("no valid JSON: %s", got)
		}
		all := p.object.encode(whole)
		if len(all) <= cfg.limit() && string(got) != string(all) {
			t.Fatalf("something is missing: %s of %s", got, all)
		}
	})
}

// A text too long costs no more than what is too long, and no half characters.
func TestFitCutsTexts(t *testing.T) {
	t.Parallel()
	for name, character := range map[string]string{"plain": "a", "two bytes": "é", "four bytes": "\U0001F514", "escaped": "\n", "control": "\x02", "quote": `"`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := strings.Repeat(character, 1024)
			o := object{{name: "first", value: text("short")}, {name: "body", value: text(body)}, {name: "raw", value: raw(`"untouched"`)}}
			for limit := 100; limit < 1000; limit += 7 {
				got := fit(o, limit)
				var back struct{ First, Body, Raw string }
				if err := json.Unmarshal(got, &back, json.MatchCaseInsensitiveNames(true)); err != nil {
					t.Fatalf("%v: %s", err, got)
				}
				if !strings.HasPrefix(body, back.Body) || !utf8.ValidString(back.Body) || back.First != "short" || back.Raw != "untouched" {
					t.Fatalf("got %q", back)
				}
				size := len(quoted(character)) - 2
				if left := limit - len(got); left < 0 || left >= size {
					t.Fatalf("limit %d: %d bytes are left, a character has %d", limit, left, size)
				}
			}
		})
	}
}

// The steps of the ladder: texts, then what the notification can do without, then what names the event.
func TestFitLeavesOut(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 4096)
	data := func(s string) func(*Config, *pushers.Notification) {
		return func(_ *Config, n *pushers.Notification) { n.Device.Pusher.Data = jsontext.Value(s) }
	}
	for _, tc := range []struct {
		name   string
		change func(*Config, *pushers.Notification)
		want   string
	}{
		{"the largest member of default_payload", data(`{"default_payload":{"client":"ad0b","big":"` + big + `","aps":{"mutable-content":1}}}`),
			`{"client":"ad0b","aps":{"mutable-content":1},"room_id":"!vkibNVqwhZVOaNskRU:matrix.org","event_id":"$0cTr40iZmOd3Aj0c65e_7F6NNVF_BwzEFpyXuMEp29g","unread_count":1}`},
		{"aps", data(`{"default_payload":{"aps":{"big":"` + big + `","mutable-content":1}}}`),
			`{"aps":{"alert":{"loc-key":"Notification","loc-args":[]},"mutable-content":1},"room_id":"!vkibNVqwhZVOaNskRU:matrix.org","event_id":"$0cTr40iZmOd3Aj0c65e_7F6NNVF_BwzEFpyXuMEp29g","unread_count":1}`},
		{"aps beside the alert's texts", func(c *Config, n *pushers.Notification) {
			*n, c.Form = message(), FormNames
			n.Device.Pusher.Data = jsontext.Value(`{"default_payload":{"aps":{"alert":{"title":"` + big + `"}}}}`)
		}, `{"aps":{"alert":{"loc-key":"MSG_FROM_USER_IN_ROOM","loc-args":["Major Tom","Mission Control"]},"badge":3},"room_id":"!vkibNVqwhZVOaNskRU:matrix.org","event_id":"$0cTr40iZmOd3Aj0c65e_7F6NNVF_BwzEFpyXuMEp29g"}`},
		{"ids", func(_ *Config, n *pushers.Notification) { n.EventID, n.Device.Pusher.Data = big, nil }, `{"room_id":"!vkibNVqwhZVOaNskRU:matrix.org","unread_count":1}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg, n := Defaults(), elements()
			tc.change(&cfg, &n)
			if got := string(cfg.Payload(&n)); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func asJSON(v any) jsontext.Value {
	b, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true), json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return b
}

// TestFitThousands has a pusher whose owner wishes to keep the worker busy: each member is measured once, not once for each other.
func TestFitThousands(t *testing.T) {
	t.Parallel()
	o := make(object, 0, 100_000)
	for i := range cap(o) - 1 {
		o = append(o, member{name: "k" + strconv.Itoa(i), value: raw("1"), spare: true})
	}
	o = append(o, member{name: "event_id", value: quoted("$1")})
	got := fit(o, maxPayload)
	if len(got) > maxPayload || len(got) < maxPayload-20 || !strings.HasSuffix(string(got), `,"event_id":"$1"}`) || !jsontext.Value(got).IsValid() {
		t.Errorf("%d bytes: %.60s … %s", len(got), got, got[max(len(got)-60, 0):])
	}
}
