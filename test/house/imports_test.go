// Package house holds the rules of the house that a compiler doesn't: which package may import which.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// table says what each package may import of ours. Imports point one way: the binaries wire, app constructs, config composes, owners own; rules and the leaves import nothing of
// ours, and pipeline and delivery never each other. A package that is not listed must be added here, knowingly. A name with a slash at its end means all below it.
var table = map[string][]string{
	"clock":            {},
	"credential":       {},
	"rules":            {},
	"pushers":          {},
	"pushers/outbound": {"pushers", "credential"},
	"pushers/gateway":  {"pushers", "pushers/outbound", "clock"},
	"pushers/webpush":  {"pushers", "pushers/outbound", "clock", "credential"},
	"pushers/fcm":      {"pushers", "pushers/outbound", "clock", "credential"},
	"pushers/apns":     {"pushers", "pushers/outbound", "clock", "credential"},
	"pushers/apps":     {"pushers", "pushers/apns", "pushers/fcm", "pushers/webpush", "pushers/gateway", "pushers/outbound", "clock", "credential"},
	"delivery":         {"pushers", "clock", "credential"},
	"pipeline/stream":  {"clock", "credential"},
	"pipeline":         {"rules", "pushers", "clock", "pipeline/stream"},
	"pipeline/state":   {"pipeline", "pipeline/stream", "credential"},
	"config":           {"credential", "pipeline", "pipeline/stream", "pipeline/state", "delivery", "rules", "pushers/apps"},
	"cmd/app":          {"config", "clock", "credential", "pipeline", "pipeline/stream", "pipeline/state", "delivery", "pushers", "pushers/apps", "pushers/gateway", "pushers/webpush", "rules"},
	"cmd/tocsin":       {"cmd/app", "config", "rules"},
	"cmd/tocsin-dev":   {"cmd/app", "cmd/tocsin-dev/", "config", "clock", "test/stack", "pipeline", "pipeline/stream", "delivery", "credential"},
	"test/stack":       {},
	"test/house":       {},
	"test/conformance": {"rules"},
}

// outside says which libraries a package alone may use, or may not use.
var outside = []struct {
	library string
	allowed []string
}{
	{"github.com/segmentio/kafka-go", []string{"pipeline/stream", "cmd/tocsin-dev", "test/"}},
	{"github.com/redis/go-redis", []string{"pipeline/state", "test/"}},
	{"github.com/SherClockHolmes/webpush-go", []string{"pushers/webpush"}},
	{"github.com/twmb/franz-go", []string{"test/", "cmd/tocsin-dev"}},
	{"github.com/alicebob/miniredis", []string{"test/", "cmd/tocsin-dev"}},
	{"testing", []string{"test/"}},
}

// pure lists all that rules may import.
var pure = []string{"github.com/gobwas/glob", "github.com/go-json-experiment/json"}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// packages are ours, by the path below the module.
func packages(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := map[string][]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(p.ImportPath, "tocsin/")] = p.Imports
	}
	if len(found) < 5 {
		t.Fatalf("go list names %d packages", len(found))
	}
	return found
}

func TestImportsPointOneWay(t *testing.T) {
	t.Parallel()
	for name, imports := range packages(t) {
		allowed, ok := table[name]
		if !ok && !strings.HasPrefix(name, "test/") && !strings.HasPrefix(name, "cmd/tocsin-dev/") {
			t.Errorf("package %s is not in the table: what may it import?", name)
			continue
		}
		for _, imported := range imports {
			ours, isOurs := strings.CutPrefix(imported, "tocsin/")
			if isOurs && ok && !matches(allowed, ours) {
				t.Errorf("%s imports %s: the table does not allow it", name, ours)
			}
			for _, lib := range outside {
				if within(imported, lib.library) && !matches(lib.allowed, name) {
					t.Errorf("%s imports %s: only %v may", name, imported, lib.allowed)
				}
			}
			if name == "rules" && strings.Contains(strings.SplitN(imported, "/", 2)[0], ".") && !slices.ContainsFunc(pure, func(lib string) bool { return within(imported, lib) }) {
				t.Errorf("rules imports %s: it is pure", imported)
			}
		}
	}
}

// TestWorkerLinksNoFakes holds the embedded servers out of the worker's binary, however deep they would come in.
func TestWorkerLinksNoFakes(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "list", "-deps", "./cmd/tocsin")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		for _, fake := range []string{"github.com/twmb/franz-go", "github.com/alicebob/miniredis", "tocsin/test", "testing"} {
			if within(path, fake) {
				t.Errorf("cmd/tocsin links %s", path)
			}
		}
	}
}

func within(path, library string) bool {
	return path == library || strings.HasPrefix(path, library+"/")
}

func matches(list []string, name string) bool {
	return slices.ContainsFunc(list, func(a string) bool { return a == name || strings.HasSuffix(a, "/") && strings.HasPrefix(name, a) })
}
