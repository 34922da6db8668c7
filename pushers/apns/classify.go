package apns

// What an answer means, and what it means that there is none.

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/net/http2"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// The reasons of an outcome that are not Apple's words. Metrics are labelled with them, so the list is short and fixed; those of Apple are the table below.
const (
	reasonAccepted      = "accepted"            // delivered
	reasonNothing       = "nothing_to_tell"     // the app is not told of such things: nothing was sent, and nothing is left to do
	reasonBadPushkey    = "bad_pushkey"         // it is no device token
	reasonCredential    = "credential"          // no provider token can be made
	reasonCertificate   = "certificate_refused" // our certificate is expired, revoked, or of somebody unknown
	reasonReregistered  = "reregistered"        // the device token was dead, but it has been registered again since
	reasonUnproven      = "unproven_token"      // the device token is refused, as is every other one so far
	reasonNotApple      = "not_apple"           // what answers is not Apple: a proxy, or a wrong base URL
	reasonDNS           = "dns"                 // the host has no address
	reasonConnect       = "connect"             // no connection could be made
	reasonTLS           = "tls"                 // no trusted TLS connection could be made
	reasonUnsent        = "unsent"              // there was a connection, and the push did not leave
	reasonGoAway        = "goaway"              // the connection was given up before the push was taken
	reasonRefusedStream = "refused_stream"      // there was no room on the connection
	reasonTimeout       = "timeout"             // the push left, and no answer came in time
	reasonNoAnswer      = "no_answer"           // the push left, and the connection broke
)

const (
	// untilFixed is how long to wait after an answer that only the operator can change.
	untilFixed = 5 * time.Minute
	// untilTokenMayChange is how long nobody pushes after a provider token was changed too soon.
	untilTokenMayChange = 5 * time.Minute
	// fewTries is what a refusal is worth that a device may have mended meanwhile.
	fewTries = 4
)

// action is what a reason of Apple calls for.
type action uint8

const (
	gone          action = iota + 1 // the device token is dead
	suspect                         // so it is, or topic or environment are wrong
	misconfigured                   // the credentials, or the topic, are wrong
	environment                     // so they are, and for the connection too
	ours                            // the push as such is wrong: a mistake of this package
	expiredToken                    // the provider token is to be renewed
	tooLarge                        // the payload is to be made smaller
	later                           // not now
	updates                         // the provider token was changed too soon: nobody pushes for a while
	elsewhere                       // not on this connection, but at once on another
	closing                         // not on this connection, and not now
)

// key is an answer of Apple.
type key struct {
	status int
	reason string
}

// table is Apple's ("Handling notification responses from APNs" at developer.apple.com), with two that are documented otherwise than they come: ExpiredToken of 400, and
// BadEnvironmentKeyInToken.
var table = map[key]action{
	{400, "BadCollapseId"}:               ours,
	{400, "BadDeviceToken"}:              suspect,
	{400, "BadExpirationDate"}:           ours,
	{400, "BadMessageId"}:                ours,
	{400, "BadPriority"}:                 ours,
	{400, "BadTopic"}:                    misconfigured,
	{400, "DeviceTokenNotForTopic"}:      suspect,
	{400, "DuplicateHeaders"}:            ours,
	{400, "ExpiredToken"}:                gone,
	{400, "IdleTimeout"}:                 elsewhere,
	{400, "InvalidPushType"}:             ours,
	{400, "MissingDeviceToken"}:          ours,
	{400, "MissingTopic"}:                misconfigured,
	{400, "PayloadEmpty"}:                ours,
	{400, "TopicDisallowed"}:             misconfigured,
	{403, "BadCertificate"}:              misconfigured,
	{403, "BadCertificateEnvironment"}:   environment,
	{403, "BadEnvironmentKeyIdInToken"}:  environment,
	{403, "BadEnvironmentKeyInToken"}:    environment,
	{403, "ExpiredProviderToken"}:        expiredToken,
	{403, "Forbidden"}:                   misconfigured,
	{403, "InvalidProviderToken"}:        misconfigured,
	{403, "MissingProviderToken"}:        misconfigured,
	{403, "UnrelatedKeyIdInToken"}:       environment,
	{404, "BadPath"}:                     ours,
	{405, "MethodNotAllowed"}:            ours,
	{410, "ExpiredToken"}:                gone,
	{410, "Unregistered"}:                gone,
	{413, "PayloadTooLarge"}:             tooLarge,
	{429, "TooManyProviderTokenUpdates"}: updates,
	{429, "TooManyRequests"}:             later,
	{500, "InternalServerError"}:         later,
	{503, "ServiceUnavailable"}:          later,
	{503, "Shutdown"}:                    closing,
}

