package pipeline

// What one user has unread in one room: pure sets of positions. Their saved form is in unreadencode.go.

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Unread is what one user has unread in one room. Every change is idempotent and all of them commute, so that a replayed, a late or a doubled
// record changes nothing: unread are the positions notified, minus those that a receipt has read, those redacted, and those from before the user left.
// Whatever came in whatever order, equal sets are equal in each field, and so in the bytes that are saved.
//
// Only three bounds can make the order matter: [Unread.Trim], and those of [Unread.ReadThread] and [Unread.AnswerCall].
//
// A thread is named by its root's event id; "" and "main" are the main timeline. Positions at or above maxPosition, which no event has, are ignored.
//
// The zero value is a room without anything. It is a value of one goroutine, and a copy shares what it holds: change only one of them.
type Unread struct {
	notified []mark    // ascending; each above the line of its thread, none redacted
	redacted []int64   // ascending, above the line: a notification or a call at these may still be on its way
	receipts []receipt // ascending by thread, one each; above the line and the thread floor
	calls    []call    // ascending; above the main line, neither redacted nor answered
	answers  []call    // ascending, one for each call; above the main line: a call from before these may still be on its way

	line        int64 // everything at or below is read in all threads, or from before the user left
	main        int64 // everything at or below is read in the main timeline; 0 unless above the line
	threadFloor int64 // what comes late in a thread, at or below, counts as read; 0 unless above the line

	invited  int64 // position of the invite that waits for an answer; 0 if none does
	answered int64 // position of the last join, leave or ban
	seen     int64 // day since 1970
}

// mark is one unread notification.
type mark struct {
	position  int64
	thread    hash
	highlight bool
}

// receipt says how far the user has read one thread.
type receipt struct {
	thread   hash
	position int64
}

// call is an m.call.invite, or the user's answer to one.
type call struct {
	position int64
	id       hash
}

// The bounds of what is kept above the lines. Whoever changes them changes the format: see unreadencode.go.
const (
	maxReceipts = 100
	maxCalls    = 32 // and as many answers
)

// hash stands for an event id or a call id: the first eight bytes of its SHA-256, because an id has 44 bytes and more, and each user keeps it in each
// room. It takes some four billion ids of one room until two are likely to be equal; then two threads (or calls) of that room are counted as one
// for those who have both, and nothing else happens. To be taken for the main timeline an id must hit one value of 2^64.
type hash uint64

// mainThread is the main timeline.
const mainThread hash = 0

func hashName(id string) hash {
	sum := sha256.Sum256([]byte(id))
	return hash(binary.BigEndian.Uint64(sum[:]))
}

func hashThread(root string) hash {
	if root == "" || root == "main" {
		return mainThread
	}
	return max(hashName(root), mainThread+1)
}

// Notify counts the notification at position, in the thread of that root.
func (u *Unread) Notify(position int64, thread string, highlight bool) {
	i, known := u.find(position)
	if known {
		u.notified[i].highlight = u.notified[i].highlight || highlight
		return
	}
	if t := hashThread(thread); position < maxPosition && !u.passed(position, t) {
		u.notified = slices.Insert(u.notified, i, mark{position, t, highlight})
	}
}

// Read is an unthreaded receipt: everything at or below position is read, in all threads.
func (u *Unread) Read(position int64) {
	if raise(&u.line, position) {
		u.sweep()
	}
}

