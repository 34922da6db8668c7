package apps_test

// Services that fail in one request of twenty, in every way there is.

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
	"tocsin/pushers/apps"
	"tocsin/test/stack"
)

// per picks the one of ten thousand cases that falls. Those that end a connection are to be rare: each concerns all that is under way on it.
func per[A any](cases ...struct {
	of int
	A  A
}) (answer A) {
	n := rand.IntN(10_000)
	for _, c := range cases {
		if n -= c.of; n < 0 {
			return c.A
		}
	}
	return answer
}

func TestSoakApple(t *testing.T) {
	t.Parallel()
	type chance = struct {
		of int
		A  stack.APNsAnswer
	}
	s := newSoak(t)
	read := func(p stack.APNsPush) int {
		payload, err := stack.DecodeAPNs(p.Payload)
		if err != nil {
			t.Error(err)
		}
		return s.number(payload.EventID)
	}
	service := stack.APNsServer(t, stack.APNsOptions{
		Answer: func(p stack.APNsPush) stack.APNsAnswer {
			fault := per(
				chance{5, stack.APNsAnswer{Fault: stack.APNsCut}}, chance{5, stack.APNsAnswer{Fault: stack.APNsGoAwayTaken}}, chance{10, stack.APNsAnswer{Fault: stack.APNsGoAway}},
				chance{5, stack.APNsAnswer{Fault: stack.APNsSilence}}, chance{70, stack.APNsAnswer{Fault: stack.APNsReset}}, chance{100, stack.APNsAnswer{Fault: stack.APNsRefuseStream}},
				chance{90, stack.APNsAnswer{Status: 503, Reason: "ServiceUnavailable"}}, chance{50, stack.APNsAnswer{Status: 503, Reason: "Shutdown"}},
				chance{1, stack.APNsAnswer{Status: 503, Reason: "ServiceUnavailable", Header: map[string]string{"retry-after": "30"}}},
				chance{50, stack.APNsAnswer{Status: 400, Reason: "IdleTimeout"}}, chance{50, stack.APNsAnswer{Status: 500, Reason: "InternalServerError"}},
				chance{40, stack.APNsAnswer{Status: 429, Reason: "TooManyRequests"}}, chance{1, stack.APNsAnswer{Status: 429, Reason: "TooManyProviderTokenUpdates"}},
				chance{5, stack.APNsAnswer{Status: 403, Reason: "InvalidProviderToken"}}, chance{10, stack.APNsAnswer{Status: 413, Reason: "PayloadTooLarge"}},
				chance{8, stack.APNsAnswer{Status: 410, Reason: "Unregistered", Timestamp: time.Unix(1, 0)}}, // from before the pusher was set
			)
			if fault.Status == 413 && !s.shrinks(read(p)) {
				fault.Status = 0
			}
			if fault.Status != 0 || fault.Fault != 0 {
				return fault
			}
			switch fateOf(read(p)) {
			case dead:
				return stack.APNsAnswer{Status: 410, Reason: "Unregistered"}
			case refused:
				return stack.APNsAnswer{Status: 400, Reason: "BadPriority"}
			}
			return stack.APNsAnswer{}
		},
		Observe: func(p stack.APNsPush) { s.saw(read(p), p.Taken, p.ID) },
	})
	app := newBed(t).apple(service, "im.app")
	app.Timeout, app.Connections = attemptTime, 2
	s.run(apps.Config{"app": app}, apps.Options{}, func(i int) pushers.Delivery {
		d := to("app", base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "a device token, number %09d", i)), anyURL, `{"default_payload":{"spare":"`+filler+`"}}`)
		d.Notification.Device.Pusher.PushkeyTS = 1_700_000_000
		return d
	})
}

// filler is what a notification can do without.
var filler = strings.Repeat("o", 1000)

