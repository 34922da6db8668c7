package fcm_test

import (
	"flag"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"tocsin/pushers"
	"tocsin/pushers/fcm"
	"tocsin/test/stack"
)

var update = flag.Bool("update", false, "write the golden files anew")

var now = time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC)

// message is a delivery with everything in it that a message can have.
func message() pushers.Delivery {
	return pushers.Delivery{
		ID: "delivery", UserID: "@me:example.com", Since: now, Expires: now.Add(24 * time.Hour),
		Notification: pushers.Notification{
			EventID: "$3957tyerfgewrf384", RoomID: "!slw48wfj34rtnrf:example.com", Type: "m.room.message", Sender: "@exampleuser:matrix.org",
			SenderDisplayName: "Major Tom", RoomName: "Mission Control", RoomAlias: "#exampleroom:matrix.org",
			Content: jsontext.Value(`{"msgtype":"m.text","body":"I'm floating in a most peculiar way.","format":"org.matrix.custom.html","formatted_body":"<b>I'm floating</b>","m.mentions":{},"n":1}`),
			Prio:    pushers.PrioHigh, Counts: pushers.Counts{Unread: 2, MissedCalls: 1},
			Device: pushers.Device{
				Pusher: pushers.Pusher{Kind: "http", AppID: "im.vector.app.android", Pushkey: pushers.NewPushkey("dGhlLXB1c2hrZXk:APA91b"), Data: jsontext.Value(`{"default_payload":{"cs":"secret"}}`)},
				Tweaks: jsontext.Value(`{"sound":"bing","highlight":true}`),
			},
		},
	}
}

// long is a message whose body has so many bytes.
func long(bytes int) pushers.Delivery {
	d := message()
	d.Notification.Content = jsontext.Value(`{"msgtype":"m.text","body":"` + strings.Repeat("x", bytes) + `","formatted_body":"` + strings.Repeat("y", bytes) + `"}`)
	return d
}

func overrides(t testing.TB, text string) fcm.Overrides {
	t.Helper()
	var o fcm.Overrides
	if err := o.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return o
}

type golden struct {
	config   fcm.Config
	delivery pushers.Delivery
}

