package pipeline

import (
	"testing"
	"testing/synctest"
	"time"

	"tocsin/pipeline/stream"
)

// attempt makes one attempt that takes so long.
func attempt(b *backlog, e *errand, took time.Duration) {
	began := b.begin(e)
	time.Sleep(took)
	b.end(e, began, true)
}

func TestBacklog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var b backlog
		waiting := func(lane string, n int) (es []*errand) {
			for range n {
				e := &errand{lane: lane}
				if !b.admit(1, e) {
					t.Fatalf("lane %s takes no more", lane)
				}
				es = append(es, e)
			}
			return es
		}
		// A pusher in good health is told of all that waits, however much that is.
		for _, e := range waiting("healthy", 2000) {
			attempt(&b, e, 2*time.Millisecond)
			if e.overdue {
				t.Fatal("a healthy pusher's errand is sent elsewhere")
			}
		}
		// A slow one of what it manages within the patience.
		sent := 0
		for _, e := range waiting("slow", 100) {
			if began := b.begin(e); !e.overdue {
				sent++
				time.Sleep(time.Second)
				b.end(e, began, true)
			} else {
				b.end(e, began, true)
			}
		}
		if sent != 6 {
			t.Errorf("%d attempts at a pusher that takes 1 s, want 6", sent)
		}
		// While one attempt hangs, newcomers go elsewhere; others are not affected.
		hanging := waiting("hanging", 1)[0]
		began := b.begin(hanging)
		time.Sleep(3 * time.Second)
		if b.admit(1, &errand{lane: "hanging"}) || !b.admit(1, &errand{lane: "other"}) {
			t.Error("a newcomer waits behind an attempt that hangs, or somebody else's does not")
		}
		b.end(hanging, began, true)
		if !b.admit(1, &errand{lane: "hanging"}) {
			t.Error("the lane is not open again after the attempt")
		}
		// What an earlier generation left is forgotten, and ends without harm.
		old := waiting("left", 2)
		if !b.admit(2, &errand{lane: "left"}) || len(b.lanes) != 1 {
			t.Errorf("%d lanes are known after a new assignment, want 1", len(b.lanes))
		}
		attempt(&b, old[0], 0)
		b.forget([]stream.Task{{Work: old[1]}})
		if len(b.lanes) != 1 {
			t.Error("an errand of an earlier generation took a lane of the present one away")
		}
	})
}
