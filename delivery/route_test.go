package delivery_test

// What the dispatcher makes of routes: who is told nothing, and which services fail, and are left alone, apart from which others.

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/clock"
	"tocsin/delivery"
	"tocsin/pushers"
)

// ways are routes by app id, and what each service answers.
type ways struct {
	routes map[string]pushers.Route

	mu      sync.Mutex
	answers map[string]pushers.Outcome // by app id; the zero value is taken
	sent    []string                   // app id and URL of each request
}

func (w *ways) Route(d *pushers.Delivery) pushers.Route {
	r := w.routes[d.Notification.Device.Pusher.AppID]
	r.Sender = w
	d.Notification.Device.Pusher.URL = "https://changed.example/"
	return r
}

func (w *ways) Send(_ context.Context, d pushers.Delivery) pushers.Outcome {
	p := d.Notification.Device.Pusher
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, p.AppID+" "+p.URL)
	if o := w.answers[p.AppID]; o.Verdict != 0 {
		return o
	}
	return pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}
}

// requests are how many there were since it was last asked.
func (w *ways) requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.sent)
	w.sent = nil
	return n
}

// routed is a dispatcher that goes these ways, and its clock.
func routed(routes map[string]pushers.Route) (*delivery.Dispatcher, *ways, *clock.Virtual) {
	w := &ways{routes: routes, answers: map[string]pushers.Outcome{}}
	now := clock.NewVirtual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	return delivery.New(delivery.Defaults(), w, now, delivery.Options{Log: slog.New(slog.DiscardHandler)}), w, now
}

// by is a delivery to a pusher of an app.
func by(app string, now time.Time) pushers.Delivery {
	n := to("https://own.example/")
	n.Device.Pusher.AppID = app
	return pushers.Delivery{UserID: "@u:example.org", Notification: n, Since: now, Expires: now.Add(time.Hour)}
}

