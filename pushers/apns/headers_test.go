package apns

import (
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
	"time"

	"tocsin/pushers"
)

func delivery(n pushers.Notification) pushers.Delivery {
	return pushers.Delivery{ID: "00112233445566778899aabbccddeeff", UserID: "@me:example.org", Notification: n, Expires: time.Unix(1_800_000_000, 1)}
}

func TestPush(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*Config, *pushers.Delivery)
		want   string // topic, push type, priority, expiration
	}{
		{"high", func(*Config, *pushers.Delivery) {}, "app alert 10 1800000001"},
		{"low", func(_ *Config, d *pushers.Delivery) { d.Notification.Prio = pushers.PrioLow }, "app alert 5 1800000001"},
		{"none", func(_ *Config, d *pushers.Delivery) { d.Notification.Prio = "" }, "app alert 10 1800000001"},
		{"background is never urgent", func(c *Config, _ *pushers.Delivery) { c.PushType = PushBackground }, "app background 5 1800000001"},
		{"found to be background", func(_ *Config, d *pushers.Delivery) {
			d.Notification.Device.Pusher.Data = []byte(`{"default_payload":{"aps":{"content-available":1}}}`)
		}, "app background 5 1800000001"},
		{"voip", func(c *Config, d *pushers.Delivery) { c.PushType, d.Notification.Type = PushVoIP, "m.call.invite" }, "app.voip voip 10 1800000001"},
		{"voip, as it is", func(c *Config, d *pushers.Delivery) {
			c.PushType, c.Topic, d.Notification.Type = PushVoIP, "app.voip", "m.call.invite"
		}, "app.voip voip 10 1800000001"},
		{"location", func(c *Config, _ *pushers.Delivery) { c.PushType = "location" }, "app.location-query location 10 1800000001"},
		{"topic of the certificate", func(c *Config, _ *pushers.Delivery) { c.Topic = "" }, " alert 10 1800000001"},
		{"not stored", func(c *Config, _ *pushers.Delivery) { c.Store = false }, "app alert 10 0"},
		{"kept as long as Apple likes", func(_ *Config, d *pushers.Delivery) { d.Expires = time.Time{} }, "app alert 10 -1"},
		{"badge", func(_ *Config, d *pushers.Delivery) {
			d.Notification = pushers.Notification{Prio: pushers.PrioLow, Device: d.Notification.Device}
		}, "app alert 5 1800000001"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg, d := Defaults(), delivery(message())
			cfg.Topic = "app"
			tc.change(&cfg, &d)
			p, err := cfg.push(&d)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join([]string{p.topic, p.pushType, number(p.priority).String(), number(p.expires).String()}, " ")
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func (n number) String() string { return string(n.append(nil, 0)) }

func TestDeviceToken(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, format, pushkey, want string }{
		{"base64", TokenBase64, "+/8AAQ==", "fbff0001"},
		{"without padding", TokenBase64, "+/8AAQ", "fbff0001"},
		{"for URLs", TokenBase64, "-_8AAQ==", "fbff0001"},
		{"hex", TokenHex, "FBff0001", "fbff0001"},
		{"no base64", TokenBase64, "not base64!", ""},
		{"no hex", TokenHex, "+/8AAQ==", ""},
		{"half a byte", TokenHex, "fbff000", ""},
		{"a path", TokenHex, "../../4/device", ""},
		{"nothing", TokenBase64, "====", ""},
		{"too much", TokenHex, strings.Repeat("00", 129), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{TokenFormat: tc.format}
			got, err := cfg.deviceToken(tc.pushkey)
			if got != tc.want || (err == nil) != (tc.want != "") {
				t.Errorf("got %q, %v; want %q", got, err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), tc.pushkey) {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
}

// A name of Apple's is the same at each attempt, differs for all else, and tells neither user nor room.
func TestNames(t *testing.T) {
	t.Parallel()
	canonical := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	d := delivery(message())
	if got, want := apnsID(&d), "00112233-4455-8677-8899-aabbccddeeff"; got != want {
		t.Errorf("apns-id: got %s, want %s", got, want)
	}
	later := d
	later.Attempt, later.Notification.Counts.Unread = 3, 7
	if apnsID(&later) != apnsID(&d) {
		t.Error("a retry has another apns-id")
	}
	badge := delivery(pushers.Notification{Counts: pushers.Counts{Unread: 1}})
	other := delivery(pushers.Notification{Counts: pushers.Counts{Unread: 2}})
	odd := d
	odd.ID = "some other id"
	for _, id := range []string{apnsID(&badge), apnsID(&odd)} {
		if !canonical.MatchString(id) {
			t.Errorf("%s is no canonical UUID", id)
		}
	}
	if apnsID(&badge) == apnsID(&other) {
		t.Error("two badges have one apns-id")
	}

	cfg := Defaults()
	seen := map[string]string{}
	call, room2, user2, event2 := message(), message(), delivery(message()), message()
	call.Type, room2.RoomID, user2.UserID, event2.EventID = "m.call.invite", "!other:matrix.org", "@you:example.org", "$other"
	for name, d := range map[string]pushers.Delivery{"message": d, "call": delivery(call), "another room": delivery(room2), "another user": user2, "badge": badge} {
		id := cfg.collapseID(&d)
		if seen[id] != "" || len(id) == 0 || len(id) > 64 {
			t.Errorf("%s: collapse id %q, as of %q", name, id, seen[id])
		}
		seen[id] = name
		for _, clear := range []string{d.Notification.RoomID, d.UserID, hex.EncodeToString([]byte(d.UserID))} {
			if clear != "" && strings.Contains(id, clear) {
				t.Errorf("%s: %q tells %q", name, id, clear)
			}
		}
	}
	hidden := delivery(message())
	hidden.Notification.Type, hidden.Notification.IsMember, hidden.Notification.Membership = "m.room.member", true, "join"
	names := Defaults()
	if names.Form = FormNames; names.collapseID(&hidden) != names.collapseID(&badge) {
		t.Error("counts that go out because of an event replace what shows of its room")
	}
	second := delivery(event2)
	if cfg.collapseID(&second) != cfg.collapseID(&d) {
		t.Error("two messages of a room do not collapse")
	}
	cfg.Collapse = CollapseEvent
	if cfg.collapseID(&second) == cfg.collapseID(&d) || cfg.collapseID(&d) != cfg.collapseID(&later) {
		t.Error("collapse by event: two events collapse, or one does not")
	}
	cfg.Collapse = CollapseNone
	if cfg.collapseID(&d) != "" {
		t.Error("no collapsing was asked for")
	}
}
