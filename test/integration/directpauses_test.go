package integration

// Who waits when a push service wants to be left alone, and who goes on.

import (
	"slices"
	"testing"
	"time"

	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/test/stack"
)

// pauses sends one message to the first of these devices, which its service answers as it was told to, and then one to all. It holds that those that wait are not asked for while the others are
// told, and that everybody has heard everything once in the end. Each device has a user of its own.
func (d *direct) pauses(waiting, going []string, user func(device string) string) {
	d.Helper()
	first, all := waiting[0], slices.Concat(waiting, going)
	d.roomOf("!first:hs", user(first))
	var users []string
	for _, device := range all {
		users = append(users, user(device))
	}
	d.roomOf("!all:hs", users...)
	r := d.ready(d.start())
	d.write(d.message("!first:hs", "$one"))
	d.until("it waits", 60*time.Second, func() bool { return d.logged("push settled", "$one", "action=retry") == 1 })
	d.write(d.message("!all:hs", "$two"))
	d.atRest(r)
	d.directlyIs("while they wait", once([]string{"$two"}, going...))
	for _, device := range waiting {
		if got := d.requestsFor(device, "$two"); len(got) > 0 {
			d.Errorf("%s: %d requests although its service is left alone", device, len(got))
		}
	}
	if n := d.logged("push settled", "$two", "action=retry", "detail=service_paused"); n != len(waiting) {
		d.Errorf("%d notifications wait, want %d", n, len(waiting))
	}
	d.settle(r)
	want := once([]string{"$two"}, all...)
	want["$one "+first] = 1
	d.directlyIs("afterwards", want)
	if got := d.requestsFor(first, "$one"); len(got) != 2 {
		d.Errorf("%d requests for the first message, want 2", len(got))
	}
	if n := d.logged("a push service asks to be left alone"); n != 1 {
		d.Errorf("the log says %d times that a push service is left alone", n)
	}
	if dead, told := d.dead(), d.feedback(); len(dead) > 0 || len(told) > 0 {
		d.Errorf("dead letters %v, feedback %v", dead, told)
	}
	r.stop()
}

func ofDevice(device string) string { return "@of-" + device + ":" + server }

// A provider token that was renewed too soon concerns the team's apps, and nobody else.
func TestTeamIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	d.appleApp("one", "TEAM000001")
	d.appleApp("two", "TEAM000001")
	d.appleApp("other", "TEAM000002")
	for device, app := range map[string]string{"one": "one", "again": "one", "two": "two", "other": "other"} {
		d.iPhone(ofDevice(device), app, device, 1)
	}
	d.googleApp("android")
	d.android(ofDevice("phone"), "android", "phone")
	d.appleSays.add("one", stack.APNsAnswer{Status: 429, Reason: "TooManyProviderTokenUpdates"})
	d.pauses([]string{"one", "again", "two"}, []string{"other", "phone"}, ofDevice)
}

// Apple's trouble for so many seconds concerns the team's apps at that host, and not those at another: the sandbox, or a relay.
func TestHostIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	sandbox := newDoor(t, d.apple.URL()[len("https://"):])
	sandbox.open()
	d.appleApp("beta", "TEAM000001", func(c *apns.Config) { c.BaseURL = "https://" + sandbox.Address })
	d.appleApp("one", "TEAM000001")
	d.appleApp("two", "TEAM000001")
	for device, app := range map[string]string{"beta": "beta", "one": "one", "two": "two"} {
		d.iPhone(ofDevice(device), app, device, 1)
	}
	d.appleSays.add("one", stack.APNsAnswer{Status: 503, Reason: "ServiceUnavailable", Header: map[string]string{"retry-after": "20"}})
	d.pauses([]string{"one", "two"}, []string{"beta"}, ofDevice)
}

