package apps

// What came of an attempt, for people.

import (
	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/pushers/gateway"
	"tocsin/pushers/webpush"
)

// Words says what an outcome of a provider's means to a person, and what to do about it.
func Words(provider string, o pushers.Outcome) string {
	switch provider {
	case pushers.ProviderAPNs:
		return apns.Words(o)
	case pushers.ProviderFCM:
		return fcm.Words(o)
	case pushers.ProviderWebPush:
		return webpush.Words(o)
	}
	return gateway.Words(o)
}
