package main

// Apps that are told directly, as operators look at them: check and pushers test, against push services on this machine.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pushers"
	"tocsin/test/stack"
)

// providers are all kinds of push services, and the files of who may send to them.
type providers struct {
	*testing.T
	apns    *stack.APNs
	fcm     *stack.FCM
	webpush *stack.WebPush
	gateway *stack.Gateway
	plain   *stack.Gateway // without TLS
	dir     string
	apps    map[string]map[string]any
	public  string // the VAPID key

	mu       sync.Mutex
	apple    []stack.APNsPush
	google   []stack.FCMRequest
	browsers []stack.WebPushMessage
	matrix   []stack.Request
}

func startProviders(t *testing.T) *providers {
	t.Helper()
	p := &providers{T: t, dir: t.TempDir()}
	p.apns = stack.APNsServer(t, stack.APNsOptions{TokenUpdates: -1, Observe: func(m stack.APNsPush) { keep(p, &p.apple, m) }})
	p.fcm = stack.FCMServer(t, stack.FCMOptions{Observe: func(m stack.FCMRequest) { keep(p, &p.google, m) }})
	p.webpush = stack.WebPushServer(t, stack.WebPushOptions{TLS: stack.GoodTLS, Observe: func(m stack.WebPushMessage) { keep(p, &p.browsers, m) }})
	p.gateway = gatewayServer(t, stack.GatewayOptions{TLS: stack.GoodTLS, Observe: func(m stack.Request) { keep(p, &p.matrix, m) }})
	p.plain = gatewayServer(t, stack.GatewayOptions{Observe: func(m stack.Request) { keep(p, &p.matrix, m) }})
	p8, err := p.apns.NewKey("TEAM012345", "KEY0123456")
	if err != nil {
		t.Fatal(err)
	}
	vapid, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := vapid.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	p.public = base64.RawURLEncoding.EncodeToString(point)
	p.apps = map[string]map[string]any{
		"org.example.ios.*": {"type": "apns", "key_file": p.file("AuthKey.p8", p8), "key_id": "KEY0123456", "team_id": "TEAM012345", "topic": "org.example.ios",
			"base_url": p.apns.URL(), "ca_file": p.file("apple.pem", p.apns.Authority())},
		"org.example.android": {"type": "fcm", "service_account_file": p.file("account.json", p.fcm.ServiceAccount()), "base_url": p.fcm.URL(), "ca_file": p.authority("google.pem", p.fcm.Authority())},
		"org.example.web": {"type": "webpush", "vapid_key_file": p.file("vapid.pem", private(t, vapid)), "contact": "push@example.org", "base_url": "https://" + p.webpush.Address(),
			"ca_file": p.authority("webpush.pem", p.webpush.Authority())},
		"org.example.desktop": {"type": "gateway", "url": "https://" + p.gateway.Address() + "/push", "ca_file": p.authority("gateway.pem", p.gateway.Authority())},
	}
	return p
}

// gatewayServer is a gateway of a test's own.
func gatewayServer(t *testing.T, opts stack.GatewayOptions) *stack.Gateway {
	t.Helper()
	g, err := stack.StartGateway(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func keep[M any](p *providers, to *[]M, m M) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*to = append(*to, m)
}

func (p *providers) file(name string, content []byte) string {
	p.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		p.Fatal(err)
	}
	return path
}

func (p *providers) authority(name string, c *x509.Certificate) string {
	return p.file(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

// private is a private key in PEM.
func private(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// certificate is an app at Apple with a certificate.
func (p *providers) certificate(name string, notAfter time.Time) map[string]any {
	p.Helper()
	leaf, key, err := p.apns.NewCertificate("org.example.ios", notAfter)
	if err != nil {
		p.Fatal(err)
	}
	app := maps.Clone(p.apps["org.example.ios.*"])
	delete(app, "key_file")
	delete(app, "key_id")
	delete(app, "team_id")
	app["cert_file"] = p.file(name, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}), private(p.T, key)...))
	return app
}

// but is an app like another, with one key changed.
func (p *providers) but(app, key string, value any) map[string]any {
	changed := maps.Clone(p.apps[app])
	changed[key] = value
	return changed
}

