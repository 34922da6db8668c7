package apps_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/pushers/apps"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
	"tocsin/test/stack"
)

// TestThroughAProxy holds that what has a proxy as its only way out reaches each push service through it, with its login: FCM's token endpoint, too, and a relay of Web Push.
func TestThroughAProxy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	proxy, address := stack.ConnectProxyServer(t)
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	apple, google, browsers := stack.APNsServer(t, stack.APNsOptions{}), stack.FCMServer(t, stack.FCMOptions{}), stack.WebPushServer(t, stack.WebPushOptions{TLS: stack.GoodTLS})
	web := b.web()
	web.BaseURL, web.CAFile = "https://"+browsers.Address(), b.file("browsers.pem", authority(browsers.Authority()))
	a := b.open(apps.Config{"ios": b.apple(apple, "im.app"), "android": b.google(google), "web": web}, apps.Options{
		Gateway: gateway.Config{Config: outbound.Config{Proxy: outbound.Proxy{URL: u, Username: "tocsin", Password: credential.NewSecret("geheim")}}},
	})
	browser := stack.SubscribeWebPush("fcm.googleapis.com", "b")
	for target, d := range map[string]pushers.Delivery{
		strings.TrimPrefix(apple.URL(), "https://"):  to("ios", strings.Repeat("tokn", 11), anyURL, ""),
		strings.TrimPrefix(google.URL(), "https://"): to("android", "token", anyURL, ""),
		browsers.Address():                           to("web", browser.P256dh, anyURL, fmt.Sprintf(`{"endpoint":%q,"auth":%q}`, browser.Endpoint, browser.Auth)),
	} {
		r := a.Route(&d)
		if o := r.Sender.Send(t.Context(), d); o.Verdict != pushers.Delivered {
			t.Errorf("%s: %+v", r.Provider, o)
		}
		const login = " Basic dG9jc2luOmdlaGVpbQ=="
		if asked := proxy.Asked(); !slices.Contains(asked, "CONNECT "+target+" "+target+login) {
			t.Errorf("%s: the proxy was asked %q", r.Provider, asked)
		}
	}
}
