package gateway

// What an answer means, and what it means that there is none.

import (
	"errors"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// The reasons of an outcome that are no status of the answer; package outbound has more of them, for when there is no answer. Metrics are labelled with them, so the list is short and fixed.
const (
	reasonAccepted        = "accepted"         // delivered
	reasonUnreadableReply = "unreadable_reply" // delivered, and the reply says something that can't be read
	reasonOthersRejected  = "others_rejected"  // delivered, and the reply rejects pushkeys that the request did not have
	reasonRejected        = "rejected"         // the pushkey is dead
	reasonBadNotification = "bad_notification" // no request body could be made
)

const (
	// fewTries is what a definite refusal is worth, of the notification or of the request as such: it is most likely final, but proxies
	// that are being repaired give such answers, too.
	fewTries = 3
	// slowly is how long to wait after an answer that only a person at the gateway can change.
	slowly = time.Hour
	// uncertainWait is how long to wait at least when a push may have been delivered. A gateway may be busy with it still: Sygnal tries again by
	// itself: the last time 180 seconds after the first when the service behind it has no capacity, else after 30.
	uncertainWait = 5 * time.Minute
)

// classify says what an attempt to push to each of the pushkeys came to, in their order. It is a table: see the tests. now is for a Retry-After that is a date.
//
// Only a 2xx answer that names the pushkey in "rejected" may cost a pusher its life (Push Gateway API). Each other answer is tried again, for a time
// that fits what it says.
func classify(a outbound.Answer, pushkeys []string, now time.Time) []pushers.Outcome {
	switch {
	case a.Status == 0:
		o := a.Failure()
		if o.Verdict == pushers.Uncertain {
			o.RetryAfter = uncertainWait
		}
		return same(o, len(pushkeys))
	case a.Status >= 200 && a.Status < 300:
		return classifyAccepted(a, pushkeys)
	}
	return same(classifyStatus(a, now), len(pushkeys))
}

// same is an outcome that concerns n pushkeys alike.
func same(o pushers.Outcome, n int) []pushers.Outcome {
	return slices.Repeat([]pushers.Outcome{o}, n)
}

// classifyStatus says what an answer means that is not 2xx.
func classifyStatus(a outbound.Answer, now time.Time) pushers.Outcome {
	o := pushers.Outcome{Verdict: pushers.Retry, Status: a.Status, Reason: outbound.StatusReason(a.Status), RetryAfter: outbound.RetryAfter(a.Header, now)}
	switch s := a.Status; {
	case s >= 300 && s < 400: // not followed; the URL is wrong, or a proxy shows a page meanwhile
		o.Verdict, o.RetryAfter = pushers.Misconfigured, slowly
	case s == 401 || s == 403 || s == 404 || s == 405 || s == 410: // there is no push gateway, or it is locked
		o.Verdict, o.RetryAfter, o.Tries = pushers.Misconfigured, slowly, fewTries
	case s == 429: // it is the gateway that is asked too much, not the device
		o.Pause = true
	case s == 503:
		o.Pause = o.RetryAfter > 0
	case s == 408 || s == 425:
	case s == 413: // Send has left out the content already, if there was any
		o.Verdict, o.RetryAfter = pushers.Drop, 0
	case s == 507: // ntfy: nobody has subscribed; it rejects the pushkey itself when that lasts
		o.RetryAfter = slowly
	case s >= 400 && s < 500: // 400, 422: this notification is not understood
		o.Verdict, o.Tries = pushers.Drop, fewTries
	}
	return o
}

// classifyAccepted reads the list of rejected pushkeys, which concerns each device alone.
func classifyAccepted(a outbound.Answer, pushkeys []string) []pushers.Outcome {
	accepted := pushers.Outcome{Verdict: pushers.Delivered, Status: a.Status, Reason: reasonAccepted}
	var reply struct {
		Rejected []string `json:"rejected"`
	}
	err := a.BodyErr
	if err == nil && json.Unmarshal(a.Body, &reply) != nil {
		err = errors.New("the reply is not an object with a list of texts, rejected") // without the bytes: they may be a secret
	}
	if err != nil {
		accepted.Reason, accepted.Cause, reply.Rejected = reasonUnreadableReply, err, nil
	}
	if slices.ContainsFunc(reply.Rejected, func(rejected string) bool { return !slices.Contains(pushkeys, rejected) }) {
		accepted.Reason = reasonOthersRejected
	}
	outcomes := same(accepted, len(pushkeys))
	for i, pushkey := range pushkeys {
		if slices.Contains(reply.Rejected, pushkey) {
			outcomes[i] = pushers.Outcome{Verdict: pushers.Gone, Status: a.Status, Reason: reasonRejected}
		}
	}
	return outcomes
}
