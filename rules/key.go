package rules

// This file reads the dotted keys with which conditions name a property of an
// event, such as content.m\.relates_to.rel_type.

import (
	"hash/maphash"
	"math/bits"
	"strings"
)

// key names a property of an event: the names of the objects' members on the
// way to it, outermost first.
type key struct {
	text  string   // as the condition has it
	parts []string // unescaped
	hash  pathHash
	body  bool // it is content.body, on which patterns match words
}

// parseKey splits a dotted key. `\.` is a dot and `\\` a backslash inside a
// part; a backslash before anything else, or at the end, is literal.
//
// Source: Matrix specification, appendices, "Dot-separated property paths".
func parseKey(text string) key {
	k := key{text: text, body: text == "content.body"} // there is no other way to write it
	if strings.IndexByte(text, '\\') < 0 {
		k.parts = strings.Split(text, ".")
	} else {
		k.parts = splitEscaped(text)
	}
	for _, part := range k.parts {
		k.hash = k.hash.child(part)
	}
	return k
}

// splitEscaped is the part of parseKey that minds backslashes.
func splitEscaped(text string) []string {
	var parts []string
	var part strings.Builder
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '\\' && i+1 < len(text) && (text[i+1] == '.' || text[i+1] == '\\'):
			i++
			part.WriteByte(text[i])
		case c == '.':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(c)
		}
	}
	return append(parts, part.String())
}

// pathHash is the hash of a path of member names; the zero value is that of the
// event itself.
type pathHash uint64

// hashSeed makes hashes unpredictable, so that nobody can send an event whose
// properties all collide. It never changes while the process runs.
var hashSeed = maphash.MakeSeed()

// child returns the hash of the member with the given name of the object at h.
func (h pathHash) child(name string) pathHash {
	x := bits.RotateLeft64(uint64(h), 23) ^ maphash.String(hashSeed, name)
	return pathHash(x * 0x9E3779B97F4A7C15)
}
