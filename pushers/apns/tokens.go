package apns

// Provider tokens: what an app with a key proves itself with.
//
// Apple wants to see one token of a key for 20 minutes at least, and answers TooManyProviderTokenUpdates to those who come with others; and a deployment has many processes: workers, and the
// commands of its operators. So all of them make the same token without asking each other: its time is that of a window of half an hour which all have in common, and the signature
// has nothing random (RFC 6979). Two can still meet for 20 minutes after a deployment's very first start: a process that begins near the end of a window keeps its token until then, and
// one that begins in the next window has another.

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"math/big"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	// tokenWindow is how long a token is used. Apple takes it for an hour, by its own clock.
	tokenWindow = 30 * time.Minute
	// tokenFloor is how long a process uses a token at least, so that none is older than 50 minutes: Apple answers TooManyProviderTokenUpdates to those who come sooner with another.
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

// Tokens makes provider tokens: one for each team and key, however many apps use it. A process has one Tokens, which all its senders share. It is safe for concurrent use.
type Tokens struct {
	mu   sync.Mutex
	made map[keyName]madeToken
}

type madeToken struct {
	bearer string    // as a header has it
	issued time.Time // what it says of itself
	since  time.Time // used here since then
}

// NewTokens makes a Tokens.
func NewTokens() *Tokens { return &Tokens{made: map[keyName]madeToken{}} }

// get is the token of a key: that of the present window, or the one before if that has not been used for long.
func (t *Tokens) get(k signingKey) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, last := time.Now(), t.made[k.name()]
	if age := age(last.issued, now); last.bearer != "" && age >= 0 && (age < tokenWindow || last.used(now) < tokenFloor) {
		return last.bearer, nil
	}
	return t.renew(k, now, now.Truncate(tokenWindow))
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
	case last.used(now) < tokenFloor:
		return "", nil
	}
	return t.renew(k, now, now) // that of the window may be the stale one
}

// used is how long a token has been used here.
func (m madeToken) used(now time.Time) time.Duration { return age(m.since, now) }

func (t *Tokens) renew(k signingKey, now, issued time.Time) (string, error) {
	bearer, err := sign(k, issued)
	if err != nil {
		return "", err
	}
	for name, m := range t.made { // of keys that are not used any more
		if age(m.issued, now) > time.Hour {
			delete(t.made, name)
		}
	}
	t.made[k.name()] = madeToken{bearer, issued, now}
	return bearer, nil
}

// age is by the clock on the wall, as Apple tells it: a machine that was asleep has not stopped time.
func age(at, now time.Time) time.Duration { return now.Round(0).Sub(at.Round(0)) }

// sign makes a provider token ("Establishing a token-based connection to APNs" at developer.apple.com), as a header has it. The same key and time make the same token.
func sign(k signingKey, issued time.Time) (bearer string, err error) {
	t := jwt.NewWithClaims(steadyES256{jwt.SigningMethodES256}, jwt.MapClaims{"iss": k.team, "iat": issued.Unix()})
	t.Header["kid"] = k.id
	signed, err := t.SignedString(k.private)
	if err != nil {
		return "", err
	}
	return "bearer " + signed, nil
}

// steadyES256 is ES256 (RFC 7518, section 3.4) with signatures that have nothing random (RFC 6979).
type steadyES256 struct{ *jwt.SigningMethodECDSA }

// Sign implements [jwt.SigningMethod].
func (steadyES256) Sign(text string, key any) ([]byte, error) {
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok || private.Curve != elliptic.P256() {
		return nil, errors.New("it is not a key of the curve P-256")
	}
	sum := sha256.Sum256([]byte(text))
	der, err := private.Sign(nil, sum[:], crypto.SHA256) // without a source of random bytes it is deterministic
	if err != nil {
		return nil, err
	}
	var signature struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &signature); err != nil {
		return nil, err
	}
	out := make([]byte, 64)
	signature.R.FillBytes(out[:32])
	signature.S.FillBytes(out[32:])
	return out, nil
}