// ReadThread is a threaded receipt: everything at or below position is read in that thread alone. The receipt's own event need not be in the thread.
//
// Receipts of 100 threads are kept, of those that have been read furthest, and that of the main timeline besides. If there are more, the least of them becomes
// the thread floor: a notification that is not counted yet and comes in whatever thread at or below it counts as read, for it may be one that the
// forgotten receipt has read. So nothing read comes back, and what is counted already stays. What is lost is a notification that was held up while
// the user read a hundred other threads further than it, and the room itself not as far.
func (u *Unread) ReadThread(thread string, position int64) {
	t := hashThread(thread)
	if position <= u.lineOf(t) || position >= maxPosition {
		return
	}
	u.notified = slices.DeleteFunc(u.notified, func(m mark) bool { return m.thread == t && m.position <= position })
	if t == mainThread {
		u.main = position
		u.sweepCalls()
		return
	}
	if position <= u.threadFloor {
		return
	}
	i, known := u.receipt(t)
	if known {
		u.receipts[i].position = position
		return
	}
	u.receipts = slices.Insert(u.receipts, i, receipt{t, position})
	if len(u.receipts) > maxReceipts {
		u.threadFloor = slices.MinFunc(u.receipts, func(a, b receipt) int { return cmp.Compare(a.position, b.position) }).position
		u.receipts = slices.DeleteFunc(u.receipts, func(r receipt) bool { return r.position <= u.threadFloor })
	}
}

// Redact uncounts the notification and the call at position, even if they come later.
func (u *Unread) Redact(position int64) {
	i, known := slices.BinarySearch(u.redacted, position)
	if known || position <= u.line || position >= maxPosition {
		return
	}
	u.redacted = slices.Insert(u.redacted, i, position)
	if i, counted := u.find(position); counted {
		u.notified = slices.Delete(u.notified, i, i+1)
	}
	u.calls = slices.DeleteFunc(u.calls, func(c call) bool { return c.position == position })
}

// Call notes an m.call.invite at position.
func (u *Unread) Call(position int64, callID string) {
	c := call{position, hashName(callID)}
	if position <= u.lineOf(mainThread) || position >= maxPosition || u.Redacted(position) || slices.ContainsFunc(u.answers, c.answeredBy) {
		return
	}
	u.calls = include(u.calls, c)
}

// AnswerCall notes that the user has answered the call at position, or hung it up, or does not want it. It answers the invites of that call before position, and
// is remembered for those of them that come later: the newest 32 answers, until the main timeline has been read past them.
func (u *Unread) AnswerCall(position int64, callID string) {
	answer := call{position, hashName(callID)}
	further := func(a call) bool { return a.id == answer.id && a.position >= position }
	if position <= u.lineOf(mainThread) || position >= maxPosition || slices.ContainsFunc(u.answers, further) {
		return
	}
	u.answers = include(slices.DeleteFunc(u.answers, func(a call) bool { return a.id == answer.id }), answer)
	u.calls = slices.DeleteFunc(u.calls, func(c call) bool { return c.answeredBy(answer) })
}

// answeredBy says whether the answer is to this call.
func (c call) answeredBy(answer call) bool { return c.id == answer.id && c.position < answer.position }

// Invite notes an invite at position.
func (u *Unread) Invite(position int64) {
	if position > u.answered {
		raise(&u.invited, position)
	}
}

// Join answers all invites before position.
func (u *Unread) Join(position int64) {
	if raise(&u.answered, position) && u.invited <= u.answered {
		u.invited = 0
	}
}

// Leave answers all invites before position and clears the room up to it, so that after a return everything starts anew.
func (u *Unread) Leave(position int64) {
	u.Join(position)
	u.Read(position)
}

// Seen notes the day (since 1970) on which the user was last seen: a receipt, or the first thing that was counted. Days never go back.
func (u *Unread) Seen(day int64) { u.seen = max(u.seen, min(day, maxDay)) }

// maxDay is in the year 2149.
const maxDay = 1<<16 - 1

// LastSeen is that day; 0 if there is none.
func (u *Unread) LastSeen() int64 { return u.seen }

// Trim keeps the newest unread, of all threads together, and the newest redacted positions: so many of each.
func (u *Unread) Trim(limit int) {
	u.notified = u.notified[max(0, len(u.notified)-limit):]
	u.redacted = u.redacted[max(0, len(u.redacted)-limit):]
}

// Passed says whether a notification at position, in that thread, needs nobody's attention any more: read, redacted, or from before the user left.
func (u *Unread) Passed(position int64, thread string) bool {
	return u.passed(position, hashThread(thread))
}

