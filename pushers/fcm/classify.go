package fcm

// What an answer means, and what it means that there is none.

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// The reasons of an outcome that are no status of the answer. Metrics are labelled with them, so the list is short and fixed; [Words] says what each
// means for a person. A reason that begins with "token_" is about the access token: nothing was sent.
const (
	reasonAccepted         = "accepted"           // delivered
	reasonUnreadableReply  = "unreadable_reply"   // delivered, and the answer is not one of FCM
	reasonUnregistered     = "unregistered"       // the pushkey is dead
	reasonBadToken         = "bad_token"          // the pushkey is none
	reasonSenderMismatch   = "sender_id_mismatch" // the pushkey is one of another project
	reasonTooBig           = "too_big"            // longer than FCM takes it, however short it was made
	reasonInvalidArgument  = "invalid_argument"   // the message is not what FCM takes
	reasonThirdPartyAuth   = "third_party_auth"   // the project has no valid key for Apple or Web Push
	reasonUnauthenticated  = "unauthenticated"    // a new access token is refused, too
	reasonPermissionDenied = "permission_denied"  // the service account may not send
	reasonNotFound         = "not_found"          // there is no such project, or the URL is not FCM's
	reasonQuota            = "quota_exceeded"     // the project sends too much
	reasonDeviceQuota      = "device_quota"       // this device is sent too much
	reasonInternal         = "internal"
	reasonUnavailable      = "unavailable"
	reasonBadNotification  = "bad_notification" // no message could be made
	reasonDNS              = "dns"              // the host has no address
	reasonTLS              = "tls"              // no trusted TLS connection could be made
	reasonConnect          = "connect"          // no connection could be made, or it broke before the request had left
	reasonTimeout          = "timeout"          // the request left, and no answer came in time
	reasonNoAnswer         = "no_answer"        // the request left, and the connection broke
)

const (
	// enoughTries is what trouble on Google's side is worth: the fifth attempt is more than an hour behind the first, which is when Google asks to give up
	// (Firebase documentation, "Best practices when sending FCM messages at scale").
	enoughTries = 5
	// fewTries is what a refusal is worth that is not Google's own: proxies that are being repaired give such answers.
	fewTries = 3
	// firstWait is how long to wait at least after trouble on Google's side, by the same page.
	firstWait = 10 * time.Second
	// quotaWait is how long to wait when a quota is exceeded and the answer does not say how long, by the same page.
	quotaWait = time.Minute
	// suspicion is how long to wait before a pushkey that may be dead is tried again.
	suspicion = 5 * time.Minute
)

// remedy is what may turn an answer into another one within the same attempt.
type remedy uint8

const (
	none    remedy = iota
	refresh        // a new access token
	shrink         // a shorter message
)

// attempt is all that is known of one request when it is over.
type attempt struct {
	account *account    // whose
	status  int         // of the answer; 0 if none came
	header  http.Header // of the answer
	body    []byte      // of the answer
	bodyErr error       // why body is not complete; nil if it is
	err     error       // why there is no answer
	sent    bool        // the request left: it may have been received in full
	shaking bool        // a TLS handshake was begun, and nothing came after it

	connection string // that it had when it failed; "" if none
}

// classify says what an attempt came to, and what may help. proven says that the service account has sent something before: until then a pushkey that FCM doesn't
// know may be a sign of the wrong service account. now is what a Retry-After that is a date is held against.
func classify(a attempt, proven bool, now time.Time) (pushers.Outcome, remedy) {
	switch {
	case a.err != nil:
		return classifyError(a), none
	case a.status >= 200 && a.status < 300:
		return pushers.Outcome{Verdict: pushers.Delivered, Reason: acceptance(a), Status: a.status}, none
	}
	f := readFault(a.body)
	o, fix := classifyFault(a.status, &f, proven)
	o.Status = a.status
	if wished := max(outbound.RetryAfter(a.header, now), min(f.retryDelay, outbound.LongestWait)); wished > 0 && o.Verdict == pushers.Retry {
		o.RetryAfter = wished
		o.Pause = o.Pause || a.status == http.StatusServiceUnavailable
	}
	if text := f.String(); text != "" {
		o.Cause = errors.New(text)
	}
	return o, fix
}

// acceptance is accepted if the answer names the message, as FCM's do.
func acceptance(a attempt) string {
	if a.bodyErr != nil || !isMessageName(a.body) {
		return reasonUnreadableReply
	}
	return reasonAccepted
}

