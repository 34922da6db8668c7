package webpush

// Who we are, to each push service (RFC 8292).

import (
	"fmt"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tocsin/clock"
)

const (
	// tokenLife is how long a token is good for: not more than 24 hours (RFC 8292, section 2), and well below, for clocks that differ.
	tokenLife = 12 * time.Hour
	// tokenUse is how long it is used: so that one that is on its way has hours left.
	tokenUse = 6 * time.Hour
	// maxServices is how many push services are remembered. Users may make up hosts, where operators allow any.
	maxServices = 1000
	// lately is for how long an accepted notification tells that our key and token are good.
	lately = 10 * time.Minute
)

// vapid signs requests, with one token for all to the same push service. It is safe for concurrent use.
type vapid struct {
	subject string
	clock   clock.Clock
	file    *keyFile

	mu       sync.Mutex // guards what follows
	key      *vapidKey
	services map[string]*service // by audience; what is known with this key
}

// service is what is known of a push service.
type service struct {
	header   string    // Authorization; "" if a new token is needed
	renew    time.Time // when it is
	endpoint string    // the last one that accepted a notification
	accepted time.Time // when it did
}

// public is the public key that browsers subscribe with.
func (v *vapid) public() string { return v.file.current.Load().public }

// authorize is the Authorization header for requests to an audience, and the key that it proves.
func (v *vapid) authorize(audience string) (header string, with *vapidKey, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now := v.clock.Now()
	if key := v.file.current.Load(); key != v.key {
		v.key, v.services = key, map[string]*service{}
	}
	s := v.service(audience)
	if s.header != "" && now.Before(s.renew) {
		return s.header, v.key, nil
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"aud": audience, "exp": now.Add(tokenLife).Unix(), "sub": v.subject}).SignedString(v.key.private)
	if err != nil {
		return "", nil, fmt.Errorf("no VAPID token could be made: %w", err)
	}
	s.header, s.renew = "vapid t="+token+", k="+v.key.public, now.Add(tokenUse)
	return s.header, v.key, nil
}

// accept notes that an endpoint took a notification. It says nothing of the present key if it was sent with another one.
func (v *vapid) accept(to *subscription, with *vapidKey) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if with != v.key {
		return
	}
	s := v.service(to.audience)
	s.endpoint, s.accepted = to.endpoint.String(), v.clock.Now()
}

// refuse notes that an endpoint does not take our token, and says whether its push service took it from another endpoint lately: then the fault is not ours, but the
// subscription was made with another key. The next request has a new token. That a key is refused which has been replaced meanwhile says nothing: the subscription may have been made with its successor.
func (v *vapid) refuse(to *subscription, with *vapidKey) (othersAccept bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if with != v.key || with != v.file.current.Load() {
		return false
	}
	s := v.service(to.audience)
	s.header = ""
	return s.endpoint != "" && s.endpoint != to.endpoint.String() && v.clock.Now().Sub(s.accepted) < lately
}

// service is what is known of the push service of an audience.
func (v *vapid) service(audience string) *service {
	s := v.services[audience]
	if s == nil {
		if len(v.services) >= maxServices {
			clear(v.services) // they are soon there again
		}
		s = &service{}
		v.services[audience] = s
	}
	return s
}
