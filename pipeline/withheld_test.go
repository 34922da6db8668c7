package pipeline_test

// What is sent to nobody, whatever else is due.

import (
	"testing"

	"tocsin/pipeline"
)

// TestNoBadgeFromTheShadow lets a notification come back that is read meanwhile and left the badge in doubt, in shadow mode: its badge must not be sent either.
func TestNoBadgeFromTheShadow(t *testing.T) {
	t.Parallel()
	live := true
	d := newDesk(t, func(u *pipeline.Users) { u.Live = func(string) bool { return live } })
	d.pusher("phone", "")
	d.phones["phone"].steps = append(d.phones["phone"].steps, uncertain)
	d.handle(message(garden, "$1", 1))
	d.got("phone", "$1 1")
	live = false
	d.handle(read(garden, 1))
	d.due()
	d.got("phone")
	live = true
	d.handle(read(garden, 2)) // what it shows is in doubt still
	d.got("phone", "0")
}
