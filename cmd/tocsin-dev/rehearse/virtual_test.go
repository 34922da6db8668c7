package rehearse_test

import (
	"path/filepath"
	"testing"
	"time"

	"tocsin/clock"
	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// The services take the pushes of a worker that lives in another year, as one does that replays what was recorded: whatever proves who pushes is as old as it may be, and the
// messages to recorded browsers can be read here.
func TestProvidersInAnotherYear(t *testing.T) {
	t.Parallel()
	for _, year := range []int{2015, 2090} {
		virtual := clock.NewVirtual(time.Date(year, 3, 1, 12, 0, 0, 0, time.UTC))
		var pushes []stack.ProviderPush // of one sender at a time
		providers, err := stack.StartProviders(stack.ProvidersOptions{
			Dir: t.TempDir(), Only: []string{stack.ProviderAPNs, stack.ProviderFCM, stack.ProviderWebPush}, Now: virtual.Now, Others: stack.ReadOthers,
			Observe: func(p stack.ProviderPush) { pushes = append(pushes, p) },
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := providers.Close(); err != nil {
				t.Error(err)
			}
		})
		settings := func(provider string) map[string]string {
			app, err := providers.Add(provider, "app."+provider, "")
			if err != nil {
				t.Fatal(err)
			}
			found := map[string]string{}
			for _, s := range app.Settings {
				found[s.Key] = s.Value
			}
			return found
		}
		to := delivery(pushers.Pusher{Kind: "http", AppID: "app", Pushkey: pushers.NewPushkey(stack.SubscribeWebPush("x", "somebody").P256dh), Data: []byte(`{"endpoint":"https://updates.push.services.mozilla.com/wpush/v2/recorded","auth":"AAAAAAAAAAAAAAAAAAAAAA"}`)})
		to.Expires = virtual.Now().Add(time.Hour)

		a, f, w := apns.Defaults(), fcm.Defaults(), webpush.Defaults()
		s := settings(stack.ProviderAPNs)
		a.KeyFile, a.KeyID, a.TeamID, a.BaseURL, a.CAFile, a.Topic = s["key_file"], s["key_id"], s["team_id"], s["base_url"], s["ca_file"], "im.vector.app"
		s = settings(stack.ProviderFCM)
		f.ServiceAccountFile, f.BaseURL, f.TokenURL, f.CAFile = s["service_account_file"], s["base_url"], s["token_url"], s["ca_file"]
		s = settings(stack.ProviderWebPush)
		w.VAPIDKeyFile, w.Contact, w.BaseURL, w.CAFile = s["vapid_key_file"], s["contact"], s["base_url"], s["ca_file"]
		asApple, err := apns.New(a, apns.Options{Clock: virtual})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(asApple.Close)
		asGoogle, err := fcm.New(f, fcm.Options{Clock: virtual})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(asGoogle.Close)
		asBrowser, err := webpush.New(w, webpush.Options{Clock: virtual, Recipient: stack.WebPushKeys, Network: outbound.Config{Timeout: 5 * time.Second}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(asBrowser.Close)
		token := pushers.NewPushkey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
		for round := range 3 {
			for i, sender := range []sender{asApple, asGoogle, asBrowser} {
				d := to
				if i < 2 {
					d.Notification.Device.Pusher.Pushkey = token
				}
				if o := sender.Send(t.Context(), d); o.Verdict != pushers.Delivered || o.Reason != "accepted" {
					t.Errorf("%d, round %d: %T: %+v", year, round, sender, o)
				}
			}
			virtual.Advance(virtual.Now().Add(30 * time.Hour)) // longer than a VAPID token is good
			to.Expires = virtual.Now().Add(time.Hour)
		}
		for i, p := range pushes {
			if p.AppID != "app."+p.Provider || p.Body == nil || p.Fault != "" {
				t.Errorf("%d, push %d: %+v", year, i, p)
			}
		}
		// A device token that was found dead now was set before now.
		if err := providers.Script(stack.ProviderAnswer{AppID: "app.apns", Status: 410}); err != nil {
			t.Fatal(err)
		}
		to.Notification.Device.Pusher.Pushkey, to.Notification.Device.Pusher.PushkeyTS = token, virtual.Now().Add(-time.Hour).Unix()
		if o := asApple.Send(t.Context(), to); o.Verdict != pushers.Gone {
			t.Errorf("%d: %+v", year, o)
		}
	}
}

// An app can prove itself with the certificate in place of the key.
func TestCertificateOfTheGuide(t *testing.T) {
	t.Parallel()
	b := run(t, t.TempDir())
	cfg := *b.configured(t)["org.example.ios"].(*apns.Config)
	for _, file := range []string{"org.example.ios.p12", "org.example.ios.pem"} {
		cfg.KeyFile, cfg.KeyID, cfg.TeamID = "", "", ""
		cfg.CertFile, cfg.CertPassword = filepath.Join(b.dir, "org.example.ios", file), credential.NewSecret(stack.CertificatePassword)
		s, err := apns.New(cfg, apns.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		stranger := b.devices(t)["org.example.ios"]
		stranger.Pushkey = pushers.NewPushkey("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
		if o := s.Send(t.Context(), delivery(stranger)); o.Verdict != pushers.Delivered {
			t.Errorf("%s: %+v", file, o)
		}
	}
	if lines := b.lines(); len(lines) != 2 {
		t.Errorf("lines %v", lines)
	}
}
