package replay

import (
	"testing"
	"time"

	"tocsin/clock"
	"tocsin/pipeline/stream"
	"tocsin/test/stack"
)

// TestLook: a worker is at rest when every partition that it reads is done, or waits for a time that has not come.
func TestLook(t *testing.T) {
	now := time.UnixMilli(1000)
	at := func(group, topic string, position, watermark int64, waits time.Time) stream.Progress {
		return stream.Progress{Group: group, Topic: topic, Position: position, Watermark: watermark, WaitsUntil: waits}
	}
	never := time.Time{}
	for _, tc := range []struct {
		name     string
		progress []stream.Progress
		wakes    time.Time
		busy     bool
	}{
		{"all done", []stream.Progress{at("rooms", "events", 0, 0, never)}, never, false},
		{"an end is not known yet", []stream.Progress{at("rooms", "events", -1, -1, never)}, never, true},
		{"nobody reads it", nil, never, true},
		{"only the tail reads it", []stream.Progress{at("", "events", 0, 0, never)}, never, true},
		{"not yet done", []stream.Progress{at("rooms", "events", 5, 4, never)}, never, true},
		{"a tail has no watermark", []stream.Progress{at("rooms", "events", 0, 0, never), at("", "account", 3, 0, never)}, never, false},
		{"the first of two that wait", []stream.Progress{at("rooms", "events", 0, 0, now.Add(2)), at("retry", "5s", 0, 0, now.Add(1))}, now.Add(1), false},
		{"one that is about to go on", []stream.Progress{at("rooms", "events", 0, 0, now)}, never, true},
		{"one waits, one works", []stream.Progress{at("rooms", "events", 1, 0, never), at("retry", "5s", 0, 0, now.Add(1))}, never, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			log, err := stack.DialLog([]string{"127.0.0.1:1"}, nil, 0) // nobody is asked: what it has not seen ends at 0
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			r := &run{clock: clock.NewVirtual(now), log: log, topics: topics{partitions: 1, consumed: []string{"events"}}}
			found, busy := r.look(tc.progress)
			if (busy != "") != tc.busy || !found.wakes.Equal(tc.wakes) {
				t.Errorf("wakes %v, busy %q", found.wakes, busy)
			}
		})
	}
}
