package rules

// This file parses the JSON text of an event into its flat list of properties.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep the objects and arrays of an event may nest, the event
// itself included.
const MaxDepth = 5000

// MaxEvent is the length in bytes of the longest event that is parsed, far beyond
// the 64 KiB of the specification.
const MaxEvent = 64 << 20

// The reasons for which [ParseEvent] refuses an event.
var (
	ErrNotObject    = errors.New("not a JSON object")
	ErrSyntax       = errors.New("malformed JSON")
	ErrDuplicateKey = errors.New("duplicate key in a JSON object")
	ErrTooDeep      = fmt.Errorf("objects and arrays nested deeper than %d", MaxDepth)
	ErrTrailing     = errors.New("data after the JSON object")
	ErrTooLarge     = fmt.Errorf("longer than %d bytes", MaxEvent)
)

// ParseEvent parses one event in client format. Names are exact. It returns an
// error, one of the Err variables of this package with the byte offset, for
// anything but one well-formed JSON object: broken syntax (empty input
// included), invalid UTF-8, a name that occurs twice in an object, too deep
// nesting, data after the object, or excessive length. A property of the wrong
// type is no error.
//
// The errors tell nothing of the content, so they may be logged. The raw bytes
// are copied.
func ParseEvent(raw []byte) (*Event, error) {
	if len(raw) > MaxEvent {
		return nil, ErrTooLarge
	}
	p := parsers.Get().(*parser)
	defer p.release()
	p.ev = &Event{raw: string(raw), nodes: make([]node, 0, 8+len(raw)/48)}
	p.input = *bytes.NewBuffer(raw)
	p.dec.Reset(&p.input)
	if k := p.dec.PeekKind(); k != '{' && k != 0 {
		return nil, ErrNotObject
	}
	if err := p.parse(); err != nil {
		return nil, p.explain(err)
	}
	p.ev.index()
	p.ev.digest()
	return p.ev, nil
}

// parser walks over the tokens of one event. It keeps its own stack: however
// deep the input nests, the parser does not recurse.
type parser struct {
	dec   jsontext.Decoder
	input bytes.Buffer
	ev    *Event
	stack []container
	cur   container
}

// parsers holds parsers that are not in use: most of the cost of a small event
// would be a new decoder.
var parsers = sync.Pool{New: func() any { return new(parser) }}

// maxKept is the length of the longest event after which a parser is kept; longer
// ones may have made it large.
const maxKept = 64 << 10

// release forgets the event and keeps the parser for another.
func (p *parser) release() {
	small := len(p.ev.raw) <= maxKept
	p.ev, p.stack, p.input = nil, p.stack[:0], bytes.Buffer{}
	p.dec.Reset(&p.input)
	if small {
		parsers.Put(p)
	}
}

// container is an object or array that the parser is inside of.
type container struct {
	node  int32 // index in Event.nodes; -1 is the event itself
	hash  pathHash
	array bool
	inert bool // an array or object inside an array: nothing in it matches
}

func (p *parser) parse() error {
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	p.cur = container{node: -1}
	for {
		switch p.dec.PeekKind() {
		case '}', ']':
			if _, err := p.dec.ReadToken(); err != nil {
				return err
			}
			if len(p.stack) == 0 {
				return p.end()
			}
			p.leave()
		default:
			if err := p.step(); err != nil {
				return err
			}
		}
	}
}

