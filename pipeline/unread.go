package pipeline

// What one user has unread in one room: pure sets of positions.

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Unread is what one user has unread in one room. Every change is idempotent and all of them commute, so that a replayed, a late or a doubled
// record changes nothing: unread are the positions notified, minus those read, redacted, or below the floor that leaving sets.
//
// The zero value is a room without anything. It is a value of one goroutine.
type Unread struct {
	notified []mark  // ascending; all above the passed line, none redacted
	redacted []int64 // ascending; above the passed line: a notification of these may still be on its way
	read     int64   // everything at or below has been read
	floor    int64   // everything at or below came before the user left
	invited  int64   // position of the last invite
	answered int64   // position of the last join, leave or ban
}

// mark is one unread notification.
type mark struct {
	position  int64
	highlight bool
}

// Notify counts the notification at position, in the thread of that root ("" or "main": the main timeline).
func (u *Unread) Notify(position int64, thread string, highlight bool) {
	if u.Passed(position, thread) {
		return
	}
	i, known := slices.BinarySearchFunc(u.notified, position, func(m mark, p int64) int { return compare(m.position, p) })
	if !known {
		u.notified = slices.Insert(u.notified, i, mark{position, highlight})
	}
}

// Read marks everything at or below position as read, in all threads.
func (u *Unread) Read(position int64) {
	u.read = max(u.read, position)
	u.sweep()
}

// ReadThread marks everything at or below position as read in one thread ("main": the main timeline).
func (u *Unread) ReadThread(thread string, position int64) {
	if thread == "main" {
		u.Read(position)
	}
}

// Call notes an m.call.invite at position.
func (u *Unread) Call(position int64, callID string) {}

// AnswerCall notes at position that the user has answered the call or hung it up, or does not want it.
func (u *Unread) AnswerCall(position int64, callID string) {}

// MissedCalls is how many calls have come that the user has neither answered nor read past.
func (u *Unread) MissedCalls() int { return 0 }

// CountThread is Count for one thread.
func (u *Unread) CountThread(thread string) (notifications, highlights int) { return u.Count() }

// Seen notes the day (since 1970) on which the user was last seen: a receipt, or the first thing that was counted. Days never go back.
func (u *Unread) Seen(day int64) {}

// LastSeen is that day; 0 if there is none.
func (u *Unread) LastSeen() int64 { return 0 }

// Redact uncounts the notification at position, even if it comes later.
func (u *Unread) Redact(position int64) {
	if position <= u.passed() {
		return
	}
	if i, known := slices.BinarySearch(u.redacted, position); !known {
		u.redacted = slices.Insert(u.redacted, i, position)
	}
	u.notified = slices.DeleteFunc(u.notified, func(m mark) bool { return m.position == position })
}

// Invite notes an invite at position.
func (u *Unread) Invite(position int64) { u.invited = max(u.invited, position) }

// Join answers all invites before position.
func (u *Unread) Join(position int64) { u.answered = max(u.answered, position) }

// Leave answers all invites before position and clears the room up to it.
func (u *Unread) Leave(position int64) {
	u.answered = max(u.answered, position)
	u.floor = max(u.floor, position)
	u.sweep()
}

// Passed says whether a notification at position needs nobody's attention any more: read, redacted, or from before the user left.
func (u *Unread) Passed(position int64, thread string) bool {
	if position <= u.passed() {
		return true
	}
	_, redacted := slices.BinarySearch(u.redacted, position)
	return redacted
}

// Redacted says whether the event at position is known to be redacted.
func (u *Unread) Redacted(position int64) bool {
	_, redacted := slices.BinarySearch(u.redacted, position)
	return redacted
}

// PendingInvite says whether the last invite has not been answered.
func (u *Unread) PendingInvite() bool { return u.invited > u.answered }

// InvitePending says whether the invite at position is the one that still waits for an answer, or a later one does.
func (u *Unread) InvitePending(position int64) bool { return position > u.answered }

// Count is the number of unread notifications, and how many of them are highlights.
func (u *Unread) Count() (notifications, highlights int) {
	for _, m := range u.notified {
		if m.highlight {
			highlights++
		}
	}
	return len(u.notified), highlights
}

// Trim keeps the newest limit positions.
func (u *Unread) Trim(limit int) {
	if n := len(u.notified) - limit; n > 0 {
		u.notified = u.notified[n:]
	}
	if n := len(u.redacted) - limit; n > 0 {
		u.redacted = u.redacted[n:]
	}
}

func (u *Unread) passed() int64 { return max(u.read, u.floor) }

// sweep drops what has been passed.
func (u *Unread) sweep() {
	line := u.passed()
	u.notified = slices.DeleteFunc(u.notified, func(m mark) bool { return m.position <= line })
	u.redacted = slices.DeleteFunc(u.redacted, func(p int64) bool { return p <= line })
}

func compare(a, b int64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// unreadFormat is the first byte of what Encode returns. A reader that meets a higher one must stop: a newer version wrote it.
const unreadFormat = 1

// Encode is the few bytes that Redis keeps: the four positions, then the marks and the redacted as distances, from the oldest.
func (u *Unread) Encode() []byte {
	line := u.passed()
	b := make([]byte, 0, 16+3*len(u.notified)+3*len(u.redacted))
	b = append(b, unreadFormat)
	for _, p := range []int64{u.read, u.floor, u.invited, u.answered} {
		b = binary.AppendUvarint(b, uint64(p))
	}
	b = binary.AppendUvarint(b, uint64(len(u.notified)))
	last := line
	for _, m := range u.notified {
		distance := uint64(m.position-last) << 1
		if m.highlight {
			distance |= 1
		}
		b, last = binary.AppendUvarint(b, distance), m.position
	}
	last = line
	for _, p := range u.redacted {
		b, last = binary.AppendUvarint(b, uint64(p-last)), p
	}
	return b
}

// Errors of DecodeUnread.
var (
	errUnreadNewer   = errors.New("unread counts: written by a newer version of tocsin")
	errUnreadCorrupt = errors.New("unread counts: not in the form that tocsin writes")
)

// DecodeUnread reads what Encode wrote; nothing is a room without anything.
func DecodeUnread(b []byte) (Unread, error) {
	var u Unread
	if len(b) == 0 {
		return u, nil
	}
	if b[0] != unreadFormat {
		return u, errUnreadNewer
	}
	b = b[1:]
	next := func() (int64, bool) {
		v, n := binary.Uvarint(b)
		if n <= 0 || v > 1<<55 { // positions are below 2^53; one more bit tells highlights
			return 0, false
		}
		b = b[n:]
		return int64(v), true
	}
	for _, p := range []*int64{&u.read, &u.floor, &u.invited, &u.answered} {
		v, ok := next()
		if !ok {
			return Unread{}, errUnreadCorrupt
		}
		*p = v
	}
	n, ok := next()
	if !ok || n > int64(len(b)) {
		return Unread{}, errUnreadCorrupt
	}
	last := u.passed()
	for range n {
		v, ok := next()
		if !ok || v>>1 == 0 {
			return Unread{}, errUnreadCorrupt
		}
		if last += v >> 1; last >= maxPosition {
			return Unread{}, errUnreadCorrupt
		}
		u.notified = append(u.notified, mark{last, v&1 == 1})
	}
	for last = u.passed(); len(b) > 0; {
		v, ok := next()
		if !ok || v == 0 {
			return Unread{}, errUnreadCorrupt
		}
		if last += v; last >= maxPosition {
			return Unread{}, errUnreadCorrupt
		}
		u.redacted = append(u.redacted, last)
	}
	return u, nil
}
