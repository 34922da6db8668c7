package pipeline_test

// When phones are told their badge, alone or with a notification, and what becomes of it when sending fails or the process ends.

import (
	"testing"

	"tocsin/pipeline"
	"tocsin/pushers"
)

func TestBadgeIsToldWhenItChanges(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.pusher("quiet", `,"events_only":true`)
	d.pusher("none", `,"disable_badge_count":true`)
	d.handle(message(garden, "$1", 1), message(garden, "$2", 2), message(arbour, "$3", 1))
	d.got("phone", "$1 1", "$2 1", "$3 2")
	d.got("quiet", "$1 1", "$2 1", "$3 2")
	d.got("none", "$1 0", "$2 0", "$3 0")
	d.handle(read(garden, 1)) // one is left
	d.got("phone")
	d.handle(redact(garden, 2), redact(garden, 2), read(garden, 2))
	d.got("phone", "1")
	d.handle(pipeline.Notice{Kind: pipeline.KindLeave, RoomID: arbour, Position: 5})
	d.got("phone", "0")
	d.handle(pipeline.Notice{Kind: pipeline.KindInvite, RoomID: arbour, Position: 6, Sender: "@alice:other"})
	d.got("phone") // the invite's own notification tells it
	invite := message(arbour, "$invite", 6)
	key := bob
	invite.Event.Type, invite.Event.StateKey, invite.Event.Content = "m.room.member", &key, []byte(`{"membership":"invite"}`)
	d.handle(invite, pipeline.Notice{Kind: pipeline.KindJoin, RoomID: arbour, Position: 7})
	d.got("phone", "$invite 1", "0")
	d.got("quiet", "$invite 1")
	d.got("none", "$invite 0")
}

// TestBadgeOfUntoldEvents has an app that is not told of some events: what it would have been told with them, it is told alone.
func TestBadgeOfUntoldEvents(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	untold := pushers.Step{Action: pushers.Settle, Detail: "nothing_to_tell", Untold: true}
	delivered := pushers.Step{Action: pushers.Settle, Verdict: pushers.Delivered}
	d.phones["phone"].steps = []pushers.Step{untold, delivered, untold, untold, failed}
	d.handle(message(garden, "$1", 1), message(garden, "$2", 2))
	d.got("phone", "$1 1", "1", "$2 1") // the first two were one notification: the event was not told
	d.handle(message(arbour, "$3", 1))
	d.got("phone", "$3 2", "2")
	d.due()
	d.got("phone", "2")
	d.phones["phone"].steps = []pushers.Step{untold, untold} // as an app is that shows no badges
	d.handle(message("!orchard:hs", "$4", 1))
	d.got("phone", "$4 3", "3")
	d.phones["phone"].steps = []pushers.Step{untold}
	d.handle(message("!orchard:hs", "$5", 2))
	d.got("phone", "$5 3")
}

// TestInvitedIsNotInTheRoom has a state reset that makes an invite of a join: what was unread counts no more, whoever invites.
func TestInvitedIsNotInTheRoom(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.account(bob+"|m.ignored_user_list", `{"ignored_users":{"@mallory:other":{}}}`)
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.got("phone", "$1 1", "$2 2")
	d.handle(pipeline.Notice{Kind: pipeline.KindInvite, RoomID: garden, Position: 2, Sender: "@alice:other", Silent: true})
	d.handle(pipeline.Notice{Kind: pipeline.KindInvite, RoomID: arbour, Position: 2, Sender: "@mallory:other", Silent: true})
	d.handle(pipeline.Notice{Kind: pipeline.KindJoin, RoomID: garden, Position: 3})
	d.got("phone", "0")
}

