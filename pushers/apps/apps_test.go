package apps_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
	"tocsin/test/stack"
)

// way is what a route says of its way, in words.
type way struct {
	Provider, App, Service, Account string
	Bundles                         bool
	Untold                          string
	URL                             string // of the delivery afterwards
}

func wayOf(a *apps.Apps, d pushers.Delivery) way {
	r := a.Route(&d)
	return way{r.Provider, r.App, r.Service, r.Account, r.Bundler != nil, r.Untold, d.Notification.Device.Pusher.URL}
}

const anyURL = "https://push.example/_matrix/push/v1/notify"

// An app id leads to the app of that name, else to the longest pattern that matches it, and nothing that users make up becomes a label.
func TestRoute(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	apple, google := stack.APNsServer(t, stack.APNsOptions{}), stack.FCMServer(t, stack.FCMOptions{Project: "my-project"})
	voip, hidden := b.apple(apple, "im.app"), b.apple(apple, "im.app")
	voip.PushType, hidden.Badge = apns.PushVoIP, false
	cert := b.apple(apple, "im.app")
	cert.KeyFile, cert.KeyID, cert.TeamID, cert.CertFile = "", "", "", b.clientCertificate(apple)
	cfg := apps.Config{
		"im.app.*":          b.apple(apple, "im.app"),
		"im.app.voip":       voip,
		"im.app.hidden":     hidden,
		"im.app.cert":       cert,
		"im.app.{and,web}*": b.google(google),
		"web":               b.web(),
		"web*":              &apps.Gateway{},
		"desktop?":          &apps.Gateway{URL: "https://Own.Example:8448/any/path"},
		"desk*":             &apps.Gateway{},
	}
	a := b.open(cfg, apps.Options{})
	team := teamID + " " + keyID + " " + apple.URL()
	project := strings.TrimPrefix(google.URL(), "https://") + " my-project"
	browser := stack.SubscribeWebPush("updates.push.services.mozilla.com", "b")
	subscribed := fmt.Sprintf(`{"endpoint":%q,"auth":%q}`, browser.Endpoint, browser.Auth)
	direct := func(provider, app, account string) way { return way{provider, app, app, account, false, "", anyURL} }
	counts := func(d pushers.Delivery) pushers.Delivery {
		d.Notification.EventID, d.Notification.Type = "", ""
		return d
	}
	for name, tc := range map[string]struct {
		d    pushers.Delivery
		want way
	}{
		"a pattern":                        {to("im.app.ios", "key", anyURL, ""), direct("apns", "im.app.*", team)},
		"a longer one":                     {to("im.app.android", "key", anyURL, ""), direct("fcm", "im.app.{and,web}*", project)},
		"the app id itself":                {to("im.app.hidden", "key", anyURL, ""), direct("apns", "im.app.hidden", team)},
		"a certificate has no account":     {to("im.app.cert", "key", anyURL, ""), direct("apns", "im.app.cert", "")},
		"calls alone":                      {to("im.app.voip", "key", anyURL, ""), way{"apns", "im.app.voip", "im.app.voip", team, false, "nothing_to_tell", anyURL}},
		"no badges":                        {counts(to("im.app.hidden", "key", anyURL, "")), way{"apns", "im.app.hidden", "im.app.hidden", team, false, "nothing_to_tell", anyURL}},
		"badges":                           {counts(to("im.app.ios", "key", anyURL, "")), direct("apns", "im.app.*", team)},
		"a browser":                        {to("web", browser.P256dh, anyURL, subscribed), way{"webpush", "web", "web https://updates.push.services.mozilla.com", "", false, "", anyURL}},
		"a browser without subscription":   {to("web", "key", anyURL, ""), way{"webpush", "web", "web ", "", false, "", anyURL}},
		"a browser at a host of its own":   {to("web", "key", anyURL, `{"endpoint":"https://evil.example/x","auth":"x"}`), way{"webpush", "web", "web ", "", false, "", anyURL}},
		"a fixed URL":                      {to("desktop1", "key", anyURL, ""), way{"gateway", "desktop?", "desktop? own.example:8448", "", true, "", "https://Own.Example:8448/any/path"}},
		"a fixed URL instead of a bad one": {to("desktop1", "key", "nonsense", ""), way{"gateway", "desktop?", "desktop? own.example:8448", "", true, "", "https://Own.Example:8448/any/path"}},
		"its own URL":                      {to("desk", "key", anyURL, ""), way{"gateway", "desk*", "push.example:443", "", true, "", anyURL}},
		"another that begins so":           {to("web2", "key", anyURL, ""), way{"gateway", "web*", "push.example:443", "", true, "", anyURL}},
		"not listed":                       {to("im.app", "key", anyURL, ""), way{"gateway", "", "push.example:443", "", true, "", anyURL}},
		"case counts":                      {to("IM.APP.IOS", "key", anyURL, ""), way{"gateway", "", "push.example:443", "", true, "", anyURL}},
		"a pattern as an id":               {to("x*", "key", anyURL, ""), way{"gateway", "", "push.example:443", "", true, "", anyURL}},
	} {
		if diff := cmp.Diff(tc.want, wayOf(a, tc.d)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	var names []string
	for _, e := range a.All() {
		names = append(names, e.Provider+" "+e.Name)
	}
	if diff := cmp.Diff([]string{"apns im.app.hidden", "apns im.app.cert", "apns im.app.voip", "webpush web", "fcm im.app.{and,web}*", "gateway desktop?", "apns im.app.*", "gateway desk*", "gateway web*"}, names); diff != "" {
		t.Errorf("all apps, those without a pattern first, then the longest (-want +got):\n%s", diff)
	}
	for _, id := range []string{"im.app.ios", "im.app.voip", "im.app.android", "web", "web2", "desktop1", "desk", "elsewhere"} { // without a sender, the same
		name, app := cfg.Listed(id)
		if e := a.Listed(id); (e == nil) != (app == nil) || e != nil && (e.Name != name || e.Provider != apps.Provider(app)) {
			t.Errorf("%s: the configuration says %q, %T; it is led to %+v", id, name, app, e)
		}
	}
	if e := a.Listed("elsewhere"); e != nil {
		t.Errorf("an app that is not listed is %s", e.Name)
	}
}

// Each route leads to a sender that sends: through each service to its fake.
func TestSendersAreTheRightOnes(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	heard := make(chan string, 10)
	apple := stack.APNsServer(t, stack.APNsOptions{Observe: func(p stack.APNsPush) { heard <- "apple " + p.Topic }})
	google := stack.FCMServer(t, stack.FCMOptions{Observe: func(r stack.FCMRequest) { heard <- "google " + r.Message.Token + r.Problem }})
	browsers := stack.WebPushServer(t, stack.WebPushOptions{Observe: func(m stack.WebPushMessage) { heard <- fmt.Sprint("browser ", m.Endpoint, m.Fault) }})
	a := b.open(apps.Config{"ios": b.apple(apple, "im.app"), "android": b.google(google), "web": b.web()}, apps.Options{WebPush: everywhere(browsers)})
	browser := stack.SubscribeWebPush("fcm.googleapis.com", "b")
	for _, tc := range []struct {
		d    pushers.Delivery
		want string
	}{
		{to("ios", strings.Repeat("tokn", 11), anyURL, ""), "apple im.app"},
		{to("android", "token", anyURL, ""), "google token"},
		{to("web", browser.P256dh, anyURL, fmt.Sprintf(`{"endpoint":%q,"auth":%q}`, browser.Endpoint, browser.Auth)), "browser https://fcm.googleapis.com/push/b<nil>"},
	} {
		r := a.Route(&tc.d)
		if o := r.Sender.Send(t.Context(), tc.d); o.Verdict != pushers.Delivered {
			t.Errorf("%s: %+v", tc.want, o)
		}
		if got := <-heard; got != tc.want {
			t.Errorf("heard %q, want %q", got, tc.want)
		}
	}
}

// The gateway that an operator has fixed may be wherever it is, with any path and an authority of its own. That holds for no other URL, app or sender.
func TestFixedGatewayIsTrusted(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	g := stack.Gateways(t)
	own, err := stack.StartGateway(stack.GatewayOptions{TLS: stack.GoodTLS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	ca := b.file("own.pem", authority(own.Authority()))
	byAddress := "https://" + own.Address() + "/any/path"
	byName := "https://localhost" + byAddress[strings.LastIndexByte(byAddress, ':'):]
	plain := "http://" + g.Address() + "/any/path"
	a := b.open(apps.Config{
		"address": &apps.Gateway{URL: byAddress, CAFile: ca},
		"name":    &apps.Gateway{URL: byName, CAFile: ca},
		"no-ca":   &apps.Gateway{URL: byAddress},
		"plain":   &apps.Gateway{URL: plain},
		"listed":  &apps.Gateway{},
	}, apps.Options{Gateway: gateway.Config{AllowHTTP: true}})
	for _, tc := range []struct{ app, url, want string }{
		{"address", anyURL, "delivered accepted"},
		{"name", anyURL, "delivered accepted"},
		{"plain", anyURL, "delivered accepted"},
		{"no-ca", anyURL, "retry tls"},
		{"listed", "https://" + own.Address() + gateway.StandardPath, "drop blocked_address"},
		{"listed", byAddress, "drop bad_url"},
		{"unlisted", "https://" + own.Address() + gateway.StandardPath, "drop blocked_address"},
		{"unlisted", "http://" + g.Address() + gateway.StandardPath, "drop blocked_address"},
		{"unlisted", "https://localhost:1" + gateway.StandardPath, "drop blocked_address"},
		{"unlisted", byAddress, "drop bad_url"},
	} {
		d := to(tc.app, "key", tc.url, "")
		r := a.Route(&d)
		if o := r.Sender.Send(t.Context(), d); o.Verdict.String()+" "+o.Reason != tc.want {
			t.Errorf("%s at %s: %v %s (%v), want %s", tc.app, tc.url, o.Verdict, o.Reason, o.Cause, tc.want)
		}
		together := r.Bundler.SendBundle(t.Context(), []pushers.Notification{d.Notification})
		if o := together[0]; o.Verdict.String()+" "+o.Reason != tc.want {
			t.Errorf("%s at %s in a bundle: %v %s (%v), want %s", tc.app, tc.url, o.Verdict, o.Reason, o.Cause, tc.want)
		}
	}
}

// Endpoints of browsers come from users: they are held to the addresses that gateways are.
func TestEndpointsAreGuarded(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	browsers := stack.WebPushServer(t, stack.WebPushOptions{TLS: stack.GoodTLS})
	web := b.web()
	web.AllowedEndpoints, web.CAFile = []string{"**"}, b.file("browsers.pem", authority(browsers.Authority()))
	browser := stack.SubscribeWebPush(browsers.Address(), "b")
	d := to("web", browser.P256dh, anyURL, fmt.Sprintf(`{"endpoint":%q,"auth":%q}`, browser.Endpoint, browser.Auth))
	for want, opts := range map[string]apps.Options{
		"drop blocked_address": {},
		"delivered accepted":   {Gateway: gateway.Config{Config: outbound.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}},
	} {
		a := b.open(apps.Config{"web": web}, opts)
		if o := a.Route(&d).Sender.Send(t.Context(), d); o.Verdict.String()+" "+o.Reason != want {
			t.Errorf("%v %s (%v), want %s", o.Verdict, o.Reason, o.Cause, want)
		}
	}
}

// unknownApp is of no type that there is.
type unknownApp struct{}

func (unknownApp) Validate() error { return nil }

// What can't be opened is told all at once, each with the path of its key; and what was opened before is closed, which TestMain sees.
func TestOpenTellsAllFaults(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	google := stack.FCMServer(t, stack.FCMOptions{})
	apple := stack.APNsServer(t, stack.APNsOptions{})
	missing := filepath.Join(b.folder, "missing")
	noKey, bothWrong, noAccount, noVAPID := b.apple(apple, "im.app"), b.apple(apple, ""), b.google(google), b.web()
	noKey.KeyFile, bothWrong.TeamID, noAccount.ServiceAccountFile, noVAPID.VAPIDKeyFile = missing, "short", b.file("account.json", []byte("{")), missing
	_, err := apps.Open(apps.Config{
		"good":           b.apple(apple, "im.app"),
		"well":           b.google(google),
		"im.app.no_key":  noKey,
		"im.app.wrong":   bothWrong,
		"im.app.android": noAccount,
		"web":            noVAPID,
		"desktop.http":   &apps.Gateway{URL: "http://own.example/"},
		"desktop.ca":     &apps.Gateway{URL: "https://own.example/", CAFile: missing},
		"desktop.no_ca":  &apps.Gateway{URL: "https://own.example/", CAFile: b.file("empty.pem", nil)},
		"desktop.url":    &apps.Gateway{URL: "https://own.example/%zz"},
		"b[":             &apps.Gateway{},
		"odd":            unknownApp{},
	}, apps.Options{})
	if err == nil {
		t.Fatal("it was opened")
	}
	want := []string{
		`apps[b[]: "b[" is no pattern of app ids`,
		"apps[desktop.ca].ca_file: open " + missing,
		"apps[desktop.http].url: it must be https",
		"apps[desktop.no_ca].ca_file: ",
		"apps[desktop.url].url: it is not a URL",
		"apps[im.app.android].service_account_file: ",
		"apps[im.app.no_key].key_file: open " + missing,
		"apps[im.app.wrong].team_id: ",
		"apps[im.app.wrong].topic: ",
		"apps[odd].type: ",
		"apps[web].vapid_key_file: ",
	}
	got := strings.Split(err.Error(), "\n")
	if len(got) != len(want) {
		t.Fatalf("%d faults, want %d:\n%v", len(got), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got  %s\nwant %s…", got[i], want[i])
		}
	}
	if strings.Contains(err.Error(), "PRIVATE KEY") {
		t.Error("it says what is in a file")
	}
}
