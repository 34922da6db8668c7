package apps_test

// Very many notifications through the dispatcher and the apps together, by services that fail now and then in every way there is, with the retries that follow.

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/delivery"
	"tocsin/pushers"
	"tocsin/pushers/apps"
	"tocsin/test/stack"
)

// soakSize is how many notifications there are: TOCSIN_TEST_SOAK of them, or few enough for every day.
func soakSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("TOCSIN_TEST_SOAK")
	if text == "" {
		return 3000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("TOCSIN_TEST_SOAK: %v", err)
	}
	return n
}

// quick is a clock that runs a thousand times as fast as the machine's: what waits an hour waits 3.6 seconds.
type quick struct{ began time.Time }

const speed = 1000

func (q quick) Now() time.Time { return q.began.Add(time.Since(q.began) * speed) }

func (q quick) Until(ctx context.Context, t time.Time) error {
	timer := time.NewTimer(t.Sub(q.Now()) / speed)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fate is what must become of a notification in the end.
type fate uint8

const (
	told    fate = iota
	dead         // its device is called dead, always
	refused      // its service does not take it, ever
)

// fateOf has a few in a thousand that come to nothing.
func fateOf(i int) fate {
	switch i % 500 {
	case 7:
		return dead
	case 8:
		return refused
	}
	return told
}

// soaked is what became of one notification.
type soaked struct {
	taken, unsure int
	shrunk        bool   // the service has called it too large
	id            string // its name at the service; "" if there is none
	end           string // what was done about it in the end
}

// soak sends notifications from many workers through a dispatcher.
type soak struct {
	*testing.T
	clock quick
	d     *delivery.Dispatcher

	ready chan queued
	left  atomic.Int64
	over  chan struct{}

	mu               sync.Mutex
	all              []soaked
	attempts, unsure int
	heldBack         map[string]int // by reason
}

type queued struct {
	i    int
	what pushers.Delivery
}

func newSoak(t *testing.T) *soak {
	t.Helper()
	n := soakSize(t)
	s := &soak{T: t, clock: quick{time.Now()}, ready: make(chan queued, n), over: make(chan struct{}), all: make([]soaked, n), heldBack: map[string]int{}}
	s.left.Store(int64(n))
	return s
}

// saw notes that a service has read the notification.
func (s *soak) saw(i int, taken bool, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &s.all[i]
	if one.id != "" && one.id != id {
		s.Errorf("notification %d came as %s and %s", i, one.id, id)
	}
	one.id = id
	if taken {
		one.taken++
	}
}

// shrinks says whether the service may call the notification too large: once, as it is given up when it still is so afterwards.
func (s *soak) shrinks(i int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.all[i].shrunk
	s.all[i].shrunk = true
	return !before
}

// run sends all notifications to an app, until each has come to its end.
func (s *soak) run(cfg apps.Config, opts apps.Options, to func(i int) pushers.Delivery) {
	s.Helper()
	b := &bed{T: s.T}
	opts.Clock = s.clock
	opts.Gateway.Timeout = attemptTime
	settings := delivery.Defaults()
	settings.Breaker.Open = settings.Breaker.Open / 100 // the breaker's time is the machine's
	s.d = delivery.New(settings, b.open(cfg, opts), s.clock, delivery.Options{Log: slog.New(slog.DiscardHandler)})
	now := s.clock.Now()
	for i := range s.all {
		d := to(i)
		d.ID, d.UserID, d.Since, d.Expires = fmt.Sprintf("%032x", i), fmt.Sprintf("@u%d:example.org", i%5000), now, now.Add(6*24*time.Hour)
		d.Notification.EventID = fmt.Sprintf("$%d", i)
		s.ready <- queued{i, d}
	}
	began := time.Now()
	var workers sync.WaitGroup
	for range 128 {
		workers.Go(s.work)
	}
	workers.Wait()
	s.judge(time.Since(began))
}

// attemptTime is the longest that an attempt may take, by the machine's clock.
const attemptTime = 5 * time.Second

func (s *soak) work() {
	for {
		select {
		case q := <-s.ready:
			s.carryOut(q, s.d.Deliver(s.Context(), q.what))
		case <-s.over:
			return
		}
	}
}

// carryOut does what follows an attempt, as the users stage and the retry topics would.
func (s *soak) carryOut(q queued, step pushers.Step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := &s.all[q.i]
	if step.Unsent {
		s.heldBack[step.Answer()]++
	} else {
		s.attempts++
	}
	if step.Verdict == pushers.Uncertain || step.Answer() == "stale_connection" {
		s.unsure++
		one.unsure++
	}
	if step.Action == pushers.Again {
		if !step.Unsent {
			q.what.Attempt++
		}
		time.AfterFunc(delivery.Tiers[step.Tier]/speed, func() { s.ready <- q })
		return
	}
	if one.end != "" {
		s.Errorf("notification %d ended twice: %s and %s", q.i, one.end, step.Action)
	}
	if one.end = step.Action.String() + " " + step.Reason; step.Action == pushers.Settle {
		one.end = "settle"
	}
	if s.left.Add(-1) == 0 {
		close(s.over)
	}
}

// judge holds that nothing was lost, and nothing came twice but after an uncertain outcome.
func (s *soak) judge(took time.Duration) {
	s.Helper()
	ends, twice := map[string]int{}, 0
	for i, one := range s.all {
		ends[one.end]++
		var wrong bool
		switch fateOf(i) {
		case told:
			wrong = one.end != "settle" || one.taken < 1 || one.taken > 1+one.unsure
		case dead:
			wrong = len(one.end) < 6 || one.end[:6] != "remove" || one.taken > one.unsure
		case refused:
			wrong = one.end != "dead_letter refused" || one.taken > one.unsure
		}
		if wrong {
			s.Errorf("notification %d (fate %d): %+v", i, fateOf(i), one)
		}
		if one.taken > 1 {
			twice++
		}
	}
	s.Logf("%d notifications in %v (%.0f/s; %v of their time): %d attempts, held back %v, %d uncertain outcomes, %d came more than once; ends %v",
		len(s.all), took.Round(time.Millisecond), float64(len(s.all))/took.Seconds(), (took * speed).Round(time.Minute), s.attempts, s.heldBack, s.unsure, twice, ends)
}

// number is the notification that an event is of; -1: of none, which is an error.
func (s *soak) number(event string) int {
	n, err := strconv.Atoi(event[min(1, len(event)):])
	if err != nil || n >= len(s.all) {
		s.Errorf("a service was told of %q", event)
		return 0
	}
	return n
}

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
