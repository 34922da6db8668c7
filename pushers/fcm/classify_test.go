package fcm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tocsin/pushers"
)

var noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)

// answer is what FCM answers with these details.
func answer(status int, rpc, message string, details ...string) attempt {
	return attempt{status: status, header: http.Header{}, body: fmt.Appendf(nil, `{"error":{"code":%d,"message":%q,"status":%q,"details":[%s]}}`, status, message, rpc, strings.Join(details, ","))}
}

func with(a attempt, name, value string) attempt {
	a.header = http.Header{name: {value}}
	return a
}

// The details that answers have.
func fcmError(code string) string {
	return `{"@type":"type.googleapis.com/google.firebase.fcm.v1.FcmError","errorCode":"` + code + `"}`
}

func badRequest(field string) string {
	return `{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"` + field + `","description":"Invalid value"}]}`
}

func errorInfo(reason, unit string) string {
	return `{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"` + reason + `","domain":"googleapis.com","metadata":{"quota_unit":"` + unit + `"}}`
}

func quotaFailure(subject, description string) string {
	return `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"subject":"` + subject + `","description":"` + description + `"}]}`
}

// TestClassify is the table of what FCM answers, with a service account that has sent before (Firebase documentation, "ErrorCode").
func TestClassify(t *testing.T) {
	t.Parallel()
	const invalid, words = "INVALID_ARGUMENT", "Request contains an invalid argument."
	delivered := pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted"}
	gone := func(reason string) pushers.Outcome { return pushers.Outcome{Verdict: pushers.Gone, Reason: reason} }
	drop := func(reason string) pushers.Outcome { return pushers.Outcome{Verdict: pushers.Drop, Reason: reason} }
	theirs := func(reason string) pushers.Outcome {
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reason}
	}
	again := func(reason string, after time.Duration, tries int) pushers.Outcome {
		return pushers.Outcome{Verdict: pushers.Retry, Reason: reason, RetryAfter: after, Tries: tries}
	}
	for _, tc := range []struct {
		name string
		in   attempt
		want pushers.Outcome
		fix  remedy
	}{
		{"accepted", attempt{status: 200, body: []byte(`{"name":"projects/p/messages/0:1"}`)}, delivered, none},
		{"something accepted", attempt{status: 200, body: []byte(`{}`)}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply"}, none},
		{"accepted, half an answer", attempt{status: 200, body: []byte(`{"name":"projects/p/messages/0:1"}`), bodyErr: errors.New("reset")}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply"}, none},
		{"accepted without words", attempt{status: 204}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply"}, none},

		{"words that somebody wrote", answer(400, invalid, "Invalid value: not a valid FCM registration token", fcmError(invalid)), drop("invalid_argument"), none},
		{"bad token, by words", answer(400, invalid, "The registration token is not a valid FCM registration token", fcmError(invalid)), gone("bad_token"), none},
		{"bad token, by its field", answer(400, invalid, words, fcmError(invalid), badRequest("message.token")), gone("bad_token"), none},
		{"bad token, without FcmError", answer(400, invalid, words, badRequest("message.token")), gone("bad_token"), none},
		{"dead at Apple", answer(400, invalid, "APNs device token is disabled.", fcmError(invalid), `{"@type":"type.googleapis.com/google.firebase.fcm.v1.ApnsError","statusCode":410,"reason":"Unregistered"}`), gone("bad_token"), none},
		{"too big", answer(400, invalid, "Android message is too big", fcmError(invalid)), drop("too_big"), shrink},
		{"too large", answer(400, invalid, "Message is too large.", fcmError(invalid)), drop("too_big"), shrink},
		{"invalid, and no word why", answer(400, invalid, words), drop("invalid_argument"), shrink},
		{"bad data value", answer(400, invalid, "Invalid value at 'message.data[0].value' (TYPE_STRING), 12", badRequest("message.data[0].value")), drop("invalid_argument"), none},
		{"reserved key", answer(400, invalid, "Invalid data payload key: google.x", fcmError(invalid), badRequest("message.data")), drop("invalid_argument"), none},
		{"bad ttl", answer(400, invalid, "Illegal duration format", fcmError(invalid), badRequest("message.android.ttl")), drop("invalid_argument"), none},
		{"unknown name", answer(400, invalid, `Invalid JSON payload received. Unknown name "x" at 'message'`, badRequest("message")), drop("invalid_argument"), none},
		{"400 of somebody else", attempt{status: 400, body: []byte("<html>")}, pushers.Outcome{Verdict: pushers.Drop, Reason: "http_400", Tries: 3}, none},

		{"Apple's key", answer(401, "UNAUTHENTICATED", "", fcmError("THIRD_PARTY_AUTH_ERROR")), theirs("third_party_auth"), none},
		{"old access token", answer(401, "UNAUTHENTICATED", "", errorInfo("ACCESS_TOKEN_EXPIRED", "")), theirs("unauthenticated"), refresh},
		{"401 of somebody else", attempt{status: 401}, theirs("unauthenticated"), refresh},

		{"another sender", answer(403, "PERMISSION_DENIED", "", fcmError("SENDER_ID_MISMATCH")), gone("sender_id_mismatch"), none},
		{"API disabled", answer(403, "PERMISSION_DENIED", "", errorInfo("SERVICE_DISABLED", "")), theirs("permission_denied"), none},
		{"403 of somebody else", attempt{status: 403, body: []byte("<html>")}, theirs("permission_denied"), none},

		{"unregistered", answer(404, "NOT_FOUND", "Requested entity was not found.", fcmError("UNREGISTERED")), gone("unregistered"), none},
		{"404 without FcmError", answer(404, "NOT_FOUND", "Requested entity was not found."), theirs("not_found"), none},
		{"404 of somebody else", attempt{status: 404, body: []byte("<html>")}, theirs("not_found"), none},

		{"quota", answer(429, "RESOURCE_EXHAUSTED", "", fcmError("QUOTA_EXCEEDED")), again("quota_exceeded", time.Minute, 0), none},
		{"quota of the project", answer(429, "RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Send requests'", errorInfo("RATE_LIMIT_EXCEEDED", "1/min/{project}")), again("quota_exceeded", time.Minute, 0), none},
		{"quota of the device", answer(429, "RESOURCE_EXHAUSTED", "", fcmError("QUOTA_EXCEEDED"), quotaFailure("projects/1", "Device message rate exceeded")), again("device_quota", time.Minute, 0), none},
		{"quota of the device, by words", answer(429, "RESOURCE_EXHAUSTED", "Device message rate exceeded.", fcmError("QUOTA_EXCEEDED")), again("device_quota", time.Minute, 0), none},
		{"quota of the project, whatever the words", answer(429, "RESOURCE_EXHAUSTED", "device", errorInfo("RATE_LIMIT_EXCEEDED", "1/min/{project}")), again("quota_exceeded", time.Minute, 0), none},
		{"429 of somebody else", attempt{status: 429}, again("quota_exceeded", time.Minute, 0), none},
		{"quota, seconds", with(answer(429, "RESOURCE_EXHAUSTED", ""), "Retry-After", "30"), again("quota_exceeded", 30*time.Second, 0), none},
		{"quota, a date", with(answer(429, "RESOURCE_EXHAUSTED", ""), "Retry-After", "Sat, 31 Jan 2026 12:02:00 GMT"), again("quota_exceeded", 2*time.Minute, 0), none},
		{"quota, for ever", with(answer(429, "RESOURCE_EXHAUSTED", ""), "Retry-After", "99999999999999999999"), again("quota_exceeded", time.Hour, 0), none},
		{"quota, nonsense", with(answer(429, "RESOURCE_EXHAUSTED", ""), "Retry-After", "soon"), again("quota_exceeded", time.Minute, 0), none},
		{"quota, by RetryInfo", answer(429, "RESOURCE_EXHAUSTED", "", `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"37s"}`), again("quota_exceeded", 37*time.Second, 0), none},

		{"internal", answer(500, "INTERNAL", "", fcmError("INTERNAL")), again("internal", 10*time.Second, 5), none},
		{"500 of somebody else", attempt{status: 500}, again("http_500", 10*time.Second, 5), none},
		{"unavailable", answer(503, "UNAVAILABLE", "", fcmError("UNAVAILABLE")), again("unavailable", 10*time.Second, 5), none},
		{"unavailable for a while", with(answer(503, "UNAVAILABLE", "", fcmError("UNAVAILABLE")), "Retry-After", "120"), again("unavailable", 2*time.Minute, 5), none},
		{"503 of somebody else", with(attempt{status: 503}, "Retry-After", "5"), again("unavailable", 5*time.Second, 5), none},
		{"502", attempt{status: 502, body: []byte("<!DOCTYPE html>")}, again("http_502", 10*time.Second, 5), none},
		{"599", attempt{status: 599}, again("http_5xx", 10*time.Second, 5), none},

		{"redirect", attempt{status: 302}, theirs("http_302"), none},
		{"request timeout", attempt{status: 408}, again("http_408", 0, 0), none},
		{"too early", attempt{status: 425}, again("http_425", 0, 0), none},
		{"entity too large", attempt{status: 413}, drop("too_big"), shrink},
		{"teapot", attempt{status: 418}, pushers.Outcome{Verdict: pushers.Drop, Reason: "http_418", Tries: 3}, none},
		{"unheard of", attempt{status: 799}, again("http_other", 10*time.Second, 5), none},

		{"the details count, not the status", answer(500, "INTERNAL", "", fcmError("UNREGISTERED")), gone("unregistered"), none},
		{"a code of a later day", answer(503, "UNAVAILABLE", "", fcmError("TIRED")), again("unavailable", 10*time.Second, 5), none},
		{"details of another kind", answer(404, "NOT_FOUND", "", `1`, `{"@type":"type.googleapis.com/x","errorCode":"UNREGISTERED"}`, `{"@type":1}`), theirs("not_found"), none},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, fix := classify(tc.in, true, noon)
			// The project is left alone when its quota is exceeded, or FCM says when it is back; a device's quota is its own.
			tc.want.Status, tc.want.Pause = tc.in.status, tc.want.Reason == "quota_exceeded" || tc.in.status == 503 && tc.in.header.Get("Retry-After") != ""
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" || fix != tc.fix {
				t.Errorf("remedy %d, want %d (-want +got)\n%s", fix, tc.fix, diff)
			}
			if text := Words(got); text == "" {
				t.Error("no words")
			}
		})
	}
}

