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
	r := unreadReader{b: b[1:]}
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
	var threads []hash
	if has&hasThreads != 0 {
		threads = r.threads(&u)
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

// unreadReader takes apart what Encode wrote. Once it is corrupt it has nothing more, and what it returns means nothing.
type unreadReader struct {
	b       []byte
	corrupt bool
}

func (r *unreadReader) check(ok bool) {
	if !ok {
		r.b, r.corrupt = nil, true
	}
}

// number is the next uvarint, in its shortest form.
func (r *unreadReader) number() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.b[n-1] == 0 {
		r.check(false)
		return 0
	}
	r.b = r.b[n:]
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
	r.check(n > 0 && n <= uint64(min(most, len(r.b)/size)))
	if r.corrupt {
		return 0
	}
	return int(n)
}

// take is the next n bytes; zeroes if there are fewer.
func (r *unreadReader) take(n int) []byte {
	if len(r.b) < n {
		r.check(false)
		return make([]byte, n)
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *unreadReader) hash() hash { return hash(binary.BigEndian.Uint64(r.take(8))) }

func (r *unreadReader) threads(u *Unread) []hash {
	threads := make([]hash, r.count(9, len(r.b)))
	last := mainThread
	for i := range threads {
		threads[i] = r.hash()
		r.check(threads[i] > last)
		last = threads[i]
	}
	base := max(u.line, u.threadFloor)
	for _, t := range threads {
		if distance := r.number(); distance > 0 && !r.corrupt {
			u.receipts = append(u.receipts, receipt{t, r.plus(base, distance)})
		}
	}
	r.check(len(u.receipts) <= maxReceipts)
	return threads
}

func (r *unreadReader) redacted(last int64) []int64 {
	redacted := make([]int64, r.count(1, len(r.b)))
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

func (r *unreadReader) notified(u *Unread, threads []hash) {
	named := len(u.receipts) // of the threads; in the end it must be all
	if len(r.b) > 0 {
		u.notified = make([]mark, 0, numbers(r.b)+1) // most often, what is read is read to add one
	}
	last, t, line, low := u.lineOf(mainThread), mainThread, u.lineOf(mainThread), 1
	var few [32]bool
	seen := few[:]
	if len(threads) > 0 {
		last, low = u.line, 2
		if len(threads) > len(seen) {
			seen = make([]bool, len(threads))
		}
	}
	redacted := u.redacted
	for len(r.b) > 0 {
		v := r.number()
		r.check(v>>low > 0)
		last = r.plus(last, v>>low)
		if low == 2 && v&2 != 0 {
			n := r.number()
			r.check(n <= uint64(len(threads)))
			if r.corrupt {
				return
			}
			before := t
			if t = mainThread; n > 0 {
				t = threads[n-1]
				_, known := u.receipt(t)
				if !known && !seen[n-1] {
					named++
				}
				seen[n-1] = true
			}
			r.check(t != before)
			line = u.lineOf(t)
		}
		for len(redacted) > 0 && redacted[0] < last {
			redacted = redacted[1:]
		}
		r.check(last > line && (len(redacted) == 0 || redacted[0] != last))
		u.notified = append(u.notified, mark{last, t, v&1 == 1})
	}
	r.check(named == len(threads))
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