// step reads one member of an object or one element of an array, up to its end
// or, if it is an object or array itself, up to its beginning.
func (p *parser) step() error {
	member := container{node: -1, inert: true}
	if !p.cur.array {
		name, err := p.string()
		if err != nil {
			return err
		}
		if !p.cur.inert {
			member = container{node: int32(len(p.ev.nodes)), hash: p.cur.hash.child(name)}
			p.ev.nodes = append(p.ev.nodes, node{hash: member.hash, parent: p.cur.node, name: name})
		}
	}
	k := p.dec.PeekKind()
	if k == '{' || k == '[' {
		return p.enter(member, k == '[')
	}
	v, err := p.dec.ReadValue()
	if err != nil {
		return err
	}
	to := int32(p.dec.InputOffset())
	from := to - int32(len(v))
	switch {
	case member.node >= 0:
		n := &p.ev.nodes[member.node]
		n.from, n.to, n.scalar = from, to, p.scalar(from, to)
	case p.cur.array && !p.cur.inert:
		if s := p.scalar(from, to); s.kind >= null {
			p.ev.entries = append(p.ev.entries, s)
			p.ev.nodes[p.cur.node].n++
		}
	}
	return nil
}

// enter begins an object or array.
func (p *parser) enter(c container, isArray bool) error {
	if p.dec.StackDepth() >= MaxDepth {
		return ErrTooDeep
	}
	if _, err := p.dec.ReadToken(); err != nil {
		return err
	}
	c.array = isArray
	if c.node >= 0 {
		n := &p.ev.nodes[c.node]
		n.from = int32(p.dec.InputOffset()) - 1
		n.kind, n.first = object, int32(len(p.ev.entries))
		if isArray {
			n.kind = array
		}
	}
	p.stack = append(p.stack, p.cur)
	p.cur = c
	return nil
}

// leave ends the object or array whose last token was read.
func (p *parser) leave() {
	if p.cur.node >= 0 {
		p.ev.nodes[p.cur.node].to = int32(p.dec.InputOffset())
	}
	p.cur = p.stack[len(p.stack)-1]
	p.stack = p.stack[:len(p.stack)-1]
}

// end checks that nothing follows the event.
func (p *parser) end() error {
	switch _, err := p.dec.ReadToken(); {
	case err == io.EOF:
		return nil
	default:
		return ErrTrailing
	}
}

// string reads a string, as a part of the event's text where it has no escapes.
func (p *parser) string() (string, error) {
	v, err := p.dec.ReadValue()
	if err != nil {
		return "", err
	}
	to := int32(p.dec.InputOffset())
	return unquote(p.ev.raw[to-int32(len(v)) : to]), nil
}

// scalar interprets the scalar at a place of the event's text.
func (p *parser) scalar(from, to int32) scalar {
	return parseScalar(p.ev.raw[from:to])
}

// parseScalar interprets the text of a valid JSON value. Floats, integers out
// of range, arrays and objects are inert.
func parseScalar(raw string) scalar {
	switch raw[0] {
	case '"':
		return scalar{kind: text, str: unquote(raw)}
	case 't':
		return scalar{kind: boolean, num: 1}
	case 'f':
		return scalar{kind: boolean}
	case 'n':
		return scalar{kind: null}
	case '[', '{':
		return scalar{}
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil || n > maxInteger || n < -maxInteger {
		return scalar{}
	}
	return scalar{kind: integer, num: n}
}

// unquote returns the string of a valid JSON string, without copying it if it
// has no escapes.
func unquote(raw string) string {
	if strings.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	s, _ := jsontext.AppendUnquote(nil, raw) // valid: the decoder has read it
	return string(s)
}

// index builds the hash table of the properties, at most half full.
func (e *Event) index() {
	size := 8
	for size < 2*len(e.nodes) {
		size *= 2
	}
	e.table = make([]int32, size)
	for i := range e.nodes {
		j := int(e.nodes[i].hash) & (size - 1)
		for e.table[j] != 0 {
			j = (j + 1) & (size - 1)
		}
		e.table[j] = int32(i + 1)
	}
}

// explain turns the decoder's error into one that tells the reason and the
// place, but nothing of the content.
func (p *parser) explain(err error) error {
	reason := ErrSyntax
	switch {
	case errors.Is(err, ErrTooDeep), errors.Is(err, ErrTrailing):
		reason = err
	case errors.Is(err, jsontext.ErrDuplicateName):
		reason = ErrDuplicateKey
	}
	return fmt.Errorf("%w (at byte %d)", reason, p.dec.InputOffset())
}