// goldens are deliveries by the name of the file that holds their body.
func goldens(t testing.TB) map[string]golden {
	with := func(change func(*fcm.Config, *pushers.Delivery)) golden {
		g := golden{fcm.Defaults(), message()}
		change(&g.config, &g.delivery)
		return g
	}
	counts := func(change func(*fcm.Config, *pushers.Notification)) golden {
		return with(func(c *fcm.Config, d *pushers.Delivery) {
			d.Notification = pushers.Notification{Prio: pushers.PrioLow, Device: message().Notification.Device}
			change(c, &d.Notification)
		})
	}
	everything := `{"android":{"priority":"normal","notification":{"channel_id":"calls"},"direct_boot_ok":true},"apns":{"headers":{"apns-priority":"5"}},"notification":{"title":"Element"},` +
		`"webpush":{"headers":{"Urgency":"high"}},"fcm_options":{"analytics_label":"tocsin"}}`
	return map[string]golden{
		"ids": with(func(*fcm.Config, *pushers.Delivery) {}),
		"ids_low": with(func(_ *fcm.Config, d *pushers.Delivery) {
			d.Notification.Prio, d.Notification.Counts, d.Notification.Device.Pusher.Data = pushers.PrioLow, pushers.Counts{}, nil
		}),
		"ids_call": with(func(_ *fcm.Config, d *pushers.Delivery) { d.Expires = now.Add(59*time.Second + 900*time.Millisecond) }),
		"ids_asked_for": with(func(c *fcm.Config, d *pushers.Delivery) {
			c.Content, d.Notification.Device.Pusher.Format = true, pushers.FormatEventIDOnly
		}),
		"ids_collapsed":  with(func(c *fcm.Config, _ *pushers.Delivery) { c.CollapseRooms = true }),
		"ids_overridden": with(func(c *fcm.Config, _ *pushers.Delivery) { c.Overrides = overrides(t, everything) }),
		"ids_overridden_keys": with(func(c *fcm.Config, _ *pushers.Delivery) {
			c.CollapseRooms, c.Overrides = true, overrides(t, `{"android":{"collapse_key":"all","ttl":"60s"}}`)
		}),
		"full": with(func(c *fcm.Config, _ *pushers.Delivery) { c.Content = true }),
		"full_invite": with(func(c *fcm.Config, d *pushers.Delivery) {
			c.Content = true
			n := &d.Notification
			n.Type, n.IsMember, n.Membership, n.UserIsTarget, n.Content = "m.room.member", true, "invite", true, jsontext.Value(`{"membership":"invite","is_direct":true}`)
		}),
		"full_default_payload": with(func(c *fcm.Config, d *pushers.Delivery) {
			c.Content = true
			d.Notification.Device.Pusher.Data = jsontext.Value(`{"default_payload":{"event_id":"mine","content_body":"mine","from":"me","google.x":"1","gcm_x":"1","collapse_key":"x","":"x","null":null,"n":1.50,"list":[1, "a"],"text":"t"}}`)
		}),
		"full_text": with(func(c *fcm.Config, d *pushers.Delivery) {
			c.Content = true
			d.Notification.RoomName, d.Notification.Content = "<b>A & B</b> \u2028 \"q\" \\ \x01 no UTF-8: \xff.", jsontext.Value("{ \"body\" : \"\\u00e9 é \\/ <&> \\ud83d\\ude00\" }")
		}),
		"full_shrunk":        {func() fcm.Config { c := fcm.Defaults(); c.Content = true; return c }(), long(10_000)},
		"counts":             counts(func(_ *fcm.Config, n *pushers.Notification) { n.Counts.Unread = 3 }),
		"counts_clear":       counts(func(*fcm.Config, *pushers.Notification) {}),
		"counts_clear_calls": counts(func(_ *fcm.Config, n *pushers.Notification) { n.NoMissedCalls = true }),
		"counts_are_silent": counts(func(c *fcm.Config, n *pushers.Notification) {
			n.Counts.MissedCalls, c.Overrides = 1, overrides(t, everything)
		}),
		"expired_and_unending": with(func(_ *fcm.Config, d *pushers.Delivery) { d.Expires = now.Add(-time.Second) }),
		"without_expiry":       with(func(_ *fcm.Config, d *pushers.Delivery) { d.Expires = time.Time{} }),
		"long_expiry":          with(func(_ *fcm.Config, d *pushers.Delivery) { d.Expires = now.Add(90 * 24 * time.Hour) }),
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	for name, g := range goldens(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := g.config.Body(&g.delivery, now)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, fault := stack.DecodeFCM(got); fault != nil {
				t.Errorf("FCM does not take it: %v", fault)
			}
			stack.Golden(t, filepath.Join("testdata", name+".json"), string(got), *update)
		})
	}
}

// TestBodyTellsNothing holds that without leave nothing of an event goes to Google but its ids.
func TestBodyTellsNothing(t *testing.T) {
	t.Parallel()
	d := message()
	cfg := fcm.Defaults()
	cfg.CollapseRooms = true
	body, err := cfg.Body(&d, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"floating", "Tom", "Mission", "exampleuser", "exampleroom", "m.room.message", "@me", "delivery"} {
		if strings.Contains(string(body), secret) {
			t.Errorf("tells %q: %s", secret, body)
		}
	}
}

func TestCollapseKeysDiffer(t *testing.T) {
	t.Parallel()
	key := func(user, room string) string {
		cfg, d := fcm.Defaults(), message()
		cfg.CollapseRooms, d.UserID, d.Notification.RoomID = true, user, room
		body, err := cfg.Body(&d, now)
		if err != nil {
			t.Fatal(err)
		}
		m, _, fault := stack.DecodeFCM(body)
		if fault != nil {
			t.Fatal(fault)
		}
		return m.Android.CollapseKey
	}
	seen := map[string]bool{}
	for _, k := range []string{key("@a:b", "!r"), key("@a:b", "!s"), key("@b:b", "!r")} {
		if k == "" || seen[k] || strings.Contains(k, "!") {
			t.Errorf("key %q", k)
		}
		seen[k] = true
	}
	if !seen[key("@a:b", "!r")] {
		t.Error("the same room has another key")
	}
}

