// Package credential holds what opens doors: secrets that can't be printed, the files of a TLS connection, and the watch over files
// that are replaced while they are in use. Kafka, Redis and the push services share it.
package credential

// A text that must not be seen.

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unique"
)

// Secret is a password, key or token. It prints, logs and encodes as "<redacted>": use [Secret.Reveal] where the server asks for
// it. The zero value is no secret, and prints as nothing.
//
// The text lies behind a pointer, so that package fmt can't reach it where it calls no methods either: in unexported fields, and
// for verbs that don't fit a text. Secrets are compared with ==.
type Secret struct{ text unique.Handle[string] }

const redacted = "<redacted>"

// NewSecret is the secret of that text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{unique.Make(text)}
}

// IsZero says that there is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// Reveal is the text itself, for the server that asks for it; "" if there is none.
func (s Secret) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.text.Value()
}

// Equal is ==, for packages that look for a method.
func (s Secret) Equal(other Secret) bool { return s == other }

// String implements [fmt.Stringer] without the text.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format implements [fmt.Formatter] without the text, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer] without the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps the text out of anything that is encoded by accident.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText takes the text in. No error repeats it.
func (s *Secret) UnmarshalText(text []byte) error {
	t := string(text)
	if strings.ContainsRune(t, 0) {
		return errors.New("must not hold a NUL character")
	}
	*s = NewSecret(t)
	return nil
}
