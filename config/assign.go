package config

// From what was written to a Go value.

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// assign sets v to what n says. An error is a message for the person who wrote it. echo allows it to repeat what was
// written.
func assign(v reflect.Value, n node, echo bool) error {
	if n.kind == nothing {
		return errors.New("has no value: give one, or remove the key for its default")
	}
	if u, ok := v.Addr().Interface().(json.Unmarshaler); ok && n.kind == mapping {
		return assignJSON(u, n)
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		if _, either := u.(json.Unmarshaler); either && n.kind != text && n.kind != untyped {
			return mismatch("a mapping, or a text with a JSON object", n, echo)
		}
		return assignText(u, n)
	}
	if v.Type() == durationType {
		return assignDuration(v, n, echo)
	}
	switch v.Kind() {
	case reflect.String:
		return assignString(v, n)
	case reflect.Bool:
		return assignBool(v, n, echo)
	case reflect.Int, reflect.Int32, reflect.Int64:
		return assignInt(v, n, echo)
	case reflect.Float64:
		return assignFloat(v, n, echo)
	case reflect.Slice:
		return assignList(v, n, echo)
	case reflect.Map:
		return assignMap(v, n)
	}
	panic("config: no way to set a " + v.Type().String()) // schemaOf refused it
}

// mismatch says what was wanted and what was found instead.
func mismatch(want string, n node, echo bool) error {
	switch n.kind {
	case list, mapping:
		return fmt.Errorf("must be %s, not %s", want, n.kind)
	}
	if !echo {
		return fmt.Errorf("must be %s", want)
	}
	return fmt.Errorf("must be %s, not %s", want, quoted(n.scalar))
}

// quoted is what was written, short enough for a message.
func quoted(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	return strconv.Quote(s)
}

func assignString(v reflect.Value, n node) error {
	s, err := textOf(n)
	if err == nil {
		v.SetString(s)
	}
	return err
}

// assignText leaves it to the type what the text means: an address range, a point in time, a secret.
func assignText(u encoding.TextUnmarshaler, n node) error {
	s, err := textOf(n)
	if err != nil {
		return err
	}
	if err := u.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("is not valid: %w", err)
	}
	return nil
}

// assignJSON hands a mapping of any form to a type that means a JSON object by it.
func assignJSON(u json.Unmarshaler, n node) error {
	raw, err := appendJSON(nil, n)
	if err == nil {
		err = u.UnmarshalJSON(raw)
	}
	if err != nil {
		return fmt.Errorf("is not valid: %w", err)
	}
	return nil
}