// Redacted says whether the event at position is known to be redacted. What has been read in all threads is not known any more.
func (u *Unread) Redacted(position int64) bool {
	_, redacted := slices.BinarySearch(u.redacted, position)
	return redacted
}

// PendingInvite says whether the last invite has not been answered.
func (u *Unread) PendingInvite() bool { return u.invited > 0 }

// InvitePending says whether the invite at position is the one that still waits for an answer, or a later one does.
func (u *Unread) InvitePending(position int64) bool { return position > u.answered }

// MissedCalls is how many calls have come that the user has neither answered nor read past in the main timeline: up to 32, the newest.
func (u *Unread) MissedCalls() int { return len(u.calls) }

// Count is the number of unread notifications in all threads, and how many of them are highlights.
func (u *Unread) Count() (notifications, highlights int) {
	for i := range u.notified {
		if u.notified[i].highlight {
			highlights++
		}
	}
	return len(u.notified), highlights
}

// CountThread is Count for one thread.
func (u *Unread) CountThread(thread string) (notifications, highlights int) {
	t := hashThread(thread)
	for i := range u.notified {
		if m := &u.notified[i]; m.thread == t {
			notifications++
			if m.highlight {
				highlights++
			}
		}
	}
	return notifications, highlights
}

func (u *Unread) passed(position int64, t hash) bool {
	if position <= u.lineOf(t) || u.Redacted(position) {
		return true
	}
	if t == mainThread || position > u.threadFloor {
		return false
	}
	_, counted := u.find(position)
	return !counted
}

// lineOf is the position up to which everything in a thread is read, or from before the user left.
func (u *Unread) lineOf(t hash) int64 {
	if t == mainThread {
		return max(u.line, u.main)
	}
	if i, known := u.receipt(t); known {
		return u.receipts[i].position
	}
	return u.line
}

// find is where in notified a position is, or belongs.
func (u *Unread) find(position int64) (i int, counted bool) {
	if n := len(u.notified); n == 0 || u.notified[n-1].position < position {
		return n, false // the usual case: what comes is newer than all
	}
	return slices.BinarySearchFunc(u.notified, position, func(m mark, p int64) int { return cmp.Compare(m.position, p) })
}

// receipt is where in receipts a thread's is, or belongs.
func (u *Unread) receipt(t hash) (i int, known bool) {
	return slices.BinarySearchFunc(u.receipts, t, func(r receipt, t hash) int { return cmp.Compare(r.thread, t) })
}

// sweep drops what the line has passed.
func (u *Unread) sweep() {
	if u.main <= u.line {
		u.main = 0
	}
	if u.threadFloor <= u.line {
		u.threadFloor = 0
	}
	i, _ := u.find(u.line + 1)
	u.notified = u.notified[i:]
	i, _ = slices.BinarySearch(u.redacted, u.line+1)
	u.redacted = u.redacted[i:]
	u.receipts = slices.DeleteFunc(u.receipts, func(r receipt) bool { return r.position <= u.line })
	u.sweepCalls()
}

// sweepCalls drops what the line of the main timeline has passed.
func (u *Unread) sweepCalls() {
	passed := func(c call) bool { return c.position <= u.lineOf(mainThread) }
	u.calls, u.answers = slices.DeleteFunc(u.calls, passed), slices.DeleteFunc(u.answers, passed)
}

// include puts a call into its place, once, and keeps the newest.
func include(calls []call, c call) []call {
	if i, known := slices.BinarySearchFunc(calls, c, call.compare); !known {
		calls = slices.Insert(calls, i, c)
	}
	return calls[max(0, len(calls)-maxCalls):]
}

func (c call) compare(d call) int {
	return cmp.Or(cmp.Compare(c.position, d.position), cmp.Compare(c.id, d.id))
}

// raise moves a line up to position, if that is further.
func raise(line *int64, position int64) bool {
	if position <= *line || position >= maxPosition {
		return false
	}
	*line = position
	return true
}
