package pipeline

// The few bytes in which a user's unread of one room are saved. unreaddecode.go reads them.
//
//	format   1 byte
//	fields   uvarint: which of the following are there; each is left out if it is 0 or empty
//	line, main, thread floor, answered, invited, seen
//	threads  how many, the hashes of all that have a receipt or something unread (8 bytes each, ascending), and for each its receipt or 0
//	redacted how many, and the positions
//	calls, answers: how many, and for each position and hash
//	notified to the end: for each its position and, in the lowest bits, whether it is a highlight and, if there are threads, whether it is in another thread
//	         than the one before it (the first: than main); then follows which: 0 is main, n the nth of threads
//
// Numbers are uvarints, seen and hashes are big endian. A position is its distance from the one before it, or for the first from the line below which nothing of
// its kind is kept. So a few neighbours in the main timeline take a byte or two each, and a thread takes eight once.
//
// There is exactly one form for each value, and no other is read: the store compares bytes. A change of form, and of the bounds in unread.go, is a new format.

import (
	"encoding/binary"
	"slices"
)

// unreadFormat is the first byte of what Encode returns. A reader that meets a higher one must stop: a newer version wrote it.
const unreadFormat = 2

// The fields that are there. Those of most rooms fit in one byte.
const (
	hasLine = 1 << iota
	hasMain
	hasAnswered
	hasInvited
	hasSeen
	hasThreads
	hasRedacted
	hasThreadFloor
	hasCalls
	hasAnswers
	hasEnd
)

// Encode is what Redis keeps.
func (u *Unread) Encode() []byte {
	room := 40 + 4*len(u.notified) + 4*len(u.redacted) + 14*(len(u.receipts)+len(u.calls)+len(u.answers))
	return u.AppendEncode(make([]byte, 0, room))
}

// AppendEncode appends what Encode returns.
func (u *Unread) AppendEncode(b []byte) []byte {
	var few [16]hash
	threads := u.threads(few[:0])
	b = append(b, unreadFormat)
	b = binary.AppendUvarint(b, u.fields(len(threads) > 0))
	for _, distance := range [...]int64{u.line, u.main - u.line, u.threadFloor - u.line, u.answered, u.invited - u.answered} {
		if distance > 0 {
			b = binary.AppendUvarint(b, uint64(distance))
		}
	}
	if u.seen > 0 {
		b = binary.BigEndian.AppendUint16(b, uint16(u.seen))
	}
	if len(threads) > 0 {
		b = u.appendThreads(b, threads)
	}
	if len(u.redacted) > 0 {
		b = binary.AppendUvarint(b, uint64(len(u.redacted)))
		last := u.line
		for _, p := range u.redacted {
			b, last = binary.AppendUvarint(b, uint64(p-last)), p
		}
	}
	b = appendCalls(b, u.calls, u.lineOf(mainThread))
	b = appendCalls(b, u.answers, u.lineOf(mainThread))
	return u.appendNotified(b, threads)
}

// fields says which are there.
func (u *Unread) fields(threads bool) uint64 {
	var fields uint64
	for i, there := range [...]bool{
		u.line > 0, u.main > 0, u.answered > 0, u.invited > 0, u.seen > 0, threads, len(u.redacted) > 0, u.threadFloor > 0, len(u.calls) > 0, len(u.answers) > 0,
	} {
		if there {
			fields |= 1 << i
		}
	}
	return fields
}

// threads appends all threads that the bytes must name, ascending.
func (u *Unread) threads(threads []hash) []hash {
	for _, r := range u.receipts {
		threads = append(threads, r.thread)
	}
	last := mainThread
	for i := range u.notified {
		t := u.notified[i].thread
		if t == last {
			continue
		}
		if last = t; t != mainThread {
			if n, known := slices.BinarySearch(threads, t); !known {
				threads = slices.Insert(threads, n, t)
			}
		}
	}
	return threads
}

func (u *Unread) appendThreads(b []byte, threads []hash) []byte {
	b = binary.AppendUvarint(b, uint64(len(threads)))
	for _, t := range threads {
		b = binary.BigEndian.AppendUint64(b, uint64(t))
	}
	base, receipts := max(u.line, u.threadFloor), u.receipts
	for _, t := range threads {
		if len(receipts) > 0 && receipts[0].thread == t {
			b = binary.AppendUvarint(b, uint64(receipts[0].position-base))
			receipts = receipts[1:]
		} else {
			b = append(b, 0)
		}
	}
	return b
}

func appendCalls(b []byte, calls []call, last int64) []byte {
	if len(calls) == 0 {
		return b
	}
	b = append(b, byte(len(calls)))
	for _, c := range calls {
		b = binary.AppendUvarint(b, uint64(c.position-last))
		b = binary.BigEndian.AppendUint64(b, uint64(c.id))
		last = c.position
	}
	return b
}

func (u *Unread) appendNotified(b []byte, threads []hash) []byte {
	if len(threads) == 0 {
		last := u.lineOf(mainThread)
		for i := range u.notified {
			m := &u.notified[i]
			b, last = binary.AppendUvarint(b, uint64(m.position-last)<<1|bit(m.highlight)), m.position
		}
		return b
	}
	last, t := u.line, mainThread
	for i := range u.notified {
		m := &u.notified[i]
		b = binary.AppendUvarint(b, uint64(m.position-last)<<2|bit(m.thread != t)<<1|bit(m.highlight))
		if last = m.position; m.thread == t {
			continue
		}
		if t = m.thread; t == mainThread {
			b = append(b, 0)
		} else {
			n, _ := slices.BinarySearch(threads, t)
			b = binary.AppendUvarint(b, uint64(n+1))
		}
	}
	return b
}

func bit(set bool) uint64 {
	if set {
		return 1
	}
	return 0
}
