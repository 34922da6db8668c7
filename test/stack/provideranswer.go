package stack

// What the push services are told to answer, in one form for all of them.

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// ProviderAnswer is what is answered to some of the next pushes that are right in themselves, or of a gateway to whatever comes.
type ProviderAnswer struct {
	Provider  string            // of which service; "": any
	AppID     string            // to which app: its id, or the pattern that it was added by; "": any
	Status    int               // 0: as if nothing were wrong
	Reason    string            // in the provider's words: Apple's reason, the errorCode or status of FCM, else the text of the answer
	Timestamp time.Time         // of Apple's 410: when the device token was found to be dead; zero: now
	Rejected  []string          // of a gateway: pushkeys to be listed
	Header    map[string]string // of the answer, such as Retry-After
	Body      string            // in place of what the provider would say
	Delay     time.Duration     // how long it takes to answer
	Fault     string            // what is done in place of answering: see [ProviderFaults]
	Times     int               // how many pushes; 0: one, or any number if there is a Rate
	Rate      float64           // share of the pushes, evenly: 0.05 is every twentieth; 0: all
}

// faultsOf are the faults of each provider, by their names.
var (
	apnsFaults  = map[string]APNsFault{"silence": APNsSilence, "deaf": APNsDeaf, "goaway": APNsGoAway, "goaway_taken": APNsGoAwayTaken, "reset_stream": APNsReset, "refuse_stream": APNsRefuseStream, "reset": APNsCut}
	fcmFaults   = map[string]FCMAnswer{"silence": {Fault: Hang}, "goaway": {GoAway: true}, "reset_stream": {LoseStream: true}, "reset": {Fault: Reset}, "close": {Fault: CloseUnanswered}, "endless_body": {Fault: EndlessBody}}
	http1Faults = map[string]Fault{"silence": Hang, "reset": Reset, "close": CloseUnanswered, "not_http": NotHTTP, "endless_body": EndlessBody, "slow_body": SlowBody}
)

// ProviderFaults are the names of the faults that a provider has.
//
//	silence        the push is taken, and no answer comes
//	deaf           nothing comes on this connection any more, not even answers to pings
//	goaway         GOAWAY: of APNs in place of taking the push, of FCM behind its answer
//	goaway_taken   the push is taken; GOAWAY and the end of the connection come in place of the answer
//	reset_stream   the push is taken, and its stream is reset
//	refuse_stream  the push is not taken: its stream is refused
//	reset          the push is taken, and the connection is reset
//	close          the push is taken, and the connection is closed
//	not_http       the answer is no HTTP
//	endless_body   the body of the answer never ends
//	slow_body      the body of the answer comes a byte at a time, and never ends
func ProviderFaults(provider string) []string {
	switch provider {
	case ProviderAPNs:
		return slices.Sorted(maps.Keys(apnsFaults))
	case ProviderFCM:
		return slices.Sorted(maps.Keys(fcmFaults))
	case ProviderWebPush, ProviderGateway:
		return slices.Sorted(maps.Keys(http1Faults))
	}
	return nil
}

// ParseProviderAnswer reads the object of a line {"provider":{…}}, strictly. Its members are the fields of [ProviderAnswer]: provider, app_id,
// status, reason, timestamp (in milliseconds, as Apple writes it), rejected, headers, body, delay (a text such as "2s"), fault, times, rate.
func ParseProviderAnswer(raw []byte) (ProviderAnswer, error) {
	var wire struct {
		Provider  string            `json:"provider"`
		AppID     string            `json:"app_id"`
		Status    *int              `json:"status"`
		Reason    string            `json:"reason"`
		Timestamp *int64            `json:"timestamp"`
		Rejected  []string          `json:"rejected"`
		Headers   map[string]string `json:"headers"`
		Body      string            `json:"body"`
		Delay     *string           `json:"delay"`
		Fault     string            `json:"fault"`
		Times     *int              `json:"times"`
		Rate      *float64          `json:"rate"`
	}
	if err := json.Unmarshal(raw, &wire, json.RejectUnknownMembers(true)); err != nil {
		return ProviderAnswer{}, err
	}
	a := ProviderAnswer{Provider: wire.Provider, AppID: wire.AppID, Reason: wire.Reason, Rejected: wire.Rejected, Header: wire.Headers, Body: wire.Body, Fault: wire.Fault}
	if wire.Status != nil {
		if a.Status = *wire.Status; a.Status < 200 || a.Status > 599 {
			return a, fmt.Errorf("status %d is no HTTP status from 200 to 599", a.Status)
		}
	}
	if wire.Timestamp != nil {
		a.Timestamp = time.UnixMilli(*wire.Timestamp)
	}
	if wire.Delay != nil {
		var err error
		if a.Delay, err = time.ParseDuration(*wire.Delay); err != nil || a.Delay < 0 {
			return a, fmt.Errorf(`delay %q is no duration such as "200ms" or "5s"`, *wire.Delay)
		}
	}
	if wire.Times != nil {
		if a.Times = *wire.Times; a.Times < 1 {
			return a, fmt.Errorf("times %d is less than 1", a.Times)
		}
	}
	if wire.Rate != nil {
		if a.Rate = *wire.Rate; !(a.Rate > 0 && a.Rate <= 1) {
			return a, fmt.Errorf("rate %v is not above 0 and at most 1", a.Rate)
		}
	}
	return a, a.check()
}

