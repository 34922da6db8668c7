package rehearse_test

// What the tests share: a rehearsal, and a worker's senders that are set up as its guide says.

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"tocsin/cmd/tocsin-dev/rehearse"
	"tocsin/config"
	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/fcm"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names are the apps of the tests, by provider.
var names = map[string][]string{
	stack.ProviderAPNs: {"org.example.ios", "org.example.ios.beta.*"}, stack.ProviderFCM: {"org.example.android"},
	stack.ProviderWebPush: {"org.example.web"}, stack.ProviderGateway: {"org.example.desktop"},
}

// pages is a text that grows, and can be waited for.
type pages struct{ stack.Buffer }

// await waits until the text has so many of what.
func (p *pages) await(t testing.TB, what string, times int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); strings.Count(p.String(), what) < times; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%q is not there %d times within 20 s:\n%s", what, times, p)
		}
	}
}

// bed is one rehearsal.
type bed struct {
	dir           string
	output, guide *pages
	commands      *io.PipeWriter
	stop          func() // and wait; it can be called twice
}

// run begins a rehearsal in a folder, and returns when it has said what to do.
func run(t testing.TB, dir string) *bed {
	t.Helper()
	b := &bed{dir: dir, output: &pages{}, guide: &pages{}}
	commands, writer := io.Pipe()
	b.commands = writer
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- rehearse.Run(ctx, rehearse.Options{Data: dir, Apps: names, Commands: commands, Output: b.output, Guide: b.guide})
	}()
	b.stop = sync.OnceFunc(func() {
		cancel()
		writer.Close()
		if err := <-ended; err != nil {
			t.Errorf("the rehearsal: %v", err)
		}
	})
	t.Cleanup(b.stop)
	b.guide.await(t, "Ctrl-C", 1)
	return b
}

// say gives a command, and waits for what is told of it.
func (b *bed) say(t testing.TB, command, told string) {
	t.Helper()
	before := strings.Count(b.guide.String(), told)
	if _, err := io.WriteString(b.commands, command+"\n"); err != nil {
		t.Fatal(err)
	}
	b.guide.await(t, told, before+1)
}

// lines are the pushes that were written down.
func (b *bed) lines() []string {
	return strings.FieldsFunc(b.output.String(), func(r rune) bool { return r == '\n' })
}

// configured is section apps of the guide, as the worker reads it.
func (b *bed) configured(t testing.TB) apps.Config {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.dir, "apps.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.guide.String(), string(raw)) {
		t.Errorf("apps.yaml is not what was told:\n%s\n%s", raw, b.guide)
	}
	cfg, err := config.Parse(append([]byte("homeserver: {server_name: example.org}\n"), raw...), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	return cfg.Apps
}

// sender is what a worker sends with.
type sender interface {
	Send(context.Context, pushers.Delivery) pushers.Outcome
	Close()
}

// viaGateway gives the sender of gateways the form of the others.
type viaGateway struct {
	*gateway.Sender
	url string
}

func (v viaGateway) Send(ctx context.Context, d pushers.Delivery) pushers.Outcome {
	d.Notification.Device.Pusher.URL = v.url
	return v.Sender.Send(ctx, d)
}

// senders are a worker's, by provider.
func (b *bed) senders(t testing.TB) map[string]sender {
	t.Helper()
	const timeout = time.Second
	log := slog.New(slog.DiscardHandler)
	made := map[string]sender{}
	for name, app := range b.configured(t) {
		var s sender
		var err error
		switch app := app.(type) {
		case *apns.Config:
			app.Timeout = timeout
			s, err = apns.New(*app, apns.Options{Log: log})
		case *fcm.Config:
			app.Timeout = timeout
			s, err = fcm.New(*app, fcm.Options{Log: log})
		case *webpush.Config:
			s, err = webpush.New(*app, webpush.Options{Network: outbound.Config{Timeout: timeout}, Log: log})
		case *apps.Gateway:
			pem, reading := os.ReadFile(app.CAFile)
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(pem)
			s, err = viaGateway{gateway.New(gateway.Config{Config: outbound.Config{Timeout: timeout, RootCAs: roots, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}}, gateway.Options{}), app.URL}, reading
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(s.Close)
		made[name] = s
	}
	return made
}

// devices are the made-up ones, by app id.
func (b *bed) devices(t testing.TB) map[string]pushers.Pusher {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.dir, "pushers.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]pushers.Pusher{}
	for line := range bytes.Lines(raw) {
		p, err := pushers.ParsePusher(line)
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		found[p.AppID] = p
	}
	return found
}

// delivery is a message to a device.
func delivery(to pushers.Pusher) pushers.Delivery {
	return pushers.Delivery{
		ID: "0123456789abcdef0123456789abcdef", UserID: "@alice:example.org", Expires: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		Notification: pushers.Notification{
			EventID: "$event", RoomID: "!room:example.org", Type: "m.room.message", Sender: "@bob:example.org", Content: jsontext.Value(`{"msgtype":"m.text","body":"hello"}`),
			Prio: pushers.PrioHigh, Counts: pushers.Counts{Unread: 1}, Device: pushers.Device{Pusher: to},
		},
	}
}