// attempt is all that is known of one request when it is over.
type attempt struct {
	status int         // of the answer; 0 if none came
	header http.Header // of the answer
	reply  []byte      // its body

	err       error        // why there is no answer
	sent      bool         // the request left: it may have been received in full
	linked    bool         // there was a connection for it
	goAway    *goAway      // the server has given up the connection; nil if it has not
	alert     *net.OpError // the server has ended TLS; nil if it has not, or err says so
	silent    bool         // nothing was heard on the connection since the request began
	certified bool         // a certificate proves who sends
}

// facts are what an answer is held against.
type facts struct {
	registered int64     // when the pushkey was set, in seconds since 1970; 0 if unknown
	proven     bool      // the app's credentials, topic and environment are right: some device token was accepted lately
	now        time.Time // for a Retry-After that is a date
}

// remedy is what may help at once.
type remedy uint8

const (
	noRemedy   remedy = iota
	renewToken        // another provider token
	shrink            // a smaller payload
	reconnect         // another connection
)

// judgement is what follows from a request.
type judgement struct {
	outcome pushers.Outcome // unless the remedy helps
	remedy  remedy
	replace bool // the connection is not worth keeping
}

// classify says what a request came to. It is a table: see the tests.
//
// Only Apple's own word that a device token is dead may cost a pusher its life, and only if the pusher was not set again after Apple found that out. Words that may as well come
// of a wrong topic or environment count for that only if another token was accepted lately.
func classify(a attempt, f facts) judgement {
	if a.status == 0 {
		return classifyError(a)
	}
	if a.status == http.StatusOK {
		return judgement{outcome: pushers.Outcome{Verdict: pushers.Delivered, Reason: reasonAccepted, Status: a.status}}
	}
	reason, timestamp := readReply(a.reply)
	o := pushers.Outcome{Verdict: pushers.Retry, Status: a.status, Reason: reason, RetryAfter: outbound.RetryAfter(a.header, f.now)}
	what, known := table[key{a.status, reason}]
	if !known {
		return judgement{outcome: classifyUnknown(o)}
	}
	return what.judge(o, timestamp, f)
}

// judge says what an answer of the table means. o says what it is.
func (what action) judge(o pushers.Outcome, timestamp int64, f facts) judgement {
	switch what {
	case gone:
		if timestamp != 0 && timestamp < f.registered*1000 { // the app has set it again since: that wins
			o.Reason, o.Tries = reasonReregistered, fewTries
			return judgement{outcome: o}
		}
		o.Verdict, o.RetryAfter = pushers.Gone, 0
	case suspect:
		if !f.proven {
			o.RetryAfter, o.Cause = untilFixed, errors.New(o.Reason+", but no device token was accepted lately: topic or environment of the app may be wrong")
			o.Reason, o.Unproven = reasonUnproven, true
			return judgement{outcome: o}
		}
		o.Verdict, o.RetryAfter = pushers.Gone, 0
	case misconfigured, environment:
		o.Verdict, o.RetryAfter = pushers.Misconfigured, untilFixed
	case expiredToken:
		o.Verdict, o.RetryAfter, o.Cause = pushers.Misconfigured, untilFixed, errors.New("a provider token is called expired that is not: is the clock right?")
		return judgement{outcome: o, remedy: renewToken}
	case ours:
		o.Verdict, o.RetryAfter = pushers.Drop, 0
	case tooLarge:
		o.Verdict, o.RetryAfter = pushers.Drop, 0
		return judgement{outcome: o, remedy: shrink}
	case updates:
		o.RetryAfter, o.Pause = max(o.RetryAfter, untilTokenMayChange), true
	case later:
		o.Pause = o.Status == http.StatusServiceUnavailable && o.RetryAfter > 0 // a 429 is about one device
	case elsewhere:
		return judgement{outcome: o, remedy: reconnect, replace: true}
	}
	return judgement{outcome: o, replace: what == environment || what == closing}
}

