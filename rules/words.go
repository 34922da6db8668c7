package rules

// This file is the word search on content.body: where words begin and end, and
// literal text that must begin and end there.

import (
	"strings"
	"unicode/utf8"
)

// isWord marks the characters of words: ASCII letters, digits and underscore,
// by the specification of event_match. All else, be it another alphabet, is
// what separates words. Only lower-case text is asked about, so the upper-case
// letters are there for completeness.
var isWord = func() (set [256]bool) {
	for c := range set {
		set[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
	}
	return set
}()

// isBoundary reports whether a word may begin or end at byte i of s: everywhere
// but between two word characters.
func isBoundary(s string, i int) bool {
	return i == 0 || i == len(s) || !isWord[s[i-1]] || !isWord[s[i]]
}

// containsWord reports whether s contains the literal text, beginning and
// ending at word boundaries. Both are in lower case.
func containsWord(s, literal string) bool {
	for from := 0; ; {
		i := strings.Index(s[from:], literal)
		if i < 0 {
			return false
		}
		i += from
		if isBoundary(s, i) && isBoundary(s, i+len(literal)) {
			return true
		}
		if from = nextBoundary(s, i); from > len(s) {
			return false
		}
	}
}

// containsName is containsWord for a name in any case. It allocates nothing for
// short names in ASCII.
func containsName(s, name string) bool {
	var buffer [32]byte
	if len(name) > len(buffer) {
		return containsWord(s, strings.ToLower(name))
	}
	for i := range len(name) {
		if name[i] >= utf8.RuneSelf {
			return containsWord(s, strings.ToLower(name))
		}
		buffer[i] = asciiLower[name[i]]
	}
	return containsWord(s, string(buffer[:len(name)]))
}

// nextBoundary returns the first word boundary after byte i of s that is not in
// the middle of a character, or len(s)+1 if there is none.
func nextBoundary(s string, i int) int {
	if i == len(s) {
		return len(s) + 1
	}
	if !isWord[s[i]] {
		for i++; i < len(s) && s[i]&0xC0 == 0x80; {
			i++
		}
		return i
	}
	for i < len(s) && isWord[s[i]] {
		i++
	}
	return i
}
