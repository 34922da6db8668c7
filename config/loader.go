package config

// One reading of a configuration: the file, above it the environment, then the files of secrets, then what the sections themselves
// demand. Nothing stops at the first fault.

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"
)

// loader fills one struct and collects faults.
type loader struct {
	*schema
	origins map[string]origin                    // of the values that were given, by path; a secret's also if its file was given
	files   map[string]secretFile                // of secrets, by the path of the secret
	broken  map[string]bool                      // paths with a fault: what their section says about the default that stands there would mislead
	named   map[string][]*namedSection           // the sections that have names, by the path of the mapping that they are in
	unknown func(section, name string, at Place) // reports a name that is no key
	faults  *Faults                              // of all, also of the sections that have names
}

// origin is where a value was given, and under which name: that of a secret, or that of its file.
type origin struct {
	Place
	name string
}

// parse fills the struct that pointer points to, which holds the defaults, with what root and above it the environment say.
func parse(pointer any, file string, root node, environ []string) Faults {
	l := newLoader(schemaOf(pointer), new(Faults))
	l.fill("", root, Place{File: file})
	l.environment(environ)
	l.readSecrets()
	if root.kind != refused {
		l.keepNamed()
		l.validate()
	}
	return *l.faults
}

func newLoader(s *schema, faults *Faults) *loader {
	l := &loader{
		schema:  s,
		origins: map[string]origin{},
		files:   map[string]secretFile{},
		broken:  map[string]bool{},
		named:   map[string][]*namedSection{},
		faults:  faults,
	}
	l.unknown = l.unknownKey
	return l
}

// report adds a fault of a path.
func (l *loader) report(at Place, path, message string) {
	*l.faults = append(*l.faults, Fault{Path: path, Place: at, Message: message})
	l.broken[path] = true
	if k := l.byPath[path]; k != nil {
		l.broken[k.target()] = true
	}
}

// fill sets the keys of a section from a mapping.
func (l *loader) fill(section string, n node, at Place) {
	l.origins[section] = origin{Place: at}
	switch n.kind {
	case nothing, refused: // nothing: all its keys are comments
		return
	case mapping:
	default:
		l.report(at, section, fmt.Sprintf("must be a mapping of keys to values, not %s", n.kind))
		return
	}
	l.each(n.entries, at, func(name string) string { return join(section, name) }, func(e entry, at Place) { l.entry(section, e, at) })
}

// each calls do for the entries of a mapping, with their places. A name that is there again is a fault of its path.
func (l *loader) each(entries []entry, source Place, path func(name string) string, do func(entry, Place)) {
	seen := map[string]entry{}
	for _, e := range entries {
		at := e.place.from(source)
		first, twice := seen[e.name]
		switch {
		case e.refused:
		case twice && readable(e.name):
			l.report(at, path(e.name), again(first))
		default:
			seen[e.name] = e
			do(e, at)
		}
	}
}

func again(first entry) string {
	if first.place.Line == 0 {
		return "is given twice: keep one"
	}
	return fmt.Sprintf("is given twice, first in line %d: keep one", first.place.Line)
}

func (l *loader) entry(section string, e entry, at Place) {
	path := join(section, e.name)
	_, inner := l.sections[path]
	k := l.byPath[path]
	switch {
	case !readable(e.name):
		l.report(at, section, quoted(e.name)+" is not a key")
	case strings.Contains(e.name, "."):
		l.report(at, path, "is not a key: names have no dots; write a section as a mapping, with its keys indented below it")
	case k != nil && k.named && e.value.kind == nothing: // all that is in it are comments
	case inner && k == nil:
		l.fill(path, e.value, at)
	case k == nil:
		l.unknown(section, e.name, at)
	case e.value.kind == refused:
		l.broken[k.target()] = true
	default:
		l.set(k, e.value, at)
	}
}

func (l *loader) unknownKey(section, name string, at Place) {
	l.report(at, join(section, name), didYouMean("is not a key", l.suggestPath(section, name)))
}

// readable says that a name can stand in a path.
func readable(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) })
}

func didYouMean(message, suggestion string) string {
	if suggestion == "" {
		return message
	}
	return message + "; did you mean " + suggestion + "?"
}

// set gives a key its value. The environment is read after the file and wins.
func (l *loader) set(k *key, n node, at Place) {
	target := k.target()
	before, given := l.origins[target]
	if given && (before.Variable == "") == (at.Variable == "") { // by one source: a secret and its file
		l.report(at, k.path, fmt.Sprintf("is given together with %s: keep one", before.name))
		return
	}
	l.origins[target] = origin{Place: at, name: k.path}
	delete(l.files, target)
	switch {
	case k.named:
		l.setNamed(k, n, at)
		return
	case k.isType && n.kind == nothing: // the section says what it can be
		return
	}
	var err error
	if k.isFile() {
		file := secretFile{key: k}
		if err = assign(reflect.ValueOf(&file.name).Elem(), n, true); err == nil {
			l.files[target] = file
		}
	} else {
		err = assign(k.value, n, !k.secret)
	}
	if err != nil {
		l.report(at, k.path, err.Error())
	}
}

// validate asks every section that has a Validate method. Each line of its error begins with the path of a key inside the section.
func (l *loader) validate() {
	said := map[string]bool{}
	for _, section := range l.order {
		l.ask(section, said)
		for _, s := range l.named[section] {
			s.validate()
		}
	}
}

func (l *loader) ask(section string, said map[string]bool) {
	v, ok := l.sections[section].Addr().Interface().(interface{ Validate() error })
	if !ok {
		return
	}
	err := v.Validate()
	if err == nil {
		return
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		path, key, message := l.address(section, line)
		// A section may also ask those inside it on its own.
		if l.broken[key] || said[path+": "+message] {
			continue
		}
		said[path+": "+message] = true
		*l.faults = append(*l.faults, Fault{Path: path, Place: l.whereIs(key), Message: message})
	}
}

// address splits a line of a section's error into the path it is about and the message. The key is the path without an index. A mapping of
// names to sections puts a name in brackets.
func (l *loader) address(section, line string) (path, key, message string) {
	name, message, ok := strings.Cut(line, ": ")
	if _, named := l.origins[section+name]; ok && named && strings.HasPrefix(name, "[") {
		return section + name, section + name, message
	}
	if key := join(section, withoutIndex(name)); ok && name != "" && l.has(key) {
		return join(section, name), key, message
	}
	return section, section, line
}

// withoutIndex cuts brokers[2] to brokers.
func withoutIndex(name string) string {
	if i := strings.IndexByte(name, '['); i > 0 && strings.HasSuffix(name, "]") {
		return name[:i]
	}
	return name
}

// whereIs is the place of a path, or if it was not given, that of the section around it that was.
func (l *loader) whereIs(path string) Place {
	for ; path != ""; path = parent(path) {
		if o, ok := l.origins[path]; ok {
			return o.Place
		}
	}
	return Place{}
}
