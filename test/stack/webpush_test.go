package stack

import (
	"crypto/ecdh"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"
)

func unbase64(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestDecryptWebPush has the example of RFC 8291, appendix A, and what is left of it when it is spoiled.
func TestDecryptWebPush(t *testing.T) {
	t.Parallel()
	private, err := ecdh.P256().NewPrivateKey(unbase64(t, "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"))
	if err != nil {
		t.Fatal(err)
	}
	s := WebPushSubscription{private: private, secret: unbase64(t, "BTBZMqHH6r4Tts7J_aSIgg")}
	body := unbase64(t, "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN")
	if text, err := s.Decrypt(body); string(text) != "When I grow up, I want to be a watermelon" {
		t.Errorf("read %q, %v", text, err)
	}
	for i := range body {
		if i >= 16 && i < 19 {
			continue // a larger record is as good
		}
		spoiled := append([]byte(nil), body...)
		spoiled[i] ^= 0x10
		if text, err := s.Decrypt(spoiled); err == nil && i != 19 {
			t.Errorf("byte %d: read %q", i, text)
		}
		if text, err := s.Decrypt(body[:i]); err == nil {
			t.Errorf("%d bytes: read %q", i, text)
		}
	}
}

// vapidExample is the one of RFC 8292, section 2.4.
const vapidExample = "vapid t=eyJ0eXAiOiJKV1QiLCJhbGciOiJFUzI1NiJ9.eyJhdWQiOiJodHRwczovL3B1c2guZXhhbXBsZS5uZXQiLCJleHAiOjE0NTM1MjM3NjgsInN1YiI6Im1haWx0bzpwdXNoQGV4YW1wbGUuY29tIn0." +
	"i3CYb7t4xfxCDquptFOepC9GAu_HLGkMlMuCGSK2rpiUfnK9ojFwDXb1JrErtmysazNjjvW2L9OkSSHzvoD1oA, k=BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"

func TestWebPushTokens(t *testing.T) {
	t.Parallel()
	expires := time.Unix(1453523768, 0)
	for _, tc := range []struct {
		name, authorization, host string
		left                      time.Duration
		key                       string
		status                    int
	}{
		{"example", vapidExample, "push.example.net", time.Hour, "", 0},
		{"a port that goes without saying", vapidExample, "push.example.net:443", time.Hour, "", 0},
		{"as its key", vapidExample, "push.example.net", time.Hour, "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs", 0},
		{"as another key", vapidExample, "push.example.net", time.Hour, "BA", 403},
		{"elsewhere", vapidExample, "push.example.org", time.Hour, "", 403},
		{"expired", vapidExample, "push.example.net", -time.Second, "", 403},
		{"too long", vapidExample, "push.example.net", 25 * time.Hour, "", 403},
		{"none", "", "push.example.net", time.Hour, "", 401},
		{"another scheme", strings.Replace(vapidExample, "vapid", "WebPush", 1), "push.example.net", time.Hour, "", 401},
		{"another signature", strings.Replace(vapidExample, ".i3CY", ".j3CY", 1), "push.example.net", time.Hour, "", 401},
		{"other claims", strings.Replace(vapidExample, ".eyJhdW", ".eyJhdX", 1), "push.example.net", time.Hour, "", 401},
		{"another key in it", strings.Replace(vapidExample, "k=BA1H", "k=BA2H", 1), "push.example.net", time.Hour, "", 401},
		{"no key", vapidExample[:strings.Index(vapidExample, ", k=")], "push.example.net", time.Hour, "", 401},
	} {
		r := &http.Request{Host: tc.host, Header: http.Header{}}
		if tc.authorization != "" {
			r.Header.Set("Authorization", tc.authorization)
		}
		var m WebPushMessage
		status, err := new(webPushTokens).check(r, &m, WebPushOptions{Key: tc.key, Now: func() time.Time { return expires.Add(-tc.left) }})
		if status != tc.status || (err == nil) != (status == 0) {
			t.Errorf("%s: status %d, %v; want %d", tc.name, status, err, tc.status)
		}
		if status == 0 && m.Subject != "mailto:push@example.com" {
			t.Errorf("%s: subject %q", tc.name, m.Subject)
		}
	}
}

func TestWebPushReadsHeaders(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, value string
		right       bool
	}{
		{"Ttl", "0", true}, {"Ttl", "86400", true}, {"Ttl", "", false}, {"Ttl", "-1", false}, {"Ttl", "+1", false}, {"Ttl", "1.5", false},
		{"Urgency", "very-low", true}, {"Urgency", "high", true}, {"Urgency", "HIGH", false}, {"Urgency", "urgent", false},
		{"Topic", "a-Z_9", true}, {"Topic", strings.Repeat("a", 32), true}, {"Topic", strings.Repeat("a", 33), false}, {"Topic", "a b", false}, {"Topic", "!room", false}, {"Topic", "", false},
		{"Content-Encoding", "aesgcm", false}, {"Content-Encoding", "", false},
	} {
		h := http.Header{"Ttl": {"60"}, "Content-Encoding": {"aes128gcm"}}
		h[tc.name] = []string{tc.value}
		if err := new(WebPushMessage).readHeader(h); (err == nil) != tc.right {
			t.Errorf("%s: %q: %v", tc.name, tc.value, err)
		}
	}
}
