package rules

// This file matches patterns piece by piece: the text between asterisks is a
// segment, and segments are looked for one after the other.

import (
	"strings"
	"unicode/utf8"
)

// segment is a part of a pattern between asterisks: a fixed number of
// characters, some of which may be any.
type segment struct {
	text  string // literals and ?
	any   bool   // contains a ?
	chars *chars // if it contains a ? and is short
}

// splitSegments splits a collapsed pattern at its asterisks. There is one
// segment more than asterisks; the first and the last may be empty.
func splitSegments(p string) []segment {
	parts := strings.Split(p, "*")
	segments := make([]segment, len(parts))
	for i, s := range parts {
		segments[i] = segment{text: s, any: strings.Contains(s, "?")}
		if segments[i].any {
			segments[i].chars = newChars(s)
		}
	}
	return segments
}

// anchoring says where a match may begin and end.
type anchoring uint8

const (
	wholeValue anchoring = iota // at the ends of the text
	words                       // at word boundaries
)

// maxSteps bounds the search for one pattern in one text, in comparisons of
// single characters: 32 for each byte of the longest text. Only patterns made
// to be slow get there; they do not match.
const maxSteps = 1 << 21

// search is one pattern being looked for in one text.
type search struct {
	s      string
	anchor anchoring
	steps  int
}

// matchSegments reports whether the segments occur in s in their order without
// overlapping, the first beginning and the last ending where anchor allows it.
//
// Taking each segment at its first possible place is enough, because what
// follows it is an asterisk; only a last segment must try further ones.
func matchSegments(segments []segment, s string, anchor anchoring) bool {
	least := 0
	for _, seg := range segments {
		least += len(seg.text) // a ? is at least one byte
	}
	if least > len(s) {
		return false
	}
	m := search{s: s, anchor: anchor, steps: maxSteps}
	at := 0
	for i, seg := range segments {
		if at = m.find(seg, at, i == 0, i == len(segments)-1); at < 0 {
			return false
		}
	}
	return true
}

// find looks for one segment from byte at on and returns where its first
// possible occurrence ends, or -1.
func (m *search) find(seg segment, at int, first, last bool) int {
	if m.anchor == wholeValue && (first || last) {
		return m.findAtEnd(seg, at, first, last)
	}
	if seg.chars != nil {
		return m.findChars(seg.chars, at, first, last)
	}
	for at <= len(m.s) {
		if !seg.any {
			i := strings.Index(m.s[at:], seg.text)
			if i < 0 {
				return -1
			}
			at += i
		}
		end := m.matchAt(seg, at)
		if end >= 0 && (!first || isBoundary(m.s, at)) && (!last || isBoundary(m.s, end)) {
			return end
		}
		if m.steps <= 0 {
			return -1
		}
		at = m.next(at, first)
	}
	return -1
}

// findAtEnd looks for a segment at the only place where it can be: where the text
// begins if it is the first, where the text ends if it is the last.
func (m *search) findAtEnd(seg segment, at int, first, last bool) int {
	if !first {
		at = max(at, m.lastStart(seg))
	}
	end := m.matchAt(seg, at)
	if last && end != len(m.s) {
		return -1
	}
	return end
}

// lastStart returns where the segment begins if it ends at the end of the text.
func (m *search) lastStart(seg segment) int {
	if !seg.any {
		return len(m.s) - len(seg.text)
	}
	at := len(m.s)
	for range utf8.RuneCountInString(seg.text) {
		_, n := utf8.DecodeLastRuneInString(m.s[:at])
		at -= n
	}
	return at
}

// next returns the place after byte at where the segment may begin.
func (m *search) next(at int, first bool) int {
	if first {
		return nextBoundary(m.s, at)
	}
	_, n := utf8.DecodeRuneInString(m.s[at:])
	return at + max(n, 1)
}

// matchAt returns where the segment ends if it occurs at byte at, or -1.
func (m *search) matchAt(seg segment, at int) int {
	if !seg.any {
		if strings.HasPrefix(m.s[at:], seg.text) {
			return at + len(seg.text)
		}
		return -1
	}
	for i := 0; i < len(seg.text); i++ {
		m.steps--
		if at >= len(m.s) || m.steps < 0 {
			return -1
		}
		if seg.text[i] == '?' {
			_, n := utf8.DecodeRuneInString(m.s[at:])
			at += n
			continue
		}
		if m.s[at] != seg.text[i] {
			return -1
		}
		at++
	}
	return at
}
