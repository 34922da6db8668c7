package state

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline"
)

// Restored rooms have the highest position of each field, whatever the order of the records, and an order far above; a room that a stage goes on with keeps its own.
func TestRestoreRooms(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		const gap = 1 << 34
		restore := func(fields ...pipeline.RoomField) {
			t.Helper()
			if err := s.RestoreRooms(ctx, fields, gap); err != nil {
				t.Fatal(err)
			}
		}
		field := func(room, name string, position int64, value string) pipeline.RoomField {
			return pipeline.RoomField{RoomID: room, Field: name, Value: fmt.Sprintf("%d %s", position, value)}
		}
		load := func(room string) map[string]string {
			t.Helper()
			fields := map[string]string{}
			if _, err := s.LoadRoom(ctx, room, func(int) func(string, string) { return func(name, value string) { fields[name] = value } }); err != nil {
				t.Fatal(err)
			}
			return fields
		}
		revision := func(room string) string {
			t.Helper()
			rev, err := s.RoomRev(ctx, room)
			if err != nil {
				t.Fatal(err)
			}
			return rev
		}
		restore(field("!a:x", "name", 7, "seven"), field("!b:x", "power", 0, "{}"), field("!a:x", "name", 5, "five"), field("!a:x", "m|@u:x", 1005, "join"))
		first := revision("!a:x")
		want := map[string]string{"name": "7 seven", "m|@u:x": "1005 join", "order": fmt.Sprintf("%d 0 0 ", 1005+gap)}
		if diff := cmp.Diff(want, load("!a:x")); diff != "" {
			t.Errorf("room a (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string]string{"power": "0 {}", "order": fmt.Sprintf("%d 0 0 ", gap)}, load("!b:x")); diff != "" {
			t.Errorf("a room that was imported alone (-want +got):\n%s", diff)
		}
		restore(field("!a:x", "name", 9, "nine"))
		if second := revision("!a:x"); second == first || second == "" {
			t.Errorf("the revision stays %q", second)
		}
		if got := load("!a:x"); got["name"] != "9 nine" || got["order"] != want["order"] {
			t.Errorf("after more of it: %v", got)
		}

		// A stage goes on with it.
		if _, err := s.SaveRoom(ctx, pipeline.RoomChange{RoomID: "!a:x", Rev: revision("!a:x"), Set: map[string]string{"order": "20 11 10 offset 1 1"}}); err != nil {
			t.Fatal(err)
		}
		restore(field("!a:x", "name", 10, "ten"))
		if got := load("!a:x"); got["name"] != "10 ten" || got["order"] != "20 11 10 offset 1 1" {
			t.Errorf("after a stage has gone on with it: %v", got)
		}

		var many []pipeline.RoomField
		for i := range 3*maxFillFields + 7 {
			many = append(many, field("!large:x", fmt.Sprintf("m|@%d:x", i), int64(i), "join"))
		}
		restore(many...)
		if got := load("!large:x"); len(got) != len(many)+1 || got["order"] != fmt.Sprintf("%d 0 0 ", len(many)-1+gap) {
			t.Errorf("a large room has %d fields and the order %q", len(got), got["order"])
		}
		restore()
	})
}

func TestRestored(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, cfg Config) {
		s, ctx := open(t, cfg), t.Context()
		now := time.UnixMilli(1_700_000_000_123).UTC()
		if err := s.Restored(ctx, now); err != nil {
			t.Fatal(err)
		}
		read, known, err := s.Meta(ctx)
		if err != nil || !known || !read.Restored.Equal(now) || !read.FirstStart.Equal(time.UnixMilli(0)) || read.Shards != cfg.Shards || read.Epoch == "" {
			t.Errorf("Meta = %+v, %v, %v", read, known, err)
		}
		started, err := s.Start(ctx, now.Add(time.Hour))
		if diff := cmp.Diff(read, started); err != nil || diff != "" {
			t.Errorf("Start: %v (-read +started):\n%s", err, diff)
		}
		if err := s.Restored(ctx, now); !errors.Is(err, ErrHeld) {
			t.Errorf("a second time: %v, want ErrHeld", err)
		}
	})
}
