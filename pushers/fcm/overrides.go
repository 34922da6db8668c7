package fcm

// What an operator puts into each message.

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Overrides is what each message of an app has besides what it tells: the options of its platforms, as FCM defines them (FCM HTTP v1, Message). The
// zero value is nothing.
type Overrides struct {
	text    string
	android []member
	others  []member
}

// member is a member of a JSON object.
type member struct {
	name  string
	value jsontext.Value
}

// overridable are the members of a message that an operator may set. The others say whom it goes to and what it tells.
var overridable = []string{"android", "apns", "fcm_options", "notification", "webpush"}

// maxOverrides bounds what overrides take of the room in a message.
const maxOverrides = 1536

// UnmarshalText reads a JSON object.
func (o *Overrides) UnmarshalText(text []byte) error {
	*o = Overrides{}
	if len(bytes.TrimSpace(text)) == 0 {
		return nil
	}
	all, err := members(text)
	if err != nil {
		return errors.New("it is not a JSON object such as {\"android\":{\"priority\":\"high\"}}")
	}
	parsed := Overrides{text: string(text)}
	size := 0
	for _, m := range all {
		inside, err := members(m.value)
		switch {
		case !slices.Contains(overridable, m.name):
			return fmt.Errorf("%q can't be set: only %s can", m.name, strings.Join(overridable, ", "))
		case err != nil:
			return fmt.Errorf("%s is not a JSON object", m.name)
		case m.name == "android":
			parsed.android = inside
		default:
			parsed.others = append(parsed.others, m)
		}
		size += len(m.value)
	}
	if size > maxOverrides {
		return fmt.Errorf("it takes %d bytes of each message, which has 4096 in all: at most %d are left to it", size, maxOverrides)
	}
	*o = parsed
	return nil
}

// UnmarshalJSON reads the object where it is not in a text of its own.
func (o *Overrides) UnmarshalJSON(raw []byte) error { return o.UnmarshalText(raw) }

// MarshalText is what was read.
func (o Overrides) MarshalText() ([]byte, error) { return []byte(o.text), nil }

// String is what was read.
func (o Overrides) String() string { return o.text }

// members are the members of a JSON object in their order, their values without spaces.
func members(raw []byte) ([]member, error) {
	value := jsontext.Value(bytes.Clone(raw))
	if err := value.Compact(); err != nil {
		return nil, err
	}
	l := list{of: value}
	if err := json.Unmarshal(value, &l); err != nil {
		return nil, err
	}
	return l.members, nil
}

// list reads the members of a JSON object without a copy of each.
type list struct {
	of      jsontext.Value // what is read
	members []member
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (l *list) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '{' {
		return errors.New("it is not an object")
	}
	_, _ = d.ReadToken() // it is there
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		m := member{name: name.String()}
		inside, err := d.ReadValue()
		if err != nil {
			return err
		}
		end := int(d.InputOffset())
		m.value = l.of[end-len(inside) : end : end] // what the decoder hands out is its own
		l.members = append(l.members, m)
	}
	_, err := d.ReadToken()
	return err
}
