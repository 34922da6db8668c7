package gateway

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func TestClassify(t *testing.T) {
	t.Parallel()
	reply := func(status int, body string) outbound.Answer {
		return outbound.Answer{Status: status, Body: []byte(body)}
	}
	asking := func(status int, retryAfter string) outbound.Answer {
		return outbound.Answer{Status: status, Header: http.Header{"Retry-After": {retryAfter}}}
	}
	outcome := func(verdict pushers.Verdict, reason string, status int) pushers.Outcome {
		return pushers.Outcome{Verdict: verdict, Reason: reason, Status: status}
	}
	after := func(o pushers.Outcome, wait time.Duration, tries int) pushers.Outcome {
		o.RetryAfter, o.Tries = wait, tries
		return o
	}
	type row struct {
		name string
		in   outbound.Answer
		want pushers.Outcome
	}
	rows := []row{
		// 2xx: taken, whatever the reply looks like; only a list with our pushkey means more.
		{"accepted", reply(200, `{"rejected":[]}`), outcome(pushers.Delivered, "accepted", 200)},
		{"accepted without a list", reply(200, `{}`), outcome(pushers.Delivered, "accepted", 200)},
		{"accepted with a list of null", reply(200, `{"rejected":null}`), outcome(pushers.Delivered, "accepted", 200)},
		{"accepted with more in it", reply(202, `{"rejected":[],"x":1}`), outcome(pushers.Delivered, "accepted", 202)},
		{"rejected", reply(200, `{"rejected":["key"]}`), outcome(pushers.Gone, "rejected", 200)},
		{"rejected among others", reply(200, `{"rejected":["other","key"]}`), outcome(pushers.Gone, "rejected", 200)},
		{"others rejected", reply(200, `{"rejected":["other","KEY","key "]}`), outcome(pushers.Delivered, "others_rejected", 200)},
		{"no JSON", reply(200, `<html>`), outcome(pushers.Delivered, "unreadable_reply", 200)},
		{"no object", reply(200, `["key"]`), outcome(pushers.Delivered, "unreadable_reply", 200)},
		{"no reply", reply(204, ``), outcome(pushers.Delivered, "unreadable_reply", 204)},
		{"a list of something else", reply(200, `{"rejected":[1,"key"]}`), outcome(pushers.Delivered, "unreadable_reply", 200)},
		{"two lists", reply(200, `{"rejected":[],"rejected":["key"]}`), outcome(pushers.Delivered, "unreadable_reply", 200)},
		{"no UTF-8", reply(200, "{\"rejected\":[\"\xff\"]}"), outcome(pushers.Delivered, "unreadable_reply", 200)},
		{"too long a reply", outbound.Answer{Status: 200, Body: []byte(`{"rejected":["key"]}`), BodyErr: errors.New("too long")}, outcome(pushers.Delivered, "unreadable_reply", 200)},
		// The gateway wishes, within an hour.
		{"seconds", asking(503, "120"), after(outcome(pushers.Retry, "http_503", 503), 2*time.Minute, 0)},
		{"a date", asking(429, "Sun, 22 Nov 2026 12:00:30 GMT"), after(outcome(pushers.Retry, "http_429", 429), 30*time.Second, 0)},
		{"a date of the old form", asking(429, "Sunday, 22-Nov-26 12:00:30 GMT"), after(outcome(pushers.Retry, "http_429", 429), 30*time.Second, 0)},
		{"a date that is past", asking(429, "Sun, 22 Nov 2026 11:00:00 GMT"), outcome(pushers.Retry, "http_429", 429)},
		{"a far date", asking(429, "Sun, 22 Nov 2099 11:00:00 GMT"), after(outcome(pushers.Retry, "http_429", 429), time.Hour, 0)},
		{"many seconds", asking(429, "86400"), after(outcome(pushers.Retry, "http_429", 429), time.Hour, 0)},
		{"more seconds than there are", asking(429, "99999999999999999999"), after(outcome(pushers.Retry, "http_429", 429), time.Hour, 0)},
		{"no seconds", asking(429, "0"), outcome(pushers.Retry, "http_429", 429)},
		{"negative seconds", asking(429, "-5"), outcome(pushers.Retry, "http_429", 429)},
		{"half seconds", asking(429, "1.5"), outcome(pushers.Retry, "http_429", 429)},
		{"words", asking(429, "soon"), outcome(pushers.Retry, "http_429", 429)},
		{"with a refusal of the notification", asking(400, "30"), after(outcome(pushers.Drop, "http_400", 400), 30*time.Second, 3)},
		{"with a locked door", asking(403, "30"), after(outcome(pushers.Misconfigured, "http_403", 403), time.Hour, 3)},
		{"no answer", outbound.Answer{Err: io.EOF}, outcome(pushers.Retry, "connect", 0)},
		{"our own rules", outbound.Answer{Err: outbound.RefuseURL("it names no host")}, outcome(pushers.Drop, "bad_url", 0)},
	}
	statuses := func(verdict pushers.Verdict, wait time.Duration, tries int, statuses ...int) {
		for _, s := range statuses {
			rows = append(rows, row{fmt.Sprint("status ", s), reply(s, "an error page"), after(outcome(verdict, fmt.Sprint("http_", s), s), wait, tries)})
		}
	}
	statuses(pushers.Misconfigured, time.Hour, 0, 300, 301, 302, 303, 304, 307, 308)
	statuses(pushers.Drop, 0, 3, 400, 402, 406, 409, 411, 415, 418, 422, 431, 451)
	statuses(pushers.Misconfigured, time.Hour, 3, 401, 403, 404, 405, 410)
	statuses(pushers.Retry, 0, 0, 408, 425, 429)
	statuses(pushers.Drop, 0, 0, 413)
	statuses(pushers.Retry, 0, 0, 500, 501, 502, 503, 504)
	statuses(pushers.Retry, time.Hour, 0, 507)
	rows = append(rows,
		row{"unknown 3xx", reply(399, ""), after(outcome(pushers.Misconfigured, "http_3xx", 399), time.Hour, 0)},
		row{"unknown 4xx", reply(499, ""), after(outcome(pushers.Drop, "http_4xx", 499), 0, 3)},
		row{"unknown 5xx", reply(520, ""), outcome(pushers.Retry, "http_5xx", 520)},
		row{"no class", reply(999, ""), outcome(pushers.Retry, "http_other", 999)},
		row{"1xx", reply(101, ""), outcome(pushers.Retry, "http_101", 101)},
	)
	for _, tc := range rows {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// Nobody is sent to while the gateway is asked too much, or says when it is back.
			tc.want.Pause = tc.want.Status == 429 || tc.want.Status == 503 && tc.want.RetryAfter > 0
			got := classify(tc.in, []string{"key"}, now)[0]
			if diff := cmp.Diff(tc.want, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if unexplained := got.Status == 0 || got.Reason == "unreadable_reply"; unexplained != (got.Cause != nil) {
				t.Errorf("the cause for the log is %v", got.Cause)
			}
		})
	}
}

