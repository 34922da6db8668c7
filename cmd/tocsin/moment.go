package main

// Points in time as flags take them.

import (
	"fmt"
	"time"
)

// moment is a time on the command line: as RFC 3339 writes it, or so long ago.
type moment struct {
	text string
	at   time.Time
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *moment) UnmarshalText(text []byte) error {
	m.text = string(text)
	if ago, err := time.ParseDuration(m.text); err == nil && ago >= 0 {
		m.at = time.Now().Add(-ago)
		return nil
	}
	var err error
	if m.at, err = time.Parse(time.RFC3339, m.text); err != nil {
		return fmt.Errorf("%q is neither a time such as 2026-01-31T08:00:00Z nor a duration such as 2h", m.text)
	}
	return nil
}
