package rules

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// slowMatch is the definition of a glob, as slow as it is obvious: both sides are
// in lower case.
func slowMatch(pattern, s []rune) bool {
	// matches[j] says that the pattern so far matches s[:j].
	matches := make([]bool, len(s)+1)
	matches[0] = true
	for _, p := range pattern {
		next := make([]bool, len(s)+1)
		for j := range next {
			switch {
			case p == '*':
				next[j] = matches[j] || j > 0 && next[j-1]
			case j > 0:
				next[j] = matches[j-1] && (p == '?' || p == s[j-1])
			}
		}
		matches = next
	}
	return matches[len(s)]
}

// slowWords is the definition of a match on content.body: some part that begins
// and ends at word boundaries matches.
func slowWords(pattern, s []rune) bool {
	word := func(r rune) bool {
		return r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	boundary := func(i int) bool { return i == 0 || i == len(s) || !word(s[i-1]) || !word(s[i]) }
	for i := range len(s) + 1 {
		for j := i; j <= len(s); j++ {
			if boundary(i) && boundary(j) && slowMatch(pattern, s[i:j]) {
				return true
			}
		}
	}
	return false
}

// checkPattern holds a pattern against the definitions.
func checkPattern(t *testing.T, source, s string) {
	t.Helper()
	p := compilePattern(source)
	lower := strings.ToLower(s)
	pattern, value := []rune(strings.ToLower(source)), []rune(lower)
	if got, want := p.matchValue(s), slowMatch(pattern, value); got != want {
		t.Errorf("%q matches the value %q: got %v, want %v", source, s, got, want)
	}
	if got, want := p.matchWords(lower), slowWords(pattern, value); got != want {
		t.Errorf("%q matches words of %q: got %v, want %v", source, s, got, want)
	}
	if p.wild { // whatever it is compiled to
		if got, want := matchSegments(p.segments, lower, wholeValue), slowMatch(pattern, value); got != want {
			t.Errorf("segments of %q match the value %q: got %v, want %v", source, s, got, want)
		}
	}
	// A trigger that does not fire where the pattern matches would lose matches.
	if word, prefix := requiredWords(p.lower); slowWords(pattern, value) {
		var f facts
		f.reset(len(lower))
		f.addWords(lower)
		if key, _ := wordKey(word); word != "" && !f.has(wordFact(key)) {
			t.Errorf("%q matches words of %q, which lacks the word %q", source, s, word)
		}
		if key, n := wordKey(prefix); prefix != "" && !f.has(prefixFact(key, n)) {
			t.Errorf("%q matches words of %q, in which no word begins with %q", source, s, prefix)
		}
	}
}

func TestPatternsAgainstDefinition(t *testing.T) {
	t.Parallel()
	g := newGenerator(3)
	alphabet := []string{"a", "b", "A", "_", " ", "*", "*", "?", "é", "日", "\n", "ab", "!", "\u212A", "\u0130"}
	random := func(n int) string {
		var b strings.Builder
		for range g.IntN(n) {
			b.WriteString(alphabet[g.IntN(len(alphabet))])
		}
		return b.String()
	}
	for range 20_000 {
		checkPattern(t, random(8), random(12))
	}
	for range 300 { // too long for one pass
		long := strings.Repeat("a?", 33+g.IntN(3))
		checkPattern(t, random(4)+long+random(4), random(8)+strings.Repeat("ab", 33+g.IntN(3))+random(8))
	}
}

func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{"c?ke*", "cakes"}, {"*a*?b", "xaab b"}, {"[a]{b,c}\\!", "[a]{b,c}\\!"}, {"", ""}, {"?*?", "日本"}, {"@room", "hello@room!"}, {"İ*", "i̇x"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 40 || len(s) > 60 || !utf8.ValidString(pattern) || !utf8.ValidString(s) {
			return
		}
		checkPattern(t, pattern, s)
	})
}

// TestHostilePatterns matches patterns that are made to be slow, of the largest
// size that is allowed, with the largest body.
func TestHostilePatterns(t *testing.T) {
	t.Parallel()
	const n = MaxPattern
	texts := map[string]string{
		"one letter":  strings.Repeat("a", n),
		"two letters": strings.Repeat("ab", n/2),
		"short words": strings.Repeat("a ", n/2),
		"spaces":      strings.Repeat(" ", n),
		"not ASCII":   strings.Repeat("日", n/3),
	}
	patterns := map[string]string{
		"stars and letters":          strings.Repeat("*a", n/2-1) + "*b",
		"stars and question marks":   strings.Repeat("*?", n/2),
		"question marks":             strings.Repeat("?", n),
		"question marks and letters": strings.Repeat("a?", n/2),
		"the same behind a star":     "*" + strings.Repeat("a?", n/2-2) + "b*",
		"a long word":                strings.Repeat("a", n),
		"half a long word":           strings.Repeat("a", n/2) + "b",
		"words":                      strings.Repeat("a ", n/2-1) + "b",
		"half the words":             strings.Repeat("a ", n/4) + "b",
		"a tail":                     "*" + strings.Repeat("a", n/2),
		"a tail of question marks":   "a*" + strings.Repeat("?", n/2) + "b",
		"brackets":                   strings.Repeat("[", n),
		"braces":                     strings.Repeat("{a,", n/3),
	}
	for name, source := range patterns {
		p := compilePattern(source)
		for textName, s := range texts {
			begin := time.Now()
			p.matchValue(s)
			p.matchWords(s)
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("%s on %s took %v", name, textName, took)
			}
		}
	}
}

func TestLongPatternMatches(t *testing.T) {
	t.Parallel()
	s := strings.Repeat("ab", 1<<15)
	for _, pattern := range []string{strings.Repeat("a?", 1<<15), s, strings.Repeat("?", 1<<16), "*" + s[2:], strings.Repeat("*?", 1<<14)} {
		if p := compilePattern(pattern); !p.matchValue(s) || !p.matchWords(s) {
			t.Errorf("a pattern of %d bytes, %q…, does not match", len(pattern), pattern[:6])
		}
	}
}

func BenchmarkPattern(b *testing.B) {
	body := strings.ToLower("Hello everybody, are you coming to the meeting tomorrow? I think we should talk about the cake")
	for _, source := range []string{"cake", "missing", "cake*", "m?ssing", "*cake", "talk * cake"} {
		p := compilePattern(source)
		b.Run(source, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p.matchWords(body)
			}
		})
	}
}
