package pipeline

// What a badge shows, which pushers are told of it alone, and what a pusher was told last.

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"tocsin/pushers"
)

// Badges are the settings of section `badge`, by app. Safe for concurrent use.
type Badges struct {
	count  string
	byApp  []appCount // longest pattern first
	push   bool
	noPush []pushers.AppPattern
}

type appCount struct {
	source  string
	pattern pushers.AppPattern
	count   string
}

// NewBadges compiles settings that [BadgeConfig.Validate] has found right; a pattern that is none matches no app.
func NewBadges(cfg BadgeConfig) *Badges {
	b := &Badges{count: cfg.Count, push: cfg.Push}
	for source, count := range cfg.CountByApp {
		if p, err := pushers.CompileApps(source); err == nil {
			b.byApp = append(b.byApp, appCount{source, p, count})
		}
	}
	slices.SortFunc(b.byApp, func(x, y appCount) int {
		return cmp.Or(cmp.Compare(len(y.source), len(x.source)), cmp.Compare(x.source, y.source))
	})
	for _, source := range cfg.NoPushApps {
		if p, err := pushers.CompileApps(source); err == nil {
			b.noPush = append(b.noPush, p)
		}
	}
	return b
}

// Count is how the badge of an app counts: [BadgeRooms] or [BadgeMessages].
func (b *Badges) Count(appID string) string {
	for i := range b.byApp {
		if b.byApp[i].pattern.Match(appID) {
			return b.byApp[i].count
		}
	}
	return b.count
}

// Alone says whether the pusher is to be told of counts alone.
func (b *Badges) Alone(p *pushers.Pusher) bool {
	return b.push && !p.NoCounts && !p.EventsOnly && !slices.ContainsFunc(b.noPush, func(apps pushers.AppPattern) bool { return apps.Match(p.AppID) })
}

// Tally is what a user has unread in all rooms, from which every badge follows.
type Tally struct {
	Rooms       int // with anything unread
	Messages    int // unread notifications
	Invites     int // pending
	MissedCalls int
}

// Sum counts what is unread in the rooms.
func Sum(rooms map[string]Unread) Tally {
	var t Tally
	for _, u := range rooms {
		n, _ := u.Count()
		t.Messages += n
		t.Rooms += min(n, 1)
		if u.PendingInvite() {
			t.Invites++
		}
		t.MissedCalls += u.MissedCalls()
	}
	return t
}

// SumSaved is [Sum] of rooms as they are saved. One that can't be read does not count, as in the users stage; one that a newer tocsin can read is an error, for without it every
// number would be wrong.
func SumSaved(saved map[string][]byte) (Tally, error) {
	rooms := make(map[string]Unread, len(saved))
	for room, b := range saved {
		u, err := DecodeUnread(b)
		if errors.Is(err, errUnreadNewer) {
			return Tally{}, err
		}
		rooms[room] = u
	}
	return Sum(rooms), nil
}

// Badge is what an app that counts so is told: rooms with something unread, or all that is unread, and pending invites in any case.
func (t Tally) Badge(count string) pushers.Counts {
	c := pushers.Counts{Unread: t.Rooms + t.Invites, MissedCalls: t.MissedCalls}
	if count == BadgeMessages {
		c.Unread = t.Messages + t.Invites
	}
	return c
}

// told is what a pusher was told of its user's counts. A pusher that was set again was told nothing yet.
//
// It is saved once a notification is delivered, so that nobody is told the same number twice. Before one is sent that tells another number, a doubt is saved: whatever
// happens then (no answer, a crash), the next look at the badge finds that the pusher has to be told. A definite answer ends the doubt.
type told struct {
	version Version // of the pusher that was told
	unread  toldCount
	calls   toldCount
	retry   int64 // number of the newest notification of counts alone that waits in a retry topic, or did: older ones are superseded
}

// toldCount is one number.
type toldCount struct {
	n     int
	doubt bool // another number was sent, and may have arrived
}

