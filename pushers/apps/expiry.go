package apps

// Credentials that expire, and saying so in time.
//
// Of all credentials that is the certificates for APNs. Keys for APNs are good until they are revoked, VAPID keys have no date at all, and a service account's key file does not tell one:
// where an organisation bounds the life of such keys, Google alone knows (`tocsin check` asks it).

import (
	"context"
	"time"
)

// expiring are credentials that may expire.
type expiring interface {
	Expiry() time.Time            // the zero time: never
	Warning(now time.Time) string // "" unless they expire soon, or have
}

// Expiry is when the app's credentials expire; the zero time if they never do, or it is not known.
func (e *Entry) Expiry() time.Time {
	if e.expiring == nil {
		return time.Time{}
	}
	return e.expiring.Expiry()
}

// Warning says that the app's credentials expire within 30 days, or have expired; "" if they do not.
func (e *Entry) Warning(now time.Time) string {
	if e.expiring == nil {
		return ""
	}
	return e.expiring.Warning(now)
}

const (
	// expiryLook is how often the dates are looked at: files are replaced at any time.
	expiryLook = time.Minute
	// expiryAgain is how long after a warning it is repeated.
	expiryAgain = 24 * time.Hour
)

// WarnOfExpiry tells the log of credentials that expire within 30 days, or have expired: at once, then once a day, and within a minute of new ones. It returns when ctx ends.
func (a *Apps) WarnOfExpiry(ctx context.Context) {
	tick := time.NewTicker(expiryLook)
	defer tick.Stop()
	warned := map[*Entry]warning{}
	for {
		a.lookAtExpiry(warned)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// warning is what the log was told of an app.
type warning struct{ expiry, at time.Time }

// lookAtExpiry warns of what was not warned of lately.
func (a *Apps) lookAtExpiry(warned map[*Entry]warning) {
	now := a.clock.Now()
	for _, e := range a.listed {
		text, expiry := e.Warning(now), e.Expiry()
		if before := warned[e]; text == "" || before.expiry.Equal(expiry) && now.Sub(before.at) < expiryAgain {
			continue
		}
		warned[e] = warning{expiry, now}
		a.log.Warn(text, "provider", e.Provider, "app", e.Name, "expiry", expiry)
	}
}
