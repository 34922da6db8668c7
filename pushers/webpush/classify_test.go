package webpush

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// TestClassify is the table of what push services answer.
func TestClassify(t *testing.T) {
	t.Parallel()
	type row struct {
		name   string
		status int
		header http.Header
		body   string
		others bool // the push service takes our token from other endpoints
		want   pushers.Outcome
	}
	outcome := func(v pushers.Verdict, reason string) pushers.Outcome {
		return pushers.Outcome{Verdict: v, Reason: reason}
	}
	waiting := func(o pushers.Outcome, wait time.Duration) pushers.Outcome {
		o.RetryAfter = wait
		return o
	}
	accepted := outcome(pushers.Delivered, "accepted")
	rows := []row{
		// Taken. 201 is the usual one; a service may keep a message for a shorter time than was asked for.
		{"created", 201, http.Header{"Ttl": {"60"}}, "", false, accepted},
		{"kept longer", 201, http.Header{"Ttl": {"61"}}, "", false, accepted},
		{"kept shorter", 201, http.Header{"Ttl": {"59"}}, "", false, outcome(pushers.Delivered, "accepted_shorter_ttl")},
		{"not kept", 201, http.Header{"Ttl": {"0"}}, "", false, outcome(pushers.Delivered, "accepted_shorter_ttl")},
		{"kept for how long?", 201, http.Header{"Ttl": {"long"}}, "", false, accepted},
		{"kept for less than no time", 201, http.Header{"Ttl": {"-1"}}, "", false, accepted},
		// 400 is our mistake, unless it says more.
		{"not understood", 400, nil, "", false, outcome(pushers.Drop, "http_400")},
		{"not understood, in words", 400, nil, "<html>Bad Request</html>", true, outcome(pushers.Drop, "http_400")},
		{"Mozilla: keys", 400, nil, `{"code":400,"errno":110,"error":"Bad Request"}`, true, outcome(pushers.Drop, "http_400")},
		{"Mozilla: topic", 400, nil, `{"code":400,"errno":113}`, true, outcome(pushers.Drop, "http_400")},
		{"Mozilla: endpoint", 400, nil, `{"code":400,"errno":102}`, false, outcome(pushers.Gone, "invalid_subscription")},
		{"Mozilla: expired", 400, nil, `{"code":400,"errno":103}`, false, outcome(pushers.Gone, "invalid_subscription")},
		{"Mozilla: went away", 400, nil, `{"code":400,"errno":105}`, false, outcome(pushers.Gone, "invalid_subscription")},
		{"Mozilla: subscription", 400, nil, `{"code":400,"errno":106}`, false, outcome(pushers.Gone, "invalid_subscription")},
		{"Mozilla: token", 400, nil, `{"code":400,"errno":109}`, false, outcome(pushers.Misconfigured, "http_400")},
		{"Apple: subscription", 400, nil, `{"reason":"BadDeviceToken"}`, false, outcome(pushers.Gone, "invalid_subscription")},
		{"Apple: something else", 400, nil, `{"reason":"BadTtl"}`, true, outcome(pushers.Drop, "http_400")},
		{"Apple: other key", 400, nil, `{"reason":"VapidPkHashMismatch"}`, true, outcome(pushers.Gone, "vapid_other_key")},
		{"Apple: other key, for all", 400, nil, `{"reason":"VapidPkHashMismatch"}`, false, outcome(pushers.Misconfigured, "http_400")},
		{"Google: registration", 400, nil, "<TITLE>InvalidRegistration</TITLE>", false, outcome(pushers.Gone, "invalid_subscription")},
		{"Google: not registered", 400, nil, "NotRegistered", false, outcome(pushers.Gone, "invalid_subscription")},
		{"Google: token", 400, nil, "UnauthorizedRegistration", false, outcome(pushers.Misconfigured, "http_400")},
		{"Google: token, of one", 400, nil, "UnauthorizedRegistration", true, outcome(pushers.Gone, "vapid_other_key")},
		// The token: our fault, unless others are taken with it.
		{"no token", 401, nil, "", false, outcome(pushers.Misconfigured, "http_401")},
		{"bad token", 403, nil, `{"reason":"BadJwtToken"}`, false, outcome(pushers.Misconfigured, "http_403")},
		{"no token, of one", 401, nil, "", true, outcome(pushers.Gone, "vapid_other_key")},
		{"bad token, of one", 403, nil, "", true, outcome(pushers.Gone, "vapid_other_key")},
		// Throttled, away, broken: the service may wish when to come back.
		{"throttled", 429, http.Header{"Retry-After": {"120"}}, "", false, waiting(outcome(pushers.Retry, "http_429"), 2*time.Minute)},
		{"throttled till a date", 429, http.Header{"Retry-After": {"Sun, 22 Nov 2026 12:00:30 GMT"}}, "", false, waiting(outcome(pushers.Retry, "http_429"), 30*time.Second)},
		{"throttled by Windows", 406, http.Header{"Retry-After": {"10"}}, "", false, waiting(outcome(pushers.Retry, "http_406"), 10*time.Second)},
		{"throttled for a day", 429, http.Header{"Retry-After": {"86400"}}, "", false, waiting(outcome(pushers.Retry, "http_429"), time.Hour)},
		{"away", 503, http.Header{"Retry-After": {"7"}}, "", false, waiting(outcome(pushers.Retry, "http_503"), 7*time.Second)},
		{"a wish with a refusal", 400, http.Header{"Retry-After": {"7"}}, "", false, outcome(pushers.Drop, "http_400")},
		{"unknown 2xx", 299, nil, "", false, accepted},
		{"unknown 3xx", 399, nil, "", false, waiting(outcome(pushers.Misconfigured, "http_3xx"), time.Hour)},
		{"unknown 4xx", 499, nil, "", false, outcome(pushers.Drop, "http_4xx")},
		{"unknown 5xx", 599, nil, "", false, outcome(pushers.Retry, "http_5xx")},
		{"no class", 999, nil, "", false, outcome(pushers.Retry, "http_other")},
		{"1xx", 101, nil, "", false, outcome(pushers.Retry, "http_101")},
	}
	statuses := func(v pushers.Verdict, wait time.Duration, statuses ...int) {
		for _, s := range statuses {
			rows = append(rows, row{fmt.Sprint("status ", s), s, nil, "a page", false, waiting(outcome(v, fmt.Sprint("http_", s)), wait)})
		}
	}
	for _, s := range []int{200, 201, 202, 204} {
		rows = append(rows, row{fmt.Sprint("status ", s), s, nil, "", false, accepted})
	}
	statuses(pushers.Misconfigured, time.Hour, 300, 301, 302, 303, 304, 307, 308)
	statuses(pushers.Misconfigured, 0, 401, 403)
	statuses(pushers.Gone, 0, 404, 410)
	statuses(pushers.Drop, 0, 400, 402, 405, 409, 411, 412, 413, 415, 422, 431, 451)
	statuses(pushers.Retry, 0, 406, 408, 425, 429, 500, 501, 502, 503, 504, 507)
	for _, tc := range rows {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.want.Status, tc.want.Pause = tc.status, tc.name == "away" // a 429 is about one subscription
			got := classify(outbound.Answer{Status: tc.status, Header: tc.header, Body: []byte(tc.body)}, 60, now, func() bool { return tc.others })
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// FuzzClassify holds that only answers about the subscription cost a pusher its life, that no wish is longer than an hour, and that nothing of what a service says becomes a reason.
func FuzzClassify(f *testing.F) {
	f.Add(201, ``, "", "60")
	f.Add(400, `{"errno":106}`, "", "")
	f.Add(400, `{"reason":"VapidPkHashMismatch"}`, "120", "")
	f.Add(429, `NotRegistered`, "Sun, 22 Nov 2026 12:00:30 GMT", "")
	f.Fuzz(func(t *testing.T, status int, body, wish, ttl string) {
		asked := false
		a := outbound.Answer{Status: status, Body: []byte(body), Header: http.Header{"Retry-After": {wish}, "Ttl": {ttl}}, Err: io.EOF}
		o := classify(a, 60, now, func() bool { asked = true; return false })
		if o.Verdict == pushers.Gone && status != 400 && status != 404 && status != 410 {
			t.Errorf("status %d removes a pusher", status)
		}
		if asked != (o.Verdict == pushers.Misconfigured && status >= 400) {
			t.Errorf("status %d is about the token: %v, %+v", status, asked, o)
		}
		if o.RetryAfter < 0 || o.RetryAfter > time.Hour || o.Verdict == 0 || o.Reason == "" || len(o.Reason) > 24 {
			t.Errorf("got %+v", o)
		}
	})
}
