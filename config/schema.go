package config

// Keys, read off the Go struct that holds their values.

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
	"time"

	"tocsin/credential"
)

// key is one key of the configuration: a field that is no section, the name of a file that holds a secret field's value, or a mapping of
// names to sections.
type key struct {
	path   string // kafka.sasl.username
	doc    string // what it means, from the field's doc tag
	value  reflect.Value
	secret bool
	holds  string // of password_file: the path of password, whose value it holds; else empty
	named  bool   // a mapping of names to sections
	isType bool   // what such a section is
}

func (k *key) isFile() bool { return k.holds != "" }

// target is the path of the value that the key gives.
func (k *key) target() string {
	if k.isFile() {
		return k.holds
	}
	return k.path
}

// schema is all that may stand in a configuration, or in a section that has a name.
type schema struct {
	base     string                   // path of the section with a name; else empty
	keys     []*key                   // in the order of the fields
	byPath   map[string]*key          // of keys
	sections map[string]reflect.Value // structs, and mappings of names to them, by path; the whole is ""
	order    []string                 // paths of sections in the order of the fields, without the whole
}

var (
	secretType   = reflect.TypeFor[credential.Secret]()
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// schemaOf reads the schema of a struct: its fields with a yaml tag that is not "-". A struct that can't be one panics: that is
// a mistake of a programmer, not of a user.
func schemaOf(pointer any) *schema {
	s := newSchema("")
	s.section("", reflect.ValueOf(pointer).Elem())
	return s
}

func newSchema(base string) *schema {
	return &schema{base: base, byPath: map[string]*key{}, sections: map[string]reflect.Value{}}
}

func (s *schema) add(k key) {
	if s.byPath[k.path] != nil {
		panic("config: two fields are called " + k.path)
	}
	s.keys = append(s.keys, &k)
	s.byPath[k.path] = &k
}

func (s *schema) addSection(path string, v reflect.Value) {
	s.sections[path] = v
	if path != "" {
		s.order = append(s.order, path)
	}
}

func (s *schema) has(path string) bool {
	_, section := s.sections[path]
	return section || s.byPath[path] != nil
}

func (s *schema) section(path string, v reflect.Value) {
	s.addSection(path, v)
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := field.Tag.Get("yaml")
		if name == "-" || !field.IsExported() {
			continue
		}
		if name == "" || strings.ContainsAny(name, ".,") {
			panic(fmt.Sprintf("config: %s.%s needs a plain yaml tag, or \"-\"", v.Type(), field.Name))
		}
		k := key{path: join(path, name), doc: field.Tag.Get("doc"), value: v.Field(i), secret: field.Type == secretType}
		if isSection(field.Type) {
			s.section(k.path, k.value)
			continue
		}
		if k.named = isNamed(field.Type) && s.base == ""; k.named {
			s.addSection(k.path, k.value)
		} else if !supported(field.Type) {
			panic(fmt.Sprintf("config: %s can't be a %s", k.path, field.Type))
		}
		s.add(k)
		if k.secret {
			s.add(key{path: k.path + "_file", value: k.value, holds: k.path})
		}
	}
}

// isSection tells a struct with keys of its own from one that is written as a text, as time.Time is.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(textType)
}

func supported(t reflect.Type) bool {
	if reflect.PointerTo(t).Implements(textType) {
		return true
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return true
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Slice && t.Elem().Kind() != reflect.Map && supported(t.Elem())
	case reflect.Map:
		return t.Key().Kind() == reflect.String && t.Elem().Kind() == reflect.String
	}
	return false
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// inBrackets is the path of a section that has a name. Names may have dots and brackets of their own; those of keys and of other sections have
// neither.
func inBrackets(path, name string) string { return path + "[" + name + "]" }

// parent is the path of the section that the path of a key or a section stands in.
func parent(path string) string {
	if strings.HasSuffix(path, "]") {
		return path[:strings.IndexByte(path, '[')]
	}
	return path[:max(0, strings.LastIndexByte(path, '.'))]
}

func lastName(path string) string {
	return path[strings.LastIndexByte(path, '.')+1:]
}
