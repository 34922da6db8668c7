package apps_test

// What the tests share: the fakes of push services, and apps at each.

import (
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/fcm"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bed has a folder for the files of apps.
type bed struct {
	*testing.T
	folder string
}

func newBed(t *testing.T) *bed { return &bed{t, t.TempDir()} }

func (b *bed) file(name string, content []byte) string {
	b.Helper()
	path := filepath.Join(b.folder, name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.Fatal(err)
	}
	return path
}

func authority(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

const teamID, keyID = "TEAM012345", "KEY0123456"

// apple is an app at Apple, with the key of the one team.
func (b *bed) apple(service *stack.APNs, topic string) *apns.Config {
	b.Helper()
	cfg := apns.Defaults()
	cfg.KeyFile, cfg.KeyID, cfg.TeamID, cfg.Topic = filepath.Join(b.folder, "AuthKey.p8"), keyID, teamID, topic
	if _, err := os.Stat(cfg.KeyFile); err != nil {
		key, err := service.NewKey(teamID, keyID)
		if err != nil {
			b.Fatal(err)
		}
		b.file("AuthKey.p8", key)
	}
	cfg.BaseURL, cfg.CAFile = service.URL(), b.file("apple.pem", service.Authority())
	return &cfg
}

// google is an app at Google.
func (b *bed) google(service *stack.FCM) *fcm.Config {
	b.Helper()
	cfg := fcm.Defaults()
	cfg.ServiceAccountFile = b.file("firebase.json", service.ServiceAccount())
	cfg.BaseURL, cfg.CAFile = service.URL(), b.file("google.pem", authority(service.Authority()))
	return &cfg
}

// web is an app of browsers.
func (b *bed) web() *webpush.Config {
	b.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	cfg := webpush.Defaults()
	cfg.Contact, cfg.VAPIDKeyFile = "push@example.org", b.file("vapid", []byte(base64.RawURLEncoding.EncodeToString(key.Bytes())))
	return &cfg
}

// open opens apps on a network that is quiet, unless the options say otherwise.
func (b *bed) open(cfg apps.Config, opts apps.Options) *apps.Apps {
	b.Helper()
	opts.Log = slog.New(slog.DiscardHandler)
	a, err := apps.Open(cfg, opts)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(a.Close)
	return a
}

// to is a message to a pusher of an app.
func to(appID, pushkey, url, data string) pushers.Delivery {
	d := pushers.Delivery{ID: "0123456789abcdef0123456789abcdef", UserID: "@u:example.org", Expires: time.Now().Add(time.Hour), Notification: pushers.Notification{
		EventID: "$event", RoomID: "!room:example.org", Type: "m.room.message", Sender: "@s:example.org", Content: jsontext.Value(`{"body":"hello"}`), Prio: pushers.PrioHigh,
	}}
	d.Notification.Device.Pusher = pushers.Pusher{Kind: "http", AppID: appID, Pushkey: pushers.NewPushkey(pushkey), URL: url}
	if data != "" {
		d.Notification.Device.Pusher.Data = jsontext.Value(data)
	}
	return d
}

// everywhere is how the fake of browsers' push services stands for all of them.
func everywhere(service *stack.WebPush) webpush.Options {
	return webpush.Options{Outbound: outbound.Options{Dial: service.Dial}}
}

// clientCertificate is the file of an app's certificate at Apple, with its key.
func (b *bed) clientCertificate(service *stack.APNs) string {
	b.Helper()
	c, key, err := service.NewCertificate("im.app", time.Now().AddDate(1, 0, 0))
	if err != nil {
		b.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		b.Fatal(err)
	}
	return b.file("client.pem", append(authority(c), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...))
}
