package replay

// JSON as far as an input line needs it: a value of a record is passed on byte for byte, so it is found but not read, however deep it nests and
// whatever it repeats. That it is wrong may be just what the line is there to try.

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// member is one member of an object: its name, and its value as it stands.
type member struct {
	name   string
	raw    []byte
	quoted []byte // the name as it stands
}

// text is the member's value as text; an error if it is none. Bytes that are no UTF-8 are kept.
func (m member) text() (string, error) {
	if kindOf(m.raw) != '"' {
		return "", fmt.Errorf("%q must be a string, not %s", m.name, kindName(m.raw))
	}
	return unquote(m.raw)
}

// deepest is how deep package jsontext checks the syntax. What nests deeper is only checked for its brackets.
const deepest = 9_000

// checkSyntax reports what is wrong with a line as JSON. Repeated names and invalid UTF-8 are let through: they are a record's own affair.
func checkSyntax(raw []byte) error {
	if depth(raw) > deepest {
		return nil
	}
	dec := jsontext.NewDecoder(bytes.NewReader(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := dec.ReadValue(); err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	if rest := bytes.TrimLeft(raw[dec.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return fmt.Errorf("not one JSON object: %q follows it", shorten(rest))
	}
	return nil
}

// depth is how deep a text nests, by its brackets alone.
func depth(raw []byte) int {
	deep, max := 0, 0
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '"':
			i = stringEnd(raw, i) - 1
		case '{', '[':
			if deep++; deep > max {
				max = deep
			}
		case '}', ']':
			deep--
		}
	}
	return max
}

var errBroken = errors.New("not valid JSON: it breaks off, or its brackets don't match")

// members splits an object into its members.
func members(raw []byte) ([]member, error) {
	i := skipSpace(raw, 0)
	if i == len(raw) || raw[i] != '{' {
		return nil, errors.New("not a JSON object")
	}
	var list []member
	for i = skipSpace(raw, i+1); ; i = skipSpace(raw, i+1) {
		if i < len(raw) && raw[i] == '}' && len(list) == 0 {
			break
		}
		if i == len(raw) || raw[i] != '"' {
			return nil, errBroken
		}
		nameEnd := stringEnd(raw, i)
		quoted := raw[i:nameEnd]
		name, err := unquote(quoted)
		if err != nil {
			return nil, err
		}
		if i = skipSpace(raw, nameEnd); i == len(raw) || raw[i] != ':' {
			return nil, errBroken
		}
		i = skipSpace(raw, i+1)
		end, err := valueEnd(raw, i)
		if err != nil {
			return nil, err
		}
		list = append(list, member{name, raw[i:end], quoted})
		if i = skipSpace(raw, end); i == len(raw) || raw[i] != ',' && raw[i] != '}' {
			return nil, errBroken
		}
		if raw[i] == '}' {
			break
		}
	}
	if skipSpace(raw, i+1) != len(raw) {
		return nil, errBroken
	}
	return list, nil
}

// object is the object that has these members.
func object(list []member) []byte {
	out := []byte{'{'}
	for i, m := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, m.quoted...), ':'), m.raw...)
	}
	return append(out, '}')
}

// find is the value of the first member of that name; nil if there is none.
func find(list []member, name string) []byte {
	for _, m := range list {
		if m.name == name {
			return m.raw
		}
	}
	return nil
}

// textOf is the text in raw, or "" if it holds something else.
func textOf(raw []byte) string {
	if kindOf(raw) != '"' {
		return ""
	}
	s, err := unquote(raw)
	if err != nil {
		return ""
	}
	return s
}

// valueEnd finds the end of the value that begins at i.
func valueEnd(raw []byte, i int) (int, error) {
	if i == len(raw) {
		return 0, errBroken
	}
	switch raw[i] {
	case '"':
		return stringEnd(raw, i), nil
	case '{', '[':
		return bracketEnd(raw, i)
	}
	end := i
	for end < len(raw) && !bytes.ContainsRune([]byte(",}] \t\r\n"), rune(raw[end])) {
		end++
	}
	if end == i {
		return 0, errBroken
	}
	return end, nil
}

// bracketEnd finds the end of the object or array that begins at i.
func bracketEnd(raw []byte, i int) (int, error) {
	var open []byte
	for ; i < len(raw); i++ {
		switch c := raw[i]; c {
		case '"':
			i = stringEnd(raw, i) - 1
		case '{', '[':
			open = append(open, c+2) // '{'+2 is '}', '['+2 is ']'
		case '}', ']':
			if len(open) == 0 || open[len(open)-1] != c {
				return 0, errBroken
			}
			if open = open[:len(open)-1]; len(open) == 0 {
				return i + 1, nil
			}
		}
	}
	return 0, errBroken
}

// stringEnd finds the end of the string that begins at i; the end of raw if it breaks off.
func stringEnd(raw []byte, i int) int {
	for i++; i < len(raw); i++ {
		switch raw[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(raw)
}

// unquote is the text of a string literal. Only escapes are decoded: all other bytes are what they are, so that text in any encoding can be fed.
func unquote(literal []byte) (string, error) {
	if len(literal) < 2 || literal[len(literal)-1] != '"' {
		return "", errBroken
	}
	body := literal[1 : len(literal)-1]
	text := make([]byte, 0, len(body))
	for len(body) > 0 {
		plain := bytes.IndexByte(body, '\\')
		if plain < 0 {
			plain = len(body)
		}
		text = append(text, body[:plain]...)
		body = body[plain:]
		n := escapes(body)
		decoded, err := jsontext.AppendUnquote(nil, `"`+string(body[:n])+`"`)
		if err != nil {
			return "", fmt.Errorf("%s stands for no character", shorten(body[:n]))
		}
		text, body = append(text, decoded...), body[n:]
	}
	return string(text), nil
}

// escapes is the length of the escape sequences that body begins with: several in a row, because two can make one character.
func escapes(body []byte) int {
	n := 0
	for n+1 < len(body) && body[n] == '\\' {
		if body[n+1] == 'u' {
			n = min(n+6, len(body))
		} else {
			n += 2
		}
	}
	return n
}

func skipSpace(raw []byte, i int) int {
	for i < len(raw) && (raw[i] == ' ' || raw[i] == '\t' || raw[i] == '\r' || raw[i] == '\n') {
		i++
	}
	return i
}

// kindOf is the first byte of a value: '{', '[', '"', 'n', 't', 'f', or a digit or minus of a number.
func kindOf(raw []byte) byte {
	if len(raw) == 0 {
		return 0
	}
	return raw[0]
}

// kindName says for people what a value is.
func kindName(raw []byte) string {
	switch kindOf(raw) {
	case 0:
		return "missing"
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 'n':
		return "null"
	case 't', 'f':
		return string(raw)
	}
	return "a number"
}

// shorten cuts a text for an error message.
func shorten(raw []byte) string {
	const enough = 40
	if len(raw) > enough {
		return string(raw[:enough]) + "…"
	}
	return string(raw)
}