// classifyUnknown says what an answer means that is not in the table. What does not speak as Apple does is something on the way, which the operator must look at.
func classifyUnknown(o pushers.Outcome) pushers.Outcome {
	apple := o.Reason != ""
	o.Reason = outbound.StatusReason(o.Status)
	switch s := o.Status; {
	case s >= 500 || s == http.StatusTooManyRequests || s == http.StatusRequestTimeout || s == http.StatusTooEarly:
	case s >= 400 && apple:
		o.Verdict, o.RetryAfter = pushers.Drop, 0
	default:
		o.Verdict, o.RetryAfter, o.Reason = pushers.Misconfigured, untilFixed, reasonNotApple
		o.Cause = errors.New(outbound.StatusReason(s) + ", and not in Apple's words: is base_url right?")
	}
	return o
}

// classifyError says what it means that no answer came.
func classifyError(a attempt) judgement {
	o := pushers.Outcome{Verdict: pushers.Retry, Reason: reasonConnect, Cause: a.err}
	if refused, ok := a.refused(); ok {
		o.Verdict, o.RetryAfter, o.Reason = pushers.Misconfigured, untilFixed, refused
		if a.alert != nil {
			o.Cause = a.alert
		}
		return judgement{outcome: o, replace: true}
	}
	var failed *dialError
	var stream http2.StreamError
	switch {
	case errors.As(a.err, &failed):
		o.Reason = failed.reason
		return judgement{outcome: o}
	case !a.linked:
		return judgement{outcome: o}
	case a.goAway != nil && unprocessed(a.err):
		o.Reason = reasonGoAway
		return judgement{outcome: o, remedy: reconnect}
	case errors.As(a.err, &stream) && stream.Code == http2.ErrCodeRefusedStream:
		o.Reason = reasonRefusedStream
		return judgement{outcome: o, remedy: reconnect}
	case !a.sent:
		o.Reason = reasonUnsent
		return judgement{outcome: o, remedy: reconnect, replace: a.silent || !cutShort(a.err)}
	}
	o.Verdict, o.Reason = pushers.Uncertain, reasonNoAnswer
	if cutShort(a.err) {
		o.Reason = reasonTimeout
	}
	return judgement{outcome: o, replace: a.silent}
}

// refused says why Apple does not talk to us, if that is said at all: in a GOAWAY, or in the alert that a TLS server sends for a client's certificate.
func (a attempt) refused() (reason string, ok bool) {
	if a.goAway != nil {
		for k, what := range table {
			if k.reason == a.goAway.reason && (what == misconfigured || what == environment) {
				return k.reason, true
			}
		}
	}
	alert := a.alert
	if !a.certified || alert == nil && !errors.As(a.err, &alert) || alert.Op != "remote error" {
		return "", false
	}
	said := alert.Err.Error() // RFC 8446, section 6.2: all that are about a certificate have that in their names, but for one
	return reasonCertificate, strings.Contains(said, "certificate") || strings.Contains(said, "access denied")
}

// unprocessed says that a GOAWAY named our stream as one that is not taken: the library has no better way to tell it from those that were taken and are not answered any more.
func unprocessed(err error) bool { return strings.Contains(err.Error(), "http2: Transport received ") }

// cutShort says that our time ended the request, or whoever asked for it did. [outbound.IsTimeout] counts timeouts of the connection, too: here they end the connection, and
// say nothing of whether a push on it has left.
func cutShort(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// readReply is what Apple says beside the status: why, and since when a token is dead, in milliseconds since 1970 (0: it does not say). What is not in Apple's
// words says nothing.
func readReply(reply []byte) (reason string, timestamp int64) {
	var r struct {
		Reason    string         `json:"reason"`
		Timestamp jsontext.Value `json:"timestamp"`
	}
	if json.Unmarshal(reply, &r) != nil {
		return "", 0
	}
	timestamp, _ = strconv.ParseInt(strings.Trim(string(r.Timestamp), `"`), 10, 64)
	return r.Reason, timestamp
}
