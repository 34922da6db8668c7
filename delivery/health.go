package delivery

// What an outcome says of the service that it came from.

import (
	"cmp"
	"net/http"
	"time"

	"tocsin/pushers"
)

// health is what an attempt says of the service.
type health uint8

const (
	silent  health = iota // nothing: there was no request, or it was cut off here
	healthy               // it works, whatever it thinks of this notification
	failing               // it answers that it is in trouble, which may be this notification's trouble only
	away                  // no answer came
)

// healthOf is a table: see its test.
func healthOf(o pushers.Outcome) health {
	switch o.Verdict {
	case pushers.Delivered, pushers.Gone:
		if o.Status == 0 {
			return silent // there was nothing to send
		}
		return healthy
	case pushers.Uncertain:
		return away
	case pushers.Misconfigured:
		return failing
	case pushers.Drop:
		if o.Status == 0 {
			return silent // one of our own rules
		}
		return healthy
	}
	switch {
	case o.Status == 0:
		return away
	case o.Status == http.StatusInsufficientStorage: // of one topic, as ntfy means it
		return healthy
	case o.Status >= 500:
		return failing
	case o.Status == http.StatusTooManyRequests: // see pauseOf
		return silent
	}
	return healthy
}

// pauseOf is how long a service wants to hear of nobody: 0 if it does not say that. What asks without a time is left alone for the time that it takes to look again.
func pauseOf(o pushers.Outcome, otherwise time.Duration) time.Duration {
	if !o.Pause {
		return 0
	}
	return cmp.Or(o.RetryAfter, otherwise)
}
