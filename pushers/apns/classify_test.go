package apns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/net/http2"

	"tocsin/pushers"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// registered is when the pusher of the tests was set.
const registered = 1_800_000_000

func TestClassify(t *testing.T) {
	t.Parallel()
	apple := func(status int, reason string) attempt {
		return attempt{status: status, reply: []byte(`{"reason":"` + reason + `"}`)}
	}
	since := func(a attempt, timestamp string) attempt {
		a.reply = []byte(string(a.reply[:len(a.reply)-1]) + `,"timestamp":` + timestamp + `}`)
		return a
	}
	asking := func(a attempt, retryAfter string) attempt {
		a.header = http.Header{"Retry-After": {retryAfter}}
		return a
	}
	linked := func(err error, change func(*attempt)) attempt {
		a := attempt{err: err, linked: true}
		if change != nil {
			change(&a)
		}
		return a
	}
	sent := func(a *attempt) { a.sent = true }
	gaveUp := func(reason string) func(*attempt) {
		return func(a *attempt) { a.sent, a.goAway = true, &goAway{reason: reason} }
	}
	is := func(verdict pushers.Verdict, reason string, status int) pushers.Outcome {
		return pushers.Outcome{Verdict: verdict, Reason: reason, Status: status}
	}
	after := func(o pushers.Outcome, wait time.Duration) pushers.Outcome {
		o.RetryAfter = wait
		return o
	}
	retry, drop, gone, wrong, uncertain := pushers.Retry, pushers.Drop, pushers.Gone, pushers.Misconfigured, pushers.Uncertain
	config := func(reason string, status int) pushers.Outcome {
		return after(is(wrong, reason, status), 5*time.Minute)
	}
	wentAway := errors.New("http2: Transport received Server's graceful shutdown GOAWAY")
	closed := errors.New(`http2: server sent GOAWAY and closed the connection; LastStreamID=7, ErrCode=NO_ERROR, debug=""`)
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: expired certificate")}

	for _, tc := range []struct {
		name    string
		in      attempt
		want    pushers.Outcome
		remedy  remedy
		replace bool
	}{
		{name: "accepted", in: attempt{status: 200}, want: is(pushers.Delivered, "accepted", 200)},
		// 400
		{name: "400 BadDeviceToken", in: apple(400, "BadDeviceToken"), want: is(gone, "BadDeviceToken", 400)},
		{name: "400 DeviceTokenNotForTopic", in: apple(400, "DeviceTokenNotForTopic"), want: is(gone, "DeviceTokenNotForTopic", 400)},
		{name: "400 TopicDisallowed", in: apple(400, "TopicDisallowed"), want: config("TopicDisallowed", 400)},
		{name: "400 BadTopic", in: apple(400, "BadTopic"), want: config("BadTopic", 400)},
		{name: "400 MissingTopic", in: apple(400, "MissingTopic"), want: config("MissingTopic", 400)},
		{name: "400 BadCollapseId", in: apple(400, "BadCollapseId"), want: is(drop, "BadCollapseId", 400)},
		{name: "400 BadExpirationDate", in: apple(400, "BadExpirationDate"), want: is(drop, "BadExpirationDate", 400)},
		{name: "400 BadMessageId", in: apple(400, "BadMessageId"), want: is(drop, "BadMessageId", 400)},
		{name: "400 BadPriority", in: apple(400, "BadPriority"), want: is(drop, "BadPriority", 400)},
		{name: "400 DuplicateHeaders", in: apple(400, "DuplicateHeaders"), want: is(drop, "DuplicateHeaders", 400)},
		{name: "400 InvalidPushType", in: apple(400, "InvalidPushType"), want: is(drop, "InvalidPushType", 400)},
		{name: "400 MissingDeviceToken", in: apple(400, "MissingDeviceToken"), want: is(drop, "MissingDeviceToken", 400)},
		{name: "400 PayloadEmpty", in: apple(400, "PayloadEmpty"), want: is(drop, "PayloadEmpty", 400)},
		{name: "400 IdleTimeout", in: apple(400, "IdleTimeout"), want: is(retry, "IdleTimeout", 400), remedy: reconnect, replace: true},
		{name: "400 ExpiredToken", in: apple(400, "ExpiredToken"), want: is(gone, "ExpiredToken", 400)},
		{name: "400 of tomorrow", in: apple(400, "BadWeather"), want: is(drop, "http_400", 400)},
		// 403
		{name: "403 ExpiredProviderToken", in: apple(403, "ExpiredProviderToken"), want: config("ExpiredProviderToken", 403), remedy: renewToken},
		{name: "403 InvalidProviderToken", in: apple(403, "InvalidProviderToken"), want: config("InvalidProviderToken", 403)},
		{name: "403 MissingProviderToken", in: apple(403, "MissingProviderToken"), want: config("MissingProviderToken", 403)},
		{name: "403 BadCertificate", in: apple(403, "BadCertificate"), want: config("BadCertificate", 403)},
		{name: "403 BadCertificateEnvironment", in: apple(403, "BadCertificateEnvironment"), want: config("BadCertificateEnvironment", 403), replace: true},
		{name: "403 Forbidden", in: apple(403, "Forbidden"), want: config("Forbidden", 403)},
		{name: "403 UnrelatedKeyIdInToken", in: apple(403, "UnrelatedKeyIdInToken"), want: config("UnrelatedKeyIdInToken", 403), replace: true},
		{name: "403 BadEnvironmentKeyIdInToken", in: apple(403, "BadEnvironmentKeyIdInToken"), want: config("BadEnvironmentKeyIdInToken", 403), replace: true},
		{name: "403 BadEnvironmentKeyInToken", in: apple(403, "BadEnvironmentKeyInToken"), want: config("BadEnvironmentKeyInToken", 403), replace: true},
		// 404 to 413
		{name: "404 BadPath", in: apple(404, "BadPath"), want: is(drop, "BadPath", 404)},
		{name: "405 MethodNotAllowed", in: apple(405, "MethodNotAllowed"), want: is(drop, "MethodNotAllowed", 405)},
		{name: "410 Unregistered since", in: since(apple(410, "Unregistered"), "1800000000000"), want: is(gone, "Unregistered", 410)},
		{name: "410 Unregistered before", in: since(apple(410, "Unregistered"), "1799999999999"), want: pushers.Outcome{Verdict: retry, Reason: "reregistered", Status: 410, Tries: 4}},
		{name: "410 Unregistered, no time", in: apple(410, "Unregistered"), want: is(gone, "Unregistered", 410)},
		{name: "410 Unregistered, no number", in: since(apple(410, "Unregistered"), `"soon"`), want: is(gone, "Unregistered", 410)},
		{name: "410 ExpiredToken since", in: since(apple(410, "ExpiredToken"), "1800000000001"), want: is(gone, "ExpiredToken", 410)},
		{name: "410 ExpiredToken before", in: since(apple(410, "ExpiredToken"), "1"), want: pushers.Outcome{Verdict: retry, Reason: "reregistered", Status: 410, Tries: 4}},
		{name: "410 of tomorrow", in: apple(410, "Moved"), want: is(drop, "http_410", 410)},
		{name: "410 of a proxy", in: attempt{status: 410, reply: []byte("<html>gone</html>")}, want: config("not_apple", 410)},
		{name: "Unregistered of another status", in: apple(500, "Unregistered"), want: is(retry, "http_500", 500)},
		{name: "413 PayloadTooLarge", in: apple(413, "PayloadTooLarge"), want: is(drop, "PayloadTooLarge", 413), remedy: shrink},
		// 429
		{name: "429 TooManyProviderTokenUpdates", in: apple(429, "TooManyProviderTokenUpdates"), want: after(is(retry, "TooManyProviderTokenUpdates", 429), 5*time.Minute)},
		{name: "429 TooManyRequests", in: apple(429, "TooManyRequests"), want: is(retry, "TooManyRequests", 429)},
		{name: "429 with a wish", in: asking(apple(429, "TooManyRequests"), "30"), want: after(is(retry, "TooManyRequests", 429), 30*time.Second)},
		{name: "429 of a proxy", in: attempt{status: 429}, want: is(retry, "http_429", 429)},
		// 5xx
		{name: "500 InternalServerError", in: apple(500, "InternalServerError"), want: is(retry, "InternalServerError", 500)},
		{name: "503 ServiceUnavailable", in: apple(503, "ServiceUnavailable"), want: is(retry, "ServiceUnavailable", 503)},
		{name: "503 with a wish", in: asking(apple(503, "ServiceUnavailable"), "120"), want: after(is(retry, "ServiceUnavailable", 503), 2*time.Minute)},
		{name: "503 with a date", in: asking(apple(503, "ServiceUnavailable"), "Sun, 22 Nov 2026 12:00:30 GMT"), want: after(is(retry, "ServiceUnavailable", 503), 30*time.Second)},
		{name: "503 with a far date", in: asking(apple(503, "ServiceUnavailable"), "Sun, 22 Nov 2099 12:00:30 GMT"), want: after(is(retry, "ServiceUnavailable", 503), time.Hour)},
		{name: "503 with a past date", in: asking(apple(503, "ServiceUnavailable"), "Sun, 22 Nov 2020 12:00:30 GMT"), want: is(retry, "ServiceUnavailable", 503)},
		{name: "503 with words", in: asking(apple(503, "ServiceUnavailable"), "soon"), want: is(retry, "ServiceUnavailable", 503)},
		{name: "503 Shutdown", in: apple(503, "Shutdown"), want: is(retry, "Shutdown", 503), replace: true},
		{name: "502 of a proxy", in: attempt{status: 502, reply: []byte("<html>")}, want: is(retry, "http_502", 502)},
		{name: "599", in: attempt{status: 599}, want: is(retry, "http_5xx", 599)},
		// Not Apple
		{name: "404 of a server", in: attempt{status: 404, reply: []byte("not found")}, want: config("not_apple", 404)},
		{name: "a redirect", in: attempt{status: 302}, want: config("not_apple", 302)},
		{name: "taken, but how?", in: attempt{status: 202}, want: config("not_apple", 202)},
		{name: "408", in: attempt{status: 408}, want: is(retry, "http_408", 408)},
		{name: "425", in: attempt{status: 425}, want: is(retry, "http_425", 425)},
		// No answer
		{name: "no such host", in: attempt{err: &dialError{reason: reasonDNS, err: errors.New("x")}}, want: is(retry, "dns", 0)},
		{name: "no connection", in: attempt{err: &dialError{reason: reasonConnect, err: syscall.ECONNREFUSED}}, want: is(retry, "connect", 0)},
		{name: "no TLS", in: attempt{err: &dialError{reason: reasonTLS, err: errors.New("x")}}, want: is(retry, "tls", 0)},
		{name: "no token", in: linked(&dialError{reason: reasonCredential, err: errors.New("x")}, nil), want: is(retry, "credential", 0)},
		{name: "GOAWAY before it", in: linked(fmt.Errorf("x: %w", wentAway), gaveUp("")), want: is(retry, "goaway", 0), remedy: reconnect},
		{name: "GOAWAY with it", in: linked(closed, gaveUp("")), want: is(uncertain, "no_answer", 0)},
		{name: "GOAWAY with a reason", in: linked(closed, gaveUp("BadCertificateEnvironment")), want: config("BadCertificateEnvironment", 0), replace: true},
		{name: "GOAWAY before it, with a reason", in: linked(wentAway, gaveUp("BadEnvironmentKeyInToken")), want: config("BadEnvironmentKeyInToken", 0), replace: true},
		{name: "GOAWAY before it, with a harmless reason", in: linked(wentAway, gaveUp("IdleTimeout")), want: is(retry, "goaway", 0), remedy: reconnect},
		{name: "refused stream", in: linked(http2.StreamError{Code: http2.ErrCodeRefusedStream}, sent), want: is(retry, "refused_stream", 0), remedy: reconnect},
		{name: "reset stream", in: linked(http2.StreamError{Code: http2.ErrCodeInternal}, sent), want: is(uncertain, "no_answer", 0)},
		{name: "connection broke", in: linked(syscall.ECONNRESET, sent), want: is(uncertain, "no_answer", 0)},
		{name: "connection broke before", in: linked(syscall.ECONNRESET, nil), want: is(retry, "unsent", 0), remedy: reconnect, replace: true},
		{name: "no answer in time", in: linked(context.DeadlineExceeded, sent), want: is(uncertain, "timeout", 0)},
		{name: "no sign of life", in: linked(context.DeadlineExceeded, func(a *attempt) { a.sent, a.silent = true, true }), want: is(uncertain, "timeout", 0), replace: true},
		{name: "no room in time", in: linked(context.DeadlineExceeded, nil), want: is(retry, "unsent", 0), remedy: reconnect},
		{name: "certificate refused", in: linked(alert, func(a *attempt) { a.sent, a.certified = true, true }), want: config("certificate_refused", 0), replace: true},
		{name: "certificate refused at the handshake", in: attempt{err: &dialError{reason: reasonTLS, err: alert}, certified: true}, want: config("certificate_refused", 0), replace: true},
		{name: "an alert of another kind", in: linked(&net.OpError{Op: "remote error", Err: errors.New("tls: internal error")}, func(a *attempt) { a.sent, a.certified = true, true }), want: is(uncertain, "no_answer", 0)},
		{name: "an alert that was heard beside the error", in: linked(errors.New("broken pipe"), func(a *attempt) { a.certified, a.alert = true, alert }), want: config("certificate_refused", 0), replace: true},
		{name: "an alert, but no certificate", in: linked(alert, sent), want: is(uncertain, "no_answer", 0)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// Nobody is sent to after a token was changed too soon, or until Apple is back; a 429 of a device is its own.
			tc.want.Pause = tc.want.Reason == "TooManyProviderTokenUpdates" || tc.want.Reason == "ServiceUnavailable" && tc.want.RetryAfter > 0
			got := classify(tc.in, facts{registered: registered, proven: true, now: now})
			if diff := cmp.Diff(tc.want, got.outcome, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if got.remedy != tc.remedy || got.replace != tc.replace {
				t.Errorf("got remedy %d, replace %v; want %d, %v", got.remedy, got.replace, tc.remedy, tc.replace)
			}
		})
	}
}

// Until some device token was accepted, a wrong topic or environment looks just like a wrong token: nobody's pusher is removed then. What Apple
// says for certain is believed at once.
func TestClassifyUnproven(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]pushers.Verdict{
		"400 BadDeviceToken": pushers.Retry, "400 DeviceTokenNotForTopic": pushers.Retry, "410 Unregistered": pushers.Gone, "410 ExpiredToken": pushers.Gone,
	} {
		var status int
		var word string
		fmt.Sscan(reason, &status, &word)
		got := classify(attempt{status: status, reply: []byte(`{"reason":"` + word + `"}`)}, facts{registered: registered, now: now})
		if got.outcome.Verdict != want {
			t.Errorf("%s: got %v, want %v", reason, got.outcome.Verdict, want)
		}
	}
}

// Each answer of the table stands in the test above: that a row is added means that its meaning is.
func TestClassifyKnowsAllReasons(t *testing.T) {
	t.Parallel()
	for k := range table {
		got := classify(attempt{status: k.status, reply: []byte(`{"reason":"` + k.reason + `"}`)}, facts{proven: true, now: now})
		if got.outcome.Reason != k.reason {
			t.Errorf("%v: reason %q", k, got.outcome.Reason)
		}
	}
}