// classifyFault is a table: what FCM itself says counts first, then what Google's front says, and then the status alone.
func classifyFault(status int, f *fault, proven bool) (pushers.Outcome, remedy) {
	switch f.code {
	case "UNREGISTERED":
		return pushers.Outcome{Verdict: pushers.Gone, Reason: reasonUnregistered}, none
	case "SENDER_ID_MISMATCH":
		return suspect(reasonSenderMismatch, proven), none
	case "INVALID_ARGUMENT":
		return invalid(f, proven)
	case "THIRD_PARTY_AUTH_ERROR":
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reasonThirdPartyAuth}, none
	case "QUOTA_EXCEEDED":
		return quota(f), none
	case "INTERNAL":
		return pushers.Outcome{Verdict: pushers.Retry, Reason: reasonInternal, RetryAfter: firstWait, Tries: enoughTries}, none
	case "UNAVAILABLE":
		return pushers.Outcome{Verdict: pushers.Retry, Reason: reasonUnavailable, RetryAfter: firstWait, Tries: enoughTries}, none
	}
	switch {
	case status == http.StatusBadRequest && f.isOurs():
		return invalid(f, proven)
	case status == http.StatusUnauthorized:
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reasonUnauthenticated}, refresh
	case status == http.StatusForbidden:
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reasonPermissionDenied}, none
	case status == http.StatusNotFound:
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reasonNotFound}, none
	case status == http.StatusTooManyRequests:
		return quota(f), none
	}
	return byStatus(status)
}

// byStatus says what a status means that FCM has no words for.
func byStatus(status int) (pushers.Outcome, remedy) {
	reason := outbound.StatusReason(status)
	switch {
	case status == http.StatusRequestEntityTooLarge:
		return pushers.Outcome{Verdict: pushers.Drop, Reason: reasonTooBig}, shrink
	case status == http.StatusServiceUnavailable:
		return pushers.Outcome{Verdict: pushers.Retry, Reason: reasonUnavailable, RetryAfter: firstWait, Tries: enoughTries}, none
	case status >= 500:
		return pushers.Outcome{Verdict: pushers.Retry, Reason: reason, RetryAfter: firstWait, Tries: enoughTries}, none
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly:
		return pushers.Outcome{Verdict: pushers.Retry, Reason: reason}, none
	case status < 400: // a redirect, which is not followed
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reason}, none
	}
	return pushers.Outcome{Verdict: pushers.Drop, Reason: reason, Tries: fewTries}, none
}

// invalid says which argument is. FCM says so in words or in the names of fields, and of a message that is too big sometimes nothing at all.
func invalid(f *fault, proven bool) (pushers.Outcome, remedy) {
	words := strings.ToLower(f.message)
	switch {
	case slices.Contains(f.fields, "message.token"), strings.HasPrefix(words, "the registration token is not a valid fcm registration token"), // elsewhere in it, it may be what somebody wrote
		f.apns == "BadDeviceToken", f.apns == "Unregistered", f.apns == "ExpiredToken":
		return suspect(reasonBadToken, proven), none
	case strings.Contains(words, "too big"), strings.Contains(words, "too large"):
		return pushers.Outcome{Verdict: pushers.Drop, Reason: reasonTooBig}, shrink
	case len(f.fields) == 0 && f.reason == "" && strings.Contains(words, "contains an invalid argument"):
		return pushers.Outcome{Verdict: pushers.Drop, Reason: reasonInvalidArgument}, shrink
	}
	return pushers.Outcome{Verdict: pushers.Drop, Reason: reasonInvalidArgument}, none
}

// suspect says that a pushkey is dead if the service account has proved to be the right one. Until then it may be the wrong one, to which all pushkeys look dead.
func suspect(reason string, proven bool) pushers.Outcome {
	switch {
	case proven:
		return pushers.Outcome{Verdict: pushers.Gone, Reason: reason}
	case reason == reasonSenderMismatch:
		return pushers.Outcome{Verdict: pushers.Misconfigured, Reason: reason, RetryAfter: suspicion, Unproven: true}
	}
	return pushers.Outcome{Verdict: pushers.Retry, Reason: reason, RetryAfter: suspicion, Unproven: true}
}

// quota says whose is exceeded: that of the device if the answer says so, else that of the project.
func quota(f *fault) pushers.Outcome {
	o := pushers.Outcome{Verdict: pushers.Retry, Reason: reasonQuota, RetryAfter: quotaWait, Pause: true}
	perDevice := func(words string) bool { return strings.Contains(strings.ToLower(words), "device") }
	if slices.ContainsFunc(f.violations, perDevice) || len(f.violations) == 0 && !strings.Contains(f.unit, "project") && perDevice(f.message) {
		o.Reason, o.Pause = reasonDeviceQuota, false
	}
	return o
}

// classifyError says what it means that no answer came.
func classifyError(a attempt) pushers.Outcome {
	o := pushers.Outcome{Verdict: pushers.Retry, Reason: reasonConnect, Cause: a.err}
	switch {
	case a.sent && outbound.IsTimeout(a.err):
		o.Verdict, o.Reason = pushers.Uncertain, reasonTimeout
	case a.sent:
		o.Verdict, o.Reason = pushers.Uncertain, reasonNoAnswer
	case outbound.IsDNS(a.err):
		o.Reason = reasonDNS
	case a.shaking || outbound.IsTLS(a.err):
		o.Reason = reasonTLS
	}
	return o
}