// TestClassifyNewAccount is the table of what may be a sign of the wrong service account, with one that has sent nothing yet.
func TestClassifyNewAccount(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in     attempt
		want   pushers.Verdict
		reason string
	}{
		{answer(403, "PERMISSION_DENIED", "", fcmError("SENDER_ID_MISMATCH")), pushers.Misconfigured, "sender_id_mismatch"},
		{answer(400, "INVALID_ARGUMENT", "", fcmError("INVALID_ARGUMENT"), badRequest("message.token")), pushers.Retry, "bad_token"},
		{answer(404, "NOT_FOUND", "", fcmError("UNREGISTERED")), pushers.Gone, "unregistered"},
	} {
		if got, _ := classify(tc.in, false, noon); got.Verdict != tc.want || got.Reason != tc.reason || tc.want != pushers.Gone && got.RetryAfter != 5*time.Minute {
			t.Errorf("%s: got %+v", tc.in.body, got)
		}
	}
}

func TestClassifyError(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		in     attempt
		want   pushers.Verdict
		reason string
	}{
		{"no connection", attempt{err: errors.New("refused")}, pushers.Retry, "connect"},
		{"no time to connect", attempt{err: context.DeadlineExceeded}, pushers.Retry, "connect"},
		{"no address", attempt{err: fmt.Errorf("dial: %w", &net.DNSError{})}, pushers.Retry, "dns"},
		{"no handshake", attempt{err: context.DeadlineExceeded, shaking: true}, pushers.Retry, "tls"},
		{"silence", attempt{err: context.DeadlineExceeded, sent: true}, pushers.Uncertain, "timeout"},
		{"given up", attempt{err: context.Canceled, sent: true}, pushers.Uncertain, "timeout"},
		{"broken", attempt{err: errors.New("reset"), sent: true}, pushers.Uncertain, "no_answer"},
	} {
		if got, fix := classify(tc.in, true, noon); got.Verdict != tc.want || got.Reason != tc.reason || fix != none || got.Status != 0 {
			t.Errorf("%s: got %+v", tc.name, got)
		}
	}
}

