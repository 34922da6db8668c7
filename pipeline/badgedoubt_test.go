package pipeline_test

import (
	"testing"

	"tocsin/pipeline"
)

// forget makes Redis lose what Bob's pushers were told, and count, since a moment.
func (d *desk) forget(since pipeline.SavedCounts) {
	d.Helper()
	now := d.bobs()
	var told []pipeline.ToldChange
	for name, from := range now.Told {
		told = append(told, pipeline.ToldChange{UserID: bob, Pusher: name, From: from, To: since.Told[name]})
	}
	if _, err := d.store.Tell(d.Context(), told); err != nil {
		d.Fatal(err)
	}
	var counts []pipeline.CountChange
	for room := range now.Rooms {
		counts = append(counts, pipeline.CountChange{UserID: bob, RoomID: room, Apply: func([]byte) []byte { return since.Rooms[room] }})
	}
	if err := d.store.ChangeCounts(d.Context(), counts); err != nil {
		d.Fatal(err)
	}
}

func (d *desk) bobs() pipeline.SavedCounts {
	d.Helper()
	saved, err := d.store.Counts(d.Context(), []string{bob})
	if err != nil {
		d.Fatal(err)
	}
	return saved[0]
}

// What Redis had noted of the last pushes is lost with the counts. The counts come back; and the phone, which shows what it was told, is told of the next change, though Redis believes that it
// has shown the same number all along.
func TestBadgeIsToldAfterRedisForgotIt(t *testing.T) {
	t.Parallel()
	call := message(garden, "$call", 2)
	call.Event.Type, call.Call = "m.call.invite", "c"
	for _, test := range []struct {
		name   string
		lost   []pipeline.Notice // done, told and then forgotten
		got    []string
		next   pipeline.Notice
		phones []string
	}{
		{"a message", []pipeline.Notice{message(garden, "$2", 2)}, []string{"$2 1"}, read(garden, 2), []string{"0"}},
		{"a call", []pipeline.Notice{call}, []string{"$call 1+1"}, read(garden, 2), []string{"0+0"}},
		{"nothing that is told", []pipeline.Notice{}, nil, read(garden, 2), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t, nil)
			d.pusher("phone", "")
			d.handle(message(garden, "$1", 1), read(garden, 1))
			d.got("phone", "$1 1", "0")
			before := d.bobs()
			d.handle(test.lost...)
			d.got("phone", test.got...)
			d.forget(before)
			d.restart(nil)
			for _, n := range test.lost {
				rec := d.record(n)
				rec.Again = true
				d.do(d.take(rec))
			}
			d.got("phone")
			d.handle(test.next)
			d.got("phone", test.phones...)
			d.handle(test.next)
			d.got("phone")
		})
	}
}
