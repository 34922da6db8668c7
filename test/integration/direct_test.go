package integration

// Push services that apps are told by directly, and what devices hear from them.

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/fcm"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// direct is a world with Apple, Google and a browser's push service beside its gateways. Devices have names, by which they are found in what the services were asked.
type direct struct {
	*world
	apple    *stack.APNs
	google   *stack.FCM
	browsers *stack.WebPush

	// What the services answer to the next requests for a device; they take what it has nothing for.
	appleSays   turns[stack.APNsAnswer]
	googleSays  turns[stack.FCMAnswer]
	browsersSay turns[stack.WebPushAnswer]
	held        map[string]<-chan struct{} // kinds of services that answer nothing until the channel is closed; set before the worker starts
	holding     atomic.Int64               // requests that wait for that

	folder string

	mu    sync.Mutex
	asked []asked
	names map[string]string // of devices, by their tokens at Apple
}

// asked is one request to a push service, as the service has read it.
type asked struct {
	device string
	event  string // "": of counts alone
	unread string // as it says; "": it says nothing
	taken  bool   // the device hears of it, whether or not the worker knows

	apple   *stack.APNsPush
	google  *stack.FCMRequest
	browser *stack.WebPushMessage
}

// newDirect makes a world in which no app is configured yet. Everything may take its time: what is silent is not slow.
func newDirect(t *testing.T) *direct {
	t.Helper()
	return newDirectOn(t, newWorld(t))
}

func newDirectOn(t *testing.T, w *world) *direct {
	t.Helper()
	d := &direct{world: w, folder: t.TempDir(), names: map[string]string{}, held: map[string]<-chan struct{}{}}
	d.cfg.Apps = apps.Config{}
	d.cfg.Delivery.Timeout, d.cfg.Kafka.DrainTimeout = patient, patient+10*time.Second
	d.apple = stack.APNsServer(t, stack.APNsOptions{
		TokenUpdates: -1, Observe: d.seeApple,
		Answer: func(p stack.APNsPush) stack.APNsAnswer {
			d.hold(apps.TypeAPNs)
			return d.appleSays.next(d.nameOf(p.Token))
		},
	})
	d.google = stack.FCMServer(t, stack.FCMOptions{
		Observe: d.seeGoogle,
		Answer: func(r stack.FCMRequest) stack.FCMAnswer {
			d.hold(apps.TypeFCM)
			return d.googleSays.next(r.Message.Token)
		},
	})
	d.browsers = stack.WebPushServer(t, stack.WebPushOptions{
		Observe: d.seeBrowser, Now: d.now,
		Answer: func(m stack.WebPushMessage) stack.WebPushAnswer {
			d.hold(apps.TypeWebPush)
			return d.browsersSay.next(browserOf(m))
		},
	})
	d.webPush = webpush.Options{Outbound: outbound.Options{Dial: d.browsers.Dial}}
	return d
}

// patient is how long an attempt may take where nothing is silent.
const patient = 30 * time.Second

// hold waits as long as the services of a kind answer nothing.
func (d *direct) hold(kind string) {
	if held := d.held[kind]; held != nil {
		d.holding.Add(1)
		defer d.holding.Add(-1)
		<-held
	}
}

func (d *direct) now() time.Time {
	if d.clock == nil {
		return time.Now()
	}
	return d.clock.Now()
}

// turns are answers by device, each given once. They are safe for concurrent use.
type turns[A any] struct {
	mu      sync.Mutex
	of      map[string][]A
	usually A // where there is nothing for a device
}

// always gives one answer from now on.
func (t *turns[A]) always(answer A) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.usually = answer
}

func (t *turns[A]) add(device string, answers ...A) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[string][]A{}
	}
	t.of[device] = append(t.of[device], answers...)
}

func (t *turns[A]) next(device string) A {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.of[device]
	if len(waiting) == 0 {
		return t.usually
	}
	t.of[device] = waiting[1:]
	return waiting[0]
}

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

func (d *direct) note(a asked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, a)
}

