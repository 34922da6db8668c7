package rules

// This file holds the small pieces with which user-supplied JSON is taken apart:
// each value is asked for its type, and a wrong one is never an error.

import (
	"bytes"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// stringOf returns the string that v is, if it is one.
func stringOf(v jsontext.Value) (string, bool) {
	if v.Kind() != '"' {
		return "", false
	}
	s, err := jsontext.AppendUnquote(nil, v)
	return string(s), err == nil
}

// boolOf returns the boolean that v is, if it is one.
func boolOf(v jsontext.Value) (value, ok bool) {
	switch v.Kind() {
	case 't':
		return true, true
	case 'f':
		return false, true
	}
	return false, false
}

func parseFloat(v jsontext.Value) (float64, error) {
	return strconv.ParseFloat(string(v), 64)
}

// lenient returns a decoder that passes over repeated names and invalid UTF-8, so
// that one bad rule does not spoil those around it. Each rule is then decoded
// strictly.
func lenient(raw []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(raw),
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// eachMember calls f with the members of an object, in order. A name that occurs
// again is passed again. The values are parts of raw. It returns an error if raw is
// not one well-formed object.
func eachMember(raw []byte, f func(name string, value jsontext.Value)) error {
	dec := lenient(raw)
	if dec.PeekKind() != '{' {
		return ErrNotObject
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		name := token.String() // before the next read invalidates it
		value, err := dec.ReadValue()
		if err != nil {
			return err
		}
		f(name, lastRead(dec, raw, value))
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return ErrTrailing
	}
	return nil
}

// elements returns the elements of an array, which are parts of raw, and whether it
// is one.
func elements(raw jsontext.Value) ([]jsontext.Value, bool) {
	if raw.Kind() != '[' {
		return nil, false
	}
	dec := lenient(raw)
	if _, err := dec.ReadToken(); err != nil {
		return nil, false
	}
	list := []jsontext.Value{}
	for dec.PeekKind() != ']' {
		value, err := dec.ReadValue()
		if err != nil {
			return nil, false
		}
		list = append(list, lastRead(dec, raw, value))
	}
	return list, true
}

// lastRead returns the part of raw that the decoder has just read as value: that one
// is valid until the next read only.
func lastRead(dec *jsontext.Decoder, raw []byte, value jsontext.Value) jsontext.Value {
	end := int(dec.InputOffset())
	return raw[end-len(value) : end : end]
}