// The quota of a project, or its trouble for so many seconds, concerns the project's apps, and nobody else.
func TestProjectIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]stack.FCMAnswer{
		"quota":                      {Status: 429, ErrorCode: "QUOTA_EXCEEDED"},
		"quota with seconds":         {Status: 429, ErrorCode: "QUOTA_EXCEEDED", Header: map[string]string{"Retry-After": "20"}},
		"429 of nobody":              {Status: 429},
		"not available with seconds": {Status: 503, ErrorCode: "UNAVAILABLE", Header: map[string]string{"Retry-After": "20"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDirect(t)
			d.timeless()
			d.googleApp("one")
			d.googleApp("two")
			other := stack.FCMServer(t, stack.FCMOptions{Project: "other", Observe: d.seeGoogle})
			d.googleAppAt(other, "other", func(c *fcm.Config) {
				c.CAFile = d.file("other.pem", authority(other.Authority()))
				c.ServiceAccountFile = d.file("other.json", other.ServiceAccount())
			})
			d.file("google.pem", authority(d.google.Authority()))
			d.file("firebase.json", d.google.ServiceAccount())
			for device, app := range map[string]string{"one": "one", "again": "one", "two": "two", "other": "other"} {
				d.android(ofDevice(device), app, device)
			}
			d.appleApp("ios", "TEAM000001")
			d.iPhone(ofDevice("iphone"), "ios", "iphone", 1)
			d.googleSays.add("one", answer)
			d.pauses([]string{"one", "again", "two"}, []string{"other", "iphone"}, ofDevice)
		})
	}
}

// A browser's push service that is in trouble for so many seconds is left alone by the app that it said so to.
func TestBrowserServiceIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	d.browserApp("web")
	d.browserApp("other")
	for device, app := range map[string]string{"one": "web", "again": "web", "other": "other"} {
		d.browser(ofDevice(device), app, device)
	}
	google := stack.SubscribeWebPush("fcm.googleapis.com", "chrome")
	d.register(ofDevice("chrome"), "web", google.P256dh, 1, map[string]any{"endpoint": google.Endpoint, "auth": google.Auth})
	d.browsersSay.add("one", stack.WebPushAnswer{Status: 503, Header: map[string]string{"Retry-After": "20"}})
	d.pauses([]string{"one", "again"}, []string{"other", "chrome"}, ofDevice)
}

// What is about one device concerns no other.
func TestDeviceIsLeftAlone(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	for _, kind := range kinds {
		d.app(kind, kind)
		for _, device := range []string{"busy-" + kind, "idle-" + kind} {
			d.deviceOf(kind, ofDevice(device), kind, device)
		}
	}
	d.appleSays.add("busy-apns", stack.APNsAnswer{Status: 429, Reason: "TooManyRequests", Header: map[string]string{"retry-after": "600"}})
	d.googleSays.add("busy-fcm", stack.FCMAnswer{Status: 429, ErrorCode: "QUOTA_EXCEEDED", Header: map[string]string{"Retry-After": "600"}, Details: []string{
		`{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"subject":"device:x","description":"Device message rate exceeded."}]}`,
	}})
	d.browsersSay.add("busy-webpush", stack.WebPushAnswer{Status: 429, Header: map[string]string{"Retry-After": "600"}})
	var busy, idle, users []string
	for _, kind := range kinds {
		busy, idle = append(busy, "busy-"+kind), append(idle, "idle-"+kind)
		users = append(users, ofDevice("busy-"+kind))
	}
	d.roomOf("!busy:hs", users...)
	for _, device := range idle {
		users = append(users, ofDevice(device))
	}
	d.roomOf("!all:hs", users...)
	r := d.ready(d.start())
	d.write(d.message("!busy:hs", "$one"))
	d.until("they wait", 60*time.Second, func() bool { return d.logged("push settled", "$one", "action=retry") == len(kinds) })
	d.write(d.message("!all:hs", "$two"))
	d.atRest(r)
	d.directlyIs("while three devices wait", once([]string{"$two"}, slices.Concat(busy, idle)...))
	d.settle(r)
	want := once([]string{"$two"}, slices.Concat(busy, idle)...)
	for _, device := range busy {
		want["$one "+device] = 1
	}
	d.directlyIs("afterwards", want)
	r.stop()
}
