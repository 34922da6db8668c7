package webpush

// What came of an attempt, for people.

import (
	"cmp"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// Words says what o means to a person, and what to do about it.
func Words(o pushers.Outcome) string {
	if text := cmp.Or(words[o.Reason], outbound.Words(o.Reason)); text != "" {
		return text
	}
	switch o.Verdict {
	case pushers.Misconfigured:
		return "what answers is not a push service: look at base_url, and at proxies before it"
	case pushers.Drop:
		return "the push service does not take the message"
	}
	return "the push service is in trouble: it is sent again later"
}

// words are the reasons for people; those that are not here are told by their verdict.
var words = map[string]string{
	reasonAccepted:        "the push service took it: the browser gets it when it is online",
	reasonShorterTTL:      "the push service took it, and keeps it for a browser that is away for less time than was asked for",
	reasonEventsOnly:      "nothing was sent: the pusher wants no counts alone",
	reasonBadNotification: "no message could be made of the notification: that is a fault of tocsin",
	reasonBadSubscription: "the pusher is no subscription of a browser: the web client must register it with endpoint and auth in its data, and p256dh as pushkey",
	reasonNotAllowed:      "the push service is not one that is asked, because users choose them: if it is known to you, list it in allowed_endpoints of the app",
	reasonSigning:         "no VAPID token could be made: look at vapid_key_file",
	reasonOtherKey:        "the browser subscribed with another VAPID key: the web client must subscribe anew, with the public key that `tocsin check` prints",
	reasonInvalid:         "the push service does not know the subscription any more: the browser must subscribe anew",
	"http_400":            "the push service does not understand the message, or does not take the VAPID token: look whether the web client subscribes with the public key that `tocsin check` prints, at contact, and at the clock of this machine",
	"http_401":            "the push service does not take the VAPID token: look whether the web client subscribes with the public key that `tocsin check` prints, at contact, and at the clock of this machine",
	"http_403":            "the push service does not take the VAPID token: look whether the web client subscribes with the public key that `tocsin check` prints, at contact, and at the clock of this machine",
	"http_404":            "the push service does not know the subscription: it was ended, and the browser must subscribe anew",
	"http_406":            "the push service is sent more than it allows: it is sent again later",
	"http_410":            "the subscription was ended: the browser must subscribe anew",
	"http_413":            "the message is longer than the push service takes it, even without its content",
	"http_429":            "this browser is sent more than its push service allows: it is sent again later",
}