// TestClassifyToken is the table of what the token endpoint answers (RFC 6749, section 5.2).
func TestClassifyToken(t *testing.T) {
	t.Parallel()
	refused := func(code string) []byte { return []byte(`{"error":"` + code + `","error_description":"secret"}`) }
	later := http.Header{"Retry-After": {"30"}}
	for _, tc := range []struct {
		name   string
		in     tokenAnswer
		want   pushers.Verdict
		reason string
		after  time.Duration
	}{
		{"deleted key", tokenAnswer{status: 400, body: refused("invalid_grant")}, pushers.Misconfigured, "token_invalid_grant", 0},
		{"unknown account", tokenAnswer{status: 401, body: refused("invalid_client")}, pushers.Misconfigured, "token_invalid_client", 0},
		{"not allowed", tokenAnswer{status: 401, body: refused("unauthorized_client")}, pushers.Misconfigured, "token_unauthorized_client", 0},
		{"denied", tokenAnswer{status: 403, body: refused("access_denied")}, pushers.Misconfigured, "token_access_denied", 0},
		{"an error of a later day", tokenAnswer{status: 400, body: refused("bad_weather")}, pushers.Misconfigured, "token_http_400", 0},
		{"a page", tokenAnswer{status: 404, body: []byte("<html>")}, pushers.Misconfigured, "token_http_404", 0},
		{"a redirect", tokenAnswer{status: 302}, pushers.Misconfigured, "token_http_302", 0},
		{"no token in it", tokenAnswer{status: 200, body: []byte("<html>")}, pushers.Misconfigured, "token_unreadable", 0},
		{"trouble", tokenAnswer{status: 500, body: refused("internal_failure")}, pushers.Retry, "token_http_500", 0},
		{"busy", tokenAnswer{status: 503, header: later}, pushers.Retry, "token_http_503", 30 * time.Second},
		{"too often", tokenAnswer{status: 429, header: later}, pushers.Retry, "token_http_429", 30 * time.Second},
		{"silence", tokenAnswer{err: context.DeadlineExceeded}, pushers.Retry, "token_timeout", 0},
		{"no connection", tokenAnswer{err: errors.New("refused")}, pushers.Retry, "token_connect", 0},
		{"no address", tokenAnswer{err: &net.DNSError{}}, pushers.Retry, "token_dns", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := classifyToken(tc.in, noon)
			if got.Verdict != tc.want || got.Reason != tc.reason || got.RetryAfter != tc.after || got.Status != tc.in.status {
				t.Errorf("got %+v", got)
			}
			if text := (&tokenError{outcome: got}).Error(); strings.Contains(text, "secret") || Words(got) == "" {
				t.Errorf("told as %q, %q", text, Words(got))
			}
		})
	}
}

// FuzzClassify holds that no answer breaks anything, or removes a pusher unless FCM says so in its own words.
func FuzzClassify(f *testing.F) {
	f.Add(404, answer(404, "NOT_FOUND", "", fcmError("UNREGISTERED")).body)
	f.Add(400, answer(400, "INVALID_ARGUMENT", "x", badRequest("message.token")).body)
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		o, _ := classify(attempt{status: status, body: body}, true, noon)
		if o.Verdict == 0 || o.Reason == "" || Words(o) == "" {
			t.Errorf("%d %s: %+v", status, body, o)
		}
		if o.Verdict == pushers.Gone && !strings.Contains(string(body), "error") {
			t.Errorf("%d %s removes a pusher", status, body)
		}
	})
}
