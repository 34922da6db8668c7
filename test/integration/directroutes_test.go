package integration

// All ways at once: each pusher is told by the push service of its app, and by no other.

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/test/stack"
)

// everyWay is a world with an app of each kind, and one user with a device of each. Calls ring on a second pusher of the iPhone.
func everyWay(t *testing.T) (d *direct, dave string, own *stack.RecordingGateway) {
	t.Helper()
	d = newDirect(t)
	d.appleApp("ios", "TEAM012345")
	d.appleApp("ios.voip", "TEAM012345", func(c *apns.Config) { c.PushType, c.Topic = apns.PushVoIP, "ios" })
	d.googleApp("android.*")
	d.googleApp("android.beta")
	d.browserApp("web")
	d.cfg.Apps["desktop.*"] = &apps.Gateway{URL: "https://own.example/any/path"}
	own = d.gatewayAt("own.example")
	dave = "@dave:" + server
	d.iPhone(dave, "ios", "iphone", 1)
	d.iPhone(dave, "ios.voip", "ringer", 1)
	d.android(dave, "android.one", "phone")
	d.android(dave, "android.beta", "tablet")
	d.browser(dave, "web", "firefox")
	d.register(dave, "desktop.linux", "pc", 1, nil)
	d.register(dave, "other", "foreign", 1, nil)
	d.register(dave, "ios.unlisted", "mac", 1, nil)
	return d, dave, own
}

func TestEachAppByItsOwnService(t *testing.T) {
	t.Parallel()
	d, dave, own := everyWay(t)
	d.cfg.Admin.Listen = "127.0.0.1:0"
	d.roomOf("!r:hs", dave)
	r := d.ready(d.start())
	d.write(d.message("!r:hs", "$one"))
	d.settled(r)

	d.directlyIs("of a message", once([]string{"$one"}, "iphone", "phone", "tablet", "firefox"))
	d.toldIs(own, once([]string{"$one"}, "pc"))
	d.toldIs(d.gateway, once([]string{"$one"}, "foreign", "mac"))
	urgent := d.prioOf(own, "$one") == "high"

	push := only(d, "pushes to the iPhone", d.requestsFor("iphone", "$one")).apple
	payload, err := stack.DecodeAPNs(push.Payload)
	if err != nil || payload.RoomID != "!r:hs" || payload.UnreadCount == nil || *payload.UnreadCount != 1 || payload.APS.Alert.LocKey != "Notification" || payload.APS.MutableContent != 1 ||
		string(payload.Rest["pusher_notification_client_identifier"]) != `"ad0b"` || payload.APS.Badge != nil || len(payload.Rest) != 1 {
		t.Errorf("the iPhone was told %s: %v", push.Payload, err)
	}
	if push.Topic != "ios" || push.PushType != "alert" || push.TeamID != "TEAM012345" || push.KeyID != keyID || push.CollapseID == "" || push.Expiration == "" || (push.Priority == "10") != urgent {
		t.Errorf("Apple was told %+v, and the gateway that it is urgent: %v", push.Header, urgent)
	}

	for device, id := range map[string]string{"phone": "android.one", "tablet": "android.beta"} {
		m := only(d, "messages to "+id, d.requestsFor(device, "$one")).google.Message
		want := map[string]string{"event_id": "$one", "room_id": "!r:hs", "unread": "1", "prio": "low"}
		if urgent {
			want["prio"] = "high"
		}
		if diff := gocmp.Diff(want, m.Data); diff != "" {
			t.Errorf("%s was told (-want +got):\n%s", id, diff)
		}
		if m.Android == nil || (m.Android.Priority == "high") != urgent || m.Android.TTL == "" {
			t.Errorf("%s: the message goes as %+v", id, m.Android)
		}
	}

	text := only(d, "messages to the browser", d.requestsFor("firefox", "$one")).browser
	if got, want := string(text.Text), `{"content":{"body":"hello","msgtype":"m.text"},"event_id":"$one","room_id":"!r:hs","sender":"@alice:other","sender_display_name":"@alice:other","type":"m.room.message","unread":1}`; got != want {
		t.Errorf("the browser was told %s, want %s", got, want)
	}
	if text.TTL == 0 || (text.Urgency == "normal") != urgent || text.Subject != "mailto:push@example.org" {
		t.Errorf("the message to the browser goes as %+v", text.Header)
	}

	for label, n := range map[string]int{
		`provider="apns"`: 1, `provider="fcm"`: 2, `provider="webpush"`: 1, `provider="gateway"`: 3,
		`app="ios"`: 1, `app="android.*"`: 1, `app="android.beta"`: 1, `app="web"`: 1, `app="desktop.*"`: 1,
	} {
		if got := d.deliveredAs(r, label); got != n {
			t.Errorf("the metrics count %d notifications with %s, want %d:\n%s", got, label, n, d.metrics(r, `action="settle"`))
		}
	}
	r.stop()
}

// prioOf is how urgent a gateway was told that an event is.
func (w *world) prioOf(g *stack.RecordingGateway, event string) string {
	w.Helper()
	for _, q := range g.Requests() {
		if n, err := stack.DecodeNotification(q.Body); err == nil && n.EventID == event {
			return cmp.Or(n.Prio, "high")
		}
	}
	w.Fatalf("the gateway was not told of %s", event)
	return ""
}

