package pipeline_test

import (
	"context"
	"errors"
	"testing"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// troubled is a store of rooms with something in the way of saving.
type troubled struct {
	pipeline.RoomStore
	before, after func() error // of the next SaveRoom; nil: nothing
}

func (s *troubled) SaveRoom(ctx context.Context, change pipeline.RoomChange) (string, error) {
	before, after := s.before, s.after
	s.before, s.after = nil, nil
	if before != nil {
		if err := before(); err != nil {
			return "", err
		}
	}
	rev, err := s.RoomStore.SaveRoom(ctx, change)
	if after != nil && err == nil {
		err = after()
	}
	return rev, err
}

// What was written before saving failed is not written a second time: nobody's phone rings twice because Redis was away for a moment, or because a room was imported.
func TestSavingAgainTellsNobodyTwice(t *testing.T) {
	t.Parallel()
	away := func() error { return errors.New("the server is away") }
	w := newRoomsWorld(t)
	store := &troubled{RoomStore: w.store}
	w.stage.Store = store
	w.room()
	batch := func() []*stream.Record {
		return []*stream.Record{
			w.record(member("$invite", "@erin:hs", "invite")), w.record(receipt("$m1", "@bob:hs", "")), w.record(eventMessage("$m1", "@x:other")),
			w.record(`{"event_id":"$0","room_id":"` + roomID + `","type":"m.room.name","sender":"@x:other","state_key":"","content":{"name":"N"}}`),
		}
	}
	told := []string{"invite erin $invite", "notify erin $invite", "read bob $m1", "notify bob carol $m1"}

	records := batch()
	for range 3 {
		store.before = away
		if w.try(records...) == nil {
			t.Fatal("saving did not fail")
		}
	}
	w.generation++ // the partition is given up and comes back
	for _, r := range records {
		r.Generation = w.generation
	}
	more := w.record(eventMessage("$m2", "@x:other")) // with one more behind them
	store.after = away
	if w.try(append(records, more)...) == nil {
		t.Fatal("saving did not fail")
	}
	if err := w.try(append(records, more)...); err != nil {
		t.Fatal(err)
	}
	changelog := 0
	for _, m := range w.out {
		if m.Topic == pipeline.DefaultTopics().RoomState {
			changelog++
		}
	}
	if changelog != 2 {
		t.Errorf("%d records of the changelog, want 2", changelog)
	}
	w.want(w.told(), append(told, "notify bob carol $m2")...)

	store.before = func() error {
		_, err := w.store.FillRoom(t.Context(), roomID, map[string]string{"power": `0 {"users":{"@x:other":100}}`})
		return err
	}
	w.want(w.do(w.record(eventMessage("$m3", "@x:other"))), "notify bob carol $m3")
	w.want(w.do(w.record(eventMessage("$m4", "@x:other"))), "notify bob carol $m4")
}