// toldName is the name of a pusher among its user's, in few bytes.
func toldName(appID string, key pushers.Pushkey) string {
	sum := sha256.Sum256([]byte(AccountKey(appID, key.Reveal())))
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// encode is what Redis keeps; "" of nothing.
func (t *told) encode() string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d %s %s %d", t.version.Epoch, t.version.Partition, t.version.Offset, t.unread, t.calls, t.retry)
}

// String writes a number, with a question mark if it is in doubt.
func (c toldCount) String() string {
	if c.doubt {
		return strconv.Itoa(c.n) + "?"
	}
	return strconv.Itoa(c.n)
}

// decodeTold reads what encode wrote; nil if that was nothing, was told to the pusher before it was set again, or can't be read.
func decodeTold(saved string, version Version) *told {
	var unread, calls string
	t := &told{}
	n, _ := fmt.Sscanf(saved, "%d.%d.%d %s %s %d", &t.version.Epoch, &t.version.Partition, &t.version.Offset, &unread, &calls, &t.retry)
	if n != 6 || !t.version.SameRecord(version) || !t.unread.parse(unread) || !t.calls.parse(calls) {
		return nil
	}
	return t
}

func (c *toldCount) parse(s string) bool {
	s, c.doubt = strings.CutSuffix(s, "?")
	var err error
	c.n, err = strconv.Atoi(s)
	return err == nil
}

// differs says whether the pusher has to be told these counts: it was told others, or may have been. Of one that was told nothing nobody can say so: the caller decides.
func (t *told) differs(now pushers.Counts) bool {
	return t != nil && (t.unread != toldCount{n: now.Unread} || t.calls != toldCount{n: now.MissedCalls})
}

// toldBy says whether a notification of an event tells all that has changed: it leaves zeros out.
func (t *told) toldBy(now pushers.Counts) bool {
	return (now.Unread != 0 || t.unread == toldCount{}) && (now.MissedCalls != 0 || t.calls == toldCount{})
}

// doubtful says whether it is in doubt what the pusher was told.
func (t *told) doubtful() bool { return t != nil && (t.unread.doubt || t.calls.doubt) }

// callsToo says whether counts alone have to say that there are no missed calls: the pusher was told of some, or may have been.
func (t *told) callsToo() bool { return t != nil && t.calls != toldCount{} }

// sending is what is to be saved before n is sent: each number that n changes is in doubt from now on.
func (t *told) sending(n *pushers.Notification, version Version) *told {
	return t.after(n, version, func(was *toldCount, now int) {
		if *was != (toldCount{n: now}) {
			was.doubt = true
		}
	})
}

// heard is what is to be saved once n was delivered.
func (t *told) heard(n *pushers.Notification, version Version) *told {
	return t.after(n, version, func(was *toldCount, now int) { *was = toldCount{n: now} })
}

// settled is what is to be saved once an attempt at n came to step. Before it, base was saved.
func (t *told) settled(base *told, n *pushers.Notification, step pushers.Step, version Version) *told {
	switch {
	case step.Action == pushers.Settle:
		return t.heard(n, version)
	case step.Action == pushers.Remove:
		return nil
	case step.Verdict == pushers.Uncertain:
		return t
	}
	return base
}

// after applies change to each number that n tells. Only counts alone tell zeros.
func (t *told) after(n *pushers.Notification, version Version, change func(was *toldCount, now int)) *told {
	tellsUnread := n.CountsOnly() || n.Counts.Unread != 0
	tellsCalls := n.Counts.MissedCalls != 0 || n.CountsOnly() && n.NoMissedCalls
	if !tellsUnread && !tellsCalls {
		return t
	}
	next := t.or(version)
	if tellsUnread {
		change(&next.unread, n.Counts.Unread)
	}
	if tellsCalls {
		change(&next.calls, n.Counts.MissedCalls)
	}
	return &next
}

// or is a copy of t. What a pusher shows that was told nothing is in doubt.
func (t *told) or(version Version) told {
	if t == nil {
		return told{version: version, unread: toldCount{doubt: true}}
	}
	return *t
}

// waiting is t with the number of what waits in a retry topic.
func (t *told) waiting(retry int64, version Version) *told {
	next := t.or(version)
	next.retry = retry
	return &next
}