// TestCrashLosesNoBadge ends the process between what belongs together.
func TestCrashLosesNoBadge(t *testing.T) {
	t.Parallel()
	t.Run("after counting", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		d.handle(message(garden, "$1", 1)) // before there is a pusher
		d.pusher("phone", "")
		rec := d.record(read(garden, 1))
		d.take(rec)
		d.restart(nil)
		d.do(d.take(rec))
		d.got("phone", "0")
		d.do(d.take(rec))
		d.got("phone")
	})
	t.Run("after sending a notification", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		d.pusher("phone", "")
		rec := d.record(message(garden, "$1", 1))
		d.counts.failTell = 2 // what was told can't be noted
		if err := d.users.Do(t.Context(), "lane", d.take(rec)); err == nil {
			t.Fatal("Tell did not fail")
		}
		d.got("phone", "$1 1")
		d.restart(nil)
		d.do(d.take(rec, d.record(read(garden, 1)))) // read meanwhile: it is not sent again, but the badge shows 1
		d.got("phone", "0")
	})
	t.Run("after sending the counts alone", func(t *testing.T) {
		t.Parallel()
		d := newDesk(t, nil)
		d.pusher("phone", "")
		d.handle(message(garden, "$1", 1))
		rec := d.record(read(garden, 1))
		d.counts.failTell = 2
		tasks := d.take(rec)
		if err := d.users.Do(t.Context(), "lane", tasks); err == nil {
			t.Fatal("Tell did not fail")
		}
		d.do(tasks) // what failed is done again, not the attempt
		d.got("phone", "$1 1", "0")
		d.handle(read(garden, 1))
		d.got("phone")
	})
}

func TestBadgeRetries(t *testing.T) {
	t.Parallel()
	messages := func(u *pipeline.Users) {
		u.Badges = pipeline.NewBadges(pipeline.BadgeConfig{Count: pipeline.BadgeMessages, Push: true})
	}
	begin := func(t *testing.T) *desk {
		t.Parallel()
		d := newDesk(t, messages)
		d.pusher("phone", "")
		d.handle(message(garden, "$1", 1), message(garden, "$2", 2), message(garden, "$3", 3))
		d.got("phone", "$1 1", "$2 2", "$3 3")
		return d
	}
	fails := func(d *desk, steps ...pushers.Step) { d.phones["phone"].steps = steps }
	t.Run("recomputed", func(t *testing.T) {
		d := begin(t)
		fails(d, failed, busy)
		d.handle(read(garden, 1))
		d.due()
		silent := redact(garden, 2)
		silent.Silent = true
		d.handle(silent)
		d.due()
		d.got("phone", "2", "2", "1")
	})
	t.Run("newest wins", func(t *testing.T) {
		d := begin(t)
		fails(d, failed, failed)
		d.handle(read(garden, 1), read(garden, 2))
		d.due()
		d.got("phone", "2", "1", "1")
		d.due()
		d.got("phone")
	})
	t.Run("superseded by a notification", func(t *testing.T) {
		d := begin(t)
		fails(d, failed)
		d.handle(read(garden, 3), message(garden, "$4", 4))
		d.due()
		d.got("phone", "0", "$4 1")
	})
	t.Run("back where it was", func(t *testing.T) {
		d := begin(t)
		fails(d, failed)
		d.handle(read(garden, 1))
		d.got("phone", "2")
		silent := message(garden, "$4", 4)
		silent.Silent = true
		d.handle(silent)
		d.due() // it shows 3 still
		d.got("phone")
	})
	t.Run("uncertain", func(t *testing.T) {
		d := begin(t)
		fails(d, uncertain)
		d.handle(read(garden, 1))
		silent := message(garden, "$4", 4)
		silent.Silent = true
		d.handle(silent)
		d.due() // 2 or 3: it is told
		d.got("phone", "2", "3")
	})
	t.Run("given up", func(t *testing.T) {
		d := begin(t)
		fails(d, pushers.Step{Action: pushers.Bury, Reason: "refused"})
		d.handle(read(garden, 1))
		if len(d.written)+len(d.buried) > 0 {
			t.Errorf("%d records written, buried: %v", len(d.written), d.buried)
		}
		d.handle(read(garden, 1))
		d.got("phone", "2", "2")
	})
	t.Run("rejected", func(t *testing.T) {
		d := begin(t)
		fails(d, pushers.Step{Action: pushers.Remove, Reason: "rejected"})
		d.handle(read(garden, 1), read(garden, 2))
		d.got("phone", "2")
		if len(d.written) != 1 || d.written[0].Topic != "tocsin.pusher-feedback" {
			t.Errorf("written: %v", d.written)
		}
		saved, err := d.store.Counts(t.Context(), []string{bob})
		if err != nil || len(saved[0].Told) != 0 {
			t.Errorf("told: %v, %v", saved[0].Told, err)
		}
	})
	t.Run("pusher gone", func(t *testing.T) {
		d := begin(t)
		fails(d, failed)
		d.handle(read(garden, 1))
		d.account(bob+"|pusher|app|phone", "")
		d.due()
		d.got("phone", "2")
	})
}

