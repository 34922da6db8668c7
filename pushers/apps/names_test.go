package apps

import "testing"

// Every type has its app, and nothing else has one.
func TestKinds(t *testing.T) {
	t.Parallel()
	for _, kind := range (Config{}).Kinds() {
		if (Config{}).New(kind) == nil {
			t.Errorf("%s has no app", kind)
		}
	}
	for _, kind := range []string{"", "http", "APNs"} {
		if app := (Config{}).New(kind); app != nil {
			t.Errorf("%q is %T", kind, app)
		}
	}
}

// Names that are no pattern are reported in their order, each in brackets.
func TestNames(t *testing.T) {
	t.Parallel()
	c := Config{"im.vector.app": nil, "im.*.{ios,android}": nil, `a.\*.[a-c]?`: nil}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	c["x{"], c["b["] = nil, nil
	const want = "[b[]: \"b[\" is no pattern of app ids, such as im.vector.app.*: glob: syntax error at 2: unexpected end of input\n" +
		"[x{]: \"x{\" is no pattern of app ids, such as im.vector.app.*: glob: syntax error at 2: unclosed `{`"
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
