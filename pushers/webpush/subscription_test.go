package webpush

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
	"tocsin/test/stack"
)

func TestSubscribe(t *testing.T) {
	t.Parallel()
	good := stack.SubscribeWebPush("push.example", "geheim")
	data := func(endpoint, auth string) string {
		raw, err := json.Marshal(map[string]string{"endpoint": endpoint, "auth": auth})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	at := func(endpoint string) string { return data(endpoint, good.Auth) }
	std := base64.StdEncoding.EncodeToString
	decode := func(text string) []byte { raw, _ := base64.RawURLEncoding.DecodeString(text); return raw }
	notOnTheCurve := decode(good.P256dh)
	notOnTheCurve[64] ^= 1
	for _, tc := range []struct {
		name, pushkey, data string
		reason, want        string // of the error; "" if the subscription is taken
	}{
		{"as browsers give it", good.P256dh, at(good.Endpoint), "", ""},
		{"base64 with padding", std(decode(good.P256dh)), data(good.Endpoint, std(decode(good.Auth))), "", ""},
		{"more in it", good.P256dh, strings.Replace(at(good.Endpoint), "{", `{"only_last_per_room":"yes","default_payload":7,`, 1), "", ""},
		{"with a query", good.P256dh, at("https://push.example/x?token=geheim"), "", ""},
		{"in capitals", good.P256dh, at("HTTPS://PUSH.Example./x"), "", ""},
		{"another port", good.P256dh, at("https://push.example:8443/x"), "", ""},
		{"by a pattern", good.P256dh, at("https://a.push.example/x"), "", ""},
		{"no data", good.P256dh, "", "bad_subscription", "data.endpoint is missing"},
		{"data that is no object", good.P256dh, `["geheim"]`, "bad_subscription", "data.endpoint is missing"},
		{"no endpoint", good.P256dh, at(""), "bad_subscription", "data.endpoint is missing"},
		{"an endpoint that is no text", good.P256dh, `{"endpoint":7,"auth":"` + good.Auth + `"}`, "bad_subscription", "data.endpoint is missing"},
		{"too long an endpoint", good.P256dh, at("https://push.example/" + strings.Repeat("x", 2048)), "bad_subscription", "longer than any endpoint is"},
		{"http", good.P256dh, at("http://push.example/geheim"), "bad_url", "http://push.example: an endpoint must be https"},
		{"another scheme", good.P256dh, at("file:///geheim"), "bad_url", `the scheme must be https, not "file"`},
		{"user", good.P256dh, at("https://geheim@push.example/x"), "bad_url", "push.example: it must not have a user or password"},
		{"a number", good.P256dh, at("https://2130706433/geheim"), "bad_url", "the host is a number"},
		{"no ASCII", good.P256dh, at("https://pusħ.example/geheim"), "bad_url", "must be ASCII"},
		{"another host", good.P256dh, at("https://push.example.org/geheim"), "endpoint_not_allowed", "push.example.org is not in allowed_endpoints"},
		{"an address", good.P256dh, at("https://10.0.0.1/geheim"), "endpoint_not_allowed", "10.0.0.1 is not in allowed_endpoints"},
		{"a step up", good.P256dh, at("https://push.example/../geheim"), "bad_url", "push.example: the path of an endpoint must have no dots as steps"},
		{"a step up, in disguise", good.P256dh, at("https://push.example/x%2f%2e%2E/geheim"), "bad_url", "must have no dots as steps"},
		{"a step up, backwards", good.P256dh, at(`https://push.example/x\..\geheim`), "bad_url", "must have no dots as steps"},
		{"dots that are no steps", good.P256dh, at("https://push.example/a..b/.x/..."), "", ""},
		{"a host below", good.P256dh, at("https://a.b.push.example/geheim"), "endpoint_not_allowed", "a.b.push.example is not in"},
		{"a pushkey that is no base64", "geheim!", at(good.Endpoint), "bad_subscription", "the pushkey is not base64"},
		{"a short pushkey", good.P256dh[:80], at(good.Endpoint), "bad_subscription", "the pushkey is not a public key of P-256"},
		{"a pushkey off the curve", std(notOnTheCurve), at(good.Endpoint), "bad_subscription", "the pushkey is not a public key of P-256"},
		{"a compressed pushkey", std(append([]byte{2}, decode(good.P256dh)[1:33]...)), at(good.Endpoint), "bad_subscription", "the pushkey is not a public key of P-256"},
		{"the point at infinity", "AA", at(good.Endpoint), "bad_subscription", "the pushkey is not a public key of P-256"},
		{"no auth", good.P256dh, data(good.Endpoint, ""), "bad_subscription", "data.auth is not 16 bytes"},
		{"a short auth", good.P256dh, data(good.Endpoint, good.Auth[:20]), "bad_subscription", "data.auth is not 16 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := pushers.Pusher{Pushkey: pushers.NewPushkey(tc.pushkey), Data: jsontext.Value(tc.data)}
			s, err := subscribe(&p, outbound.NewHosts([]string{"push.example", "*.push.example"}))
			if tc.want == "" {
				if err != nil || string(s.key) != string(decode(good.P256dh)) || string(s.secret) != string(decode(good.Auth)) {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var refused *outbound.Refusal
			if !errors.As(err, &refused) || refused.Reason != tc.reason || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %+v and the error %v, want %s: %q", s, err, tc.reason, tc.want)
			}
			if strings.Contains(err.Error(), "geheim") {
				t.Errorf("the error shows what it must not: %v", err)
			}
		})
	}
}

func TestOrigin(t *testing.T) {
	t.Parallel()
	for endpoint, want := range map[string]string{
		"https://push.example/x?y": "https://push.example", "https://PUSH.example:443/x": "https://push.example",
		"https://push.example:8443/x": "https://push.example:8443", "https://[2001:DB8::1]:443/": "https://[2001:db8::1]",
	} {
		u, err := outbound.ParseURL(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		if got := origin(u); got != want {
			t.Errorf("%s: %s, want %s", endpoint, got, want)
		}
	}
}

// FuzzSubscribe holds that hostile data neither panics nor gets past the list of hosts.
func FuzzSubscribe(f *testing.F) {
	s := stack.SubscribeWebPush("push.example", "b")
	f.Add(s.P256dh, s.Endpoint, s.Auth)
	f.Add("", "https://push.example@10.0.0.1/", "x")
	allowed := outbound.NewHosts([]string{"push.example"})
	f.Fuzz(func(t *testing.T, pushkey, endpoint, auth string) {
		data, err := json.Marshal(map[string]string{"endpoint": endpoint, "auth": auth})
		if err != nil {
			return
		}
		p := pushers.Pusher{Pushkey: pushers.NewPushkey(pushkey), Data: data}
		s, err := subscribe(&p, allowed)
		if err == nil && outbound.BareHost(s.endpoint.Hostname()) != "push.example" {
			t.Errorf("allowed %s", s.endpoint)
		}
	})
}

// TestSeal holds that what is sealed can be read by the browser alone, is never sealed the same way twice, and shows little of its length.
func TestSeal(t *testing.T) {
	t.Parallel()
	sealer, err := newSealer()
	if err != nil {
		t.Fatal(err)
	}
	browser := stack.SubscribeWebPush("push.example", "browser")
	p := pushers.Pusher{Pushkey: pushers.NewPushkey(browser.P256dh), Data: jsontext.Value(`{"endpoint":"` + browser.Endpoint + `","auth":"` + browser.Auth + `"}`)}
	to, err := subscribe(&p, outbound.NewHosts([]string{"**"}))
	if err != nil {
		t.Fatal(err)
	}
	buffer := []byte(strings.Repeat("geheim ", 1000))
	for _, tc := range []struct{ text, sealed int }{{0, 256}, {1, 256}, {256 - sealing, 256}, {256 - sealing + 1, 512}, {3000, 3328}, {MaxBody - 1, 4096}, {MaxBody, 4096}} {
		text := buffer[:tc.text]
		first, err := sealer.seal(text, to)
		if err != nil {
			t.Fatal(err)
		}
		second, _ := sealer.seal(text, to)
		if len(first) != tc.sealed || string(first[:16]) == string(second[:16]) || string(first[21:86]) == string(second[21:86]) || strings.Contains(string(first), "geheim") {
			t.Errorf("%d bytes: %d sealed, want %d", tc.text, len(first), tc.sealed)
		}
		if got, err := browser.Decrypt(first); err != nil || string(got) != string(text) {
			t.Errorf("%d bytes: read %q, %v", tc.text, got, err)
		}
		if _, err := stack.SubscribeWebPush("push.example", "another").Decrypt(first); err == nil {
			t.Errorf("%d bytes: another browser reads it", tc.text)
		}
	}
	if string(buffer) != strings.Repeat("geheim ", 1000) {
		t.Error("what lies behind the text was written to")
	}
	if _, err := sealer.seal(buffer[:MaxBody+1], to); err == nil {
		t.Error("no error for a text that is too large")
	}
}
