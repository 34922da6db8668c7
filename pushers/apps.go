package pushers

// Patterns of app ids, as settings and operators write them.

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/gobwas/glob"
)

// AppPattern chooses apps by a pattern over their ids: * is any text, ? any character, {a,b} one of both, [a-z] one of these. The zero value matches none.
type AppPattern struct{ compiled *glob.Pattern }

// maxAppPattern bounds a pattern.
const maxAppPattern = 512

// CompileApps reads a pattern.
func CompileApps(pattern string) (AppPattern, error) {
	if pattern == "" || len(pattern) > maxAppPattern {
		return AppPattern{}, fmt.Errorf("a pattern of app ids has 1 to %d characters, such as im.vector.app.*", maxAppPattern)
	}
	compiled, err := glob.Compile(pattern)
	if err != nil {
		return AppPattern{}, fmt.Errorf("%q is no pattern of app ids, such as im.vector.app.*: %w", pattern, err)
	}
	return AppPattern{compiled}, nil
}

// IsZero says whether there is no pattern.
func (p AppPattern) IsZero() bool { return p.compiled == nil }

// Match says whether the pattern matches all of an app id.
func (p AppPattern) Match(appID string) bool { return p.compiled != nil && p.compiled.Match(appID) }

// CompareApps orders patterns by which counts where several match: an app id that stands there as it is, then the longest pattern. So ios* does not count for ios where both are there.
func CompareApps(x, y string) int {
	return cmp.Or(cmp.Compare(wild(x), wild(y)), cmp.Compare(len(y), len(x)), strings.Compare(x, y))
}

// wild is 1 for what may match more than itself, and 0 for an app id.
func wild(pattern string) int {
	if strings.ContainsAny(pattern, `*?[{\`) {
		return 1
	}
	return 0
}
