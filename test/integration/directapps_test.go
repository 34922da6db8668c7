package integration

// Apps that are told directly, and devices that have them.

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/fcm"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// file writes a file in the way of a careful operator: whole, then renamed.
func (d *direct) file(name string, content []byte) string {
	d.Helper()
	path := filepath.Join(d.folder, name)
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		d.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		d.Fatal(err)
	}
	return path
}

// keyID names the one key of each team.
const keyID = "KEY0123456"

// appleKey gives a team a key, in place of the one that it has, and returns its file.
func (d *direct) appleKey(team string) string {
	d.Helper()
	key, err := d.apple.NewKey(team, keyID)
	if err != nil {
		d.Fatal(err)
	}
	return d.file("AuthKey_"+team+".p8", key)
}

// appleApp configures an app at Apple, with the key of a team.
func (d *direct) appleApp(name, team string, changes ...func(*apns.Config)) {
	d.Helper()
	cfg := apns.Defaults()
	cfg.BaseURL, cfg.CAFile, cfg.Timeout = d.apple.URL(), d.file("apple.pem", d.apple.Authority()), patient
	cfg.KeyFile, cfg.KeyID, cfg.TeamID, cfg.Topic = filepath.Join(d.folder, "AuthKey_"+team+".p8"), keyID, team, name
	if _, err := os.Stat(cfg.KeyFile); err != nil {
		d.appleKey(team)
	}
	for _, change := range changes {
		change(&cfg)
	}
	d.cfg.Apps[name] = &cfg
}

// googleApp configures an app at Google, in its only project.
func (d *direct) googleApp(name string, changes ...func(*fcm.Config)) {
	d.Helper()
	d.googleAppAt(d.google, name, changes...)
}

func (d *direct) googleAppAt(google *stack.FCM, name string, changes ...func(*fcm.Config)) {
	d.Helper()
	cfg := fcm.Defaults()
	cfg.BaseURL, cfg.CAFile, cfg.Timeout = google.URL(), d.file("google.pem", authority(google.Authority())), patient
	cfg.ServiceAccountFile = d.file("firebase.json", google.ServiceAccount())
	for _, change := range changes {
		change(&cfg)
	}
	d.cfg.Apps[name] = &cfg
}

func authority(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// vapidKey gives an app of browsers a key, in place of the one that it has. It returns the file and the public key.
func (d *direct) vapidKey(name string) (file, public string) {
	d.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		d.Fatal(err)
	}
	return d.file(name+".vapid", []byte(base64.RawURLEncoding.EncodeToString(key.Bytes()))), base64.RawURLEncoding.EncodeToString(key.PublicKey().Bytes())
}

// browserApp configures an app that runs in browsers.
func (d *direct) browserApp(name string, changes ...func(*webpush.Config)) {
	d.Helper()
	cfg := webpush.Defaults()
	cfg.Contact = "push@example.org"
	cfg.VAPIDKeyFile, _ = d.vapidKey(name)
	for _, change := range changes {
		change(&cfg)
	}
	d.cfg.Apps[name] = &cfg
}

// register sets a pusher. Its URL leads to a gateway that hears of it only if its app is not told directly.
func (d *direct) register(user, appID, pushkey string, since int64, data map[string]any) {
	d.Helper()
	all := map[string]any{"url": "https://push.example/_matrix/push/v1/notify"}
	maps.Copy(all, data)
	d.account(user, "pusher", "|"+appID+"|"+strings.NewReplacer("%", "%25", "|", "%7C").Replace(pushkey), map[string]any{
		"kind": "http", "app_id": appID, "pushkey": pushkey, "pushkey_ts": since, "data": all,
	})
}

// elements is what Element's app for iOS wants to be told each time.
var elements = map[string]any{"format": "event_id_only", "default_payload": map[string]any{
	"pusher_notification_client_identifier": "ad0b", "aps": map[string]any{"mutable-content": 1, "alert": map[string]any{"loc-key": "Notification", "loc-args": []any{}}},
}}

// iPhone registers a device at Apple. Its pushkey is returned.
func (d *direct) iPhone(user, appID, name string, since int64) string {
	d.Helper()
	return d.iPhoneOf(user, appID, name, since, elements)
}

func (d *direct) iPhoneOf(user, appID, name string, since int64, data map[string]any) string {
	d.Helper()
	token := sha256.Sum256([]byte(name))
	d.mu.Lock()
	d.names[hex.EncodeToString(token[:])] = name
	d.mu.Unlock()
	pushkey := base64.StdEncoding.EncodeToString(token[:])
	d.register(user, appID, pushkey, since, data)
	return pushkey
}

// android registers a device at Google.
func (d *direct) android(user, appID, name string) string {
	d.Helper()
	d.register(user, appID, name, 1, nil)
	return name
}

// browser registers a browser.
func (d *direct) browser(user, appID, name string) string {
	d.Helper()
	s := stack.SubscribeWebPush("updates.push.services.mozilla.com", name)
	d.register(user, appID, s.P256dh, 1, map[string]any{"endpoint": s.Endpoint, "auth": s.Auth})
	return s.P256dh
}

func browserOf(m stack.WebPushMessage) string {
	return m.Endpoint[strings.LastIndexByte(m.Endpoint, '/')+1:]
}

func (d *direct) nameOf(token string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[token]
}

// kinds are the push services that apps are told by directly.
var kinds = []string{apps.TypeAPNs, apps.TypeFCM, apps.TypeWebPush}

// app configures an app of a kind.
func (d *direct) app(kind, name string) {
	d.Helper()
	switch kind {
	case apps.TypeAPNs:
		d.appleApp(name, "TEAM012345")
	case apps.TypeFCM:
		d.googleApp(name)
	case apps.TypeWebPush:
		d.browserApp(name)
	}
}

// deviceOf registers a device of an app of a kind. Its pushkey is returned.
func (d *direct) deviceOf(kind, user, appID, name string) (pushkey string) {
	d.Helper()
	switch kind {
	case apps.TypeAPNs:
		return d.iPhone(user, appID, name, 1)
	case apps.TypeFCM:
		return d.android(user, appID, name)
	}
	return d.browser(user, appID, name)
}

// refuses makes all services of a kind answer so from now on, in the words of that kind; status 0: they take everything.
func (d *direct) refuses(kind string, status int, reason string) {
	d.Helper()
	switch kind {
	case apps.TypeAPNs:
		d.appleSays.always(stack.APNsAnswer{Status: status, Reason: reason})
	case apps.TypeFCM:
		d.googleSays.always(stack.FCMAnswer{Status: status, ErrorCode: reason})
	case apps.TypeWebPush:
		d.browsersSay.always(stack.WebPushAnswer{Status: status})
	}
}
