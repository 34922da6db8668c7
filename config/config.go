// Package config reads what an operator can set.
package config

// parseYAML fills what pointer points to from a YAML text and the environment.
func parseYAML(pointer any, file string, text []byte, environ []string) Faults {
	root, faults := fromYAML(text)
	for i := range faults {
		faults[i].Place.File = file
	}
	return append(faults, parse(pointer, file, root, environ)...).sorted()
}
