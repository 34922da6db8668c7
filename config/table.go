package config

// The tables of all keys, for the README.

import (
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"tocsin/pipeline"
)

func writeTable(w io.Writer, s *schema) error {
	var b strings.Builder
	b.WriteString("| Key | Default | Environment | Meaning |\n|---|---|---|---|\n")
	for _, k := range s.keys {
		if k.isFile() { // told in the line of the secret
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", k.path, code(show(k.value)), variable(k.path), meaning(k, ", `"+variable(k.path+"_file")+"`"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeKinds tells the keys of sections that operators name. They are no variables.
func writeKinds(w io.Writer, m reflect.Value) error {
	var b strings.Builder
	b.WriteString("| Type | Key | Default | Meaning |\n|---|---|---|---|\n")
	for _, kind := range kindsOf(m) {
		for _, k := range schemaOf(structIn(newOf(m, kind)).Addr().Interface()).keys {
			if !k.isFile() {
				fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", kind, k.path, code(show(k.value)), meaning(k, ""))
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// meaning is what a key means, and of a secret also which file may hold it: that and what else says it.
func meaning(k *key, alsoFile string) string {
	doc := strings.NewReplacer("|", `\|`, "<", `\<`).Replace(k.doc)
	if k.secret {
		doc += fmt.Sprintf("; or the name of a file that holds it: `%s_file`%s", lastName(k.path), alsoFile)
	}
	return doc
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

// show is a value as it is written in the environment.
func show(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Slice:
		var parts []string
		for i := range v.Len() {
			parts = append(parts, show(v.Index(i)))
		}
		return strings.Join(parts, ",")
	case reflect.Map:
		var parts []string
		for _, name := range v.MapKeys() {
			parts = append(parts, fmt.Sprintf("%v=%v", name, v.MapIndex(name)))
		}
		slices.Sort(parts)
		return strings.Join(parts, ",")
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return pipeline.ShortDuration(d)
	}
	return fmt.Sprint(v.Interface())
}