// TestClassifyEach holds that a list of rejected pushkeys concerns each device of a bundle alone, and anything else all of them.
func TestClassifyEach(t *testing.T) {
	t.Parallel()
	gone := pushers.Outcome{Verdict: pushers.Gone, Reason: "rejected", Status: 200}
	accepted := pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}
	others := pushers.Outcome{Verdict: pushers.Delivered, Reason: "others_rejected", Status: 200}
	unreadable := pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}
	busy := pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503", Status: 503}
	for reply, want := range map[string][]pushers.Outcome{
		`200 {"rejected":[]}`:                {accepted, accepted, accepted},
		`200 {"rejected":["b"]}`:             {accepted, gone, accepted},
		`200 {"rejected":["c","a","a"]}`:     {gone, accepted, gone},
		`200 {"rejected":["b","x"]}`:         {others, gone, others},
		`200 {"rejected":["a","b","c","x"]}`: {gone, gone, gone},
		`200 {"rejected":["a",1]}`:           {unreadable, unreadable, unreadable},
		`503 {"rejected":["a"]}`:             {busy, busy, busy},
	} {
		code, body, _ := strings.Cut(reply, " ")
		status, err := strconv.Atoi(code)
		if err != nil {
			t.Fatal(err)
		}
		got := classify(outbound.Answer{Status: status, Body: []byte(body)}, []string{"a", "b", "c"}, now)
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", reply, diff)
		}
	}
}

// FuzzClassify holds that only a 2xx answer whose list has the pushkey costs a pusher its life, and that no wish is longer than an hour.
func FuzzClassify(f *testing.F) {
	f.Add(200, `{"rejected":["key"]}`, "")
	f.Add(503, `{"rejected":["key"]}`, "120")
	f.Add(429, ``, "Sun, 22 Nov 2026 12:00:30 GMT")
	f.Fuzz(func(t *testing.T, status int, body, wish string) {
		o := classify(outbound.Answer{Status: status, Body: []byte(body), Header: http.Header{"Retry-After": {wish}}, Err: io.EOF}, []string{"key"}, now)[0]
		if o.Verdict == pushers.Gone && (status < 200 || status > 299) {
			t.Errorf("status %d removes a pusher", status)
		}
		if o.RetryAfter < 0 || o.RetryAfter > time.Hour || o.Verdict == 0 || o.Reason == "" {
			t.Errorf("got %+v", o)
		}
	})
}
