package apns

// What came of an attempt, for people.

import "tocsin/pushers"

// Words says what o means to a person, and what to do about it.
func Words(o pushers.Outcome) string {
	if text, ok := words[o.Reason]; ok {
		return text
	}
	if o.Verdict == pushers.Drop {
		return ourFault
	}
	return "Apple is in trouble, or something before it: it is sent again later; look at Apple's system status, and at proxies before it"
}

// What several of Apple's reasons mean.
const (
	ourFault = "Apple does not take the push as it is: that is a fault of tocsin, or of default_payload in the pusher's data"
	dead     = "Apple does not know the device any more: the app was removed, or has another pushkey now"
	foreign  = "the pushkey is no device token of the app in this environment: look at environment (builds from Xcode are sandbox), topic and token_format; if they are right, the app must register anew"
	badTopic = "Apple does not know the topic, or the credentials do not cover it: look at topic, which is the app's bundle id, and whose key or certificate it is"
	badKey   = "Apple does not take the key: look at key_id and team_id, whether the key was revoked, and at the clock of this machine"
	wrongEnv = "the key or certificate is of the other environment, or of another app: look at environment, and at what the key may be used for in Apple's developer account"
	busy     = "Apple is in trouble or busy: it is sent again later"
)

// words are the reasons for people: ours, and all of Apple's.
var words = map[string]string{
	reasonAccepted:      "Apple took it: the device gets it when it is online",
	reasonNothing:       "nothing was sent: the app is not told of such things (events, push_type)",
	reasonBadPushkey:    "the pushkey is no device token as token_format says: look at token_format; if it is right, the app must register anew",
	reasonCredential:    "no provider token can be made: look at key_file",
	reasonCertificate:   "Apple does not take the certificate: it has expired, was revoked, or is not one of Apple: make a new one in Apple's developer account",
	reasonReregistered:  "Apple knew the device as gone before the app registered again: it is sent again",
	reasonUnproven:      foreign + ". Nothing is removed until Apple has taken another pushkey of the app",
	reasonNotApple:      "what answers is not Apple: look at base_url, and at proxies before it",
	reasonDNS:           "Apple's host has no address: look at base_url, and at the resolver of this machine",
	reasonConnect:       "no connection: look at firewalls (Apple is asked at port 443), and whether Apple is reached through a proxy",
	reasonTLS:           "no trusted TLS connection with HTTP/2: look at ca_file, and at proxies before Apple",
	reasonUnsent:        "the connection broke before the push had left: it is sent again",
	reasonGoAway:        "Apple gave up the connection before it took the push: it is sent again",
	reasonRefusedStream: "there was no room on the connection: it is sent again; look at connections",
	reasonTimeout:       "no answer came in time: it may have been delivered, and is sent again under the same id",
	reasonNoAnswer:      "the connection broke before the answer: it may have been delivered, and is sent again under the same id",

	"BadCollapseId":               ourFault,
	"BadDeviceToken":              foreign,
	"BadExpirationDate":           ourFault,
	"BadMessageId":                ourFault,
	"BadPriority":                 ourFault,
	"BadTopic":                    badTopic,
	"DeviceTokenNotForTopic":      "the pushkey belongs to another app than topic says: look at topic, and whether the app registers with the right app id",
	"DuplicateHeaders":            ourFault,
	"ExpiredToken":                dead,
	"IdleTimeout":                 "Apple closed an idle connection just then: it is sent again",
	"InvalidPushType":             "Apple does not take the push type: look at push_type",
	"MissingDeviceToken":          ourFault,
	"MissingTopic":                "the certificate is for more than one topic: set topic to the app's bundle id",
	"PayloadEmpty":                ourFault,
	"TopicDisallowed":             badTopic,
	"BadCertificate":              "Apple does not take the certificate: make a new one in Apple's developer account",
	"BadCertificateEnvironment":   wrongEnv,
	"BadEnvironmentKeyIdInToken":  wrongEnv,
	"BadEnvironmentKeyInToken":    wrongEnv,
	"ExpiredProviderToken":        "Apple calls a new provider token expired: look at the clock of this machine",
	"Forbidden":                   "Apple does not let the credentials send: look at the membership of the team in Apple's developer program",
	"InvalidProviderToken":        badKey,
	"MissingProviderToken":        "Apple wants credentials: key_file, or a certificate that it takes",
	"UnrelatedKeyIdInToken":       "the key is not one that may be used for this team and topic: look at key_id, team_id and topic",
	"BadPath":                     ourFault,
	"MethodNotAllowed":            ourFault,
	"Unregistered":                dead,
	"PayloadTooLarge":             "the push is longer than Apple takes it, even without what can be left out: look at default_payload in the pusher's data",
	"TooManyProviderTokenUpdates": "Apple has seen too many provider tokens of the key: all apps with the key wait; look whether another server uses it, and how many workers there are",
	"TooManyRequests":             "this device is sent more than Apple allows: it is sent again later",
	"InternalServerError":         busy,
	"ServiceUnavailable":          busy,
	"Shutdown":                    busy,
}
