package config

// Values as somebody wrote them, before they have a Go type: the common ground of the YAML file, JSON and the environment.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

type kind int

const (
	nothing kind = iota // null, or a key without a value
	text
	number
	boolean
	list
	mapping
	untyped // a text of the environment, which may mean any of those above
	refused // a fault already: nothing more is to be said of it
)

func (k kind) String() string {
	return [...]string{"nothing", "a text", "a number", "true or false", "a list", "a mapping", "a text", "refused"}[k]
}

// node is one value with all that it holds.
type node struct {
	kind    kind
	scalar  string  // of text, number, boolean and untyped: as written, without quotes
	items   []node  // of a list
	entries []entry // of a mapping, in the order written, a repeated name twice
}

// entry is a name of a mapping and its value.
type entry struct {
	name    string
	value   node
	place   Place // of the name, without the file
	refused bool  // the name is a fault already
}

// maxFile bounds a configuration file, in bytes. A real one has a few KiB; the YAML parser takes minutes for megabytes of brackets.
const maxFile = 256 << 10

// maxBrackets bounds the brackets and braces that a document opens: of 100,000 within each other the YAML parser makes gigabytes.
const maxBrackets = 5_000

// fromYAML reads a document. A text that is not YAML is one fault, and a node that is refused as a whole; of YAML that is not supported
// each part is a fault.
func fromYAML(data []byte) (node, Faults) {
	if len(data) > maxFile {
		return node{kind: refused}, Faults{{Message: fmt.Sprintf("has %d bytes; a configuration has at most %d", len(data), maxFile)}}
	}
	if n := bytes.Count(data, []byte("[")) + bytes.Count(data, []byte("{")); n > maxBrackets {
		return node{kind: refused}, Faults{{Message: fmt.Sprintf("has %d brackets and braces; a configuration has at most %d", n, maxBrackets)}}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if !utf8.Valid(data) {
		line := 1 + bytes.Count(data[:invalidAt(data)], []byte("\n"))
		return node{kind: refused}, Faults{{Place: Place{Line: line, Column: 1}, Message: "is not UTF-8: save it as UTF-8 text"}}
	}
	file, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return node{kind: refused}, Faults{syntaxFault(err, data)}
	}
	y := yamlReader{}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case doc.Body.Type() == ast.DirectiveType:
			y.refuse(doc.Body, "directives are not supported: remove this line")
		case body != nil:
			y.refuse(doc.Body, "a second YAML document: keep one, without ---")
		default:
			body = doc.Body
		}
	}
	root := y.read(body)
	return root, y.faults
}

func invalidAt(data []byte) int {
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && size == 1 {
			return i
		}
		i += size
	}
	return len(data)
}

// syntaxFault keeps the parser's message and place, and leaves out the lines of the file that it quotes: they may hold a password.
func syntaxFault(err error, data []byte) Fault {
	var e yaml.Error
	if !errors.As(err, &e) {
		return Fault{Message: "is not YAML"}
	}
	f := Fault{Place: placeOf(e), Message: "is not YAML: " + e.GetMessage()}
	if lines := bytes.SplitN(data, []byte("\n"), f.Place.Line+1); f.Place.Line <= len(lines) && bytes.HasPrefix(bytes.TrimLeft(lines[f.Place.Line-1], " "), []byte("*")) {
		f.Message += "; put a text that begins with * in quotes"
	}
	return f
}

// yamlReader turns the parser's tree into nodes.
type yamlReader struct {
	faults Faults
}

func (y *yamlReader) refuse(n ast.Node, message string) {
	y.faults = append(y.faults, Fault{Place: placeOf(n), Message: message})
}

// placeOf is where the parser met a node or an error, without the file's name.
func placeOf(n interface{ GetToken() *token.Token }) Place {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return Place{Line: t.Position.Line, Column: t.Position.Column}
	}
	return Place{Line: 1, Column: 1}
}