// TestBodyGivesAway holds the order in which a message gets shorter.
func TestBodyGivesAway(t *testing.T) {
	t.Parallel()
	const ids, names, private = "event_id room_id ", "room_name sender_display_name ", "cs "
	big := strings.Repeat("z", 5000)
	for _, tc := range []struct {
		name   string
		change func(*pushers.Notification)
		keeps  string // of what can be given away, in this order
		cut    string
	}{
		{"the formatted body", func(n *pushers.Notification) {
			n.Content = jsontext.Value(`{"msgtype":"m.text","body":"b","format":"f","formatted_body":"` + big + `"}`)
		}, ids + names + "room_alias type sender content_msgtype content_body content_format " + private, ""},
		{"what is besides", func(n *pushers.Notification) {
			n.Content = jsontext.Value(`{"msgtype":"m.image","body":"b","url":"u","info":"` + big + `"}`)
		}, ids + names + "room_alias type sender content_msgtype content_body content_url " + private, ""},
		{"the body, from its end", func(n *pushers.Notification) {
			n.Content = jsontext.Value(`{"msgtype":"m.text","body":"` + big + `","format":"f"}`)
		}, ids + names + "room_alias type sender content_msgtype content_body " + private, "content_body"},
		{"the names", func(n *pushers.Notification) { n.RoomName = big }, ids + names + "type sender content_msgtype " + private, "room_name"},
		{"what kind it is", func(n *pushers.Notification) { n.Type = big }, ids + "sender content_msgtype " + private, ""},
		{"what the client wants", func(n *pushers.Notification) {
			n.Device.Pusher.Data = jsontext.Value(`{"default_payload":{"cs":"secret","big":"` + big + `"}}`)
		}, ids + private, ""},
		{"all", func(n *pushers.Notification) { n.EventID = big }, "room_id ", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg, d := fcm.Defaults(), message()
			cfg.Content = true
			tc.change(&d.Notification)
			body, err := cfg.Body(&d, now)
			if err != nil {
				t.Fatal(err)
			}
			m, _, fault := stack.DecodeFCM(body)
			if fault != nil || len(body) > 4096 {
				t.Fatalf("%d bytes, %v", len(body), fault)
			}
			keeps := ""
			for _, name := range strings.Fields(ids + names + "room_alias type sender content_msgtype content_body content_format content_url content_info content_formatted_body " + private + "big") {
				if _, kept := m.Data[name]; kept {
					keeps += name + " "
				}
			}
			if keeps != tc.keeps {
				t.Errorf("keeps %q\nwant  %q", keeps, tc.keeps)
			}
			if tc.cut != "" && (!strings.HasSuffix(m.Data[tc.cut], "z…") || len(body) != 4096) {
				t.Errorf("%d bytes, cut to %q", len(body), m.Data[tc.cut])
			}
			if m.Data["prio"] != "high" || m.Data["unread"] != "2" {
				t.Errorf("%v", m.Data)
			}
		})
	}
}

// TestBodyUsesItsBytes holds, for any texts, that a body fits, that FCM takes it, and that no character more would have had room.
func TestBodyUsesItsBytes(t *testing.T) {
	t.Parallel()
	cfg := fcm.Defaults()
	cfg.Content = true
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]string{"a", "é", "漢", "😀", "\"", "\\", "\n", "\x01", "\u2028", "\xff"}).Draw(t, "unit")
		text := strings.Repeat(unit, rapid.IntRange(0, 5000).Draw(t, "times")) + rapid.String().Draw(t, "rest")
		raw, _ := jsontext.AppendQuote(nil, text) // of bytes that are not UTF-8 it tells, and mends them
		d := message()
		d.Notification.RoomName = rapid.String().Draw(t, "room")
		d.Notification.Content = jsontext.Value(`{"body":` + string(raw) + `}`)
		body, err := cfg.Body(&d, now)
		if err != nil {
			t.Fatal(err)
		}
		m, _, fault := stack.DecodeFCM(body)
		if fault != nil || len(body) > 4096 {
			t.Fatalf("%d bytes, %v", len(body), fault)
		}
		whole := strings.ToValidUTF8(strings.ReplaceAll(text, "\xff", "\uFFFD"), "\uFFFD")
		told, cut := strings.CutSuffix(m.Data["content_body"], "…")
		if !cut || told == whole {
			return
		}
		if !strings.HasPrefix(whole, told) || !utf8.ValidString(told) {
			t.Fatalf("told %q", told)
		}
		_, width := utf8.DecodeRuneInString(whole[len(told):])
		next, _ := jsontext.AppendQuote(nil, whole[len(told):len(told)+width])
		if len(body)+len(next)-2 <= 4096 {
			t.Errorf("%d bytes, and %s would have had room", len(body), next)
		}
	})
}

