package integration

// Push services that fail in every way there is: what becomes of each notification, how often it is sent, and which pushers go.

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/test/stack"
)

// illness is what a push service says to the first requests for a device, and what must become of the notification. Afterwards it is well.
type illness[A any] struct {
	name    string
	answers []A
	proven  bool  // the service has taken a notification for another device of the app before
	since   int64 // when the pusher was set, in seconds since 1970; 0: 1

	requests int    // for the notification, in all
	taken    int    // how often the device heard of it, if that is not once, or never where it is given up
	tiers    string // the retry topics that it waits in, one after another
	dead     string // why it is given up; "": it is not
	gone     string // why the pusher is removed; "": it stays
}

// ails gives each illness an app with a device, and holds what becomes of a message to each, and of the next one. register sets the pusher of one, and returns its pushkey.
func ails[A any](d *direct, says *turns[A], cases []illness[A], register func(i int, user, app, device string) (pushkey string)) *running {
	d.Helper()
	name := func(i int) string { return fmt.Sprint(i) }
	pushkeys := make([]string, len(cases))
	for i, c := range cases {
		pushkeys[i] = register(i, userOf(i), "app"+name(i), "device"+name(i))
		d.roomOf("!r"+name(i)+":hs", userOf(i))
		if c.proven {
			register(i, "@well"+name(i)+":"+server, "app"+name(i), "well"+name(i))
			d.roomOf("!well"+name(i)+":hs", "@well"+name(i)+":"+server)
		}
	}
	r := d.ready(d.start())
	for i, c := range cases {
		if c.proven {
			d.write(d.message("!well"+name(i)+":hs", "$well"+name(i)))
		}
	}
	d.settle(r)
	for i, c := range cases {
		says.add("device"+name(i), c.answers...)
		d.write(d.message("!r"+name(i)+":hs", "$m"+name(i)))
	}
	d.settle(r)
	for i := range cases {
		d.write(d.message("!r"+name(i)+":hs", "$after"+name(i)))
	}
	d.settle(r)

	tiers, dead, removed := d.tiersOf(), d.dead(), []string(nil)
	for i, c := range cases {
		device := "device" + name(i)
		if got := d.requestsFor(device, "$m"+name(i)); len(got) != c.requests {
			d.Errorf("%s: %d requests, want %d", c.name, len(got), c.requests)
		}
		taken, after := c.taken, 1
		if c.dead == "" && c.gone == "" && taken == 0 {
			taken = 1
		}
		if c.gone != "" {
			removed, after = append(removed, strings.Join([]string{c.gone, userOf(i), "app" + name(i), pushkeys[i]}, " ")), 0
		}
		if got := d.taken(device, "$m"+name(i)); got != taken {
			d.Errorf("%s: the device heard of it %d times, want %d", c.name, got, taken)
		}
		if got := d.taken(device, "$after"+name(i)); got != after || len(d.requestsFor(device, "$after"+name(i))) != after {
			d.Errorf("%s: the device heard %d times of the next one, want %d", c.name, got, after)
		}
		if got := strings.Join(tiers["$m"+name(i)], " "); got != c.tiers {
			d.Errorf("%s: it waited for %q, want %q", c.name, got, c.tiers)
		}
		if got := strings.Join(dead["$m"+name(i)], " "); got != c.dead {
			d.Errorf("%s: given up because of %q, want %q", c.name, got, c.dead)
		}
	}
	slices.Sort(removed)
	if diff := cmp.Diff(removed, d.feedback()); diff != "" {
		d.Errorf("the homeserver was told to remove (-want +got):\n%s", diff)
	}
	d.oneNamePerPush()
	return r
}