func (y *yamlReader) read(n ast.Node) node {
	if n == nil {
		return node{}
	}
	var out node
	switch n := n.(type) {
	case *ast.NullNode, *ast.CommentGroupNode:
	case *ast.StringNode:
		out.kind, out.scalar = text, n.Value
	case *ast.LiteralNode:
		out.kind, out.scalar = text, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		out.kind, out.scalar = number, written(n.GetToken())
	case *ast.BoolNode:
		out.kind, out.scalar = boolean, written(n.GetToken())
	case *ast.SequenceNode:
		out.kind = list
		for _, v := range n.Values {
			out.items = append(out.items, y.read(v))
		}
	case *ast.MappingNode:
		out.kind = mapping
		for _, v := range n.Values {
			out.entries = append(out.entries, y.entry(v))
		}
	case *ast.MappingValueNode:
		out.kind, out.entries = mapping, []entry{y.entry(n)}
	case *ast.AnchorNode, *ast.AliasNode:
		out.kind = refused
		y.refuse(n, "anchors and aliases are not supported: write the value out, and put a text that begins with & or * in quotes")
	case *ast.TagNode:
		out.kind = refused
		y.refuse(n, "tags are not supported: put a text that begins with ! in quotes")
	default:
		out.kind = refused
		y.refuse(n, "this YAML is not supported: write plain keys and values")
	}
	return out
}

func (y *yamlReader) entry(n *ast.MappingValueNode) entry {
	e := entry{value: y.read(n.Value)}
	var key ast.Node = n.Key
	if explicit, ok := key.(*ast.MappingKeyNode); ok && explicit.Value != nil { // ? key
		key = explicit.Value
	}
	e.place = placeOf(key)
	switch key := key.(type) {
	case *ast.StringNode:
		e.name = key.Value
	case *ast.MergeKeyNode:
		e.refused = true
		y.refuse(key, "merge keys (<<) are not supported: write the keys out")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		e.refused = true
		y.refuse(key, "anchors, aliases and tags are not supported: put a text that begins with &, * or ! in quotes")
	default:
		if t := key.GetToken(); t != nil {
			e.name = t.Value
		}
	}
	return e
}

// written is a plain scalar as it stands in the file.
func written(t *token.Token) string {
	if t == nil {
		return ""
	}
	return strings.TrimSpace(t.Value)
}

// fromJSON reads one JSON value. Names are exact; repeated ones are left to the reader of the node, who can tell which.
func fromJSON(data []byte) (node, Faults) {
	d := jsontext.NewDecoder(bytes.NewReader(data), jsontext.AllowDuplicateNames(true))
	n, err := readJSON(d)
	if err == nil {
		if _, err := d.ReadToken(); err == io.EOF { // nothing more
			return n, nil
		}
	}
	// The decoder's own message may quote a value: the place alone is said.
	return node{kind: refused}, Faults{{Message: fmt.Sprintf("is not JSON, at byte %d", d.InputOffset())}}
}

func readJSON(d *jsontext.Decoder) (node, error) {
	t, err := d.ReadToken()
	if err != nil {
		return node{}, err
	}
	switch t.Kind() {
	case 'n':
		return node{}, nil
	case 't', 'f':
		return node{kind: boolean, scalar: t.String()}, nil
	case '"':
		return node{kind: text, scalar: t.String()}, nil
	case '0':
		return node{kind: number, scalar: t.String()}, nil
	case '[':
		return readJSONList(d)
	default:
		return readJSONMapping(d)
	}
}

func readJSONList(d *jsontext.Decoder) (node, error) {
	n := node{kind: list}
	for d.PeekKind() != ']' {
		item, err := readJSON(d)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	_, err := d.ReadToken()
	return n, err
}

func readJSONMapping(d *jsontext.Decoder) (node, error) {
	n := node{kind: mapping}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return node{}, err
		}
		e := entry{name: name.String()}
		if e.value, err = readJSON(d); err != nil {
			return node{}, err
		}
		n.entries = append(n.entries, e)
	}
	_, err := d.ReadToken()
	return n, err
}
