package pipeline

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pushers"
	"tocsin/rules"
)

func TestBadge(t *testing.T) {
	t.Parallel()
	room := func(change func(*Unread)) Unread {
		var u Unread
		change(&u)
		return u
	}
	messages := func(n int64) Unread {
		return room(func(u *Unread) {
			for i := range n {
				u.Notify(10+i, "", i == 0)
			}
		})
	}
	for _, tc := range []struct {
		name                      string
		saved                     map[string]Unread
		rooms, messagesAndInvites int
	}{
		{"nothing", nil, 0, 0},
		{"read", map[string]Unread{"!1": room(func(u *Unread) { u.Notify(1, "", true); u.Read(1) })}, 0, 0},
		{"three rooms", map[string]Unread{"!1": messages(1), "!2": messages(5), "!3": messages(0)}, 2, 6},
		{"an invite", map[string]Unread{"!1": messages(2), "!2": room(func(u *Unread) { u.Invite(3) })}, 2, 3},
		{"an invite to a room that is not read up", map[string]Unread{"!1": room(func(u *Unread) { u.Invite(3); u.Notify(9, "", false) })}, 2, 2},
		{"an answered invite", map[string]Unread{"!1": room(func(u *Unread) { u.Invite(3); u.Join(4) })}, 0, 0},
		{"left", map[string]Unread{"!1": room(func(u *Unread) { u.Notify(1, "", false); u.Invite(3); u.Leave(4) })}, 0, 0},
	} {
		s := Sum(tc.saved)
		if got := s.Badge(BadgeRooms).Unread; got != tc.rooms {
			t.Errorf("%s: %d rooms, want %d", tc.name, got, tc.rooms)
		}
		if got := s.Badge(BadgeMessages).Unread; got != tc.messagesAndInvites {
			t.Errorf("%s: %d messages, want %d", tc.name, got, tc.messagesAndInvites)
		}
	}
	if got := (Tally{Rooms: 2, MissedCalls: 3}).Badge(BadgeRooms); got != (pushers.Counts{Unread: 2, MissedCalls: 3}) {
		t.Errorf("missed calls: %+v", got)
	}
}

func TestBadgesByApp(t *testing.T) {
	t.Parallel()
	b := NewBadges(BadgeConfig{
		Count: BadgeRooms, Push: true, NoPushApps: []string{"quiet.*", "exact"},
		CountByApp: map[string]string{"im.*": BadgeMessages, "im.vector.*": BadgeRooms, "im.vector.app.ios?": BadgeMessages},
	})
	for app, want := range map[string]string{"org.example": BadgeRooms, "im.fluffy": BadgeMessages, "im.vector.app": BadgeRooms, "im.vector.app.ios1": BadgeMessages, "xim.fluffy": BadgeRooms} {
		if got := b.Count(app); got != want {
			t.Errorf("%s counts %s, want %s", app, got, want)
		}
	}
	for _, tc := range []struct {
		p    pushers.Pusher
		want bool
	}{
		{pushers.Pusher{AppID: "org.example"}, true}, {pushers.Pusher{AppID: "quiet.one"}, false}, {pushers.Pusher{AppID: "exact"}, false}, {pushers.Pusher{AppID: "exactly"}, true},
		{pushers.Pusher{AppID: "org.example", NoCounts: true}, false}, {pushers.Pusher{AppID: "org.example", EventsOnly: true}, false},
	} {
		if got := b.Alone(&tc.p); got != tc.want {
			t.Errorf("%v is told of counts alone: %v, want %v", tc.p, got, tc.want)
		}
	}
	if NewBadges(BadgeConfig{Count: BadgeRooms}).Alone(&pushers.Pusher{AppID: "a"}) {
		t.Error("counts alone are told though badge.push is off")
	}
}

func TestBadgeSettings(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		cfg  BadgeConfig
		want []string
	}{
		{DefaultBadge(), nil},
		{BadgeConfig{Count: "all"}, []string{`count: "all"`}},
		{BadgeConfig{Count: BadgeRooms, CountByApp: map[string]string{"a*": "some", "": BadgeRooms}, NoPushApps: []string{"b", "[", ""}}, []string{`count_by_app: "some"`, `count_by_app: a pattern of app ids has`, `no_push_apps[1]: "["`, `no_push_apps[2]: a pattern of app ids has`}},
	} {
		err := tc.cfg.Validate()
		if (err == nil) != (tc.want == nil) {
			t.Errorf("%+v: %v", tc.cfg, err)
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v does not tell of %s", tc.cfg, err, want)
			}
		}
	}
}

func TestCountsSettings(t *testing.T) {
	t.Parallel()
	if err := DefaultCounts().Validate(); err != nil {
		t.Error(err)
	}
	err := CountsConfig{Users: "some", MaxUnread: 4, IdleMaxUnread: 5, IdleAfter: time.Hour}.Validate()
	for _, want := range []string{`users: "some"`, "idle_max_unread: 5", "idle_after: 1h0m0s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not tell of %s", err, want)
		}
	}
	none := DefaultCounts()
	none.MaxUnread = 0
	if err := none.Validate(); err == nil || !strings.HasPrefix(err.Error(), "max_unread: 0") || strings.Contains(err.Error(), "idle") {
		t.Errorf("%v: that max_unread is wrong is the one fault", err)
	}
}

