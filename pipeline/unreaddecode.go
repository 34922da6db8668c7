package pipeline

// The way back from the bytes of unreadencode.go. They come from Redis, so nothing is believed: what Encode could not have written is refused.

import (
	"encoding/binary"
	"errors"
	"slices"
)

// Errors of DecodeUnread.
var (
	errUnreadNewer   = errors.New("unread counts: written by a newer version of tocsin")
	errUnreadCorrupt = errors.New("unread counts: not in the form that tocsin writes")
)

// DecodeUnread reads what Encode wrote; nothing is a room without anything. The result keeps nothing of b.
func DecodeUnread(b []byte) (Unread, error) {
	var u Unread
	switch {
	case len(b) == 0:
		return u, nil
	case b[0] > unreadFormat:
		return u, errUnreadNewer
	case b[0] < unreadFormat:
		return u, errUnreadCorrupt
	}
	r := unreadReader{b: b, at: 1}
	has := r.number()
	r.check(has < hasEnd)
	if has&hasLine != 0 {
		u.line = r.above(0)
	}
	if has&hasMain != 0 {
		u.main = r.above(u.line)
	}
	if has&hasThreadFloor != 0 {
		u.threadFloor = r.above(u.line)
	}
	if has&hasAnswered != 0 {
		u.answered = r.above(0)
	}
	if has&hasInvited != 0 {
		u.invited = r.above(u.answered)
	}
	if has&hasSeen != 0 {
		u.seen = int64(binary.BigEndian.Uint16(r.take(2)))
		r.check(u.seen > 0)
	}
	var few [8]savedThread
	threads := few[:0]
	if has&hasThreads != 0 {
		threads = r.threads(&u, threads)
	}
	if has&hasRedacted != 0 {
		u.redacted = r.redacted(u.line)
	}
	if has&hasCalls != 0 {
		u.calls = r.calls(u.lineOf(mainThread))
	}
	if has&hasAnswers != 0 {
		u.answers = r.calls(u.lineOf(mainThread))
	}
	r.check(u.callsAgree())
	r.notified(&u, threads)
	if r.corrupt {
		return Unread{}, errUnreadCorrupt
	}
	return u, nil
}

// callsAgree says whether no call is redacted or answered, and no answer doubled.
func (u *Unread) callsAgree() bool {
	for _, c := range u.calls {
		if u.Redacted(c.position) || slices.ContainsFunc(u.answers, c.answeredBy) {
			return false
		}
	}
	for i, a := range u.answers {
		if slices.ContainsFunc(u.answers[:i], func(b call) bool { return a.id == b.id }) {
			return false
		}
	}
	return true
}

// unreadReader takes apart what Encode wrote, and refuses what it would not have written. Once it is corrupt it has nothing more, and what it returns means nothing.
type unreadReader struct {
	b       []byte
	at      int
	corrupt bool
}

func (r *unreadReader) left() int { return len(r.b) - r.at }

func (r *unreadReader) check(ok bool) {
	if !ok {
		r.at, r.corrupt = len(r.b), true
	}
}

// number is the next uvarint, in its shortest form.
func (r *unreadReader) number() uint64 {
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || n > 1 && r.b[r.at+n-1] == 0 {
		r.check(false)
		return 0
	}
	r.at += n
	return v
}

// plus is the position at that distance.
func (r *unreadReader) plus(position int64, distance uint64) int64 {
	if distance >= uint64(maxPosition-position) {
		r.check(false)
		return position
	}
	return position + int64(distance)
}

// above is the next position, above that.
func (r *unreadReader) above(position int64) int64 {
	distance := r.number()
	r.check(distance > 0)
	return r.plus(position, distance)
}

// count is how many follow, of which each takes so many bytes at least.
func (r *unreadReader) count(size, most int) int {
	n := r.number()
	r.check(n > 0 && n <= uint64(min(most, r.left()/size)))
	if r.corrupt {
		return 0
	}
	return int(n)
}

// take is the next n bytes; zeroes if there are fewer.
func (r *unreadReader) take(n int) []byte {
	if r.left() < n {
		r.check(false)
		return make([]byte, n)
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *unreadReader) hash() hash { return hash(binary.BigEndian.Uint64(r.take(8))) }

// savedThread is one of the threads that the bytes name.
type savedThread struct {
	thread hash
	line   int64
	used   bool // it has a receipt or something unread
}

func (r *unreadReader) threads(u *Unread, threads []savedThread) []savedThread {
	n, last := r.count(9, r.left()), mainThread
	for range n {
		t := r.hash()
		r.check(t > last)
		threads, last = append(threads, savedThread{thread: t, line: u.line}), t
	}
	base := max(u.line, u.threadFloor)
	for i := range threads {
		if distance := r.number(); distance > 0 {
			t := &threads[i]
			t.line, t.used = r.plus(base, distance), true
			if u.receipts == nil {
				u.receipts = make([]receipt, 0, n-i)
			}
			u.receipts = append(u.receipts, receipt{t.thread, t.line})
		}
	}
	r.check(len(u.receipts) <= maxReceipts)
	return threads
}

func (r *unreadReader) redacted(last int64) []int64 {
	redacted := make([]int64, r.count(1, r.left()))
	for i := range redacted {
		last = r.above(last)
		redacted[i] = last
	}
	return redacted
}

func (r *unreadReader) calls(line int64) []call {
	calls := make([]call, r.count(9, maxCalls))
	last := call{position: line}
	for i := range calls {
		calls[i] = call{r.plus(last.position, r.number()), r.hash()}
		r.check(calls[i].position > line && (i == 0 || last.compare(calls[i]) < 0))
		last = calls[i]
	}
	return calls
}

func (r *unreadReader) notified(u *Unread, threads []savedThread) {
	if r.left() > 0 {
		u.notified = make([]mark, 0, numbers(r.b[r.at:])+1) // one more: most often, one is added
	}
	main := savedThread{line: u.lineOf(mainThread)}
	in, last, low := &main, main.line, 1
	if len(threads) > 0 {
		last, low = u.line, 2
	}
	redacted := u.redacted
	for r.left() > 0 {
		v := r.number()
		r.check(v>>low > 0)
		last = r.plus(last, v>>low)
		if low == 2 && v&2 != 0 {
			before := in
			in = r.thread(threads, &main)
			r.check(in != before)
		}
		in.used = true
		for len(redacted) > 0 && redacted[0] < last {
			redacted = redacted[1:]
		}
		r.check(last > in.line && (len(redacted) == 0 || redacted[0] != last))
		u.notified = append(u.notified, mark{last, in.thread, v&1 == 1})
	}
	for i := range threads {
		r.check(threads[i].used)
	}
}

// thread is the next thread that something unread is in.
func (r *unreadReader) thread(threads []savedThread, main *savedThread) *savedThread {
	n := r.number()
	r.check(n <= uint64(len(threads)))
	if n == 0 || r.corrupt {
		return main
	}
	return &threads[n-1]
}

// numbers is how many uvarints b holds.
func numbers(b []byte) (n int) {
	for _, c := range b {
		if c < 0x80 {
			n++
		}
	}
	return n
}