func appleIllnesses() []illness[stack.APNsAnswer] {
	says := func(status int, reason string) []stack.APNsAnswer {
		return []stack.APNsAnswer{{Status: status, Reason: reason}}
	}
	always := func(answers []stack.APNsAnswer, times int) (all []stack.APNsAnswer) {
		for range times {
			all = append(all, answers...)
		}
		return all
	}
	with := func(status int, reason, retryAfter string) []stack.APNsAnswer {
		return []stack.APNsAnswer{{Status: status, Reason: reason, Header: map[string]string{"retry-after": retryAfter}}}
	}
	since := func(status int, reason string, seconds int64) []stack.APNsAnswer {
		return []stack.APNsAnswer{{Status: status, Reason: reason, Timestamp: time.Unix(seconds, 0)}}
	}
	fault := func(f stack.APNsFault) []stack.APNsAnswer { return []stack.APNsAnswer{{Fault: f}} }
	return []illness[stack.APNsAnswer]{
		{name: "takes it", requests: 1},
		// Not now.
		{name: "503", answers: says(503, "ServiceUnavailable"), requests: 2, tiers: "5s"},
		{name: "503 twice", answers: always(says(503, "ServiceUnavailable"), 2), requests: 3, tiers: "5s 30s"},
		{name: "503 with seconds", answers: with(503, "ServiceUnavailable", "120"), requests: 2, tiers: "5m"},
		{name: "503 Shutdown", answers: says(503, "Shutdown"), requests: 2, tiers: "5s"},
		{name: "500", answers: says(500, "InternalServerError"), requests: 2, tiers: "5s"},
		{name: "502 of a proxy", answers: []stack.APNsAnswer{{Status: 502, Reason: "-", Body: "<html>"}}, requests: 2, tiers: "5s"},
		{name: "429 of the device", answers: says(429, "TooManyRequests"), requests: 2, tiers: "5s"},
		{name: "429 of the device with seconds", answers: with(429, "TooManyRequests", "20"), requests: 2, tiers: "30s"},
		{name: "429 of the provider token", answers: says(429, "TooManyProviderTokenUpdates"), requests: 2, tiers: "5m"},
		// The device token.
		{name: "400 BadDeviceToken, proven", answers: says(400, "BadDeviceToken"), proven: true, requests: 1, gone: "BadDeviceToken"},
		{name: "400 BadDeviceToken, not proven", answers: says(400, "BadDeviceToken"), requests: 2, tiers: "5m"},
		{name: "400 DeviceTokenNotForTopic, proven", answers: says(400, "DeviceTokenNotForTopic"), proven: true, requests: 1, gone: "DeviceTokenNotForTopic"},
		{name: "400 DeviceTokenNotForTopic, not proven", answers: says(400, "DeviceTokenNotForTopic"), requests: 2, tiers: "5m"},
		{name: "400 ExpiredToken", answers: says(400, "ExpiredToken"), requests: 1, gone: "ExpiredToken"},
		{name: "410 ExpiredToken", answers: says(410, "ExpiredToken"), requests: 1, gone: "ExpiredToken"},
		{name: "410 Unregistered", answers: says(410, "Unregistered"), requests: 1, gone: "Unregistered"},
		{name: "410 since the pusher was set", answers: since(410, "Unregistered", 1700000000), since: 1700000000, requests: 1, gone: "Unregistered"},
		{name: "410 from before the pusher was set", answers: since(410, "Unregistered", 1699999999), since: 1700000000, requests: 2, tiers: "5s"},
		{name: "410 from before, always", answers: always(since(410, "Unregistered", 1699999999), 4), since: 1700000000, requests: 4, tiers: "5s 30s 5m", dead: "exhausted"},
		// The operator's fault.
		{name: "400 TopicDisallowed", answers: says(400, "TopicDisallowed"), proven: true, requests: 2, tiers: "5m"},
		{name: "400 BadTopic", answers: says(400, "BadTopic"), proven: true, requests: 2, tiers: "5m"},
		{name: "403 InvalidProviderToken", answers: says(403, "InvalidProviderToken"), proven: true, requests: 2, tiers: "5m"},
		{name: "403 BadEnvironmentKeyInToken", answers: says(403, "BadEnvironmentKeyInToken"), requests: 2, tiers: "5m"},
		{name: "403 Forbidden", answers: says(403, "Forbidden"), proven: true, requests: 2, tiers: "5m"},
		{name: "403 ExpiredProviderToken of a new one", answers: says(403, "ExpiredProviderToken"), requests: 2, tiers: "5m"},
		{name: "403 not in Apple's words", answers: []stack.APNsAnswer{{Status: 403, Reason: "-", Body: "<html>"}}, proven: true, requests: 2, tiers: "5m"},
		{name: "410 not in Apple's words", answers: []stack.APNsAnswer{{Status: 410, Reason: "-", Body: "<html>"}}, proven: true, requests: 2, tiers: "5m"},
		{name: "GOAWAY with a reason", answers: []stack.APNsAnswer{{Fault: stack.APNsGoAway, Reason: "BadCertificateEnvironment"}}, requests: 2, tiers: "5m"},
		// This push never works.
		{name: "413", answers: says(413, "PayloadTooLarge"), requests: 2},
		{name: "413 always", answers: always(says(413, "PayloadTooLarge"), 2), requests: 2, dead: "refused"},
		{name: "400 BadCollapseId", answers: says(400, "BadCollapseId"), requests: 1, dead: "refused"},
		{name: "400 of a later day", answers: says(400, "TooPoetic"), requests: 1, dead: "refused"},
		{name: "404", answers: says(404, "BadPath"), requests: 1, dead: "refused"},
		{name: "405", answers: says(405, "MethodNotAllowed"), requests: 1, dead: "refused"},
		// The connection: it was not taken, and goes out at once on another one.
		{name: "400 IdleTimeout", answers: says(400, "IdleTimeout"), requests: 2},
		{name: "GOAWAY", answers: fault(stack.APNsGoAway), requests: 2},
		{name: "stream refused", answers: fault(stack.APNsRefuseStream), requests: 2},
		// It may have been taken: it comes again, under the same name.
		{name: "GOAWAY in place of an answer", answers: fault(stack.APNsGoAwayTaken), requests: 2, taken: 2, tiers: "5s"},
		{name: "stream reset", answers: fault(stack.APNsReset), requests: 2, taken: 2, tiers: "5s"},
		{name: "connection cut", answers: fault(stack.APNsCut), requests: 2, taken: 2, tiers: "5s"},
		{name: "silence", answers: fault(stack.APNsSilence), requests: 2, taken: 2, tiers: "5s"},
		{name: "deaf", answers: fault(stack.APNsDeaf), proven: true, requests: 2, taken: 2, tiers: "5s"},
	}
}

