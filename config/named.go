package config

// Sections that operators name, in a mapping of names to sections. Each is of one of several kinds, as its key `type` says, and has the keys of
// that kind.

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// kinds is a field with sections that operators name: a map by names, whose type also has a method New(kind string) of the map's values. That
// makes a pointer to a struct, which holds the defaults of a kind; or nil, of what is no kind.
type kinds interface{ Kinds() []string }

// typeKey is the key of such a section that says of which kind it is.
const typeKey = "type"

func isNamed(t reflect.Type) bool {
	return t.Kind() == reflect.Map && t.Key().Kind() == reflect.String && t.Implements(reflect.TypeFor[kinds]())
}

func kindsOf(m reflect.Value) []string { return m.Interface().(kinds).Kinds() }

func newOf(m reflect.Value, kind string) reflect.Value {
	return m.MethodByName("New").Call([]reflect.Value{reflect.ValueOf(kind)})[0]
}

// structIn is the struct that a value of the map points to; not valid if it is nil.
func structIn(v reflect.Value) reflect.Value {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	return v
}

// namedSection reads one section that has a name.
type namedSection struct {
	*loader
	kind string
	all  reflect.Value // the mapping that it is in
}

// newNamed is a section of the mapping k. Without a struct it has no keys but its type.
func (l *loader) newNamed(k *key, name, kind string, settings reflect.Value) *namedSection {
	schema := newSchema(inBrackets(k.path, name))
	schema.add(key{path: join(schema.base, typeKey), value: reflect.New(reflect.TypeFor[string]()).Elem(), isType: true})
	if settings.IsValid() {
		schema.section(schema.base, settings)
	}
	s := &namedSection{newLoader(schema, l.faults), kind, k.value}
	s.unknown = s.unknownKey
	l.named[k.path] = append(l.named[k.path], s)
	return s
}

// setNamed replaces the sections of a mapping. They are nothing that depends on what was there before.
func (l *loader) setNamed(k *key, n node, at Place) {
	delete(l.named, k.path)
	for path := range l.origins {
		if strings.HasPrefix(path, k.path+"[") {
			delete(l.origins, path)
		}
	}
	if n.kind == untyped {
		n = l.readVariable(k, n.scalar, at)
	}
	switch n.kind {
	case nothing, mapping:
	case refused:
		l.broken[k.path] = true
		return
	default:
		l.report(at, k.path, fmt.Sprintf("must be a mapping of names to sections, not %s", n.kind))
		return
	}
	sections := reflect.MakeMap(k.value.Type())
	l.each(n.entries, at, func(name string) string { return inBrackets(k.path, name) }, func(e entry, at Place) {
		if !readable(e.name) {
			l.report(at, k.path, quoted(e.name)+" can't be a name: it must have letters, and neither spaces nor line breaks")
			return
		}
		name := reflect.ValueOf(e.name).Convert(sections.Type().Key())
		sections.SetMapIndex(name, l.readNamed(k, e, at)) // nil is for Validate of the mapping, which may know what is wrong with the name
	})
	k.value.Set(sections)
}

// readVariable reads the mapping that a variable of the environment holds.
func (l *loader) readVariable(k *key, text string, at Place) node {
	n, faults := fromYAML([]byte(text))
	for _, f := range faults {
		l.report(f.Place.from(at), k.path, f.Message)
	}
	return n
}

// readNamed reads a section of the mapping k. It is nil if it is of no kind.
func (l *loader) readNamed(k *key, e entry, at Place) reflect.Value {
	kind := kindIn(e.value)
	made := newOf(k.value, kind)
	s := l.newNamed(k, e.name, kind, structIn(made))
	l.origins[s.base] = origin{Place: at}
	s.fill(s.base, e.value, at)
	if e.value.kind != refused && !s.broken[s.base] {
		s.checkKind(at)
	}
	return made
}

// kindIn is what a section says that it is; empty if it says nothing that can be read.
func kindIn(n node) string {
	if i := slices.IndexFunc(n.entries, func(e entry) bool { return e.name == typeKey }); i >= 0 && n.entries[i].value.kind == text {
		return n.entries[i].value.scalar
	}
	return ""
}

// known says that the section is of a kind.
func (s *namedSection) known() bool { return len(s.order) > 0 }

// checkKind reports a section that is of no kind.
func (s *namedSection) checkKind(at Place) {
	path, all := join(s.base, typeKey), kindsOf(s.all)
	if given, ok := s.origins[path]; ok {
		at = given.Place
	}
	switch words := strings.Join(all, ", "); {
	case s.known() || s.broken[path]:
	case s.kind == "":
		s.report(at, path, "is required: one of "+words)
	default:
		s.report(at, path, didYouMean(fmt.Sprintf("%s is none of %s", quoted(s.kind), words), nearest(s.kind, all)))
	}
}

// unknownKey reports a name that is no key of the section's kind. As long as it is of none, that is all that can be said of it; unless the name
// is a slip for the key that says it.
func (s *namedSection) unknownKey(section, name string, at Place) {
	path, suggestion := join(section, name), s.suggestPath(section, name)
	if !s.known() {
		if suggestion != "" {
			s.report(at, path, didYouMean("is not a key", suggestion))
			s.broken[suggestion] = true
		}
		return
	}
	message := "is not a key of type " + s.kind
	if others := kindsWith(s.all, strings.TrimPrefix(path, s.base+".")); len(others) > 0 {
		message += ", but of " + strings.Join(others, ", ")
	}
	s.report(at, path, didYouMean(message, suggestion))
}

// kindsWith are the kinds that have a key of that path.
func kindsWith(m reflect.Value, path string) []string {
	return slices.DeleteFunc(slices.Clone(kindsOf(m)), func(kind string) bool {
		return !schemaOf(structIn(newOf(m, kind)).Addr().Interface()).has(path)
	})
}

// keepNamed makes the sections known that are there already and were not replaced, so that they are asked, too, what can't be right of them.
func (l *loader) keepNamed() {
	for _, k := range l.keys {
		if _, replaced := l.origins[k.path]; replaced || !k.named {
			continue
		}
		names := k.value.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
		for _, name := range names {
			settings := structIn(k.value.MapIndex(name))
			if settings.IsValid() && !settings.CanAddr() { // no pointer to it
				copied := reflect.New(settings.Type()).Elem()
				copied.Set(settings)
				settings = copied
			}
			s := l.newNamed(k, name.String(), "", settings)
			l.origins[s.base] = origin{}
			if !settings.IsValid() {
				s.report(Place{}, s.base, "is nothing: give it settings, or remove it")
			}
		}
	}
}
