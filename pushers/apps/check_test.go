package apps

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/pushers/gateway"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// Push services that never answer are looked at side by side, for as long as there is time, and each is said to be silent.
func TestCheckSilence(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	silent := stack.Answer{Fault: stack.Hang, Times: 1}
	g, err := stack.StartGateway(stack.GatewayOptions{TLS: stack.GoodTLS, Answer: func(stack.Request) stack.Answer { return silent }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	authority := file("gateway.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: g.Authority().Raw}))
	google := stack.FCMServer(t, stack.FCMOptions{})
	google.ScriptToken(stack.FCMAnswer{Delay: time.Minute})
	android := fcm.Defaults()
	android.ServiceAccountFile, android.BaseURL = file("account.json", google.ServiceAccount()), google.URL()
	android.CAFile = file("google.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: google.Authority().Raw}))
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	apple := stack.APNsServer(t, stack.APNsOptions{})
	p8, err := apple.NewKey("TEAM012345", "KEY0123456")
	if err != nil {
		t.Fatal(err)
	}
	ios := apns.Defaults()
	ios.KeyFile, ios.KeyID, ios.TeamID, ios.Topic = file("key.p8", p8), "KEY0123456", "TEAM012345", "org.example"
	hanging, err := stack.StartGateway(stack.GatewayOptions{TLS: stack.HangingTLS})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hanging.Close() })
	ios.BaseURL = "https://" + hanging.Address()
	web := webpush.Defaults()
	web.Contact, web.VAPIDKeyFile = "push@example.org", file("vapid", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: raw}))

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	findings := Check(ctx, Config{"android": &android, "desktop": &Gateway{URL: "https://" + g.Address() + "/push", CAFile: authority}, "ios": &ios, "web": &web, "{": &Gateway{}}, Options{Log: slog.New(slog.DiscardHandler)})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	for i, want := range []string{
		"android: FCM, project project: the token endpoint does not answer in time: look at firewalls (token_timeout)",
		"desktop: gateway " + g.Address() + ": no answer came in time: it may have been delivered; look whether the server is overloaded (timeout)",
		"ios: APNs: no connection",
		"apps[web].vapid_key_file: ",
		`apps[{]: "{" is no pattern of app ids`,
	} {
		if f := findings[i]; f.Err == nil || !strings.HasPrefix(f.Err.Error(), want) || f.Good != "" || f.Warning != "" {
			t.Errorf("%+v, want %s", f, want)
		}
	}
}

// Each provider's own words are asked for.
func TestWords(t *testing.T) {
	t.Parallel()
	o := pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted"}
	for provider, want := range map[string]string{
		pushers.ProviderAPNs: apns.Words(o), pushers.ProviderFCM: fcm.Words(o), pushers.ProviderWebPush: webpush.Words(o), pushers.ProviderGateway: gateway.Words(o),
	} {
		if got := Words(provider, o); got != want {
			t.Errorf("%s: %q, want %q", provider, got, want)
		}
	}
}