func TestSickApple(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	cases := appleIllnesses()
	for i, c := range cases {
		// Each has a team of its own, which Apple would leave alone.
		d.appleApp(fmt.Sprintf("app%d", i), fmt.Sprintf("TEAM%06d", i), func(cfg *apns.Config) {
			if c.name == "silence" || c.name == "deaf" {
				cfg.Timeout = 5 * time.Second
			}
		})
	}
	ails(d, &d.appleSays, cases, func(i int, user, app, device string) string {
		data := elements
		if strings.HasPrefix(cases[i].name, "413") { // it has something that it can do without
			data = map[string]any{"format": "event_id_only", "default_payload": map[string]any{"poem": strings.Repeat("o", 1000)}}
		}
		return d.iPhoneOf(user, app, device, max(cases[i].since, 1), data)
	}).stop()
}

func googleIllnesses() []illness[stack.FCMAnswer] {
	says := func(status int, code string, details ...string) []stack.FCMAnswer {
		return []stack.FCMAnswer{{Status: status, ErrorCode: code, Details: details}}
	}
	always := func(answers []stack.FCMAnswer, times int) (all []stack.FCMAnswer) {
		for range times {
			all = append(all, answers...)
		}
		return all
	}
	words := func(message string) []stack.FCMAnswer {
		return []stack.FCMAnswer{{Status: 400, ErrorCode: "INVALID_ARGUMENT", Message: message}}
	}
	const badToken = `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"message.token","description":"Invalid registration token"}]}`
	const deviceQuota = `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"subject":"device:x","description":"Device message rate exceeded."}]}`
	return []illness[stack.FCMAnswer]{
		{name: "takes it", requests: 1},
		// Not now.
		{name: "503", answers: says(503, "UNAVAILABLE"), requests: 2, tiers: "30s"},
		{name: "503 of a proxy", answers: []stack.FCMAnswer{{Status: 503, Body: "<html>"}}, requests: 2, tiers: "30s"},
		{name: "500", answers: says(500, "INTERNAL"), requests: 2, tiers: "30s"},
		{name: "500 for an hour", answers: always(says(500, "INTERNAL"), 5), requests: 5, tiers: "30s 30s 5m 1h", dead: "exhausted"},
		{name: "429 of the device", answers: says(429, "QUOTA_EXCEEDED", deviceQuota), requests: 2, tiers: "5m"},
		// The device's token.
		{name: "404 UNREGISTERED", answers: says(404, "UNREGISTERED"), requests: 1, gone: "unregistered"},
		{name: "400 bad token, proven", answers: says(400, "INVALID_ARGUMENT", badToken), proven: true, requests: 1, gone: "bad_token"},
		{name: "400 bad token, not proven", answers: says(400, "INVALID_ARGUMENT", badToken), requests: 2, tiers: "5m"},
		{name: "403 SENDER_ID_MISMATCH, proven", answers: says(403, "SENDER_ID_MISMATCH"), proven: true, requests: 1, gone: "sender_id_mismatch"},
		{name: "403 SENDER_ID_MISMATCH, not proven", answers: says(403, "SENDER_ID_MISMATCH"), requests: 2, tiers: "5m"},
		// The operator's fault.
		{name: "404 of nobody", answers: says(404, ""), proven: true, requests: 2, tiers: "5s"},
		{name: "404 of a proxy", answers: []stack.FCMAnswer{{Status: 404, Body: "<html>"}}, proven: true, requests: 2, tiers: "5s"},
		{name: "403 of nobody", answers: says(403, ""), proven: true, requests: 2, tiers: "5s"},
		{name: "401 THIRD_PARTY_AUTH_ERROR", answers: says(401, "THIRD_PARTY_AUTH_ERROR"), proven: true, requests: 2, tiers: "5s"},
		{name: "401", answers: says(401, ""), requests: 2}, // by another access token
		{name: "401 twice", answers: always(says(401, ""), 2), requests: 3, tiers: "5s"},
		// This message never works.
		{name: "400 too big", answers: words("Android message is too big"), requests: 2},
		{name: "400 too big, always", answers: always(words("Android message is too big"), 2), requests: 2, dead: "refused"},
		{name: "400", answers: words("Invalid data payload key: from"), requests: 1, dead: "refused"},
		{name: "400 of a proxy, always", answers: always([]stack.FCMAnswer{{Status: 400, Body: "<html>"}}, 3), requests: 3, tiers: "5s 30s", dead: "refused"},
		// The connection.
		{name: "takes it, and no more on this connection", answers: []stack.FCMAnswer{{GoAway: true}}, requests: 1},
		{name: "an answer of nobody", answers: []stack.FCMAnswer{{Body: "<p>fine</p>"}}, requests: 1},
		{name: "stream reset", answers: []stack.FCMAnswer{{LoseStream: true}}, requests: 2, taken: 2, tiers: "5s"},
		{name: "connection reset", answers: []stack.FCMAnswer{{Fault: stack.Reset}}, requests: 2, taken: 2, tiers: "5s"},
		{name: "connection closed", answers: []stack.FCMAnswer{{Fault: stack.CloseUnanswered}}, requests: 2, taken: 2, tiers: "5s"},
		{name: "silence", answers: []stack.FCMAnswer{{Fault: stack.Hang}}, requests: 2, taken: 2, tiers: "5s"},
	}
}

