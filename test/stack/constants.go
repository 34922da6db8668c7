package stack

// The constants of a package, for tests that hold that each has what it needs.

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

// Constants are the texts of the constants of the test's own package whose names begin with prefix, by those names.
func Constants(t TB, prefix string) map[string]string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatalf("%v", err)
	}
	found := map[string]string{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatalf("%v", err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Names) != len(spec.Values) {
				return true
			}
			for i, name := range spec.Names {
				literal, isText := spec.Values[i].(*ast.BasicLit)
				if !isText || literal.Kind != token.STRING || !strings.HasPrefix(name.Name, prefix) {
					continue
				}
				if found[name.Name], err = strconv.Unquote(literal.Value); err != nil {
					t.Fatalf("%s: %v", file, err)
				}
			}
			return true
		})
	}
	return found
}

// Words holds that each reason, by the name of its constant, has words of its own, and that they are what is said of it.
func Words(t TB, reasons, words map[string]string, say func(reason string) string) {
	t.Helper()
	for name, reason := range reasons {
		if words[reason] == "" || say(reason) != words[reason] {
			t.Errorf("%s (%q) has no words", name, reason)
		}
	}
}
