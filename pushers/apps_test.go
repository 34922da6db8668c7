package pushers

import (
	"slices"
	"strings"
	"testing"
)

func TestAppPattern(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		pattern, app string
		want         bool
	}{
		{"*", "", true},
		{"*", "im.vector.app", true},
		{"im.vector.app", "im.vector.app", true},
		{"im.vector.app", "im.vector.apple", false},
		{"im.vector.app", "my.im.vector.app", false},
		{"im.vector.app.*", "im.vector.app.ios.prod", true},
		{"im.vector.app.*", "im.vector.app", false},
		{"im.vector.app.???", "im.vector.app.ios", true},
		{"im.vector.app.???", "im.vector.app.android", false},
		{"*.{ios,android}", "org.example.android", true},
		{"*.{ios,android}", "org.example.web", false},
		{"org.example.[a-c]", "org.example.b", true},
		{"org.example.[a-c]", "org.example.d", false},
		{`org.example.\*`, "org.example.*", true},
		{`org.example.\*`, "org.example.a", false},
		{"IM.*", "im.vector.app", false},
		{"web/*", "web/app/one", true},
	} {
		p, err := CompileApps(tc.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Match(tc.app); got != tc.want || p.IsZero() {
			t.Errorf("%q matches %q: %v, want %v", tc.pattern, tc.app, got, tc.want)
		}
	}
	if none := (AppPattern{}); none.Match("") || none.Match("*") || !none.IsZero() {
		t.Error("no pattern matches")
	}
	for _, bad := range []string{"", "{a", "[", "[a", "\xff", strings.Repeat("a", maxAppPattern+1)} {
		if p, err := CompileApps(bad); err == nil || !strings.Contains(err.Error(), "such as im.vector.app.*") || !p.IsZero() {
			t.Errorf("%q is a pattern: %v", bad, err)
		}
	}
	if _, err := CompileApps(strings.Repeat("a", maxAppPattern)); err != nil {
		t.Error(err)
	}
}

// Of several patterns that match, the one that is most of an app id counts.
func TestCompareApps(t *testing.T) {
	t.Parallel()
	got := []string{"*", "org.ios*", "b", "org.ios", "org.{a,b}.very.long", "a", "org.*", `\*`}
	slices.SortFunc(got, CompareApps)
	if want := []string{"org.ios", "a", "b", "org.{a,b}.very.long", "org.ios*", "org.*", `\*`, "*"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
