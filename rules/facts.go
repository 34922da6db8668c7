package rules

// This file is what is known of one event at a glance: its facts, as a bit set.

import (
	"math/bits"
	"strings"
	"unicode/utf8"
)

// facts is a set of facts. It may say that a fact is in it that is not, but never
// the other way round.
type facts struct {
	bits  []uint64
	shift uint // from a fact to its place
	ascii bool // the body has no character outside ASCII

	// starts has a bit for the first two characters of each word of the body.
	starts [64]uint64
}

// minFactDigits makes the size of the set for small events 2 KiB; otherwise it has
// about sixteen bits for each fact.
const minFactDigits = 14

// newFacts returns a small set of these facts.
func newFacts(list []fact) *facts {
	var f facts
	f.size(len(list), 8)
	for _, x := range list {
		f.add(x)
	}
	return &f
}

// reset empties the set and makes room for n facts.
func (f *facts) reset(n int) { f.size(n, minFactDigits) }

// size is reset with at least so many binary digits in a place.
func (f *facts) size(n int, digits uint) {
	size := 1 << digits
	for size < 16*n {
		size, digits = 2*size, digits+1
	}
	if cap(f.bits) < size/64 {
		f.bits = make([]uint64, size/64)
	}
	f.bits = f.bits[:size/64]
	clear(f.bits)
	clear(f.starts[:])
	f.shift = 32 - digits
}

func (f *facts) add(x fact) {
	i := x >> f.shift
	f.bits[i/64] |= 1 << (i % 64)
}

// fires reports whether the event may have both facts of a trigger.
func (f *facts) fires(t trigger) bool {
	return f.has(t[0]) && f.has(t[1])
}

func (f *facts) has(x fact) bool {
	i := x >> f.shift
	return f.bits[i/64]&(1<<(i%64)) != 0
}

// collect makes the set of the facts of an event with this body (in lower case),
// in a room with so many members.
func (f *facts) collect(ev *Event, body string, members int) {
	f.reset(2*len(ev.nodes) + len(body) + maxDigits)
	f.add(always)
	for i := range ev.nodes {
		n := &ev.nodes[i]
		f.add(existsFact(n.hash))
		// Lower case may be shorter, but not by more than a third of the length.
		if n.kind >= null && (n.kind != text || len(n.str) <= 3*maxFactValue) {
			f.add(valueFact(n.hash, n.scalar))
		}
	}
	if members >= 0 {
		f.addCount(members)
	}
	f.ascii = isASCII(body)
	f.addWords(body)
}

// addCount adds the number of members.
func (f *facts) addCount(members int) {
	digits := min(bits.Len(uint(members)), maxDigits)
	f.add(exactCountFact(members))
	for d := 0; d <= digits; d++ {
		f.add(countFact(d, true))
	}
	for d := digits; d <= maxDigits; d++ {
		f.add(countFact(d, false))
	}
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// addWords adds the words of a text in lower case, and the beginnings of them.
func (f *facts) addWords(s string) {
	for i := 0; i < len(s); i++ {
		if !isWord[s[i]] {
			continue
		}
		begin := i
		for i < len(s) && isWord[s[i]] {
			i++
		}
		var second byte
		if i-begin > 1 {
			second = s[begin+1]
		}
		f.starts[s[begin]%64] |= 1 << (second % 64)
		key, n := wordKey(s[begin:i])
		f.add(wordFact(key))
		for ; n > 0; n-- {
			f.add(prefixFact(key, n))
		}
	}
}

// mayContain reports whether the body can contain a name, in whatever case, as
// words: all words of the name are words of the body. It allocates nothing and
// mostly needs one look.
func (f *facts) mayContain(name string) bool {
	if len(name) > 1 && isWord[name[0]] && isWord[name[1]] &&
		f.starts[asciiLower[name[0]]%64]&(1<<(asciiLower[name[1]]%64)) == 0 {
		return false // no word begins so: that is most often the case
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !isWord[c] {
			switch {
			case c < utf8.RuneSelf:
			case lowersToASCII(name[i:]):
				return true // part of a word, but only in lower case
			case f.ascii:
				return false
			}
			continue
		}
		var key uint64
		shift := 8 * wordKeySize
		for ; i < len(name) && isWord[name[i]]; i++ {
			if shift > 0 {
				shift -= 8
				key |= uint64(asciiLower[name[i]]) << shift
			}
		}
		if i < len(name) && lowersToASCII(name[i:]) {
			return true
		}
		if !f.has(wordFact(key)) {
			return false
		}
	}
	return true
}

// lowersToASCII reports whether s begins with one of the two characters outside
// ASCII whose lower case is an ASCII letter: the Kelvin sign and the Turkish
// dotted capital I.
func lowersToASCII(s string) bool {
	return strings.HasPrefix(s, "\u212A") || strings.HasPrefix(s, "\u0130")
}

// asciiLower maps ASCII capitals to small letters and leaves the rest.
var asciiLower = func() (table [256]byte) {
	for c := range table {
		table[c] = byte(c)
		if 'A' <= c && c <= 'Z' {
			table[c] = byte(c) + 'a' - 'A'
		}
	}
	return table
}()