// What an app is told nothing of is done without a request, whatever state its service is in; but not if it is too late for it.
func TestUntold(t *testing.T) {
	t.Parallel()
	route := pushers.Route{Provider: pushers.ProviderAPNs, App: "ios.*", Service: "ios.*", Account: "team"}
	silent := route
	silent.Untold = "nothing_to_tell"
	d, w, now := routed(map[string]pushers.Route{"told": route, "untold": silent})
	settled := pushers.Step{Action: pushers.Settle, Detail: "nothing_to_tell", Untold: true, Provider: "apns", App: "ios.*"}
	for name, tc := range map[string]struct {
		change func(*pushers.Delivery)
		want   pushers.Step
	}{
		"the first time":        {func(*pushers.Delivery) {}, settled},
		"a retry":               {func(d *pushers.Delivery) { d.Attempt = 3 }, settled},
		"too late":              {func(d *pushers.Delivery) { d.Expires = now.Now() }, pushers.Step{Action: pushers.Forget, Reason: "expired", Provider: "apns", App: "ios.*"}},
		"too late, and a retry": {func(d *pushers.Delivery) { d.Expires, d.Attempt = now.Now(), 1 }, pushers.Step{Action: pushers.Bury, Reason: "expired", Provider: "apns", App: "ios.*"}},
	} {
		what := by("untold", now.Now())
		tc.change(&what)
		got := d.Deliver(t.Context(), what)
		if diff := cmp.Diff(tc.want, got); diff != "" || w.requests() > 0 {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got.Verdict != 0 || got.Outcome() != "none" {
			t.Errorf("%s: the outcome is %s, though nothing was sent", name, got.Outcome())
		}
	}
	w.answers["told"] = pushers.Outcome{Verdict: pushers.Retry, Reason: "updates", Status: 429, RetryAfter: time.Minute, Pause: true}
	d.Deliver(t.Context(), by("told", now.Now()))
	if step := d.Deliver(t.Context(), by("untold", now.Now())); step.Action != pushers.Settle || w.requests() != 1 {
		t.Errorf("while its team is left alone: %+v", step)
	}
}

// The router may change what is sent, and the caller's own stays as it was.
func TestRouteChangesTheCopy(t *testing.T) {
	t.Parallel()
	d, w, now := routed(map[string]pushers.Route{"app": {Provider: pushers.ProviderGateway, App: "app", Service: "own"}})
	what := by("app", now.Now())
	step := d.Deliver(t.Context(), what)
	if len(w.sent) != 1 || w.sent[0] != "app https://changed.example/" || what.Notification.Device.Pusher.URL != "https://own.example/" {
		t.Errorf("sent %v, of %s", w.sent, what.Notification.Device.Pusher.URL)
	}
	if diff := cmp.Diff(pushers.Step{Action: pushers.Settle, Detail: "accepted", Verdict: pushers.Delivered, Provider: "gateway", App: "app"}, step); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A service of that name at one provider is away: those of the same name elsewhere, and other services of its account, are sent to.
func TestServicesFailApart(t *testing.T) {
	t.Parallel()
	d, w, now := routed(map[string]pushers.Route{
		"sick":      {Provider: pushers.ProviderAPNs, App: "sick", Service: "one", Account: "team"},
		"namesake":  {Provider: pushers.ProviderFCM, App: "namesake", Service: "one", Account: "team"},
		"colleague": {Provider: pushers.ProviderAPNs, App: "colleague", Service: "two", Account: "team"},
		"browser":   {Provider: pushers.ProviderWebPush, App: "browser", Service: "one"},
		"gateway":   {Provider: pushers.ProviderGateway, Service: "one"},
	})
	w.answers["sick"] = pushers.Outcome{Verdict: pushers.Retry, Reason: "connect"}
	const failures = 5
	for range failures {
		if step := d.Deliver(t.Context(), by("sick", now.Now())); step.Unsent || step.Action != pushers.Again {
			t.Fatalf("got %+v", step)
		}
	}
	w.requests()
	step := d.Deliver(t.Context(), by("sick", now.Now()))
	if diff := cmp.Diff(pushers.Step{Action: pushers.Again, Detail: "service_down", Unsent: true, Provider: "apns", App: "sick"}, step); diff != "" || w.requests() != 0 {
		t.Errorf("after %d failures (-want +got):\n%s", failures, diff)
	}
	for _, app := range []string{"namesake", "colleague", "browser", "gateway"} {
		if step := d.Deliver(t.Context(), by(app, now.Now())); step.Action != pushers.Settle || w.requests() != 1 {
			t.Errorf("%s: %+v", app, step)
		}
	}
	want := map[string]delivery.BreakerCounts{"apns": {Known: 2, Open: 1}, "fcm": {Known: 1}, "webpush": {Known: 1}, "gateway": {Known: 1}}
	if diff := cmp.Diff(want, d.Breakers()); diff != "" {
		t.Errorf("breakers (-want +got):\n%s", diff)
	}
}

// An account that asks to be left alone is, in all its services, until the time that it named; a retry learns that without waiting for its turn.
func TestAccountsAreLeftAlone(t *testing.T) {
	t.Parallel()
	d, w, now := routed(map[string]pushers.Route{
		"first":  {Provider: pushers.ProviderFCM, App: "first", Service: "first", Account: "project"},
		"second": {Provider: pushers.ProviderFCM, App: "second", Service: "second", Account: "project"},
		"other":  {Provider: pushers.ProviderFCM, App: "other", Service: "other", Account: "elsewhere"},
		"alone":  {Provider: pushers.ProviderFCM, App: "alone", Service: "alone"},
		"apple":  {Provider: pushers.ProviderAPNs, App: "apple", Service: "first", Account: "project"},
	})
	w.answers["first"] = pushers.Outcome{Verdict: pushers.Retry, Reason: "quota_exceeded", Status: 429, RetryAfter: time.Minute, Pause: true}
	if step := d.Deliver(t.Context(), by("first", now.Now())); step.Action != pushers.Again || step.Unsent || delivery.Tiers[step.Tier] < time.Minute {
		t.Errorf("the one that is refused: %+v", step)
	}
	w.requests()
	for _, attempt := range []int{0, 1} {
		for _, app := range []string{"first", "second"} {
			what := by(app, now.Now())
			what.Attempt = attempt
			step := d.Deliver(t.Context(), what)
			if step.Action != pushers.Again || !step.Unsent || step.Detail != "service_paused" || delivery.Tiers[step.Tier] < time.Minute || step.App != app || w.requests() != 0 {
				t.Errorf("%s, attempt %d: %+v", app, attempt, step)
			}
		}
	}
	for _, app := range []string{"other", "alone", "apple"} {
		if step := d.Deliver(t.Context(), by(app, now.Now())); step.Action != pushers.Settle {
			t.Errorf("%s: %+v", app, step)
		}
	}
	if got := d.Breakers()["fcm"].Paused; got != 1 {
		t.Errorf("%d are paused, want the account as one", got)
	}
	w.requests()
	now.Advance(now.Now().Add(time.Minute))
	if step := d.Deliver(t.Context(), by("second", now.Now())); step.Action != pushers.Settle || w.requests() != 1 || d.Breakers()["fcm"].Paused != 0 {
		t.Errorf("a minute later: %+v", step)
	}
}

// A service without an account is left alone by itself.
func TestServiceIsLeftAlone(t *testing.T) {
	t.Parallel()
	d, w, now := routed(map[string]pushers.Route{
		"first":  {Provider: pushers.ProviderWebPush, App: "first", Service: "first"},
		"second": {Provider: pushers.ProviderWebPush, App: "second", Service: "second"},
	})
	w.answers["first"] = pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503", Status: 503, RetryAfter: time.Minute, Pause: true}
	d.Deliver(t.Context(), by("first", now.Now()))
	if step := d.Deliver(t.Context(), by("first", now.Now())); !step.Unsent || step.Detail != "service_paused" {
		t.Errorf("the first: %+v", step)
	}
	if step := d.Deliver(t.Context(), by("second", now.Now())); step.Action != pushers.Settle {
		t.Errorf("the second: %+v", step)
	}
}