// TestDroppedRetryTellsTheBadge is about a notification that nobody wants any more when its retry is due.
func TestDroppedRetryTellsTheBadge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		step pushers.Step
		want []string
	}{
		{"it never arrived", failed, nil},
		{"it may have arrived", uncertain, []string{"1"}},
	} {
		d := newDesk(t, nil)
		d.pusher("phone", "")
		d.handle(message(arbour, "$1", 1))
		d.phones["phone"].steps = []pushers.Step{tc.step}
		d.handle(message(garden, "$2", 2))
		d.got("phone", "$1 1", "$2 2")
		silent := redact(garden, 2)
		silent.Silent = true // nothing is pushed because of it
		d.handle(silent)
		d.due()
		d.got("phone", tc.want...)
		d.due()
		d.got("phone")
	}
}

func TestPusherSetAgainForgetsTheNumber(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.pusher("gone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.account(bob+"|pusher|app|gone", "")
	d.pusher("phone", `,"x":1`)
	silent := read(garden, 1)
	silent.Silent = true
	d.handle(silent, read(garden, 1))
	d.got("phone", "$1 1", "$2 2") // what it shows now is as good as told
	d.handle(read(arbour, 1))
	d.got("phone", "0")
	saved, err := d.store.Counts(t.Context(), []string{bob})
	if err != nil || len(saved[0].Told) != 1 {
		t.Errorf("told: %q, %v, want that of the pusher that there is", saved[0].Told, err)
	}
}

// TestNotificationTellsTheBadge has what lowers the badge and what notifies in one batch: the notification that comes after it tells the number, unless it comes to nothing or has no number to tell.
func TestNotificationTellsTheBadge(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1), message(arbour, "$2", 1))
	d.got("phone", "$1 1", "$2 2")
	d.do(d.take(d.record(read(garden, 1)), d.record(message(arbour, "$3", 2))))
	d.got("phone", "$3 1")
	d.do(d.take(d.record(message(garden, "$4", 2)), d.record(read(garden, 2)), d.record(message(arbour, "$5", 3))))
	d.got("phone", "$5 1") // the garden's was read before it was sent
	tasks := d.take(d.record(read(arbour, 2)), d.record(message(garden, "$6", 3)))
	d.handle(read(arbour, 3), read(garden, 3)) // and nothing is left before it is sent
	d.got("phone", "0")
	d.do(tasks)
	d.got("phone")
	leave, kicked := pipeline.Notice{Kind: pipeline.KindLeave, RoomID: garden, Position: 9}, message(garden, "$kick", 9)
	key := bob
	kicked.Event.Type, kicked.Event.StateKey, kicked.Event.Content = "m.room.member", &key, []byte(`{"membership":"leave"}`)
	d.handle(message(garden, "$7", 8))
	d.do(d.take(d.record(leave), d.record(kicked)))
	d.got("phone", "$7 1", "0", "$kick 0")
}