func (d *direct) seeApple(p stack.APNsPush) {
	a := asked{device: d.nameOf(p.Token), taken: p.Taken, apple: &p}
	payload, err := stack.DecodeAPNs(p.Payload)
	if err != nil || p.Status != 200 && p.Status != 0 && p.Reason == "" {
		d.Errorf("Apple was sent %s: %v %s", p.Payload, err, p.Reason)
	}
	a.event = payload.EventID
	for _, n := range []*int{payload.UnreadCount, payload.APS.Badge} {
		if n != nil {
			a.unread = strconv.Itoa(*n)
		}
	}
	d.note(a)
}

func (d *direct) seeGoogle(r stack.FCMRequest) {
	if r.Problem != "" && r.Problem != badAccess {
		d.Errorf("Google was sent %s: %s", r.Body, r.Problem)
	}
	if r.Problem == "" { // else nobody has read it
		d.note(asked{device: r.Message.Token, event: r.Message.Data["event_id"], unread: r.Message.Data["unread"], taken: r.Status == 200 || r.Status == 0, google: &r})
	}
}

// badAccess is what Google says of an access token that was taken away.
const badAccess = "the access token is not good"

func (d *direct) seeBrowser(m stack.WebPushMessage) {
	var text struct {
		EventID string `json:"event_id"`
		Unread  *int   `json:"unread"`
	}
	if err := json.Unmarshal(m.Text, &text); err != nil || m.Fault != nil {
		d.Errorf("a browser's push service was sent %s: %v, %v", m.Text, err, m.Fault)
	}
	a := asked{device: browserOf(m), event: text.EventID, taken: m.Status == 201 || m.Status == 0, browser: &m}
	if text.Unread != nil {
		a.unread = strconv.Itoa(*text.Unread)
	}
	d.note(a)
}

// requests are those for a device that are about an event; "" for counts alone.
func (d *direct) requestsFor(device, event string) (all []asked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.asked {
		if a.device == device && a.event == event {
			all = append(all, a)
		}
	}
	return all
}

// taken is how often a device was told of an event.
func (d *direct) taken(device, event string) (n int) {
	for _, a := range d.requestsFor(device, event) {
		if a.taken {
			n++
		}
	}
	return n
}

// directly counts how often each device was told of each event, by "event device". Counts alone are left out.
func (d *direct) directly() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	times := map[string]int{}
	for _, a := range d.asked {
		if a.taken && a.event != "" {
			times[a.event+" "+a.device]++
		}
	}
	return times
}

// directlyIs checks that each device was told of each event so often.
func (d *direct) directlyIs(when string, want map[string]int) {
	d.Helper()
	if diff := cmp.Diff(want, d.directly()); diff != "" {
		d.Errorf("%s: told directly (-want +got):\n%s", when, diff)
	}
}

// oneNamePerPush checks that Apple heard of each event for each device under one name, however often.
func (d *direct) oneNamePerPush() {
	d.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	names, owners := map[string]string{}, map[string]string{}
	for _, a := range d.asked {
		if a.apple == nil || a.event == "" {
			continue
		}
		what, id := a.event+" "+a.device, a.apple.ID
		if before, again := names[what]; again && before != id {
			d.Errorf("%s was called %s and %s", what, before, id)
		}
		if before, again := owners[id]; again && before != what {
			d.Errorf("%s and %s were both called %s", before, what, id)
		}
		names[what], owners[id] = id, what
	}
}

// once is each event for each device, once.
func once(events []string, devices ...string) map[string]int {
	want := map[string]int{}
	for _, event := range events {
		for _, device := range devices {
			want[event+" "+device] = 1
		}
	}
	return want
}

// only is one of a list.
func only[T any](d *direct, what string, all []T) T {
	d.Helper()
	if len(all) != 1 {
		d.Fatalf("%s: there are %d, want 1: %v", what, len(all), all)
	}
	return all[0]
}

// userOf makes up a user for each device.
func userOf(i int) string { return fmt.Sprintf("@u%d:%s", i, server) }

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
