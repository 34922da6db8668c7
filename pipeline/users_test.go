package pipeline_test

// What the users stage counts, of whom, and of what it sends nothing.

import (
	"fmt"
	"testing"
	"time"

	"tocsin/pipeline"
)

// TestSameOffsetIsAnotherEvent has two events without ids that came at one offset, before and after their topic was made anew.
func TestSameOffsetIsAnotherEvent(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.handle(message(garden, "", 1), message(garden, "", 2000), message(garden, "", 2000))
	d.got("phone", "1", "1")
}

// TestNoNewsIsNotPushed has what changes counts, and is no news.
func TestNoNewsIsNotPushed(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1))
	d.got("phone", "$1 1")
	silent := redact(garden, 1)
	silent.Silent = true
	d.handle(silent)
	d.got("phone")
	again := d.record(message(garden, "$2", 2))
	again.Again = true
	d.do(d.take(again))
	old := message(garden, "$3", 3)
	old.Since = start.Add(-time.Second).UnixMilli()
	d.handle(old)
	oldRead := read(garden, 2)
	oldRead.Since = start.Add(-time.Second).UnixMilli()
	d.handle(oldRead)
	d.got("phone")
	d.handle(message(arbour, "$4", 1)) // all of it was counted: 3 is unread in the garden
	d.got("phone", "$4 2")
	d.account(bob+"|account", `{"deactivated":true}`)
	d.handle(read(garden, 9), message(arbour, "$5", 2))
	d.got("phone")
}

// TestProfileTags has a pusher whose own rules say nothing of what the global ones count.
func TestProfileTags(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.account(bob+"|pusher|app|work", `{"kind":"http","app_id":"app","pushkey":"work","profile_tag":"work","data":{"url":"https://push.example/"}}`)
	d.phones["work"] = &phone{}
	n := message(garden, "$1", 1)
	n.Verdicts = append(n.Verdicts, pipeline.Verdict{Rule: "own"})
	n.Users = []pipeline.Recipient{{ID: bob, Tags: map[string]int{"work": 1}}}
	d.handle(n)
	d.got("phone", "$1 1")
	d.got("work", "1")
}

func TestMissedCalls(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	call := message(garden, "$call", 1)
	call.Event.Type, call.Call = "m.call.invite", "c"
	answer := pipeline.Notice{Kind: pipeline.KindCall, RoomID: garden, Position: 2, Call: "c"}
	d.handle(call, answer, answer, message(arbour, "$1", 1), read(arbour, 1))
	d.got("phone", "$call 1+1", "1+0", "$1 2", "1")
}

func TestIdleRoomsKeepLittle(t *testing.T) {
	t.Parallel()
	d := newDesk(t, func(u *pipeline.Users) { u.Counting.MaxUnread, u.Counting.IdleMaxUnread = 5, 2 })
	count := func() int {
		saved, err := d.store.Counts(t.Context(), []string{bob})
		if err != nil {
			t.Fatal(err)
		}
		u, err := pipeline.DecodeUnread(saved[0].Rooms[garden])
		if err != nil {
			t.Fatal(err)
		}
		n, _ := u.Count()
		return n
	}
	step := func(what string, want int, at time.Duration, n pipeline.Notice) {
		t.Helper()
		d.clock.Advance(start.Add(at))
		d.handle(n)
		if got := count(); got != want {
			t.Errorf("%s: %d are kept, want %d", what, got, want)
		}
	}
	const day = 24 * time.Hour
	for i := range int64(6) {
		d.handle(message(garden, "", i+1))
	}
	step("as many as there may be", 5, 30*day, message(garden, "", 7))
	step("nothing was read for more than 30 days", 2, 31*day, message(garden, "", 8))
	step("still", 2, 32*day, message(garden, "", 9))
	step("a receipt: all of it counts again", 2, 33*day, read(garden, 7))
	step("from then on", 3, 63*day, message(garden, "", 10))
	d.pusher("phone", "")
	step("with a pusher all of it counts", 4, 400*day, message(garden, "", 11))
}

func TestCountsOfUsersWithoutPushers(t *testing.T) {
	t.Parallel()
	unread := func(d *desk) string {
		saved, err := d.store.Counts(t.Context(), []string{bob})
		if err != nil {
			t.Fatal(err)
		}
		rooms := map[string]int{}
		for room, b := range saved[0].Rooms {
			u, err := pipeline.DecodeUnread(b)
			if err != nil {
				t.Fatal(err)
			}
			rooms[room], _ = u.Count()
		}
		return fmt.Sprint(rooms)
	}
	for _, tc := range []struct{ users, before, kept, after string }{
		{pipeline.CountAll, "map[!garden:hs.example:1]", "map[!arbour:hs.example:1 !garden:hs.example:1]", "map[!arbour:hs.example:1 !garden:hs.example:0]"},
		{pipeline.CountPushers, "map[]", "map[!garden:hs.example:1]", "map[!garden:hs.example:0]"},
	} {
		d := newDesk(t, func(u *pipeline.Users) { u.Counting.Users = tc.users })
		d.handle(message(garden, "$1", 1))
		if got := unread(d); got != tc.before {
			t.Errorf("%s, without a pusher: %s, want %s", tc.users, got, tc.before)
		}
		d.pusher("phone", "")
		d.handle(read(garden, 1), message(garden, "$2", 2))
		d.account(bob+"|pusher|app|phone", "")
		d.handle(message(arbour, "$3", 1))
		if got := unread(d); got != tc.kept {
			t.Errorf("%s, the pusher is gone: %s, want %s", tc.users, got, tc.kept)
		}
		d.handle(read(garden, 2), redact(arbour, 9), pipeline.Notice{Kind: pipeline.KindJoin, RoomID: arbour, Position: 1})
		if got := unread(d); got != tc.after {
			t.Errorf("%s, read: %s, want %s", tc.users, got, tc.after)
		}
	}
}
