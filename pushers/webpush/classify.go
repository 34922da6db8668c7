package webpush

// What an answer means.

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// The reasons of an outcome that are no status of the answer; package outbound has more of them, for when there is no answer. Metrics are labelled with them, so
// the list is short and fixed.
const (
	reasonAccepted        = "accepted"             // delivered
	reasonShorterTTL      = "accepted_shorter_ttl" // delivered, and kept for a shorter time than was asked for
	reasonEventsOnly      = "events_only"          // not sent: the pusher wants no counts alone
	reasonBadNotification = "bad_notification"     // no message could be made
	reasonBadSubscription = "bad_subscription"     // the pusher's data is no subscription
	reasonNotAllowed      = "endpoint_not_allowed" // the configuration does not list the host
	reasonSigning         = "vapid"                // no token could be made
	reasonOtherKey        = "vapid_other_key"      // the subscription is dead for us: it was made with another VAPID key
	reasonInvalid         = "invalid_subscription" // the subscription is dead: the push service does not know it
)

// slowly is how long to wait after an answer that only an operator can change.
const slowly = time.Hour

// classify says what the answer of a push service means (RFC 8030, section 5; what services add is in complaint). It is a table: see the tests. ttl is what was asked for, now is
// for a Retry-After that is a date.
//
// othersAccept says, of an answer that refuses our token, that the push service takes it from other endpoints. It is asked for such answers alone.
func classify(a outbound.Answer, ttl int, now time.Time, othersAccept func() bool) pushers.Outcome {
	if a.Status == 0 {
		return a.Failure()
	}
	o := pushers.Outcome{Status: a.Status, Reason: outbound.StatusReason(a.Status)}
	switch s := a.Status; {
	case s >= 200 && s < 300:
		o.Verdict, o.Reason = pushers.Delivered, reasonAccepted
		if kept, err := strconv.Atoi(a.Header.Get("TTL")); err == nil && kept >= 0 && kept < ttl {
			o.Reason = reasonShorterTTL
		}
	case s >= 300 && s < 400: // not followed: it may lead anywhere
		o.Verdict, o.RetryAfter = pushers.Misconfigured, slowly
	case s == http.StatusUnauthorized || s == http.StatusForbidden || s == http.StatusBadRequest && complaint(a.Body) == aboutToken:
		o.Verdict, o.Cause = pushers.Misconfigured, errToken
		if othersAccept() {
			o.Verdict, o.Reason, o.Cause = pushers.Gone, reasonOtherKey, errOtherKey
		}
	case s == http.StatusNotFound || s == http.StatusGone:
		o.Verdict = pushers.Gone
	case s == http.StatusBadRequest && complaint(a.Body) == aboutSubscription:
		o.Verdict, o.Reason = pushers.Gone, reasonInvalid
	case s == 406 || s == 408 || s == 425 || s == 429 || s < 200 || s >= 500: // 406 is how Windows' push service throttles
		o.Verdict, o.RetryAfter = pushers.Retry, outbound.RetryAfter(a.Header, now)
		o.Pause = s == http.StatusServiceUnavailable && o.RetryAfter > 0 // a 429 is about one subscription (RFC 8030, section 8.4)
	default: // 400: this message is not understood; 413: Send has made it smaller already
		o.Verdict = pushers.Drop
	}
	return o
}

var (
	errToken    = errors.New("the push service does not take our VAPID token: the key, the contact or the clock may be wrong")
	errOtherKey = errors.New("the push service takes our VAPID token from others: this browser subscribed with another key")
)

// subject is what an error page complains of.
type subject uint8

const (
	aboutSomething subject = iota
	aboutToken
	aboutSubscription
)

// The complaints of push services, in the body of a 400.
var (
	// Mozilla has numbers: mozilla-services.github.io/autopush-rs/errors.html.
	mozillaToken        = []int{109}                // invalid authentication
	mozillaSubscription = []int{102, 103, 105, 106} // endpoint or subscription invalid, expired, gone
	// Apple has words: developer.apple.com, "Sending web push notifications in web apps and browsers".
	appleToken        = []string{"BadJwtToken", "ExpiredJwtToken", "BadAuthorizationHeader", "VapidPkHashMismatch"}
	appleSubscription = []string{"BadDeviceToken", "Unregistered", "ExpiredToken"}
	// Google has words in plain text.
	googleToken        = []string{"UnauthorizedRegistration"}
	googleSubscription = []string{"InvalidRegistration", "NotRegistered"}
)

// complaint reads the body of a 400.
func complaint(body []byte) subject {
	var page struct {
		Errno  int    `json:"errno"`
		Reason string `json:"reason"`
	}
	if json.Unmarshal(body, &page) == nil {
		switch {
		case slices.Contains(mozillaToken, page.Errno), slices.Contains(appleToken, page.Reason):
			return aboutToken
		case slices.Contains(mozillaSubscription, page.Errno), slices.Contains(appleSubscription, page.Reason):
			return aboutSubscription
		}
	}
	says := func(words []string) bool {
		return slices.ContainsFunc(words, func(word string) bool { return bytes.Contains(body, []byte(word)) })
	}
	switch {
	case says(googleToken):
		return aboutToken
	case says(googleSubscription):
		return aboutSubscription
	}
	return aboutSomething
}