// environ has the apps in it.
func (p *providers) environ(env []string) []string {
	p.Helper()
	text, err := json.Marshal(p.apps)
	if err != nil {
		p.Fatal(err)
	}
	return append(slices.Clip(env), "TOCSIN_APPS="+string(text))
}

// timeless has names in place of what differs from run to run.
func (p *providers) timeless(text string) string {
	return strings.NewReplacer(p.dir, "DIR", p.gateway.Address(), "GATEWAY", p.plain.Address(), "PLAIN-GATEWAY", p.webpush.Address(), "WEBPUSH", p.public, "PUBLIC-KEY").Replace(text)
}

// Check says of each app whether it could be told, and if not, why and what to do. Nobody hears of it.
func TestCheckApps(t *testing.T) {
	t.Parallel()
	env := servers(t)
	if status, _, stderr := run(t, env, "topics", "create", "--partitions", "1", "--replication", "1"); status != succeeded {
		t.Fatal(stderr)
	}
	p := startProviders(t)
	if status, stdout, stderr := run(t, p.environ(env), "check"); status != succeeded || strings.Count(stdout, "ok      app ") != 4 {
		t.Errorf("status %d\n%s%s", status, stdout, stderr)
	}
	notFound := gatewayServer(t, stack.GatewayOptions{TLS: stack.GoodTLS, Answer: func(stack.Request) stack.Answer { return stack.Answer{Status: 404} }})
	revoked, err := stack.APNsServer(t, stack.APNsOptions{}).NewKey("TEAM012345", "KEY0123456")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closedPort(t)
	more := map[string]map[string]any{
		"ios.certificate.soon":    p.certificate("soon.pem", time.Now().Add(10*24*time.Hour+time.Hour)),
		"ios.certificate.expired": p.certificate("expired.pem", time.Now().Add(-time.Hour)),
		"ios.key.missing":         p.but("org.example.ios.*", "key_file", filepath.Join(p.dir, "nowhere.p8")),
		"ios.key.revoked":         p.but("org.example.ios.*", "key_file", p.file("revoked.p8", revoked)),
		"ios.key.unreadable":      p.but("org.example.ios.*", "key_file", p.file("unreadable.p8", []byte("secret"))),
		"ios.nobody":              p.but("org.example.ios.*", "base_url", "https://"+nobody),
		"ios.untrusted":           p.but("org.example.ios.*", "ca_file", ""),
		"android.other":           p.but("org.example.android", "project_id", "other"),
		"android.file":            p.but("org.example.android", "service_account_file", p.file("services.json", []byte(`{"project_info":{}}`))),
		"web.file":                p.but("org.example.web", "vapid_key_file", p.file("empty.pem", nil)),
		"desktop.own":             {"type": "gateway"},
		"desktop.nobody":          {"type": "gateway", "url": "https://" + nobody + "/push"},
		"desktop.page":            {"type": "gateway", "url": "https://" + notFound.Address() + "/push", "ca_file": p.authority("page.pem", notFound.Authority())},
	}
	maps.Copy(p.apps, more)
	status, stdout, stderr := run(t, p.environ(env), "check")
	if status != failed || stderr != "tocsin: not everything is as it must be\n" {
		t.Errorf("status %d, %s", status, stderr)
	}
	var lines strings.Builder
	for line := range strings.Lines(stdout) {
		if level, rest, _ := strings.Cut(line, " "); strings.HasPrefix(strings.TrimLeft(rest, " "), "app ") && level != "" {
			lines.WriteString(line)
		}
	}
	got := strings.NewReplacer(nobody, "NOBODY", notFound.Address(), "PAGE").Replace(p.timeless(lines.String()))
	stack.Golden(t, "testdata/check_apps.txt", undated.ReplaceAllString(got, "TIME"), *update)
	for _, push := range p.apple {
		if push.Taken {
			t.Errorf("a device hears of it: %+v", push)
		}
	}
	for _, message := range p.google {
		if message.Problem == "" && !message.ValidateOnly {
			t.Errorf("a device hears of it: %s", message.Body)
		}
	}
}

