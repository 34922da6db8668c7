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
	file    string                // for messages; empty if it has no name
	origins map[string]origin     // of the values that were given, by path; a secret's also if its file was given
	files   map[string]secretFile // of secrets, by the path of the secret
	broken  map[string]bool       // paths with a fault: what their section says about the default that stands there would mislead
	faults  Faults
}

// origin is where a value was given, and under which name: that of a secret, or that of its file.
type origin struct {
	Place
	name string
}

// parse fills the struct that pointer points to, which holds the defaults, with what root and above it the environment say.
func parse(pointer any, file string, root node, environ []string) Faults {
	l := &loader{
		schema:  schemaOf(pointer),
		file:    file,
		origins: map[string]origin{},
		files:   map[string]secretFile{},
		broken:  map[string]bool{},
	}
	l.fill("", root, Place{File: file})
	l.environment(environ)
	l.readSecrets()
	if root.kind != refused {
		l.validate()
	}
	return l.faults
}

// report adds a fault of a path.
func (l *loader) report(at Place, path, message string) {
	l.faults = append(l.faults, Fault{Path: path, Place: at, Message: message})
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
	seen := map[string]entry{}
	for _, e := range n.entries {
		at := e.place
		at.File = l.file
		if first, twice := seen[e.name]; twice {
			l.report(at, join(section, e.name), again(first))
			continue
		}
		seen[e.name] = e
		l.entry(section, e, at)
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
	case e.name == mergeKey: // a fault already
	case !readable(e.name):
		l.report(at, section, quoted(e.name)+" is not a key")
	case strings.Contains(e.name, "."):
		l.report(at, path, "is not a key: names have no dots; write a section as a mapping, with its keys indented below it")
	case inner:
		l.fill(path, e.value, at)
	case k == nil:
		l.report(at, path, didYouMean("is not a key", l.suggestPath(section, e.name)))
	case e.value.kind == refused:
		l.broken[k.target()] = true
	default:
		l.set(k, e.value, at)
	}
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
		v, ok := l.sections[section].Interface().(interface{ Validate() error })
		if !ok {
			continue
		}
		err := v.Validate()
		if err == nil {
			continue
		}
		for line := range strings.SplitSeq(err.Error(), "\n") {
			path, message := l.address(section, line)
			// A section may also ask those inside it on its own.
			if l.broken[path] || said[path+": "+message] {
				continue
			}
			said[path+": "+message] = true
			l.faults = append(l.faults, Fault{Path: path, Place: l.whereIs(path), Message: message})
		}
	}
}

// address splits a line of a section's error into the path it is about and the message.
func (l *loader) address(section, line string) (path, message string) {
	name, message, ok := strings.Cut(line, ": ")
	if ok && name != "" && l.has(join(section, withoutIndex(name))) {
		return join(section, name), message
	}
	return section, line
}

func (l *loader) has(path string) bool {
	_, section := l.sections[path]
	return section || l.byPath[path] != nil
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
	for path = withoutIndex(path); path != ""; path = parent(path) {
		if o, ok := l.origins[path]; ok {
			return o.Place
		}
	}
	return Place{}
}