// FuzzBody holds that whatever texts, content and data there are, FCM takes the body.
func FuzzBody(f *testing.F) {
	f.Add("$1", "m.room.message", "A \"B\" \\ <c>", `{"body":"x"}`, `{"default_payload":{"a":1}}`)
	f.Add("", "", "", `{}`, ``)
	f.Fuzz(func(t *testing.T, eventID, eventType, name, content, data string) {
		cfg, d := fcm.Defaults(), message()
		cfg.Content = true
		n := &d.Notification
		n.EventID, n.Type, n.RoomName, n.Content, n.Device.Pusher.Data = eventID, eventType, name, jsontext.Value(content), jsontext.Value(data)
		body, err := cfg.Body(&d, now)
		if err != nil {
			return
		}
		if _, _, fault := stack.DecodeFCM(body); fault != nil || len(body) > 4096 {
			t.Errorf("%d bytes, %v: %s", len(body), fault, body)
		}
	})
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"everything", `{"android":{},"apns":{},"webpush":{},"notification":{},"fcm_options":{}}`, ""},
		{"no object", `[]`, `it is not a JSON object such as {"android":{"priority":"high"}}`},
		{"no JSON", `android: {}`, `it is not a JSON object such as {"android":{"priority":"high"}}`},
		{"twice", `{"android":{},"android":{}}`, `it is not a JSON object such as {"android":{"priority":"high"}}`},
		{"a target", `{"topic":"all"}`, `"topic" can't be set: only android, apns, fcm_options, notification, webpush can`},
		{"no options", `{"android":"high"}`, `android is not a JSON object`},
		{"too much", `{"apns":{"a":"` + strings.Repeat("a", 1600) + `"}}`, `it takes 1608 bytes of each message, which has 4096 in all: at most 1536 are left to it`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var o fcm.Overrides
			got := ""
			if err := o.UnmarshalText([]byte(tc.in)); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
			if tc.want == "" {
				if text, err := o.MarshalText(); string(text) != tc.in || err != nil {
					t.Errorf("written as %s, %v", text, err)
				}
			}
		})
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := fcm.Defaults()
	good.ServiceAccountFile = "key.json"
	for _, tc := range []struct {
		name   string
		change func(*fcm.Config)
		want   string
	}{
		{"good", func(*fcm.Config) {}, ""},
		{"a relay", func(c *fcm.Config) {
			c.BaseURL, c.TokenURL = "https://relay.internal:8443/fcm/", "https://relay.internal/token"
		}, ""},
		{"no file", func(c *fcm.Config) { c.ServiceAccountFile = "" }, "service_account_file: is missing: make a key in the Firebase console, under project settings, service accounts"},
		{"a project that is a path", func(c *fcm.Config) { c.ProjectID = "../x" }, `project_id: "../x" is not the id of a project, such as my-app-1234`},
		{"dots", func(c *fcm.Config) { c.ProjectID = ".." }, `project_id: ".." is not the id of a project, such as my-app-1234`},
		{"no TLS", func(c *fcm.Config) { c.BaseURL = "http://relay.internal" }, "base_url: it is not a URL such as https://fcm.googleapis.com"},
		{"a password", func(c *fcm.Config) { c.BaseURL = "https://a:b@relay.internal" }, "base_url: it is not a URL such as https://fcm.googleapis.com"},
		{"no TLS for tokens", func(c *fcm.Config) { c.TokenURL = "http://relay.internal/token" }, "token_url: it is not a URL such as https://oauth2.googleapis.com/token"},
		{"no time", func(c *fcm.Config) { c.Timeout = 0 }, "timeout: 0s is not between 100ms and 1m0s"},
		{"two faults", func(c *fcm.Config) { c.Timeout, c.BaseURL = time.Hour, "" }, "base_url: it is not a URL such as https://fcm.googleapis.com\ntimeout: 1h0m0s is not between 100ms and 1m0s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := good
			tc.change(&cfg)
			got := ""
			if err := cfg.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestBodyIsOneObject(t *testing.T) {
	t.Parallel()
	d := message()
	body, err := fcm.Defaults().Body(&d, now)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(body, &members); err != nil || len(members) != 1 {
		t.Errorf("%s: %v", body, err)
	}
}
