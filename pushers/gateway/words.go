package gateway

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
	switch {
	case o.Status >= 300 && o.Status < 400:
		return "the URL leads elsewhere, and that is not followed: the app must register the URL of the gateway itself"
	case o.Verdict == pushers.Misconfigured:
		return "there is no push gateway at the URL, or it is locked: look at the URL, and at proxies before the gateway"
	case o.Verdict == pushers.Drop:
		return "the gateway does not take the notification: look at its log"
	}
	return "the gateway is in trouble: it is sent again later; look at its log"
}

// words are the reasons for people; those that are not here are told by their verdict.
var words = map[string]string{
	reasonAccepted:        "the gateway took it; whether it reached the device, the gateway's log says",
	reasonUnreadableReply: "something took it, but what it answers is not what a push gateway answers: look at the URL",
	reasonOthersRejected:  "the gateway took it, and rejects pushkeys that it was not sent: look at the gateway",
	reasonRejected:        "the gateway says that the pushkey is dead: the app was removed, or has another pushkey now; if it is in use, the gateway may have the wrong credentials of the app",
	reasonBadNotification: "no request could be made of the notification: that is a fault of tocsin",
	"http_401":            "the gateway wants a password, which push gateways do not: look at the URL, and at proxies before the gateway",
	"http_403":            "the gateway is locked for this machine: look at its rules, and at proxies before it",
	"http_404":            "there is no push gateway at the URL: look at its path",
	"http_405":            "what answers takes no notifications: look at the path of the URL",
	"http_410":            "there is no push gateway at the URL any more: the app must register another",
	"http_413":            "the notification is longer than the gateway takes it, even without its content",
	"http_429":            "the gateway is asked more than it allows: all that goes to it waits",
	"http_507":            "nobody listens at the gateway under this pushkey: it is sent again later",
}
