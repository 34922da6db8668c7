package delivery_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/clock"
	"tocsin/delivery"
	"tocsin/pushers"
	"tocsin/pushers/gateway"
	"tocsin/pushers/outbound"
)

// sendFunc is a push service that is a function.
type sendFunc func(context.Context, pushers.Notification) pushers.Outcome

func (f sendFunc) Send(ctx context.Context, d pushers.Delivery) pushers.Outcome {
	return f(ctx, d.Notification)
}

func (f sendFunc) Route(d *pushers.Delivery) pushers.Route { return gateways{Sender: f}.Route(d) }

// gateways lead all deliveries to the gateways of their URLs.
type gateways struct {
	pushers.Sender
	pushers.Bundler
}

func (g gateways) Route(d *pushers.Delivery) pushers.Route {
	return pushers.Route{Provider: pushers.ProviderGateway, Service: gateway.Service(d.Notification.Device.Pusher.URL), Sender: g.Sender, Bundler: g.Bundler}
}

func to(url string) pushers.Notification {
	return pushers.Notification{
		EventID: "$1", RoomID: "!r", Type: "m.room.message", Sender: "@a:b", Content: []byte(`{"msgtype":"m.text","body":"` + strings.Repeat("x", 700) + `"}`),
		Device: pushers.Device{Pusher: pushers.Pusher{AppID: "app", Pushkey: pushers.NewPushkey("key"), URL: url}},
	}
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name    string
		outcome pushers.Outcome
		takes   time.Duration // the request
		attempt int
		expires time.Duration // after start
		want    pushers.Step
		sends   int
	}{
		{"delivered", pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted"}, 0, 0, time.Hour, pushers.Step{Action: pushers.Settle, Detail: "accepted", Verdict: pushers.Delivered}, 1},
		{"fails", pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503"}, 0, 0, time.Hour, pushers.Step{Action: pushers.Again, Detail: "http_503", Verdict: pushers.Retry}, 1},
		{"fails again", pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503"}, 0, 1, time.Hour, pushers.Step{Action: pushers.Again, Tier: 1, Detail: "http_503", Verdict: pushers.Retry}, 1},
		{"rejected", pushers.Outcome{Verdict: pushers.Gone, Reason: "rejected"}, 0, 0, time.Hour, pushers.Step{Action: pushers.Remove, Reason: "rejected", Detail: "rejected", Verdict: pushers.Gone}, 1},
		{"time left counts after the request", pushers.Outcome{Verdict: pushers.Retry, Reason: "dns"}, 6 * time.Second, 0, 10 * time.Second, pushers.Step{Action: pushers.Bury, Reason: "expired", Detail: "dns", Verdict: pushers.Retry}, 1},
		{"delivered while it expired", pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted"}, 6 * time.Second, 0, 5 * time.Second, pushers.Step{Action: pushers.Settle, Detail: "accepted", Verdict: pushers.Delivered}, 1},
		{"expired before its first try", pushers.Outcome{}, 0, 0, 0, pushers.Step{Action: pushers.Forget, Reason: "expired"}, 0},
		{"expired long ago", pushers.Outcome{}, 0, 0, -time.Hour, pushers.Step{Action: pushers.Forget, Reason: "expired"}, 0},
		{"expired before its third try", pushers.Outcome{}, 0, 2, 0, pushers.Step{Action: pushers.Bury, Reason: "expired"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			now, sends := clock.NewVirtual(start), 0
			d := delivery.New(delivery.Defaults(), sendFunc(func(context.Context, pushers.Notification) pushers.Outcome {
				sends++
				now.Advance(start.Add(tc.takes))
				return tc.outcome
			}), now, delivery.Options{})
			got := d.Deliver(t.Context(), pushers.Delivery{Notification: to("https://push.example/"), Attempt: tc.attempt, Expires: start.Add(tc.expires)})
			tc.want.Provider = pushers.ProviderGateway
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if sends != tc.sends {
				t.Errorf("%d requests, want %d", sends, tc.sends)
			}
		})
	}
}

// newReal is a Dispatcher with a real client, and the URL of a gateway that takes everything.
func newReal(t testing.TB, cfg delivery.Config, answer http.HandlerFunc) (*delivery.Dispatcher, string) {
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	sender := gateway.New(gateway.Config{
		Path: cfg.GatewayPath, AllowHTTP: true,
		Config: outbound.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Timeout: cfg.Timeout, Connections: cfg.ConcurrencyPerGateway},
	}, gateway.Options{})
	t.Cleanup(sender.Close)
	return delivery.New(cfg, gateways{sender, sender}, clock.System{}, delivery.Options{}), server.URL + "/_matrix/push/v1/notify"
}

func TestDeliverForReal(t *testing.T) {
	t.Parallel()
	var status atomic.Int32
	d, url := newReal(t, delivery.Defaults(), func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Retry-After", "20")
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, `{"rejected":["key"]}`)
	})
	for _, tc := range []struct {
		status int
		url    string
		want   pushers.Step
	}{
		{200, url, pushers.Step{Action: pushers.Remove, Reason: "rejected", Detail: "rejected", Verdict: pushers.Gone}},
		{400, url, pushers.Step{Action: pushers.Again, Tier: 1, Detail: "http_400", Verdict: pushers.Drop}},
		{404, url, pushers.Step{Action: pushers.Again, Tier: 3, Detail: "http_404", Verdict: pushers.Misconfigured}},
		{413, url, pushers.Step{Action: pushers.Bury, Reason: "refused", Detail: "http_413", Verdict: pushers.Drop}},
		{429, url, pushers.Step{Action: pushers.Again, Tier: 1, Detail: "http_429", Verdict: pushers.Retry}},
		{200, url, pushers.Step{Action: pushers.Again, Tier: 1, Detail: "service_paused", Unsent: true}},
		{200, "https://%zz", pushers.Step{Action: pushers.Bury, Reason: "refused", Detail: `bad_url: pusher URL refused: invalid URL escape "%zz"`, Verdict: pushers.Drop}},
		{200, "http://169.254.169.254/_matrix/push/v1/notify", pushers.Step{Action: pushers.Bury, Reason: "refused", Detail: "blocked_address: dial tcp 169.254.169.254:80: " +
			"address refused: prohibited IP address: 169.254.169.254 is not a permitted destination (denied by: 169.254.0.0/16) (delivery.allow_cidrs and delivery.allow_hosts make exceptions)", Verdict: pushers.Drop}},
	} {
		status.Store(int32(tc.status))
		got := d.Deliver(t.Context(), pushers.Delivery{Notification: to(tc.url), Expires: time.Now().Add(24 * time.Hour)})
		tc.want.Provider = pushers.ProviderGateway
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%d %s (-want +got)\n%s", tc.status, tc.url, diff)
		}
	}
}
