package apns

// Provider tokens: what an app with a key proves itself with.

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"sync"
	"time"
)

const (
	// tokenLife is how long a token is used. Apple takes it for an hour, by its own clock.
	tokenLife = 50*time.Minute - tokenMargin
	// tokenMargin is how long before that it is renewed: what was begun with it ends in time.
	tokenMargin = time.Minute
	// tokenFloor is how long a token is used at least: Apple answers TooManyProviderTokenUpdates to those that come sooner.
	tokenFloor = 20 * time.Minute
)

// signingKey is what provider tokens are made with. Keys are the same if their team, id and private key are.
type signingKey struct {
	team, id string
	private  *ecdsa.PrivateKey
	print    [sha256.Size]byte // of the file that it came from
}

// keyName is by what keys are told apart.
type keyName struct {
	team, id string
	print    [sha256.Size]byte
}

func (k signingKey) name() keyName { return keyName{k.team, k.id, k.print} }

// Tokens makes provider tokens: one for each team and key, however many apps use it. Apple wants to see one at a time, so a process has one Tokens, which all its
// senders share. It is safe for concurrent use.
type Tokens struct {
	mu   sync.Mutex
	made map[keyName]madeToken
}

type madeToken struct {
	bearer string // as a header has it
	at     time.Time
}

// NewTokens makes a Tokens.
func NewTokens() *Tokens { return &Tokens{made: map[keyName]madeToken{}} }

// get is the token of a key, a new one if the last is too old.
func (t *Tokens) get(k signingKey) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, last := time.Now(), t.made[k.name()]
	if age := age(last.at, now); last.bearer != "" && age >= 0 && age < tokenLife {
		return last.bearer, nil
	}
	return t.renew(k, now)
}

// after is the token to use when Apple has called stale expired; "" if there is none, because Apple would not take a new one so soon. That an
// expired one is so young means that one of the clocks is wrong.
func (t *Tokens) after(k signingKey, stale string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, last := time.Now(), t.made[k.name()]
	switch {
	case last.bearer != "" && last.bearer != stale:
		return last.bearer, nil // another request was faster
	case age(last.at, now) < tokenFloor:
		return "", nil
	}
	return t.renew(k, now)
}

func (t *Tokens) renew(k signingKey, now time.Time) (string, error) {
	bearer, at, err := sign(k)
	if err != nil {
		return "", err
	}
	for name, m := range t.made { // of keys that are not used any more
		if age(m.at, now) > time.Hour {
			delete(t.made, name)
		}
	}
	t.made[k.name()] = madeToken{bearer, at}
	return bearer, nil
}

// age is by the clock on the wall, as Apple tells it: a machine that was asleep has not stopped time.
func age(at, now time.Time) time.Duration { return now.Round(0).Sub(at) }