// Check and worker agree about what no section of the configuration can know alone.
func TestCheckAndWorkerWantTimeToDrain(t *testing.T) {
	t.Parallel()
	env := append(servers(t), "TOCSIN_KAFKA_DRAIN_TIMEOUT=20s", `TOCSIN_APPS={"slow": {"type": "apns", "timeout": "20s", "key_file": "/nowhere/AuthKey_KEY0123456.p8", "team_id": "TEAM012345", "topic": "a"}}`)
	const fault = "kafka.drain_timeout: 20s must be longer than apps[slow].timeout (20s), or a worker that stops cuts off requests and sends them twice"
	if status, stdout, _ := run(t, env, "check"); status != failed || !strings.Contains(stdout, "FAILED  configuration  "+fault+"\n") {
		t.Errorf("check: status %d\n%s", status, stdout)
	}
	if status, _, stderr := run(t, env, "worker"); status != misused || !strings.Contains(stderr, fault) {
		t.Errorf("worker: status %d\n%s", status, stderr)
	}
}

// With each answer that matters: what operators are told of it, and that nothing comes of it.
func TestPushersTest(t *testing.T) {
	t.Parallel()
	store, cfg, env := hasRun(t)
	p := startProviders(t)
	p.apps["org.example.voip"] = p.but("org.example.ios.*", "push_type", "voip")
	env = p.environ(append(env, "TOCSIN_DELIVERY_ALLOW_CIDRS=127.0.0.0/8", "TOCSIN_DELIVERY_ALLOW_HTTP=true"))
	browser := stack.SubscribeWebPush("fcm.googleapis.com", "secret-browser")
	device := base64.StdEncoding.EncodeToString([]byte("secret-device-of-thirty-2-bytes!"))
	url := "http://" + p.plain.Address() + "/_matrix/push/v1/notify"
	content := func(app, pushkey string, data map[string]any, more ...string) pipeline.AccountField {
		f := field(app, pushkey)
		raw, err := json.Marshal(map[string]any{"kind": "http", "app_id": app, "pushkey": pushkey, "data": data, "enabled": !slices.Contains(more, "disabled")})
		if err != nil {
			t.Fatal(err)
		}
		f.Value = "17 " + string(raw)
		return f
	}
	anywhere := map[string]any{"url": "https://unused.example/_matrix/push/v1/notify"}
	fields := []pipeline.AccountField{
		content("org.example.ios.prod", device, anywhere),
		content("org.example.voip", device, anywhere),
		content("org.example.android", "secret-android", anywhere),
		content("org.example.web", browser.P256dh, map[string]any{"url": "https://unused.example/_matrix/push/v1/notify", "endpoint": browser.Endpoint, "auth": browser.Auth}),
		content("org.example.desktop", "secret-desktop", anywhere),
		content("org.example.other", "secret-other", map[string]any{"url": url}),
		content("org.example.disabled", "secret-disabled", map[string]any{"url": url}, "disabled"),
		content("org.example.private", "secret-private", map[string]any{"url": "https://10.0.0.1/_matrix/push/v1/notify?secret"}),
	}
	if err := store.ApplyAccounts(t.Context(), fields); err != nil {
		t.Fatal(err)
	}
	unread := func(saved []byte) []byte {
		var u pipeline.Unread
		u.Notify(1, "", false)
		u.Notify(2, "", false)
		return u.Encode()
	}
	if err := store.ChangeCounts(t.Context(), []pipeline.CountChange{{UserID: "@alice:example.org", RoomID: "!a:hs", Apply: unread}, {UserID: "@alice:example.org", RoomID: "!b:hs", Apply: unread}}); err != nil {
		t.Fatal(err)
	}
	before := saved(t, store)

	env = append(env, "TOCSIN_KAFKA_BROKERS="+closedPort(t)) // it is not asked
	var all strings.Builder
	test := func(title string, want int, args ...string) {
		t.Helper()
		status, stdout, stderr := run(t, env, append([]string{"pushers", "test", "--user=@alice:example.org"}, args...)...)
		if status != want || strings.Contains(stdout+stderr, "secret") || strings.Contains(stdout+stderr, device) || strings.Contains(stdout+stderr, browser.Auth) {
			t.Errorf("%s: status %d, want %d\n%s%s", title, status, want, stdout, stderr)
		}
		all.WriteString("# " + title + "\n" + stdout + stderr + "\n")
	}
	test("all is well", succeeded, "--app=org.example.{ios.*,android,web,desktop,other}")
	p.told(t)
	status, stdout, stderr := run(t, env, "pushers", "list", "--user=@alice:example.org")
	if status != succeeded {
		t.Error(stderr)
	}
	stack.Golden(t, "testdata/pushers_list.txt", wide.ReplaceAllString(p.timeless(stdout), "  "), *update)
	joined := p.file("joined.jsonl", []byte(`{"room_id":"!r:hs","type":"m.room.member","state_key":"@alice:example.org","sender":"@alice:example.org","content":{"membership":"join"}}`))
	event := p.file("event.json", []byte(`{"room_id":"!r:hs","type":"m.room.message","sender":"@bob:example.org","event_id":"$e","content":{"body":"hello"}}`))
	said(t, env, []string{"explain", "--user=@alice:example.org", "--event", event, "--state", joined},
		", told through apns, as apps[org.example.ios.*] says, badge 2\n", ", told through gateway https://10.0.0.1/_matrix/push/v1/notify, badge 2\n", ", told through gateway "+p.gateway.Address()+", as apps[org.example.desktop] says")
	test("disabled", failed, "--app=org.example.disabled")
	test("disabled, and sent all the same", succeeded, "--app=org.example.disabled", "--force")
	test("a private address", failed, "--app=org.example.private")
	test("calls alone", failed, "--app=org.example.voip")
	test("calls alone, and told of a call", succeeded, "--app=org.example.voip", "--type=m.call.invite")
	test("one pushkey", succeeded, "--app=*", "--pushkey", pushers.NewPushkey("secret-other").Hash())
	test("no such pushkey", failed, "--app=*", "--pushkey", "0123456789ab")
	p.apns.Script(stack.APNsAnswer{Status: 410, Reason: "Unregistered", Timestamp: time.Now()})
	test("Apple: gone", failed, "--app=org.example.ios.*")
	p.apns.Script(stack.APNsAnswer{Status: 400, Reason: "BadDeviceToken"})
	test("Apple: unproven", failed, "--app=org.example.ios.*")
	p.apns.Script(stack.APNsAnswer{Status: 503, Reason: "ServiceUnavailable", Header: map[string]string{"retry-after": "60"}})
	test("Apple: pause", failed, "--app=org.example.ios.*")
	p.fcm.Script(stack.FCMAnswer{Status: 404, Message: "Requested entity was not found.", ErrorCode: "UNREGISTERED"})
	test("Google: gone", failed, "--app=org.example.android")
	p.fcm.Script(stack.FCMAnswer{Status: 429, Message: "Quota exceeded", ErrorCode: "QUOTA_EXCEEDED"})
	test("Google: quota", failed, "--app=org.example.android")
	p.webpush.Script(stack.WebPushAnswer{Status: 403})
	test("a browser: another key", failed, "--app=org.example.web")
	p.webpush.Script(stack.WebPushAnswer{Status: 410})
	test("a browser: gone", failed, "--app=org.example.web")
	p.gateway.Script(stack.Answer{Rejected: []string{"secret-desktop"}})
	test("a gateway: rejected", failed, "--app=org.example.desktop")
	p.gateway.Script(stack.Answer{Status: 400})
	test("a gateway: not understood", failed, "--app=org.example.desktop")
	if got := saved(t, store); got != before {
		t.Errorf("something was written\nbefore %s\nafter  %s", before, got)
	}

	said(t, env, []string{"pause", "--app", "org.example.o*"}, "is paused")
	test("paused", failed, "--app=org.example.other")
	test("paused, and sent all the same", succeeded, "--app=org.example.other", "--force")
	env = append(env, "TOCSIN_DELIVERY_MODE=shadow")
	test("shadow", failed, "--app=org.example.desktop")
	ruling := pipeline.Ruling{}
	for _, n := range "0123456789" {
		var err error
		if ruling, err = store.Reject(t.Context(), pipeline.Rejection{AppID: "org.example.desktop", Pushkey: string(n), At: time.Now()}, pipeline.GuardLimits(cfg.Delivery.Guard)); err != nil {
			t.Fatal(err)
		}
	}
	env = append(env, "TOCSIN_DELIVERY_MODE=live")
	p.gateway.Script(stack.Answer{Rejected: []string{"secret-desktop"}})
	test("a gateway: rejected, and the guard has tripped", failed, "--app=org.example.desktop")
	key := pushers.NewPushkey("secret-desktop")
	mark := pipeline.ToldChange{UserID: "@alice:example.org", Pusher: pipeline.HeldField("org.example.desktop", key), To: pipeline.HeldMark(ruling.Trip.ID, fields[4].Version)}
	if _, err := store.Tell(t.Context(), []pipeline.ToldChange{mark}); err != nil {
		t.Fatal(err)
	}
	test("held", failed, "--app=org.example.desktop")
	test("held, and sent all the same", succeeded, "--app=org.example.desktop", "--force")
	stack.Golden(t, "testdata/pushers_test.txt", undated.ReplaceAllString(p.timeless(all.String()), "TIME"), *update)
}

