package gateway

// What an answer means, and what it means that there is none.

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pushers"
)

// The reasons of an outcome that are no status of the answer. Metrics are labelled with them, so the list is short and fixed.
const (
	reasonAccepted        = "accepted"         // delivered
	reasonUnreadableReply = "unreadable_reply" // delivered, and the reply says something that can't be read
	reasonOthersRejected  = "others_rejected"  // delivered, and the reply rejects pushkeys that the request did not have
	reasonRejected        = "rejected"         // the pushkey is dead
	reasonBadURL          = "bad_url"          // a rule of ours forbids the URL
	reasonBlockedAddress  = "blocked_address"  // a rule of ours forbids the address
	reasonBadNotification = "bad_notification" // no request body could be made
	reasonDNS             = "dns"              // the host has no address
	reasonTLS             = "tls"              // no trusted TLS connection could be made
	reasonProxy           = "proxy"            // the configured proxy could not be reached, or would not connect
	reasonConnect         = "connect"          // no connection could be made, or it broke before the request had left
	reasonStale           = "stale_connection" // a connection that had been idle was closed by the gateway just then
	reasonTimeout         = "timeout"          // the request left, and no answer came in time
	reasonNoAnswer        = "no_answer"        // the request left, and the connection broke
)

const (
	// fewTries is what a definite refusal is worth, of the notification or of the request as such: it is most likely final, but proxies
	// that are being repaired give such answers, too.
	fewTries = 3
	// slowly is how long to wait after an answer that only a person at the gateway can change.
	slowly = time.Hour
	// longestWait bounds what a gateway may ask for.
	longestWait = time.Hour
)

// attempt is all that is known of one request when it is over.
type attempt struct {
	status  int         // of the answer; 0 if none came
	header  http.Header // of the answer
	body    []byte      // of the answer
	bodyErr error       // why body is not complete; nil if it is
	err     error       // why there is no answer
	sent    bool        // the request left: it may have been received in full
	reused  bool        // on a connection that had been idle
	began   bool        // an answer began to come
	shaking bool        // a TLS handshake began, and no connection came of it
}

// classify says what an attempt to push to each of the pushkeys came to, in their order. It is a table: see the tests. now is for a Retry-After that is a date.
//
// Only a 2xx answer that names the pushkey in "rejected" may cost a pusher its life (Push Gateway API). Each other answer is tried again, for a time
// that fits what it says.
func classify(a attempt, pushkeys []string, now time.Time) []pushers.Outcome {
	switch {
	case a.status == 0:
		return same(classifyError(a), len(pushkeys))
	case a.status >= 200 && a.status < 300:
		return classifyAccepted(a, pushkeys)
	}
	return same(classifyStatus(a, now), len(pushkeys))
}

// same is an outcome that concerns n pushkeys alike.
func same(o pushers.Outcome, n int) []pushers.Outcome {
	return slices.Repeat([]pushers.Outcome{o}, n)
}

// classifyStatus says what an answer means that is not 2xx.
func classifyStatus(a attempt, now time.Time) pushers.Outcome {
	o := pushers.Outcome{Verdict: pushers.Retry, Status: a.status, Reason: statusReason(a.status), RetryAfter: retryAfter(a.header, now)}
	switch s := a.status; {
	case s >= 300 && s < 400: // not followed; the URL is wrong, or a proxy shows a page meanwhile
		o.Verdict, o.RetryAfter = pushers.Misconfigured, slowly
	case s == 401 || s == 403 || s == 404 || s == 405 || s == 410: // there is no push gateway, or it is locked
		o.Verdict, o.RetryAfter, o.Tries = pushers.Misconfigured, slowly, fewTries
	case s == 408 || s == 425 || s == 429:
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
func classifyAccepted(a attempt, pushkeys []string) []pushers.Outcome {
	accepted := pushers.Outcome{Verdict: pushers.Delivered, Status: a.status, Reason: reasonAccepted}
	var reply struct {
		Rejected []string `json:"rejected"`
	}
	err := a.bodyErr
	if err == nil && json.Unmarshal(a.body, &reply) != nil {
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
			outcomes[i] = pushers.Outcome{Verdict: pushers.Gone, Status: a.status, Reason: reasonRejected}
		}
	}
	return outcomes
}

// classifyError says what it means that no answer came.
func classifyError(a attempt) pushers.Outcome {
	o := pushers.Outcome{Verdict: pushers.Retry, Reason: reasonConnect, Cause: a.err}
	if refused := (*refusal)(nil); errors.As(a.err, &refused) {
		o.Verdict, o.Reason = pushers.Drop, refused.reason
		return o
	}
	if failed := (*proxyError)(nil); errors.As(a.err, &failed) {
		o.Reason = reasonProxy
		return o
	}
	sent := a.sent && !brokeWriting(a.err)
	switch {
	case sent && isTimeout(a.err):
		o.Verdict, o.Reason = pushers.Uncertain, reasonTimeout
	case sent && a.reused && !a.began:
		// Gateways close idle connections whenever they like, also while a request is on its way to them. The request was hardly ever read
		// then, and the gateway is not working on it any more in any case: no need to wait as long as for an uncertain one.
		o.Reason = reasonStale
	case sent:
		o.Verdict, o.Reason = pushers.Uncertain, reasonNoAnswer
		if a.began {
			o.Cause = errors.New("the answer is not HTTP, or breaks off") // without the bytes: they may be a secret
		}
	case isDNS(a.err):
		o.Reason = reasonDNS
	case a.shaking || isTLS(a.err):
		o.Reason = reasonTLS
	}
	return o
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout()
}

func isDNS(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// isTLS says that the handshake failed: at the certificate, at the peer's or our alert, or because the peer does not speak TLS.
func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var alert *net.OpError
	return errors.As(err, &certificate) || errors.As(err, &notTLS) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}

// brokeWriting says that the request did not leave in full after all: that shows only when what was buffered is written.
func brokeWriting(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "write" && !op.Timeout()
}

// statusReason is the reason for a status: itself if it is one that gateways and proxies are known to give, else its class, so that a
// gateway can't make up labels.
func statusReason(status int) string {
	switch {
	case http.StatusText(status) != "":
		return "http_" + strconv.Itoa(status)
	case status >= 300 && status < 600:
		return "http_" + strconv.Itoa(status/100) + "xx"
	}
	return "http_other"
}

// retryAfter reads the header of that name, seconds or a date (RFC 9110, section 10.2.3): 0 if it is absent, past or unreadable.
func retryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if value == "" {
		return 0
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), longestWait)
	}
	for _, digit := range value {
		if digit < '0' || digit > '9' {
			return 0
		}
	}
	seconds, err := strconv.Atoi(value)
	if err != nil || seconds > int(longestWait/time.Second) { // out of range is a long time, too
		return longestWait
	}
	return time.Duration(seconds) * time.Second
}
