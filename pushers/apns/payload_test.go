package apns

import (
	"flag"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"tocsin/pushers"
	"tocsin/test/stack"
)

var update = flag.Bool("update", false, "write the golden files anew")

// element is what Element for iOS registers.
const element = `{"format":"event_id_only","default_payload":{"pusher_notification_client_identifier":"ad0bd22bb90fabde45429b3b79cdbba12bd86f3dafb80ea22d2b1343995d8418",` +
	`"aps":{"mutable-content":1,"alert":{"loc-key":"Notification","loc-args":[]}}}}`

// message is a notification with everything in it that a message can have, for a device that wants all.
func message() pushers.Notification {
	return pushers.Notification{
		EventID: "$0cTr40iZmOd3Aj0c65e_7F6NNVF_BwzEFpyXuMEp29g", RoomID: "!vkibNVqwhZVOaNskRU:matrix.org", Type: "m.room.message", Sender: "@tom:matrix.org",
		SenderDisplayName: "Major Tom", RoomName: "Mission Control", RoomAlias: "#mission:matrix.org",
		Content: jsontext.Value(`{"msgtype":"m.text","body":"I'm floating in a most peculiar way."}`),
		Prio:    pushers.PrioHigh, Counts: pushers.Counts{Unread: 2, MissedCalls: 1},
		Device: pushers.Device{Pusher: pushers.Pusher{
			Kind: "http", AppID: "im.vector.app.ios", Pushkey: pushers.NewPushkey("V2h5IG9uIGVhcnRoIGRpZCB5b3UgZGVjb2RlIHRoaXM/"),
			Data: jsontext.Value(`{"default_payload":{"client":"ad0b","aps":{"mutable-content":1,"sound":"default","alert":{"title":"Tocsin","loc-key":"Notification"}}}}`),
		}},
	}
}

// elements is the message of the Element document.
func elements() pushers.Notification {
	n := message()
	n.Counts = pushers.Counts{Unread: 1}
	n.Device.Pusher.Format, n.Device.Pusher.Data = pushers.FormatEventIDOnly, jsontext.Value(element)
	return n
}

// goldens are notifications and apps by the name of the file that holds the payload.
func goldens() map[string]struct {
	cfg Config
	n   pushers.Notification
} {
	type golden = struct {
		cfg Config
		n   pushers.Notification
	}
	full := func(change func(*Config, *pushers.Notification)) golden {
		cfg, n := Defaults(), message()
		cfg.Form = FormFull
		change(&cfg, &n)
		return golden{cfg, n}
	}
	ids := func(change func(*Config, *pushers.Notification)) golden {
		cfg, n := Defaults(), elements()
		change(&cfg, &n)
		return golden{cfg, n}
	}
	counts := func(change func(*Config, *pushers.Notification)) golden {
		cfg, n := Defaults(), elements()
		n = pushers.Notification{Prio: pushers.PrioLow, Counts: pushers.Counts{Unread: 3, MissedCalls: 2}, Device: n.Device}
		change(&cfg, &n)
		return golden{cfg, n}
	}
	return map[string]golden{
		"event_id_only":                    ids(func(*Config, *pushers.Notification) {}),
		"event_id_only_missed_calls":       ids(func(_ *Config, n *pushers.Notification) { n.Counts.MissedCalls = 4 }),
		"event_id_only_zero_counts":        ids(func(_ *Config, n *pushers.Notification) { n.Counts = pushers.Counts{} }),
		"event_id_only_no_counts":          ids(func(_ *Config, n *pushers.Notification) { n.Device.Pusher.NoCounts = true }),
		"event_id_only_app_without_badge":  ids(func(c *Config, _ *pushers.Notification) { c.Badge = false }),
		"event_id_only_type":               ids(func(c *Config, _ *pushers.Notification) { c.IncludeType = true }),
		"event_id_only_of_full_pusher":     ids(func(_ *Config, n *pushers.Notification) { *n = message() }),
		"event_id_only_in_full_app":        ids(func(c *Config, _ *pushers.Notification) { c.Form = FormFull }),
		"event_id_only_no_default_payload": ids(func(_ *Config, n *pushers.Notification) { n.Device.Pusher.Data = nil }),
		"event_id_only_bad_default_payload": ids(func(_ *Config, n *pushers.Notification) {
			n.Device.Pusher.Data = jsontext.Value(`{"default_payload":"none"}`)
		}),
		"event_id_only_bad_aps": ids(func(_ *Config, n *pushers.Notification) {
			n.Device.Pusher.Data = jsontext.Value(`{"default_payload":{"aps":[1],"a":1}}`)
		}),
		"event_id_only_own_names": ids(func(_ *Config, n *pushers.Notification) {
			n.Device.Pusher.Data = jsontext.Value(`{"default_payload":{"event_id":"mine","b": [1, 2],"unread_count":"many"}}`)
		}),
		"event_id_only_silent": ids(func(_ *Config, n *pushers.Notification) {
			n.Device.Pusher.Data = jsontext.Value(`{"default_payload":{"aps":{"content-available":1}}}`)
		}),
		"background":      ids(func(c *Config, _ *pushers.Notification) { c.PushType = PushBackground }),
		"background_full": full(func(c *Config, _ *pushers.Notification) { c.PushType = PushBackground }),
		"voip_call": ids(func(c *Config, n *pushers.Notification) {
			c.PushType, c.IncludeType, n.Type = PushVoIP, true, "m.call.invite"
		}),
		"voip_message":      ids(func(c *Config, _ *pushers.Notification) { c.PushType = PushVoIP }),
		"events_chosen":     ids(func(c *Config, _ *pushers.Notification) { c.Events = []string{"m.room.message"} }),
		"events_not_chosen": ids(func(c *Config, n *pushers.Notification) { c.Events, n.Type = []string{"m.room.message"}, "m.sticker" }),

		"full":                    full(func(*Config, *pushers.Notification) {}),
		"full_no_default_payload": full(func(_ *Config, n *pushers.Notification) { n.Device.Pusher.Data = nil }),
		"full_no_counts":          full(func(_ *Config, n *pushers.Notification) { n.Device.Pusher.NoCounts = true }),
		"full_alert_is_a_text": full(func(_ *Config, n *pushers.Notification) {
			n.Device.Pusher.Data = jsontext.Value(`{"default_payload":{"aps":{"alert":"something"}}}`)
		}),
		"full_text_as_it_is": full(func(_ *Config, n *pushers.Notification) {
			n.RoomName, n.SenderDisplayName = "<b>A & B</b> \u2028 \"quoted\" \\ \x01", "no UTF-8: \xff."
		}),
		"names": full(func(c *Config, _ *pushers.Notification) { c.Form = FormNames }),
		"full_member_other": full(func(_ *Config, n *pushers.Notification) {
			n.Type, n.IsMember, n.Membership = "m.room.member", true, "join"
		}),
		"full_member_other_none": full(func(c *Config, n *pushers.Notification) {
			n.Type, n.Membership, c.Badge = "m.room.member", "join", false
		}),

		"counts_only":                   counts(func(*Config, *pushers.Notification) {}),
		"counts_only_clear":             counts(func(_ *Config, n *pushers.Notification) { n.Counts = pushers.Counts{} }),
		"counts_only_full_app":          counts(func(c *Config, _ *pushers.Notification) { c.Form = FormFull }),
		"counts_only_background":        counts(func(c *Config, _ *pushers.Notification) { c.PushType = PushBackground }),
		"counts_only_voip":              counts(func(c *Config, _ *pushers.Notification) { c.PushType = PushVoIP }),
		"counts_only_no_counts":         counts(func(_ *Config, n *pushers.Notification) { n.Device.Pusher.NoCounts = true }),
		"counts_only_app_without_badge": counts(func(c *Config, _ *pushers.Notification) { c.Badge = false }),
	}
}

