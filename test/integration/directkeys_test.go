package integration

// Credentials that are replaced while a worker runs: the new ones are used without a restart, and what can't be used changes nothing.

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"testing"
	"time"

	"tocsin/pushers/apns"
)

// hearsAtOnce writes a message, and waits until the device has heard of it, in one request.
func (d *direct) hearsAtOnce(r *running, device, id string) asked {
	d.Helper()
	d.write(d.message("!r:hs", id))
	d.settled(r)
	return only(d, "requests for "+id, d.requestsFor(device, id))
}

// spoils puts what is no credential in place of one, and waits until the worker has seen it.
func (d *direct) spoils(file string) {
	d.Helper()
	before := d.logged("new credentials can't be used: the old ones stay in use")
	d.file(file, []byte("not yet written\n"))
	d.until("the worker has seen what can't be used", 60*time.Second, func() bool { return d.logged("new credentials can't be used: the old ones stay in use") > before })
}

func TestNewAppleKey(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.appleApp("ios", "TEAM012345")
	d.iPhone("@dave:"+server, "ios", "iphone", 1)
	d.roomOf("!r:hs", "@dave:"+server)
	r := d.ready(d.start())
	d.hearsAtOnce(r, "iphone", "$old")
	d.spoils("AuthKey_TEAM012345.p8")
	d.hearsAtOnce(r, "iphone", "$spoiled")
	d.appleKey("TEAM012345") // Apple does not know the one before any more
	d.hears("new credentials for APNs are in use", "app=ios")
	d.hearsAtOnce(r, "iphone", "$new")
	d.directlyIs("in the end", once([]string{"$old", "$spoiled", "$new"}, "iphone"))
	r.stop()
}

// The app begins with the certificate of another one, and is told nothing until the right one is there.
func TestNewAppleCertificate(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.timeless()
	certificate := func(bundle string, until time.Time) {
		c, key, err := d.apple.NewCertificate(bundle, until)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		d.file("apple-client.pem", append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...))
	}
	certificate("another", time.Now().AddDate(1, 0, 0))
	d.appleApp("ios", "TEAM012345", func(c *apns.Config) {
		c.KeyFile, c.KeyID, c.TeamID = "", "", ""
		c.CertFile = d.folder + "/apple-client.pem"
	})
	d.iPhone("@dave:"+server, "ios", "iphone", 1)
	d.roomOf("!r:hs", "@dave:"+server)
	r := d.ready(d.start())
	d.write(d.message("!r:hs", "$wrong"))
	d.until("it waits", 60*time.Second, func() bool { return d.logged("push settled", "$wrong", "action=retry", "TopicDisallowed") == 1 })
	certificate("ios", time.Now().AddDate(1, 0, 0))
	d.hears("new credentials for APNs are in use", "app=ios")
	d.settle(r)
	d.spoils("apple-client.pem")
	d.hearsAtOnce(r, "iphone", "$spoiled")
	d.directlyIs("in the end", once([]string{"$wrong", "$spoiled"}, "iphone"))
	for _, id := range []string{"$wrong", "$spoiled"} {
		all := d.requestsFor("iphone", id)
		if got := all[len(all)-1].apple; got.Certificate != "ios" || got.TeamID != "" {
			t.Errorf("%s was sent by %q of team %q", id, got.Certificate, got.TeamID)
		}
	}
	if told := d.feedback(); len(told) > 0 {
		t.Errorf("the homeserver was told %v", told)
	}
	r.stop()
}

func TestNewServiceAccount(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.googleApp("android")
	d.android("@dave:"+server, "android", "phone")
	d.roomOf("!r:hs", "@dave:"+server)
	r := d.ready(d.start())
	d.hearsAtOnce(r, "phone", "$old")
	d.spoils("firebase.json")
	d.hearsAtOnce(r, "phone", "$spoiled")
	key, err := d.google.RotateKey()
	if err != nil {
		t.Fatal(err)
	}
	d.google.Revoke()
	d.file("firebase.json", key)
	d.hears("the key file of a service account has changed: the new key is in use", "app=android")
	d.hearsAtOnce(r, "phone", "$new")
	if got := d.google.TokenRequests(); got != 2 {
		t.Errorf("%d access tokens were asked for, want one with each key", got)
	}
	r.stop()
}

// An access token that is taken away in the midst of everything is replaced once, for all apps that wait for it in one sender, and nobody notices.
func TestAccessTokenIsTakenAway(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.googleApp("android")
	var users, devices []string
	for i := range 20 {
		devices = append(devices, fmt.Sprintf("phone%d", i))
		users = append(users, userOf(i))
		d.android(users[i], "android", devices[i])
	}
	d.roomOf("!r:hs", users...)
	r := d.ready(d.start())
	d.write(d.message("!r:hs", "$one"))
	d.settled(r)
	d.google.Revoke()
	d.write(d.message("!r:hs", "$two"))
	d.settled(r)
	d.directlyIs("in the end", once([]string{"$one", "$two"}, devices...))
	if got := d.google.TokenRequests(); got != 2 {
		t.Errorf("%d access tokens were asked for, want 2", got)
	}
	if n := d.logged("push settled", "action=retry"); n > 0 {
		t.Errorf("%d notifications had to wait", n)
	}
	r.stop()
}

func TestNewVAPIDKey(t *testing.T) {
	t.Parallel()
	d := newDirect(t)
	d.browserApp("web")
	d.browser("@dave:"+server, "web", "firefox")
	d.roomOf("!r:hs", "@dave:"+server)
	r := d.ready(d.start())
	old := d.hearsAtOnce(r, "firefox", "$old").browser.Key
	d.spoils("web.vapid")
	if got := d.hearsAtOnce(r, "firefox", "$spoiled").browser.Key; got != old {
		t.Errorf("with a file that can't be read the key is %s, want %s", got, old)
	}
	_, public := d.vapidKey("web")
	d.hears("the VAPID key has changed", "app=web")
	if got := d.hearsAtOnce(r, "firefox", "$new").browser.Key; got != public || got == old {
		t.Errorf("the key is %s, want %s", got, public)
	}
	r.stop()
}