func TestSoakGoogle(t *testing.T) {
	t.Parallel()
	type chance = struct {
		of int
		A  stack.FCMAnswer
	}
	s := newSoak(t)
	service := stack.FCMServer(t, stack.FCMOptions{
		Answer: func(r stack.FCMRequest) stack.FCMAnswer {
			fault := per(
				chance{5, stack.FCMAnswer{Fault: stack.Reset}}, chance{5, stack.FCMAnswer{Fault: stack.CloseUnanswered}}, chance{5, stack.FCMAnswer{Fault: stack.Hang}},
				chance{10, stack.FCMAnswer{GoAway: true, Status: 503}}, chance{80, stack.FCMAnswer{LoseStream: true}}, chance{20, stack.FCMAnswer{Body: "<p>fine</p>"}},
				chance{100, stack.FCMAnswer{Status: 503, ErrorCode: "UNAVAILABLE"}}, chance{80, stack.FCMAnswer{Status: 500, ErrorCode: "INTERNAL"}}, chance{50, stack.FCMAnswer{Status: 502, Body: "<html>"}},
				chance{1, stack.FCMAnswer{Status: 503, ErrorCode: "UNAVAILABLE", Header: map[string]string{"Retry-After": "30"}}},
				chance{1, stack.FCMAnswer{Status: 429, ErrorCode: "QUOTA_EXCEEDED"}},
				chance{60, stack.FCMAnswer{Status: 429, ErrorCode: "QUOTA_EXCEEDED", Message: "Device message rate exceeded."}},
				chance{20, stack.FCMAnswer{Status: 401}}, chance{10, stack.FCMAnswer{Status: 403}}, chance{10, stack.FCMAnswer{Status: 404, Body: "<html>"}},
				chance{43, stack.FCMAnswer{Status: 400, ErrorCode: "INVALID_ARGUMENT", Message: "Android message is too big"}},
			)
			i := s.number(r.Message.Data["event_id"])
			if fault.Status == 400 && !s.shrinks(i) {
				fault = stack.FCMAnswer{}
			}
			if fault.Status != 0 || fault.Fault != 0 || fault.LoseStream {
				return fault
			}
			switch fateOf(i) {
			case dead:
				return stack.FCMAnswer{Status: 404, ErrorCode: "UNREGISTERED"}
			case refused:
				return stack.FCMAnswer{Status: 400, ErrorCode: "INVALID_ARGUMENT", Message: "Invalid data payload key: from"}
			}
			return fault
		},
		Observe: func(r stack.FCMRequest) {
			if r.Problem == "" {
				s.saw(s.number(r.Message.Data["event_id"]), r.Status == 200 || r.Status == 0, "")
			} else if r.Problem != "the access token is not good" {
				t.Errorf("%s: %s", r.Problem, r.Body)
			}
		},
	})
	app := newBed(t).google(service)
	app.Timeout = attemptTime
	s.run(apps.Config{"app": app}, apps.Options{}, func(i int) pushers.Delivery {
		return to("app", fmt.Sprintf("token%d", i), anyURL, `{"default_payload":{"spare":"`+filler+filler+`"}}`)
	})
	t.Logf("%d access tokens", service.TokenRequests())
}

func TestSoakBrowsers(t *testing.T) {
	t.Parallel()
	type chance = struct {
		of int
		A  stack.WebPushAnswer
	}
	s := newSoak(t)
	read := func(m stack.WebPushMessage) int {
		var text struct {
			EventID string `json:"event_id"`
		}
		if err := json.Unmarshal(m.Text, &text); err != nil || m.Fault != nil {
			t.Errorf("%s: %v, %v", m.Text, err, m.Fault)
		}
		return s.number(text.EventID)
	}
	service := stack.WebPushServer(t, stack.WebPushOptions{
		Now: s.clock.Now,
		Answer: func(m stack.WebPushMessage) stack.WebPushAnswer {
			fault := per(
				chance{60, stack.WebPushAnswer{Fault: stack.Reset}}, chance{60, stack.WebPushAnswer{Fault: stack.CloseUnanswered}}, chance{50, stack.WebPushAnswer{Fault: stack.ResetInHeader}},
				chance{5, stack.WebPushAnswer{Fault: stack.Hang}}, chance{20, stack.WebPushAnswer{Fault: stack.ResetInBody}},
				chance{100, stack.WebPushAnswer{Status: 503}}, chance{60, stack.WebPushAnswer{Status: 500}}, chance{40, stack.WebPushAnswer{Status: 406}},
				chance{1, stack.WebPushAnswer{Status: 503, Header: map[string]string{"Retry-After": "30"}}}, chance{54, stack.WebPushAnswer{Status: 429, Header: map[string]string{"Retry-After": "20"}}},
				chance{40, stack.WebPushAnswer{Status: 413}}, chance{10, stack.WebPushAnswer{Status: 301, Header: map[string]string{"Location": "https://trap.example/"}}},
			)
			if fault.Status == 413 && !s.shrinks(read(m)) {
				fault.Status = 0
			}
			if fault.Status != 0 || fault.Fault != 0 {
				return fault
			}
			switch fateOf(read(m)) {
			case dead:
				return stack.WebPushAnswer{Status: 410}
			case refused:
				return stack.WebPushAnswer{Status: 400}
			}
			return fault
		},
		Observe: func(m stack.WebPushMessage) { s.saw(read(m), m.Status == 201 || m.Status == 0, "") },
	})
	s.run(apps.Config{"app": newBed(t).web()}, apps.Options{WebPush: everywhere(service)}, func(i int) pushers.Delivery {
		browser := stack.SubscribeWebPush("updates.push.services.mozilla.com", fmt.Sprint("browser", i%200))
		return to("app", browser.P256dh, anyURL, fmt.Sprintf(`{"endpoint":%q,"auth":%q,"default_payload":{"spare":%q}}`, browser.Endpoint, browser.Auth, filler))
	})
}
