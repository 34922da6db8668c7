package fcm

// Asking FCM whether it would take a message, and saying in words what it thinks of one.

import (
	"context"
	"fmt"
	"strings"

	"tocsin/pushers"
)

// Check asks FCM whether it would take a message of the app, with its overrides, and sends none. The error says what is wrong and what to do.
//
// The message is for a topic, because there is no pushkey of which it is known that FCM knows it.
func (s *Sender) Check(ctx context.Context) error {
	b := append([]byte(nil), `{"validate_only":true,"message":{"topic":"tocsin-check","data":{"prio":"high"},"android":`...)
	b = s.cfg.appendAndroid(b, &pushers.Delivery{Notification: pushers.Notification{EventID: "$check"}}, s.clock.Now())
	b = append(s.cfg.appendOthers(b), `}}`...)
	o, a := s.deliver(ctx, func(int) []byte { return b })
	if o.Verdict == pushers.Delivered && o.Reason == reasonAccepted {
		return nil
	}
	text := fmt.Sprintf("FCM, project %s: %s (%s)", s.keeper.current.Load().project, Words(o), o.Reason)
	if f := readFault(a.body); f.message != "" {
		return fmt.Errorf("%s: it says %q", text, short(f.message))
	}
	if o.Cause != nil {
		return fmt.Errorf("%s: %w", text, o.Cause)
	}
	return fmt.Errorf("%s", text)
}

// short is s, not longer than a line or two.
func short(s string) string {
	const most = 300
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// Words says what o means to a person, and what to do about it.
func Words(o pushers.Outcome) string {
	if words, ok := words[o.Reason]; ok {
		return words
	}
	token, isToken := strings.CutPrefix(o.Reason, "token_")
	switch {
	case isToken && o.Verdict == pushers.Retry:
		return "the token endpoint gives no access token now: it is asked again"
	case isToken:
		return "the token endpoint refuses the service account: make a new key for it (" + token + ")"
	case o.Verdict == pushers.Retry:
		return "FCM is in trouble: it is sent again later"
	case o.Verdict == pushers.Misconfigured:
		return "what answers is not FCM: look at base_url, and at proxies before it"
	}
	return "what answers refuses the message, and is not FCM: look at base_url, and at proxies before it"
}

// words are the reasons for people.
var words = map[string]string{
	reasonAccepted:         "FCM took the message",
	reasonUnreadableReply:  "something took the message, but what it answers is not what FCM answers: look at base_url",
	reasonUnregistered:     "FCM does not know the device any more: the app was removed, or has another pushkey now",
	reasonBadToken:         "the pushkey is not one of FCM: the app must register anew",
	reasonSenderMismatch:   "the pushkey belongs to another Firebase project: use the service account of the project that the app is built for",
	reasonTooBig:           "the message is longer than FCM takes it, even without what can be left out: make fcm_options shorter",
	reasonInvalidArgument:  "FCM does not take the message as it is: look at fcm_options",
	reasonThirdPartyAuth:   "the Firebase project has no valid key for Apple or Web Push: upload one in the Firebase console, under cloud messaging",
	reasonUnauthenticated:  "FCM refuses the access token, a new one, too: look at the clock of this machine, and whether the service account is disabled",
	reasonPermissionDenied: "the service account may not send: enable the Firebase Cloud Messaging API in its project, and give it the role Firebase Cloud Messaging API Admin",
	reasonNotFound:         "there is no such project, or what answers is not FCM: look at project_id and base_url",
	reasonQuota:            "the project has sent more than its quota: it pauses; ask Google for more if it happens often",
	reasonDeviceQuota:      "this device is sent more than FCM allows: it waits",
	reasonInternal:         "FCM is in trouble: it is sent again later",
	reasonUnavailable:      "FCM is busy: it is sent again later",
	reasonBadNotification:  "no message could be made of the notification: that is a fault of tocsin",
	reasonDNS:              "the host of base_url has no address",
	reasonTLS:              "no trusted TLS connection: look at ca_file, and at proxies before FCM",
	reasonConnect:          "no connection: look at firewalls, and whether FCM is reached through a proxy",
	reasonTimeout:          "no answer came in time: it may have been delivered",
	reasonNoAnswer:         "the connection broke before the answer: it may have been delivered",
	"token_timeout":        "the token endpoint does not answer in time: look at firewalls",
	"token_dns":            "the host of the token endpoint has no address",
	"token_tls":            "no trusted TLS connection to the token endpoint: look at ca_file, and at proxies before it",
	"token_connect":        "no connection to the token endpoint: look at firewalls",
	"token_unreadable":     "what answers is not a token endpoint: look at token_url",
	"token_invalid_grant":  "Google does not take the key of the service account: it was deleted, or the clock of this machine is wrong",
}
