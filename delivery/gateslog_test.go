package delivery

// What the log and the metrics are told of services that go away, and of settings that are refused.

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pushers"
)

// TestGatesAreWatched holds that the log tells each change once, by name, and that counts have no names.
func TestGatesAreWatched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := world(100, 100)
		g.log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
		inFlight := fill(t, g, "sick", startingRoom)
		done(timeout, inFlight...)
		try(t, g, "limits", "a", pushers.Outcome{Verdict: pushers.Retry, Reason: "http_429", Status: 429, RetryAfter: time.Hour, Pause: true})
		limited := fill(t, g, "well", 1)
		done(accepted, limited...)
		if diff := cmp.Diff(map[string]BreakerCounts{pushers.ProviderGateway: {Known: 3, Open: 1, Paused: 1}}, g.counts()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		for range 3 {
			time.Sleep(11 * time.Second)
			if diff := cmp.Diff(map[string]BreakerCounts{pushers.ProviderGateway: {Known: 3, HalfOpen: 1, Paused: 1}}, g.counts()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			try(t, g, "sick", "a", timeout)
		}
		time.Sleep(11 * time.Second)
		try(t, g, "sick", "a", accepted)
		try(t, g, "sick", "a", accepted)
		if diff := cmp.Diff(map[string]BreakerCounts{pushers.ProviderGateway: {Known: 3, Paused: 1}}, g.counts()); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
		want := `level=WARN msg="a push service is away: its notifications wait in the retry topics until a probe succeeds" provider=gateway name=sick reason=timeout probe_in=10s
level=INFO msg="a push service asks to be left alone" provider=gateway name=limits reason=http_429 for=1h0m0s
level=INFO msg="a push service is back" provider=gateway name=sick
`
		if diff := cmp.Diff(want, log.String()); diff != "" {
			t.Errorf("the log (-want +got)\n%s", diff)
		}
	})
}

// A push service that refuses what the operator has set is told of at once, whoever is concerned, and once an hour; a gateway that a user chose never is.
func TestOperatorHearsOfRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		g := world(100, 100)
		g.log = slog.New(slog.NewTextHandler(&log, nil))
		wrong := pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "InvalidProviderToken", Status: 403}
		attempt := func(route *pushers.Route, o pushers.Outcome) {
			if p, why := g.enter(t.Context(), route); p == nil {
				t.Fatal(why.unsent)
			} else {
				p.done(o, "@one:hs", false)
			}
		}
		ios := &pushers.Route{Provider: pushers.ProviderAPNs, App: "ios*", Service: "ios*"}
		heard := func(want int) {
			t.Helper()
			if got := strings.Count(log.String(), "level=WARN msg=\"a push service refuses the credentials or settings of an app"); got != want || got > 0 && !strings.Contains(log.String(), "provider=apns app=ios* name=ios* reason=InvalidProviderToken") {
				t.Errorf("told %d times, want %d:\n%s", got, want, &log)
			}
		}
		attempt(host("push.example:443"), wrong)
		attempt(ios, accepted)
		heard(0)
		for range 10 {
			attempt(ios, wrong)
			attempt(ios, accepted)
		}
		heard(1)
		time.Sleep(time.Hour)
		attempt(ios, wrong)
		attempt(ios, wrong)
		heard(2)
		android := &pushers.Route{Provider: pushers.ProviderFCM, App: "android", Service: "android"}
		for range 2 {
			attempt(android, pushers.Outcome{Verdict: pushers.Retry, Reason: "bad_token", Status: 400, Unproven: true})
		}
		if got := strings.Count(log.String(), "has lately taken none of the app: its settings may be wrong"); got != 1 {
			t.Errorf("told %d times, want once:\n%s", got, &log)
		}
	})
}