// wide is what stands between the columns of a table: ports are not all as long.
var wide = regexp.MustCompile(`  +`)

// undated are the times in what is printed.
var undated = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d( UTC|Z)`)

// saved is what Redis holds of alice, and of the guards.
func saved(t *testing.T, store *state.Store) string {
	t.Helper()
	const alice = "@alice:example.org"
	accounts, err1 := store.Accounts(t.Context(), []string{alice})
	counts, err2 := store.Counts(t.Context(), []string{alice})
	trips, err3 := store.Trips(t.Context())
	rejected, err4 := store.RejectedSince(t.Context(), []string{"org.example.ios.prod", "org.example.android", "org.example.desktop"})
	var removed []pipeline.RemovedPusher
	err5 := store.ScanRemoved(t.Context(), alice, func(some []pipeline.RemovedPusher) error { removed = append(removed, some...); return nil })
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(accounts, counts, trips, rejected, removed)
}

// told holds what the push services were told at first: of an event of no room, with the counts of now.
func (p *providers) told(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.apple) != 1 || len(p.google) != 1 || len(p.browsers) != 1 || len(p.matrix) != 2 {
		t.Fatalf("%d, %d, %d and %d were told", len(p.apple), len(p.google), len(p.browsers), len(p.matrix))
	}
	apple, err := stack.DecodeAPNs(p.apple[0].Payload)
	if err != nil || apple.RoomID != "!tocsin-test:example.org" || !strings.HasPrefix(apple.EventID, "$tocsin-test-") || apple.UnreadCount == nil || *apple.UnreadCount != 2 || p.apple[0].Priority != "10" {
		t.Errorf("Apple was told %s, priority %s, %v", p.apple[0].Payload, p.apple[0].Priority, err)
	}
	if want := hex.EncodeToString([]byte("secret-device-of-thirty-2-bytes!")); p.apple[0].Token != want {
		t.Errorf("Apple was told to push to %s, want %s", p.apple[0].Token, want)
	}
	if m := p.google[0].Message; m.Token != "secret-android" || m.Data["room_id"] != "!tocsin-test:example.org" || m.Data["unread"] != "2" || p.google[0].ValidateOnly {
		t.Errorf("Google was told %s", p.google[0].Body)
	}
	if m := p.browsers[0]; m.Fault != nil || !strings.Contains(string(m.Text), "!tocsin-test:example.org") || m.Key != p.public {
		t.Errorf("the browser was told %s, %v", m.Text, m.Fault)
	}
	for _, r := range p.matrix {
		n, err := stack.DecodeNotification(r.Body)
		if err != nil || n.RoomID != "!tocsin-test:example.org" || n.Prio != "high" && n.Prio != "" || n.Counts == nil || n.Counts.Unread != 2 || n.Type != "m.room.message" {
			t.Errorf("the gateway was told %s, %v", r.Body, err)
		}
	}
}