// TestTold is what becomes of what a pusher was told, by attempt.
func TestTold(t *testing.T) {
	t.Parallel()
	version := Version{Epoch: 1700000000000, Partition: 3, Offset: 77}
	alone := func(unread, calls int, noCalls bool) pushers.Notification {
		return pushers.Notification{Counts: pushers.Counts{Unread: unread, MissedCalls: calls}, NoMissedCalls: noCalls}
	}
	event := func(unread, calls int) pushers.Notification {
		n := alone(unread, calls, false)
		n.EventID = "$1"
		return n
	}
	deaf := event(3, 0)
	deaf.Device.Pusher.NoCounts, deaf.Counts = true, pushers.Counts{}
	settle, again, doubt := pushers.Step{Action: pushers.Settle}, pushers.Step{Action: pushers.Again}, pushers.Step{Action: pushers.Again, Verdict: pushers.Uncertain}
	for _, tc := range []struct {
		name          string
		was           string // unread, calls, retry
		n             pushers.Notification
		step          pushers.Step
		sending, then string
	}{
		{"the first time", "", event(1, 0), settle, "0? 0 0", "1 0 0"},
		{"the first time, failed", "", event(1, 0), again, "0? 0 0", ""},
		{"the first time, uncertain", "", event(1, 0), doubt, "0? 0 0", "0? 0 0"},
		{"nothing is told", "", event(0, 0), settle, "", ""},
		{"the same number", "1 0 0", event(1, 0), settle, "1 0 0", "1 0 0"},
		{"the same number, uncertain", "1 0 0", event(1, 0), doubt, "1 0 0", "1 0 0"},
		{"another number", "1 0 4", event(2, 0), settle, "1? 0 4", "2 0 4"},
		{"another number, failed", "1 0 0", event(2, 0), again, "1? 0 0", "1 0 0"},
		{"another number, uncertain", "1 0 0", event(2, 0), doubt, "1? 0 0", "1? 0 0"},
		{"another number, refused", "1 0 0", event(2, 0), pushers.Step{Action: pushers.Bury}, "1? 0 0", "1 0 0"},
		{"another number, rejected", "1 0 0", event(2, 0), pushers.Step{Action: pushers.Remove}, "1? 0 0", ""},
		{"the same number, in doubt before", "1? 0 0", event(1, 0), settle, "1? 0 0", "1 0 0"},
		{"failed, in doubt before", "1? 0 0", event(2, 0), again, "1? 0 0", "1? 0 0"},
		{"an event does not tell zeros", "1 2 0", event(0, 0), settle, "1 2 0", "1 2 0"},
		{"an event does not tell no calls", "1 2 0", event(2, 0), settle, "1? 2 0", "2 2 0"},
		{"calls", "1 0 0", event(1, 1), settle, "1 0? 0", "1 1 0"},
		{"counts alone tell zero", "1 0 0", alone(0, 0, false), settle, "1? 0 0", "0 0 0"},
		{"and no calls, if they have to", "1 2 0", alone(0, 0, true), settle, "1? 2? 0", "0 0 0"},
		{"counts alone the first time", "", alone(0, 0, false), settle, "0? 0 0", "0 0 0"},
		{"a pusher without counts", "", deaf, settle, "", ""},
	} {
		read := func(s string) *told {
			if s == "" {
				return nil
			}
			got := decodeTold("1700000000000.3.77 "+s, version)
			if got == nil {
				t.Fatalf("%s: %q can't be read", tc.name, s)
			}
			return got
		}
		write := func(told *told) string { return strings.TrimPrefix(told.encode(), "1700000000000.3.77 ") }
		base := read(tc.was)
		sending := base.sending(&tc.n, version)
		then := sending.settled(base, &tc.n, tc.step, version)
		if diff := cmp.Diff([]string{tc.was, tc.sending, tc.then}, []string{write(base), write(sending), write(then)}); diff != "" {
			t.Errorf("%s: before, while and after it is sent (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestToldDiffers(t *testing.T) {
	t.Parallel()
	version := Version{Epoch: 1, Partition: 2, Offset: 3}
	now := pushers.Counts{Unread: 2, MissedCalls: 1}
	for saved, want := range map[string]bool{
		"1.2.3 2 1 0": false, "1.2.3 1 1 0": true, "1.2.3 2 0 0": true, "1.2.3 2? 1 0": true, "1.2.3 2 1? 9": true,
		"": false, "1.2.4 1 1 0": false, "nonsense": false, "1.2.3 x 1 0": false, // told nothing: nobody can say so
	} {
		if got := decodeTold(saved, version).differs(now); got != want {
			t.Errorf("told %q, %+v differs: %v, want %v", saved, now, got, want)
		}
	}
	var never *told
	if got := never.waiting(3, version).encode(); got != "1.2.3 0? 0 3" {
		t.Errorf("what waits for one that was told nothing: %s", got)
	}
	if toldName("a", pushers.NewPushkey("b")) == toldName("a", pushers.NewPushkey("c")) {
		t.Error("two pushers have one name")
	}
}

// What pushers were told that are gone is removed in passing, with the guard's marks of them; the marks of those that are there stay.
func TestToldOfPushersThatAreGone(t *testing.T) {
	t.Parallel()
	a := &Account{UserID: "@bob:x", Pushers: []RegisteredPusher{{Pusher: pushers.Pusher{AppID: "app", Pushkey: pushers.NewPushkey("here")}}}}
	here, gone := toldName("app", pushers.NewPushkey("here")), toldName("app", pushers.NewPushkey("gone"))
	saved := map[string]string{here: "1.0.0 2 0 0", gone: "1.0.0 3 0 0", HeldField("app", pushers.NewPushkey("gone")): "TRIP 1 0 0", HeldField("app", pushers.NewPushkey("here")): "TRIP 1 0 0"}
	r := (&Users{Badges: NewBadges(DefaultBadge())}).readTold(a, &a.Pushers[0], saved)
	want := []ToldChange{{UserID: "@bob:x", Pusher: gone, From: "1.0.0 3 0 0"}, {UserID: "@bob:x", Pusher: HeldField("app", pushers.NewPushkey("gone")), From: "TRIP 1 0 0"}}
	if !slices.Equal(r.stale, want) || r.saved != saved[here] {
		t.Errorf("%v are removed, want %v; %q was told", r.stale, want, r.saved)
	}
}

func TestDropped(t *testing.T) {
	t.Parallel()
	const room = "!r:x"
	since := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
	message := &NoticeEvent{ID: "$1", Type: "m.room.message", Sender: "@alice:x"}
	bob := "@bob:x"
	member := func(membership string) *NoticeEvent {
		return &NoticeEvent{ID: "$1", Type: "m.room.member", Sender: "@alice:x", StateKey: &bob, Content: []byte(`{"membership":"` + membership + `"}`)}
	}
	account := func(change func(*Account)) *Account {
		a := &Account{UserID: bob}
		a.Rules, _ = rules.Compile(nil, rules.Options{})
		change(a)
		return a
	}
	plain := account(func(*Account) {})
	ignoring := account(func(a *Account) { a.ignored = map[string]struct{}{"@alice:x": {}} })
	muted := account(func(a *Account) {
		a.Rules, _ = rules.Compile([]byte(`{"global":{"room":[{"rule_id":"!r:x","enabled":true,"actions":[]}]}}`), rules.Options{})
	})
	counts := func(change func(*Unread)) *Unread {
		u := &Unread{}
		change(u)
		return u
	}
	nothing := counts(func(*Unread) {})
	for _, tc := range []struct {
		name  string
		event *NoticeEvent
		a     *Account
		u     *Unread
		rule  string
		from  time.Time
		want  string
	}{
		{"a message", message, plain, nothing, ".m.rule.message", since, ""},
		{"from before", message, plain, nothing, ".m.rule.message", since.Add(1), "before_start"},
		{"deactivated", message, account(func(a *Account) { a.Deactivated = true }), nothing, ".m.rule.message", since, "deactivated"},
		{"ignored", message, ignoring, nothing, ".m.rule.message", since, "ignored"},
		{"an ignored user's invite", member("invite"), ignoring, nothing, ".m.rule.invite_for_me", since, "ignored"},
		{"redacted", message, plain, counts(func(u *Unread) { u.Redact(7) }), ".m.rule.message", since, "redacted"},
		{"read", message, plain, counts(func(u *Unread) { u.Read(7) }), ".m.rule.message", since, "read"},
		{"read up to the one before", message, plain, counts(func(u *Unread) { u.Read(6) }), ".m.rule.message", since, ""},
		{"left", message, plain, counts(func(u *Unread) { u.Leave(9) }), ".m.rule.message", since, "read"},
		{"muted", message, muted, nothing, ".m.rule.message", since, "muted"},
		{"mentioned in a room that is muted but for mentions", message, muted, nothing, ".m.rule.is_user_mention", since, ""},
		{"an invite", member("invite"), plain, counts(func(u *Unread) { u.Invite(7) }), ".m.rule.invite_for_me", since, ""},
		{"accepted", member("invite"), plain, counts(func(u *Unread) { u.Invite(7); u.Join(8) }), ".m.rule.invite_for_me", since, "answered"},
		{"declined", member("invite"), plain, counts(func(u *Unread) { u.Invite(7); u.Leave(8) }), ".m.rule.invite_for_me", since, "answered"},
		{"banned: that is what clears the room", member("ban"), plain, counts(func(u *Unread) { u.Leave(7) }), "own", since, ""},
	} {
		n := &Notice{RoomID: room, Position: 7, Since: since.UnixMilli(), Event: tc.event}
		if got := dropped(n, tc.a, tc.u, tc.rule, "", tc.from); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}
