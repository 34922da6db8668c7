package rules

// This file looks for a short segment with question marks in one pass over the
// text, whatever the two are: the Shift-And algorithm (Baeza-Yates and Gonnet, A New
// Approach to Text Searching, 1992).

import "unicode/utf8"

// chars is a segment of up to 64 characters. For each character it has a number in
// which bit i says that the segment's character i may be that one.
type chars struct {
	any   uint64 // characters that may be any: the question marks
	ascii [utf8.RuneSelf]uint64
	other map[rune]uint64
	end   uint64 // the bit of the last character
}

// newChars returns the segment of this text, or nil if it is too long.
func newChars(text string) *chars {
	n := utf8.RuneCountInString(text)
	if n > 64 {
		return nil
	}
	c := &chars{end: 1 << (n - 1)}
	bit := uint64(1)
	for _, r := range text {
		switch {
		case r == '?':
			c.any |= bit
		case r < utf8.RuneSelf:
			c.ascii[r] |= bit
		default:
			if c.other == nil {
				c.other = map[rune]uint64{}
			}
			c.other[r] |= bit
		}
		bit <<= 1
	}
	return c
}

// findChars looks for the segment from byte at on, at word boundaries where it is
// the first or the last one, and returns where its first possible occurrence ends,
// or -1.
func (m *search) findChars(c *chars, at int, first, last bool) int {
	var begun uint64 // bit i says that the segment's characters up to i have been read
	for at < len(m.s) {
		begun <<= 1
		if !first || isBoundary(m.s, at) {
			begun |= 1
		}
		r, n := rune(m.s[at]), 1
		if r < utf8.RuneSelf {
			begun &= c.ascii[r] | c.any
		} else {
			r, n = utf8.DecodeRuneInString(m.s[at:])
			begun &= c.other[r] | c.any
		}
		at += n
		if begun&c.end != 0 && (!last || isBoundary(m.s, at)) {
			return at
		}
	}
	return -1
}
