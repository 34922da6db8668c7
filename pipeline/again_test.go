package pipeline_test

// Records that are read again while something else goes wrong, too.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// A record that is read again where its users have left the partition is sent on to be counted; it rings no phone a second time.
func TestStraysAreNotToldAgain(t *testing.T) {
	t.Parallel()
	home := stream.PartitionOf(bob, 2)
	d := newDesk(t, func(u *pipeline.Users) { u.Partitions = func() int { return 2 } })
	d.pusher("phone", "")
	retry := message(garden, "$1", 1)
	retry.Kind, retry.Retry = pipeline.KindRetry, &pipeline.Attempt{AppID: "app", Pushkey: "phone"}
	for _, n := range []pipeline.Notice{message(garden, "$1", 1), retry} {
		stray := d.record(n)
		stray.Partition, stray.Again = 1-home, true
		d.do(d.take(stray))
	}
	for _, m := range d.written {
		if m.Partition != home {
			t.Fatalf("sent on to partition %d", m.Partition)
		}
		rec := d.fetched(m.Value)
		rec.Partition = home
		d.do(d.take(rec))
	}
	d.got("phone")
	next := d.record(message(arbour, "$2", 1))
	next.Partition = home
	d.do(d.take(next))
	d.got("phone", "$2 2") // it was counted
}

// After a move to another partition, a record of the one before that is read again does not make old state new.
func TestStateStaysAfterAMove(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.room()
	name := func(id, name string) string {
		return fmt.Sprintf(`{"event_id":%q,"room_id":%q,"type":"m.room.name","sender":"@x:other","state_key":"","content":{"name":%q}}`, id, roomID, name)
	}
	old := w.record(name("$0", "Old"), silently)
	w.do(old)
	w.partitions = 12
	w.do(w.record(name("$1", "New"), inPartition(9)))
	w.restart()
	again := *old
	again.Again, again.Generation = true, w.generation
	w.do(&again)
	room, err := pipeline.LoadRoom(t.Context(), w.store, roomID, pipeline.Homeserver{Name: "hs"})
	if err != nil {
		t.Fatal(err)
	}
	if room.Name != "New" {
		t.Errorf("the room is called %q", room.Name)
	}
}

// narrow is a writer to topics that take little.
type narrow struct{ *roomsWorld }

func (n narrow) Write(ctx context.Context, messages ...stream.Message) error {
	for _, m := range messages {
		if len(m.Value) > 1000 {
			return fmt.Errorf("%d bytes: %w", len(m.Value), stream.ErrTooLarge)
		}
	}
	return n.roomsWorld.Write(ctx, messages...)
}

// What fits into no record of the topics stops nothing: receipts, too.
func TestReceiptsThatFitNowhere(t *testing.T) {
	t.Parallel()
	w := newRoomsWorld(t)
	w.stage.Writer = narrow{w}
	w.room()
	w.each(eventMessage("$m1", "@x:other"))
	w.want(w.each(receipt("$m1", "@bob:hs", "$"+strings.Repeat("x", 1000)), eventMessage("$m2", "@x:other")), "notify bob carol $m2")
	if len(w.buried) != 1 || w.buried[0].Reason != "notice_too_large" {
		t.Errorf("buried %+v", w.buried)
	}
	w.want(w.each(receipt("$m3", "@bob:hs", "$"+strings.Repeat("x", 1000)), eventMessage("$m3", "@x:other"), eventMessage("$m4", "@x:other")), "notify bob carol $m4")
}

// What a newer version has counted in one room stops an older one from telling a number without it.
func TestNewerCountsAreNotLeftOut(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1))
	d.got("phone", "$1 1")
	newer := pipeline.CountChange{UserID: bob, RoomID: arbour, Apply: func([]byte) []byte { return []byte("\xfeof another form") }}
	if err := d.store.ChangeCounts(t.Context(), []pipeline.CountChange{newer}); err != nil {
		t.Fatal(err)
	}
	if _, err := d.users.Take(t.Context(), []*stream.Record{d.record(read(garden, 1))}); !errors.Is(err, stream.ErrStop) {
		t.Errorf("a badge: got %v", err)
	}
	for _, task := range d.take(d.record(message(garden, "$2", 2))) {
		if err := d.users.Do(t.Context(), task.Lane, []stream.Task{task}); !errors.Is(err, stream.ErrStop) {
			t.Errorf("a push: got %v", err)
		}
	}
	d.got("phone")
}
