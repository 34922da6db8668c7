package rules

// This file matches the patterns of Matrix, where * is any number of characters
// (newlines included), ? is exactly one, and nothing else is special.

import (
	"hash/maphash"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gobwas/glob"
)

// MaxPattern is the length in bytes of the longest pattern that can match. An
// event is at most 64 KiB by the specification, so longer text can't occur in
// one.
const MaxPattern = 64 << 10

// pattern is a compiled glob. Matching ignores case: both sides are compared in
// lower case, character by character (no full case folding: straße is not
// STRASSE), as the common homeservers do.
//
// It is compiled to one of three things, by what is fastest and never takes
// more than linear time in pattern × text:
//
//   - Without wildcards it is compared, or searched for, as plain text.
//   - With wildcards of one kind on a whole value, it is a glob of
//     github.com/gobwas/glob with all of that package's other special
//     characters quoted. It is linear on these.
//   - With both kinds of wildcards it is a list of segments (see segments.go).
//     On such patterns gobwas/glob backtracks and keeps a record of each step:
//     *a?a?…b* of 16 KiB on 64 KiB of text took it 47 seconds and 7.7 GB.
//     Segments also do the word search on content.body, where the question is
//     not whether a text matches but where: gobwas/glob can't tell.
//
// Invalid UTF-8, which gobwas/glob refuses in patterns and takes for U+FFFD in
// text, does not come up: the JSON decoder has refused it before.
type pattern struct {
	lower    string
	hash     uint64 // of lower
	wild     bool
	whole    *glob.Pattern
	segments []segment // if wild
	source   string    // as the rule has it
}

// compilePattern compiles a pattern of at most MaxPattern bytes.
func compilePattern(source string) *pattern {
	p := &pattern{source: source, lower: strings.ToLower(source)}
	if strings.ContainsAny(source, "*?") {
		p.wild = true
		p.lower = collapse(p.lower)
		p.segments = splitSegments(p.lower)
		if !strings.Contains(p.lower, "*") || !strings.Contains(p.lower, "?") {
			p.whole, _ = glob.Compile(quote(p.lower)) // nil if refused: segments do it
		}
	}
	p.hash = maphash.String(hashSeed, p.lower)
	return p
}

// collapse writes each run of wildcards in its shortest form: ?**? is ??*.
func collapse(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '*' && s[i] != '?' {
			b.WriteByte(s[i])
			i++
			continue
		}
		star := false
		for ; i < len(s) && (s[i] == '*' || s[i] == '?'); i++ {
			if s[i] == '?' {
				b.WriteByte('?')
			} else {
				star = true
			}
		}
		if star {
			b.WriteByte('*')
		}
	}
	return b.String()
}

// quote turns a Matrix pattern into one of gobwas/glob.
func quote(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexAny(s, "*?")
		if i < 0 {
			i = len(s)
		}
		b.WriteString(glob.QuoteMeta(s[:i]))
		if s = s[i:]; s != "" {
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String()
}

// matchValue reports whether the whole of s, in any case, matches.
func (p *pattern) matchValue(s string) bool {
	switch {
	case !p.wild:
		return equalLower(s, p.lower)
	case p.lower == "*":
		return true
	case p.whole != nil:
		return p.whole.Match(strings.ToLower(s))
	default:
		return matchSegments(p.segments, strings.ToLower(s), wholeValue)
	}
}

// matchWords reports whether some part of s, which is in lower case, matches
// that begins and ends at word boundaries.
func (p *pattern) matchWords(s string) bool {
	if !p.wild {
		return containsWord(s, p.lower)
	}
	return matchSegments(p.segments, s, words)
}

// matchPart reports whether a pattern without wildcards occurs anywhere in s, in
// any case: the implicit asterisks of the 2015 dialect.
func (p *pattern) matchPart(s string) bool {
	return strings.Contains(strings.ToLower(s), p.lower)
}

// equalLower reports whether s in lower case is equal to lower.
func equalLower(s, lower string) bool {
	for i := 0; i < len(s) && i < len(lower); i++ {
		c := s[i]
		if c >= utf8.RuneSelf || lower[i] >= utf8.RuneSelf {
			return equalLowerRunes(s[i:], lower[i:])
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return len(s) == len(lower)
}

// equalLowerRunes is equalLower beyond ASCII, where the length may change with
// the case.
func equalLowerRunes(s, lower string) bool {
	for _, r := range s {
		l, n := utf8.DecodeRuneInString(lower)
		if n == 0 || unicode.ToLower(r) != l {
			return false
		}
		lower = lower[n:]
	}
	return lower == ""
}