// check says what can't be answered.
func (a *ProviderAnswer) check() error {
	switch {
	case a.Provider != "" && !slices.Contains(AllProviders(), a.Provider):
		return fmt.Errorf("provider %q is none of %s", a.Provider, strings.Join(AllProviders(), ", "))
	case a.Status == 0 && a.Rejected == nil && a.Delay == 0 && a.Fault == "":
		return errors.New("status, rejected, delay or fault is missing: what to answer")
	case a.Reason != "" && a.Status < 300:
		return errors.New("reason goes with a status from 300 on")
	case a.Rejected != nil && a.Provider != "" && a.Provider != ProviderGateway:
		return errors.New("rejected is what gateways alone say")
	case a.Fault == "":
		return nil
	}
	for _, provider := range AllProviders() {
		if (a.Provider == "" || a.Provider == provider) && slices.Contains(ProviderFaults(provider), a.Fault) {
			return nil
		}
	}
	if a.Provider == "" {
		return fmt.Errorf("fault %q is none of any provider", a.Fault)
	}
	return fmt.Errorf("fault %q is none that %s has: %s", a.Fault, a.Provider, strings.Join(ProviderFaults(a.Provider), ", "))
}

// fits says that the answer is for a push of an app. One with a fault that the provider does not have is for others.
func (a *ProviderAnswer) fits(provider, appID, added string) bool {
	return (a.Provider == "" || a.Provider == provider) && (a.AppID == "" || a.AppID == appID || a.AppID == added) &&
		(a.Fault == "" || slices.Contains(ProviderFaults(provider), a.Fault)) && (a.Rejected == nil || provider == ProviderGateway)
}

// providerScript is a queue of answers. It is safe for concurrent use.
type providerScript struct {
	mu    sync.Mutex
	turns []*providerTurn
}

type providerTurn struct {
	answer ProviderAnswer
	left   int     // pushes that it is still for; negative: any number
	share  float64 // of a push that is due by now
}

func (s *providerScript) add(a ProviderAnswer) {
	t := &providerTurn{answer: a, left: a.Times}
	if t.left == 0 {
		if t.left = 1; a.Rate > 0 {
			t.left = -1
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turns = append(s.turns, t)
}

// next takes the answer for a push off the script. One with a rate lets the other pushes through to those behind it.
func (s *providerScript) next(provider, appID, added string) (answer ProviderAnswer, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range s.turns {
		if !t.answer.fits(provider, appID, added) {
			continue
		}
		if t.answer.Rate > 0 {
			const rounding = 1e-9
			if t.share += t.answer.Rate; t.share < 1-rounding {
				continue
			}
			t.share--
		}
		if t.left--; t.left == 0 {
			s.turns = slices.Delete(s.turns, i, i+1)
		}
		return t.answer, true
	}
	return answer, false
}

// clear forgets the answers that are for a provider and an app alone, "" is all of them. It says how many entries those were.
func (s *providerScript) clear(provider, appID string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.turns)
	s.turns = slices.DeleteFunc(s.turns, func(t *providerTurn) bool {
		return (provider == "" || t.answer.Provider == provider) && (appID == "" || t.answer.AppID == appID)
	})
	return before - len(s.turns)
}

// waiting is how many entries there are.
func (s *providerScript) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.turns)
}

// apnsReasons are what Apple says with a status, where the script does not.
var apnsReasons = map[int]string{
	403: "Forbidden", 404: "BadPath", 405: "MethodNotAllowed", 410: "Unregistered", 413: "PayloadTooLarge", 429: "TooManyRequests", 500: "InternalServerError", 503: "ServiceUnavailable",
}

func (a *ProviderAnswer) apns(now time.Time) APNsAnswer {
	answer := APNsAnswer{Status: a.Status, Reason: cmp.Or(a.Reason, apnsReasons[a.Status]), Timestamp: a.Timestamp, Body: a.Body, Delay: a.Delay, Fault: apnsFaults[a.Fault], Header: map[string]string{}}
	if a.Status == http.StatusGone && answer.Timestamp.IsZero() {
		answer.Timestamp = now
	}
	for name, value := range a.Header {
		answer.Header[strings.ToLower(name)] = value // HTTP/2 has no others
	}
	return answer
}

// fcmCodes are the error codes that FCM itself has (FCM HTTP v1, ErrorCode). All else is a status of Google's front.
var fcmCodes = []string{"UNSPECIFIED_ERROR", "INVALID_ARGUMENT", "UNREGISTERED", "SENDER_ID_MISMATCH", "QUOTA_EXCEEDED", "UNAVAILABLE", "INTERNAL", "THIRD_PARTY_AUTH_ERROR"}

func (a *ProviderAnswer) fcm() FCMAnswer {
	answer := fcmFaults[a.Fault]
	answer.Status, answer.Header, answer.Body, answer.Delay = a.Status, a.Header, a.Body, a.Delay
	if code := strings.ToUpper(a.Reason); slices.Contains(fcmCodes, code) {
		answer.ErrorCode = code
	} else {
		answer.RPC = code
	}
	return answer
}

func (a *ProviderAnswer) webPush() WebPushAnswer {
	return WebPushAnswer{Status: a.Status, Header: a.Header, Body: cmp.Or(a.Body, a.Reason), Delay: a.Delay, Fault: http1Faults[a.Fault]}
}

func (a *ProviderAnswer) gateway() Answer {
	answer := Answer{Status: a.Status, Rejected: a.Rejected, Header: a.Header, Delay: a.Delay, Fault: http1Faults[a.Fault]}
	if text := cmp.Or(a.Body, a.Reason); text != "" {
		answer.Body = []byte(text)
	}
	return answer
}