// appendJSON writes a value as JSON means it. Numbers must be written as JSON has them: what YAML reads otherwise, such as 010, would mean something else.
func appendJSON(b []byte, n node) ([]byte, error) {
	var err error
	switch n.kind {
	case nothing:
		return append(b, "null"...), nil
	case boolean:
		return append(b, strings.ToLower(n.scalar)...), nil
	case number:
		if !jsontext.Value(n.scalar).IsValid() {
			return nil, fmt.Errorf("%s is no number of JSON: put it in quotes if it is a text", quoted(n.scalar))
		}
		return append(b, n.scalar...), nil
	case list:
		b = append(b, '[')
		for i, item := range n.items {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = appendJSON(b, item); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case mapping:
		b = append(b, '{')
		for i, e := range n.entries {
			if i > 0 {
				b = append(b, ',')
			}
			if b, err = jsontext.AppendQuote(b, e.name); err != nil {
				return nil, err
			}
			if b, err = appendJSON(append(b, ':'), e.value); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case refused:
		return nil, errors.New("part of it can't be read")
	}
	return jsontext.AppendQuote(b, n.scalar)
}

func textOf(n node) (string, error) {
	switch n.kind {
	case text, untyped:
		if strings.ContainsRune(n.scalar, 0) {
			return "", errors.New("must not hold a NUL character")
		}
		return n.scalar, nil
	case number, boolean:
		return "", fmt.Errorf("must be a text: put what is read as %s in quotes", n.kind)
	}
	return "", mismatch("a text", n, false)
}

func assignBool(v reflect.Value, n node, echo bool) error {
	if n.kind == boolean || n.kind == untyped {
		switch n.scalar {
		case "true":
			v.SetBool(true)
			return nil
		case "false":
			v.SetBool(false)
			return nil
		}
	}
	return mismatch("true or false", n, echo)
}

// assignInt takes plain decimal digits alone: 010 is eight to some readers, and 1_000 a text to others.
func assignInt(v reflect.Value, n node, echo bool) error {
	if n.kind == number || n.kind == untyped {
		i, err := strconv.ParseInt(n.scalar, 10, 64)
		if errors.Is(err, strconv.ErrRange) || err == nil && v.OverflowInt(i) {
			return fmt.Errorf("is too large a number: %s", quoted(n.scalar))
		}
		if err == nil && strconv.FormatInt(i, 10) == n.scalar {
			v.SetInt(i)
			return nil
		}
	}
	return mismatch("a whole number in plain digits", n, echo)
}

func assignFloat(v reflect.Value, n node, echo bool) error {
	if n.kind == number || n.kind == untyped {
		if f, err := strconv.ParseFloat(n.scalar, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			v.SetFloat(f)
			return nil
		}
	}
	return mismatch("a number", n, echo)
}

func assignDuration(v reflect.Value, n node, echo bool) error {
	const want = "a duration such as 500ms, 5s or 1h30m"
	if n.kind == text || n.kind == number || n.kind == untyped { // a number only as 0, which needs no unit
		d, err := time.ParseDuration(n.scalar)
		if err == nil {
			v.SetInt(int64(d))
			return nil
		}
		if _, err := strconv.ParseFloat(n.scalar, 64); err == nil && echo {
			return fmt.Errorf("must be %s: %s has no unit", want, quoted(n.scalar))
		}
	}
	return mismatch(want, n, echo)
}

// assignList replaces the list: nothing of the default stays. In the environment a comma separates the elements.
func assignList(v reflect.Value, n node, echo bool) error {
	switch n.kind {
	case untyped:
		n.items = splitList(n.scalar)
	case list:
	case text, number, boolean:
		return errors.New("must be a list, such as [a, b]")
	default:
		return mismatch("a list, such as [a, b]", n, echo)
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		if err := assign(out.Index(i), item, echo); err != nil {
			return fmt.Errorf("element %d %w", i+1, err)
		}
	}
	v.Set(out)
	return nil
}

func splitList(s string) []node {
	if strings.TrimSpace(s) == "" {
		return nil
	}
	var items []node
	for part := range strings.SplitSeq(s, ",") {
		item := node{kind: untyped, scalar: strings.TrimSpace(part)}
		if item.scalar == "" {
			item.kind = nothing
		}
		items = append(items, item)
	}
	return items
}

// assignMap replaces the map. In the environment it is written name=value,name=value.
func assignMap(v reflect.Value, n node) error {
	const want = "a mapping of texts, such as {a: b}"
	switch n.kind {
	case mapping:
	case untyped:
		for _, item := range splitList(n.scalar) {
			name, value, ok := strings.Cut(item.scalar, "=")
			if !ok {
				return errors.New("must be written name=value,name=value")
			}
			n.entries = append(n.entries, entry{name: name, value: node{kind: text, scalar: value}})
		}
	default:
		return mismatch(want, n, false)
	}
	out := reflect.MakeMap(v.Type())
	for _, e := range n.entries {
		name := reflect.ValueOf(e.name).Convert(v.Type().Key())
		if out.MapIndex(name).IsValid() {
			return fmt.Errorf("has the name %s twice", quoted(e.name))
		}
		value := reflect.New(v.Type().Elem()).Elem()
		if err := assign(value, e.value, false); err != nil {
			return fmt.Errorf("at %s %w", quoted(e.name), err)
		}
		out.SetMapIndex(name, value)
	}
	v.Set(out)
	return nil
}
