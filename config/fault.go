package config

// What is wrong with a configuration, said to the person who wrote it.

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong. It never holds the value of a secret.
type Fault struct {
	Path    string // the key, as kafka.sasl.username or apps[im.vector.app.*].key_id; empty if the whole file is meant
	Place   Place
	Message string // what is wrong and what to do, without the path
}

// Place is where a value was written. The zero value is nowhere: the value is the default.
type Place struct {
	File         string // empty if it is not in a file, or if the file has no name
	Line, Column int    // in the file, or in a variable that holds a whole section, counted from 1; else 0
	Variable     string // of the environment; empty if it is not from there
}

// from is the place in the file or the variable that another one is in.
func (p Place) from(source Place) Place {
	p.File, p.Variable = source.File, source.Variable
	return p
}

// String is the place as compilers write it.
func (p Place) String() string {
	switch source := p.File + p.Variable; { // one of them at most
	case p.Line == 0:
		return source
	case source == "":
		return fmt.Sprintf("line %d:%d", p.Line, p.Column)
	default:
		return fmt.Sprintf("%s:%d:%d", source, p.Line, p.Column)
	}
}

// String is the fault on one line: place, path, message.
func (f Fault) String() string {
	var parts []string
	if place := f.Place.String(); place != "" {
		parts = append(parts, place)
	}
	if f.Path != "" {
		parts = append(parts, f.Path)
	}
	return strings.Join(append(parts, f.Message), ": ")
}

// Faults is everything that is wrong with a configuration: the error of [Load], [Parse], [Merge] and [Config.Validate].
type Faults []Fault

// Error has one line a fault: those of the file in its order, those of the environment by name, then the rest.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// sorted orders faults as Error tells. The rest keeps its order, that of the keys.
func (fs Faults) sorted() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int {
		return cmp.Or(
			cmp.Compare(a.Place.rank(), b.Place.rank()),
			cmp.Compare(a.Place.Variable, b.Place.Variable),
			cmp.Compare(a.Place.Line, b.Place.Line),
			cmp.Compare(a.Place.Column, b.Place.Column),
		)
	})
	return fs
}

func (p Place) rank() int {
	switch {
	case p.Variable != "":
		return 1
	case p.Line > 0 || p.File != "":
		return 0
	default:
		return 2
	}
}

// err is nil if nothing is wrong: a nil Faults in an error would not be.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	return fs.sorted()
}
