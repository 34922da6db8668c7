package apns

// JSON that can be made smaller.

import (
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value value
	spare bool // it came from the pusher's data: the notification is the same without it
}

// value is JSON that knows which of its texts may be cut.
type value interface {
	// append appends the value, each text that may be cut in at most limit bytes between its quotes.
	append(b []byte, limit int) []byte
}

type (
	raw    jsontext.Value // as it came
	text   string         // it may be cut
	texts  []text
	number int
)

// whole is a limit that cuts nothing.
const whole = int(^uint(0) >> 1)

func (o object) append(b []byte, limit int) []byte {
	b = append(b, '{')
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b, _ = jsontext.AppendQuote(b, m.name) // the error tells of bytes that are not UTF-8; U+FFFD stands in for them
		b = m.value.append(append(b, ':'), limit)
	}
	return append(b, '}')
}

func (r raw) append(b []byte, _ int) []byte { return append(b, r...) }

func (n number) append(b []byte, _ int) []byte { return strconv.AppendInt(b, int64(n), 10) }

func (t text) append(b []byte, limit int) []byte {
	start := len(b) + 1
	b, _ = jsontext.AppendQuote(b, string(t))
	if len(b)-1-start <= limit {
		return b
	}
	end := start
	for size := sizeAt(b, end); end+size-start <= limit; size = sizeAt(b, end) {
		end += size
	}
	return append(b[:end], '"')
}

// sizeAt is how many bytes the character takes that begins at i in a quoted text.
func sizeAt(b []byte, i int) int {
	if b[i] != '\\' {
		_, size := utf8.DecodeRune(b[i:])
		return size
	}
	if b[i+1] == 'u' { // a control character: pairs are not written so
		return len(`\u0000`)
	}
	return len(`\n`)
}

func (ts texts) append(b []byte, limit int) []byte {
	b = append(b, '[')
	for i, t := range ts {
		if i > 0 {
			b = append(b, ',')
		}
		b = t.append(b, limit)
	}
	return append(b, ']')
}

// encode is the object as JSON, each text that may be cut in at most limit bytes.
func (o object) encode(limit int) []byte { return o.append(make([]byte, 0, 512), limit) }

func (o object) find(name string) int {
	return slices.IndexFunc(o, func(m member) bool { return m.name == name })
}

// set gives the object that member, in its place if there is one of that name.
func (o *object) set(name string, v value) {
	if i := o.find(name); i >= 0 {
		(*o)[i] = member{name: name, value: v}
		return
	}
	*o = append(*o, member{name: name, value: v})
}

// with is another object, with that member.
func (o object) with(name string, v value) object {
	o = slices.Clone(o)
	o.set(name, v)
	return o
}

func (o object) without(names ...string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return slices.Contains(names, m.name) })
}

// parse reads a JSON object whose members the notification can do without. It is nil if r is no object.
func parse(r jsontext.Value) object {
	var o object
	if json.Unmarshal(r, &o) != nil {
		return nil
	}
	return o
}

// UnmarshalJSONFrom implements [json.UnmarshalerFrom]: an object keeps the order of its members and their bytes, anything else is nil.
func (o *object) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*o = nil
	if d.PeekKind() != '{' {
		return d.SkipValue()
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*o = make(object, 0, 8)
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		m := member{name: name.String(), spare: true}
		v, err := d.ReadValue()
		if err != nil {
			return err
		}
		m.value = raw(v.Clone())
		*o = append(*o, m)
	}
	_, err := d.ReadToken()
	return err
}