func TestSickGoogle(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	cases := googleIllnesses()
	for i, c := range cases {
		d.googleApp(fmt.Sprintf("app%d", i), func(cfg *fcm.Config) {
			cfg.Content = true // so that there is something to leave out
			if c.name == "silence" {
				cfg.Timeout = 5 * time.Second
			}
		})
	}
	ails(d, &d.googleSays, cases, func(_ int, user, app, device string) string { return d.android(user, app, device) }).stop()
}

func browserIllnesses() []illness[stack.WebPushAnswer] {
	says := func(status int, body ...string) []stack.WebPushAnswer {
		return []stack.WebPushAnswer{{Status: status, Body: strings.Join(body, "")}}
	}
	always := func(answers []stack.WebPushAnswer, times int) (all []stack.WebPushAnswer) {
		for range times {
			all = append(all, answers...)
		}
		return all
	}
	with := func(status int, name, value string) []stack.WebPushAnswer {
		return []stack.WebPushAnswer{{Status: status, Header: map[string]string{name: value}}}
	}
	fault := func(f stack.Fault) []stack.WebPushAnswer { return []stack.WebPushAnswer{{Fault: f}} }
	return []illness[stack.WebPushAnswer]{
		{name: "takes it", requests: 1},
		{name: "keeps it for a shorter time", answers: with(201, "TTL", "0"), requests: 1},
		// Not now.
		{name: "503", answers: says(503), requests: 2, tiers: "5s"},
		{name: "503 with seconds", answers: with(503, "Retry-After", "120"), requests: 2, tiers: "5m"},
		{name: "500 four times", answers: always(says(500), 4), requests: 5, tiers: "5s 30s 5m 1h"},
		{name: "429", answers: says(429), requests: 2, tiers: "5s"},
		{name: "429 with seconds", answers: with(429, "Retry-After", "20"), requests: 2, tiers: "30s"},
		{name: "406", answers: says(406), requests: 2, tiers: "5s"},
		// The subscription.
		{name: "404", answers: says(404), requests: 1, gone: "http_404"},
		{name: "410", answers: says(410), requests: 1, gone: "http_410"},
		{name: "400 of an expired subscription", answers: says(400, `{"code":400,"errno":105,"error":"Bad Request"}`), requests: 1, gone: "invalid_subscription"},
		{name: "403, which others get not", answers: says(403), proven: true, requests: 1, gone: "vapid_other_key"},
		{name: "401, which others get not", answers: says(401), proven: true, requests: 1, gone: "vapid_other_key"},
		// The operator's fault.
		{name: "403", answers: says(403), requests: 2, tiers: "5s"},
		{name: "401 twice", answers: always(says(401), 2), requests: 3, tiers: "5s 30s"},
		{name: "400 BadJwtToken", answers: says(400, `{"reason":"BadJwtToken"}`), requests: 2, tiers: "5s"},
		{name: "301", answers: with(301, "Location", "https://trap.example/push/x"), requests: 2, tiers: "1h"},
		// This message never works.
		{name: "400", answers: says(400), requests: 1, dead: "refused"},
		{name: "413", answers: says(413), requests: 2},
		{name: "413 always", answers: always(says(413), 2), requests: 2, dead: "refused"},
		// It may have been taken.
		{name: "resets", answers: fault(stack.Reset), requests: 2, taken: 2, tiers: "5s"},
		{name: "closes", answers: fault(stack.CloseUnanswered), requests: 2, taken: 2, tiers: "5s"},
		{name: "resets in the header", answers: fault(stack.ResetInHeader), requests: 2, taken: 2, tiers: "5s"},
		{name: "silence", answers: fault(stack.Hang), requests: 2, taken: 2, tiers: "5s"},
		{name: "takes it, and resets in the body", answers: fault(stack.ResetInBody), requests: 1},
	}
}