// A call rings on every device, and on the iPhone's second pusher, which hears of nothing else: no message, no badge.
func TestCallsRing(t *testing.T) {
	t.Parallel()
	d, dave, own := everyWay(t)
	d.roomOf("!r:hs", dave)
	r := d.ready(d.start())
	d.write(d.message("!r:hs", "$text"))
	d.settled(r)
	d.write(d.event("!r:hs", "$call", "m.call.invite", "@alice:other", nil, map[string]any{"call_id": "c", "lifetime": 60000, "version": 0, "offer": map[string]any{"sdp": "v=0", "type": "offer"}}))
	d.settled(r)
	d.write(d.receipt("!r:hs", dave, "$call"))
	d.settled(r)

	want := once([]string{"$text", "$call"}, "iphone", "phone", "tablet", "firefox")
	want["$call ringer"] = 1
	d.directlyIs("of a call", want)
	if got := d.requestsFor("ringer", ""); len(got) > 0 {
		t.Errorf("the pusher for calls was told counts: %v", got)
	}
	d.toldIs(own, once([]string{"$text", "$call"}, "pc"))
	ring := only(d, "calls", d.requestsFor("ringer", "$call")).apple
	if ring.Topic != "ios.voip" || ring.PushType != "voip" || ring.Priority != "10" {
		t.Errorf("it rings by %+v", ring.Header)
	}
	call := only(d, "calls to the iPhone", d.requestsFor("iphone", "$call")).apple
	if message := only(d, "messages to the iPhone", d.requestsFor("iphone", "$text")).apple; call.CollapseID == message.CollapseID {
		t.Error("a message takes the place of a call")
	}
	r.stop()
}

// What is read elsewhere clears the badge on each device, once: Google's clients hear of the zero, too.
func TestBadgesClear(t *testing.T) {
	t.Parallel()
	d, dave, own := everyWay(t)
	d.roomOf("!r:hs", dave)
	r := d.ready(d.start())
	for _, id := range []string{"$one", "$two"} {
		d.write(d.message("!r:hs", id))
		d.settled(r)
	}
	d.write(d.receipt("!r:hs", dave, "$one"))
	d.settled(r)
	d.write(d.receipt("!r:hs", dave, "$two"))
	d.settled(r)
	for _, device := range []string{"iphone", "phone", "tablet", "firefox"} {
		var told []string
		for _, id := range []string{"$one", "$two", ""} {
			for _, a := range d.requestsFor(device, id) {
				told = append(told, a.unread)
			}
		}
		if diff := gocmp.Diff([]string{"1", "2", "1", "0"}, told); diff != "" {
			t.Errorf("the badge of %s went (-want +got):\n%s", device, diff)
		}
	}
	for _, a := range d.requestsFor("phone", "") {
		if diff := gocmp.Diff(map[string]string{"unread": a.unread}, a.google.Message.Data); diff != "" {
			t.Errorf("counts alone to Google (-want +got):\n%s", diff)
		}
	}
	for _, a := range d.requestsFor("iphone", "") {
		if got, want := string(a.apple.Payload), fmt.Sprintf(`{"aps":{"badge":%s}}`, a.unread); got != want {
			t.Errorf("counts alone to Apple: %s, want %s", got, want)
		}
	}
	if got := d.requestsFor("ringer", ""); len(got) > 0 {
		t.Errorf("the pusher for calls was told counts: %v", got)
	}
	var pc []int
	for _, q := range own.Requests() {
		n, err := stack.DecodeNotification(q.Body)
		if err != nil || n.Counts == nil {
			t.Fatalf("%s: %v", q.Body, err)
		}
		pc = append(pc, n.Counts.Unread)
	}
	if !slices.Equal(pc, []int{1, 2, 1, 0}) {
		t.Errorf("the badge of the gateway went %v", pc)
	}
	r.stop()
}

// The gateway of an app is asked at the operator's URL alone, whatever URL its pushers have.
func TestFixedURLIsTheOnlyOne(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.cfg.Apps["desktop"] = &apps.Gateway{URL: "https://own.example:8448/any/path"}
	var addresses []string
	own := d.gatewayAt("own.example")
	d.pushThrough = func(ctx context.Context, kind, address string) (net.Conn, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		addresses = append(addresses, kind+" "+address)
		return own.Dial(ctx, kind, address)
	}
	dave := "@dave:" + server
	for _, url := range []string{"https://evil.example/_matrix/push/v1/notify", "http://10.0.0.1/", "nonsense"} {
		d.register(dave, "desktop", "pc "+url, 1, map[string]any{"url": url})
	}
	d.roomOf("!r:hs", dave)
	r := d.ready(d.start())
	d.write(d.message("!r:hs", "$one"))
	d.settled(r)
	d.toldIs(own, once([]string{"$one"}, "pc https://evil.example/_matrix/push/v1/notify", "pc http://10.0.0.1/", "pc nonsense"))
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range addresses {
		if a != "tls own.example:8448" {
			t.Errorf("%s was connected to", a)
		}
	}
	for _, q := range own.Requests() {
		if q.URL != "https://own.example:8448/any/path" {
			t.Errorf("asked for %s", q.URL)
		}
	}
	r.stop()
}

// deliveredAs is how many notifications the metrics count as delivered, with a label.
func (w *world) deliveredAs(r *running, label string) (n int) {
	w.Helper()
	for line := range strings.Lines(w.metrics(r, `outcome="delivered"`)) {
		if at := strings.LastIndexByte(line, ' '); strings.HasPrefix(line, "tocsin_push_settled_total{") && strings.Contains(line, label) {
			count, err := strconv.Atoi(strings.TrimSpace(line[at:]))
			if err != nil {
				w.Fatalf("%s: %v", line, err)
			}
			n += count
		}
	}
	return n
}
