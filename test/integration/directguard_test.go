package integration

// Very many refusals at once: a wave is no reason to remove everybody, and the operator's own faults none to remove anybody.

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tocsin/pushers/apps"
)

const phones = 30

// crowdOf is a world with an app of a kind that so many users have a device of, all of them in one room.
func crowdOf(t *testing.T, kind string) (d *direct, keys []string) {
	t.Helper()
	d = newDirect(t)
	d.timeless()
	d.cfg.Delivery.Breaker.Open = 200 * time.Millisecond
	d.app(kind, "app")
	var users []string
	for i := range phones {
		users = append(users, userOf(i))
		keys = append(keys, d.deviceOf(kind, userOf(i), "app", fmt.Sprintf("device%d", i)))
	}
	d.roomOf("!r:hs", users...)
	return d, keys
}

// Everybody's device is called dead. What the guard let through is removed, the rest is held until the operator says that all is well.
func TestWaveOfDeadDevices(t *testing.T) {
	t.Parallel()
	for kind, words := range map[string]struct {
		status         int
		reason, reject string
	}{
		apps.TypeAPNs: {410, "Unregistered", "Unregistered"}, apps.TypeFCM: {404, "UNREGISTERED", "unregistered"}, apps.TypeWebPush: {410, "", "http_410"},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			d, keys := crowdOf(t, kind)
			d.cfg.Admin.Listen = "127.0.0.1:0"
			d.refuses(kind, words.status, words.reason)
			r := d.ready(d.start())
			d.write(d.message("!r:hs", "$wave"))
			d.settle(r)
			told := d.feedback()
			if len(told) != 9 {
				t.Errorf("the homeserver was told to remove %d pushers before the guard tripped, want 9: %v", len(told), told)
			}
			removed := map[string]bool{}
			for _, f := range told {
				removed[f[strings.LastIndexByte(f, ' ')+1:]] = true
				if !strings.HasPrefix(f, words.reject+" @u") || !strings.Contains(f, " app ") {
					t.Errorf("the homeserver was told %q", f)
				}
			}
			if n := d.logged("push settled", "$wave", "reason=held"); n != phones-9 {
				t.Errorf("%d notifications were dropped because their pushers are held, want %d", n, phones-9)
			}
			if m := d.metrics(r, "tocsin_guard_tripped"); m != "tocsin_guard_tripped 1\n" {
				t.Errorf("the alarm: %q", m)
			}

			d.refuses(kind, 0, "")
			d.write(d.message("!r:hs", "$meanwhile"))
			d.settle(r)
			d.directlyIs("while they are held", map[string]int{})
			d.says([]string{"pushers", "guard", "reset", "app"}, "is reset")
			d.hears("the rejection guard of an app was reset")
			d.write(d.message("!r:hs", "$reset"))
			d.settle(r)
			want := map[string]int{}
			for i, key := range keys {
				if !removed[key] {
					want[fmt.Sprintf("$reset device%d", i)] = 1
				}
			}
			if len(want) != phones-9 {
				t.Errorf("%d pushers are left", len(want))
			}
			d.directlyIs("after the reset", want)
			r.stop()
		})
	}
}

// The operator's fault looks the same to all devices. It costs nobody a pusher, trips no guard, and everything comes when it is mended.
func TestOperatorsFaultsRemoveNobody(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		kind   string
		status int
		reason string
	}{
		{apps.TypeAPNs, 403, "InvalidProviderToken"},
		{apps.TypeAPNs, 400, "TopicDisallowed"},
		{apps.TypeAPNs, 400, "BadDeviceToken"}, // the wrong environment, from the start
		{apps.TypeAPNs, 400, "DeviceTokenNotForTopic"},
		{apps.TypeFCM, 403, ""},
		{apps.TypeFCM, 404, ""},
		{apps.TypeFCM, 401, "THIRD_PARTY_AUTH_ERROR"},
		{apps.TypeFCM, 403, "SENDER_ID_MISMATCH"}, // the wrong service account, from the start
		{apps.TypeWebPush, 403, ""},
		{apps.TypeWebPush, 301, ""},
	} {
		t.Run(fmt.Sprintf("%s %d %s", fault.kind, fault.status, fault.reason), func(t *testing.T) {
			t.Parallel()
			d, _ := crowdOf(t, fault.kind)
			d.refuses(fault.kind, fault.status, fault.reason)
			r := d.ready(d.start())
			d.write(d.message("!r:hs", "$one"))
			d.atRest(r)
			d.directlyIs("before it is mended", map[string]int{})
			d.refuses(fault.kind, 0, "")
			d.settle(r)
			var devices []string
			for i := range phones {
				devices = append(devices, fmt.Sprintf("device%d", i))
			}
			d.directlyIs("when it is mended", once([]string{"$one"}, devices...))
			if told, dead := d.feedback(), d.dead(); len(told) > 0 || len(dead) > 0 || d.logged("guard", "tripped") > 0 {
				t.Errorf("feedback %v, dead letters %v", told, dead)
			}
			r.stop()
		})
	}
}
