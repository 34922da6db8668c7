package pushers

// The name of a device at its push service, which must not be seen.

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"unique"
)

// Pushkey identifies a device at its push service. Whoever knows it can push to the device, so it prints, logs and encodes as a short
// hash: use [Pushkey.Reveal] where the key itself must go out. The zero value is no key.
//
// Pushkeys are compared with ==, and can be the key of a map. The text lies behind a pointer, so that package fmt can't reach it where it calls
// no methods either: in unexported fields, and for verbs that don't fit.
type Pushkey struct{ text unique.Handle[string] }

// NewPushkey is the pushkey of that text.
func NewPushkey(text string) Pushkey {
	if text == "" {
		return Pushkey{}
	}
	return Pushkey{unique.Make(text)}
}

// IsZero says that there is no key.
func (k Pushkey) IsZero() bool { return k == Pushkey{} }

// Reveal is the key itself, for the push service, Redis and our own topics; "" if there is none.
func (k Pushkey) Reveal() string {
	if k.IsZero() {
		return ""
	}
	return k.text.Value()
}

// Hash is a short stable name of the key for logs, traces and headers.
func (k Pushkey) Hash() string {
	sum := sha256.Sum256([]byte(k.Reveal()))
	return hex.EncodeToString(sum[:6])
}

// Equal is ==, for packages that look for a method.
func (k Pushkey) Equal(other Pushkey) bool { return k == other }

// String implements [fmt.Stringer] with the hash.
func (k Pushkey) String() string { return "pushkey#" + k.Hash() }

// Format implements [fmt.Formatter] with the hash, whatever the verb.
func (k Pushkey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText keeps the key out of anything that is encoded by accident.
func (k Pushkey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// LogValue implements [slog.LogValuer] with the hash.
func (k Pushkey) LogValue() slog.Value { return slog.StringValue(k.String()) }
