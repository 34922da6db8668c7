package rules

// This file finds what must be true of an event for a rule to match, in a form
// that costs next to nothing to test: a trigger.

import (
	"hash/maphash"
	"math/bits"
	"strings"
)

// fact is the hash of something that is true of an event: that a property has a
// value, that a property exists, or that a word is in the body. Facts of an event
// are kept in a bit set (see facts.go), so that one can be taken for another: a
// trigger that fires does not mean that the rule matches, one that does not fire
// means that it can't.
type fact uint32

// always is true of every event.
const always fact = 0

// trigger is two facts without which a rule can't match.
type trigger [2]fact

// maxFactValue is the length in bytes of the longest string value, in lower case,
// that is a fact.
const maxFactValue = 255

// mix spreads a hash over all bits; the upper ones are used first.
func mix(x uint64) fact {
	x ^= x >> 31
	x *= 0x9E3779B97F4A7C15
	return fact(x>>32) | 1 // not always
}

// existsFact is the fact that there is a property at the key.
func existsFact(k pathHash) fact { return mix(uint64(k)) }

// valueFact is the fact that the property at the key has the scalar value; of
// strings, in any case.
func valueFact(k pathHash, value scalar) fact {
	if value.kind == text {
		return mix(uint64(k.child(strings.ToLower(value.str))))
	}
	return mix((uint64(k)+uint64(value.kind))*31 + uint64(value.num))
}

// wordKeySize is how many bytes of a word tell it apart.
const wordKeySize = 8

// wordFact is the fact that a word is in the body, given its first bytes in lower
// case.
func wordFact(key uint64) fact {
	return mix(key ^ wordSeed)
}

// prefixFact is the fact that a word of the body begins with the first n bytes of
// a key.
func prefixFact(key uint64, n int) fact {
	return mix(key>>(8*(wordKeySize-n)) ^ prefixSeed + uint64(n))
}

// The seeds make the facts of words unpredictable.
var (
	wordSeed   = maphash.String(hashSeed, "words")
	prefixSeed = maphash.String(hashSeed, "prefixes")
	countSeed  = maphash.String(hashSeed, "counts")
)

// countFact is the fact that the number of members has at most, or at least, so
// many binary digits. All numbers of maxDigits and more are taken for one.
func countFact(digits int, atLeast bool) fact {
	x := countSeed + uint64(min(digits, maxDigits))
	if atLeast {
		x = ^x
	}
	return mix(x)
}

const maxDigits = 20

// exactCountFact is the fact that there are n members.
func exactCountFact(n int) fact { return mix(countSeed ^ uint64(n)<<8) }

// The ranks of facts in triggers: the higher, the fewer events have it.
const (
	rankNone   = iota
	rankExists // some property exists
	rankType   // a property with few different values has one
	rankCount  // the room has about so many members
	rankPrefix // a word of the body begins so
	rankWord   // a word is in the body
	rankValue  // some other property has a value
)

// triggerOf returns the two best facts that the conditions need.
func triggerOf(conditions []condition) trigger {
	var t trigger
	var rank [2]int
	for _, c := range conditions {
		switch f, r := conditionTrigger(c); {
		case r > rank[0]:
			t, rank = trigger{f, t[0]}, [2]int{r, rank[0]}
		case r > rank[1]:
			t[1], rank[1] = f, r
		}
	}
	return t
}

// conditionTrigger returns a fact without which the condition does not hold, and
// its rank.
func conditionTrigger(c condition) (fact, int) {
	switch c := c.(type) {
	case *eventMatch:
		switch {
		case c.key.body:
			return bodyTrigger(c)
		case c.part || c.pattern.wild || len(c.pattern.lower) > maxFactValue:
			return existsFact(c.key.hash), rankExists
		default:
			return valueTrigger(&c.key, scalar{kind: text, str: c.pattern.lower})
		}
	case *propertyIs:
		if c.key.body || c.value.kind == text && len(strings.ToLower(c.value.str)) > maxFactValue {
			return always, rankNone // in rooms of extensible events the body is another
		}
		return valueTrigger(&c.key, c.value)
	case *propertyContains:
		return existsFact(c.key.hash), rankExists
	case *memberCount:
		return countTrigger(c), rankCount
	}
	return always, rankNone
}

func countTrigger(m *memberCount) fact {
	switch m.operator {
	case "<", "<=":
		return countFact(bits.Len64(uint64(m.n)), false)
	case ">", ">=":
		return countFact(bits.Len64(uint64(m.n)), true)
	default:
		return exactCountFact(int(m.n))
	}
}

func valueTrigger(k *key, value scalar) (fact, int) {
	rank := rankValue
	if k.text == "type" || k.text == "content.msgtype" {
		rank = rankType
	}
	return valueFact(k.hash, value), rank
}

// bodyTrigger returns a whole word that the pattern requires, if there is one.
func bodyTrigger(m *eventMatch) (fact, int) {
	if m.part {
		return always, rankNone // it may match inside a word
	}
	word, prefix := requiredWords(m.pattern.lower)
	switch {
	case word != "":
		key, _ := wordKey(word)
		return wordFact(key), rankWord
	case prefix != "":
		key, n := wordKey(prefix)
		return prefixFact(key, n), rankPrefix
	}
	return always, rankNone
}

// requiredWords returns the longest word of a pattern that must be a whole word of
// any text it matches, as no wildcard touches it, and the longest one that must
// begin a word, as a wildcard only follows. The ends of the pattern are word
// boundaries.
func requiredWords(p string) (word, prefix string) {
	for i := 0; i < len(p); {
		if !isWord[p[i]] {
			i++
			continue
		}
		end := i
		for end < len(p) && isWord[p[end]] {
			end++
		}
		begins := i == 0 || !isWildcard(p[i-1])
		ends := end == len(p) || !isWildcard(p[end])
		switch {
		case begins && ends && end-i > len(word):
			word = p[i:end]
		case begins && !ends && end-i > len(prefix):
			prefix = p[i:end]
		}
		i = end
	}
	return word, prefix
}

func isWildcard(c byte) bool { return c == '*' || c == '?' }

// wordKey packs the first bytes of a word, the first into the highest, and returns
// how many there are.
func wordKey(word string) (key uint64, n int) {
	for n < len(word) && n < wordKeySize {
		key |= uint64(word[n]) << (8 * (wordKeySize - 1 - n))
		n++
	}
	return key, n
}
