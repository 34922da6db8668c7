package webpush_test

// What the tests share: an app, a push service, a pusher.

import (
	"flag"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	webpushlib "github.com/SherClockHolmes/webpush-go"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// app is a configuration with a key of its own, and that key's public half.
func app(t testing.TB) (cfg webpush.Config, public string) {
	t.Helper()
	private, public, err := webpushlib.GenerateVAPIDKeys()
	if err != nil {
		t.Fatal(err)
	}
	cfg = webpush.Defaults()
	cfg.Contact, cfg.VAPIDKeyFile = "push@example.org", filepath.Join(t.TempDir(), "vapid")
	if err := os.WriteFile(cfg.VAPIDKeyFile, []byte(private+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg, public
}

// service is a push service that keeps what it received.
type service struct {
	*stack.WebPush
	mu       sync.Mutex
	received []stack.WebPushMessage
}

func start(t testing.TB, opts stack.WebPushOptions) *service {
	t.Helper()
	s := &service{}
	opts.Observe = func(m stack.WebPushMessage) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.received = append(s.received, m)
	}
	s.WebPush = stack.WebPushServer(t, opts)
	return s
}

func (s *service) messages() []stack.WebPushMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]stack.WebPushMessage(nil), s.received...)
}

func newSender(t testing.TB, cfg webpush.Config, opts webpush.Options) *webpush.Sender {
	t.Helper()
	s, err := webpush.New(cfg, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// connected is an app whose every push service is s.
func connected(t testing.TB, s *service) *webpush.Sender {
	t.Helper()
	cfg, _ := app(t)
	return newSender(t, cfg, webpush.Options{Network: outbound.Config{Timeout: 5 * time.Second}, Outbound: outbound.Options{Dial: s.Dial}})
}

const host = "fcm.googleapis.com"

// to is a delivery to the browser of that name, with more in the pusher's data.
func to(name string, data map[string]any) pushers.Delivery {
	s := stack.SubscribeWebPush(host, name)
	all := map[string]any{"endpoint": s.Endpoint, "auth": s.Auth}
	for k, v := range data {
		all[k] = v
	}
	raw, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		panic(err)
	}
	return pushers.Delivery{ID: "d1", UserID: "@major:example.com", Notification: message(s.P256dh, raw), Expires: time.Now().Add(time.Hour)}
}

func message(pushkey string, data jsontext.Value) pushers.Notification {
	return pushers.Notification{
		EventID: "$3957tyerfgewrf384", RoomID: "!slw48wfj34rtnrf:example.com", Type: "m.room.message", Sender: "@exampleuser:matrix.org",
		SenderDisplayName: "Major Tom", RoomName: "Mission Control", RoomAlias: "#exampleroom:matrix.org",
		Content: jsontext.Value(`{"msgtype":"m.text","body":"I'm floating in a most peculiar way.","format":"org.matrix.custom.html","formatted_body":"<i>long</i>"}`),
		Prio:    pushers.PrioHigh, Counts: pushers.Counts{Unread: 2, MissedCalls: 1},
		Device: pushers.Device{Pusher: pushers.Pusher{Kind: "http", AppID: "org.example.web", Pushkey: pushers.NewPushkey(pushkey), Data: data}, Tweaks: jsontext.Value(`{"sound":"bing"}`)},
	}
}

// check compares all but the cause.
func check(t *testing.T, got, want pushers.Outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" {
		t.Errorf("(-want +got)\n%s\ncause: %v", diff, got.Cause)
	}
}

var accepted = pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 201}