// nothing names those of which there is nothing to tell.
var nothing = map[string]bool{
	"voip_message": true, "events_not_chosen": true, "full_member_other_none": true,
	"counts_only_voip": true, "counts_only_no_counts": true, "counts_only_app_without_badge": true,
}

func TestPayload(t *testing.T) {
	t.Parallel()
	for name, tc := range goldens() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tc.cfg.Payload(&tc.n)
			if got != nil && !jsontext.Value(got).IsValid() {
				t.Errorf("not valid JSON: %s", got)
			}
			if again := tc.cfg.Payload(&tc.n); string(again) != string(got) {
				t.Errorf("another time it is %s", again)
			}
			if nothing[name] {
				if got != nil {
					t.Errorf("there is nothing to tell, but %s", got)
				}
				return
			}
			stack.Golden(t, filepath.Join("testdata", name+".json"), string(got), *update)
		})
	}
}

// A payload goes out as Element's document shows it: five keys, with these values, and nothing of the content.
func TestElementsPayload(t *testing.T) {
	t.Parallel()
	cfg, n := Defaults(), elements()
	want := `{"pusher_notification_client_identifier":"ad0bd22bb90fabde45429b3b79cdbba12bd86f3dafb80ea22d2b1343995d8418",` +
		`"aps":{"mutable-content":1,"alert":{"loc-key":"Notification","loc-args":[]}},` +
		`"room_id":"!vkibNVqwhZVOaNskRU:matrix.org","event_id":"$0cTr40iZmOd3Aj0c65e_7F6NNVF_BwzEFpyXuMEp29g","unread_count":1}`
	if diff := cmp.Diff(want, string(cfg.Payload(&n))); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// What has no aps does nothing on a device.
func TestShows(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]bool{
		`{}`:                             false,
		`{"default_payload":{"a":"b"}}`:  false,
		`{"default_payload":{"aps":{}}}`: false,
		`{"default_payload":{"aps":{"alert":{"loc-key":"Notification"},"mutable-content":1}}}`: true,
		`{"default_payload":{"aps":{"content-available":1}}}`:                                  true,
	} {
		n := &pushers.Notification{EventID: "$e", RoomID: "!r:hs", Type: "m.room.message", Device: pushers.Device{Pusher: pushers.Pusher{Data: jsontext.Value(data)}}}
		for _, form := range []string{FormEventIDOnly, FormFull} {
			s := &Sender{cfg: Defaults()}
			s.cfg.Form = form
			if got := s.Shows(n); got != (want || form == FormFull) {
				t.Errorf("%s with %s: %v", form, data, got)
			}
		}
	}
}