func TestSickBrowserServices(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	d.cfg.Delivery.Timeout = 5 * time.Second
	cases := browserIllnesses()
	for i := range cases {
		d.browserApp(fmt.Sprintf("app%d", i))
	}
	ails(d, &d.browsersSay, cases, func(_ int, user, app, device string) string { return d.browser(user, app, device) }).stop()
}

// What Apple has refused, or has had trouble with for too long, comes by a replay of the dead letters, under the name that it had.
func TestDeadLettersAreToldByReplay(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	for _, kind := range kinds {
		d.app(kind, kind)
		d.deviceOf(kind, "@dave:"+server, kind, kind)
	}
	d.roomOf("!r:hs", "@dave:"+server)
	d.appleSays.add("apns", stack.APNsAnswer{Status: 400, Reason: "BadPriority"})
	d.googleSays.add("fcm", stack.FCMAnswer{Status: 400, ErrorCode: "INVALID_ARGUMENT", Message: "Invalid data payload key: from"})
	d.browsersSay.add("webpush", stack.WebPushAnswer{Status: 400})
	r := d.ready(d.start())
	d.write(d.message("!r:hs", "$one"))
	d.settle(r)
	d.directlyIs("before the replay", map[string]int{})
	for range 2 { // what was delivered by the first is not sent again by the second
		d.says([]string{"dead-letter", "replay", "--reason", "refused"}, "replayed 3: 3 deliveries")
		d.settle(r)
		d.directlyIs("after a replay", once([]string{"$one"}, kinds...))
	}
	for _, kind := range kinds {
		if got := d.requestsFor(kind, "$one"); len(got) != 2 {
			t.Errorf("%d requests to %s, want 2", len(got), kind)
		}
	}
	d.oneNamePerPush()
	r.stop()
}
