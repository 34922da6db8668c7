package rules

import (
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

func TestParseEventRefuses(t *testing.T) {
	t.Parallel()
	deep := func(n int) string {
		return `{"content":` + strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) + "}"
	}
	arrays := func(n int) string {
		return `{"content":` + strings.Repeat("[", n) + strings.Repeat("]", n) + "}"
	}
	for _, tc := range []struct {
		name, raw string
		want      error
	}{
		{"empty", "", ErrSyntax},
		{"white space", " \n", ErrSyntax},
		{"null", "null", ErrNotObject},
		{"a list", "[]", ErrNotObject},
		{"a string", `"x"`, ErrNotObject},
		{"a number", "1", ErrNotObject},
		{"an object that does not end", `{"type":"x"`, ErrSyntax},
		{"a name without value", `{"type"}`, ErrSyntax},
		{"a comma too many", `{"type":"x",}`, ErrSyntax},
		{"a comment", `{"type":/**/"x"}`, ErrSyntax},
		{"single quotes", `{'type':"x"}`, ErrSyntax},
		{"a control character", "{\"type\":\"\x01\"}", ErrSyntax},
		{"invalid UTF-8 in a value", "{\"type\":\"\xff\"}", ErrSyntax},
		{"invalid UTF-8 in a name", "{\"\xff\":1}", ErrSyntax},
		{"half of a surrogate pair", `{"type":"\ud800"}`, ErrSyntax},
		{"a leading zero", `{"n":01}`, ErrSyntax},
		{"a repeated key", `{"type":"x","type":"y"}`, ErrDuplicateKey},
		{"a repeated key, escaped", `{"type":"x","\u0074ype":"y"}`, ErrDuplicateKey},
		{"a repeated key inside", `{"content":{"a":1,"a":1}}`, ErrDuplicateKey},
		{"a repeated key in a list", `{"content":[{"a":1,"a":1}]}`, ErrDuplicateKey},
		{"two objects", `{}{}`, ErrTrailing},
		{"text after it", `{} x`, ErrTrailing},
		{"objects too deep", deep(MaxDepth), ErrTooDeep},
		{"lists too deep", arrays(MaxDepth), ErrTooDeep},
		{"10,000 objects", deep(10_000), ErrTooDeep},
		{"10,000 lists", arrays(10_000), ErrTooDeep},
		{"a million lists", arrays(1_000_000), ErrTooDeep},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := ParseEvent([]byte(tc.raw))
			if !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
			if err != nil && strings.ContainsAny(err.Error(), `"{`) {
				t.Errorf("the error tells of the content: %v", err)
			}
		})
	}
	for _, n := range []int{1, MaxDepth - 2} {
		if _, err := ParseEvent([]byte(deep(n))); err != nil {
			t.Errorf("%d objects deep: %v", n, err)
		}
		if _, err := ParseEvent([]byte(arrays(n))); err != nil {
			t.Errorf("%d lists deep: %v", n, err)
		}
	}
}

func TestEventAccessors(t *testing.T) {
	t.Parallel()
	ev, err := ParseEvent([]byte(` {"type":"m.room.member","sender":"@a:hs","room_id":"!r","event_id":"$e","state_key":"",
		"content":{"body":"Hi", "m.mentions":null,"m.relates_to":{"rel_type":"m.thread","event_id":"$t"}}} `))
	if err != nil {
		t.Fatal(err)
	}
	if ev.Type() != "m.room.member" || ev.Sender() != "@a:hs" || ev.RoomID() != "!r" || ev.ID() != "$e" || ev.ThreadID() != "$t" || !ev.HasMentions() {
		t.Errorf("wrong: %q %q %q %q %q %v", ev.Type(), ev.Sender(), ev.RoomID(), ev.ID(), ev.ThreadID(), ev.HasMentions())
	}
	if key, ok := ev.StateKey(); key != "" || !ok {
		t.Errorf("state key %q, %v", key, ok)
	}
	if got, want := string(ev.Content()), `{"body":"Hi", "m.mentions":null,"m.relates_to":{"rel_type":"m.thread","event_id":"$t"}}`; got != want {
		t.Errorf("content is %s", got)
	}
	bare, err := ParseEvent([]byte(`{"type":1,"sender":null,"content":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, state := bare.StateKey(); state || bare.Type() != "" || bare.Sender() != "" || bare.ThreadID() != "" || string(bare.Content()) != "[]" {
		t.Errorf("properties of wrong types are not taken as absent")
	}
}

// TestDeepEventIsSmall keeps the memory of an event with long paths in proportion
// to its size: the paths together would be 2 GB.
func TestDeepEventIsSmall(t *testing.T) {
	name := strings.Repeat("x", 200)
	raw := strings.Repeat(`{"a":1,"`+name+`":`, MaxDepth-1) + "1" + strings.Repeat("}", MaxDepth-1)
	before := heap()
	ev, err := ParseEvent([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	after := heap()
	if after > before && after-before > 8*uint64(len(raw)) {
		t.Errorf("an event of %d bytes takes %d", len(raw), after-before)
	}
	k := parseKey(strings.Repeat(name+".", MaxDepth-2) + "a")
	if n := ev.find(&k); n == nil || n.num != 1 {
		t.Error("its innermost property is not found")
	}
}

// flatten is the definition of a flattened event: it passes each property's path
// and text to f.
func flatten(t *testing.T, path []string, raw jsontext.Value, f func(path []string, raw jsontext.Value)) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	for name, value := range members {
		path := append(path[:len(path):len(path)], name)
		f(path, value)
		if value.Kind() == '{' {
			flatten(t, path, value, f)
		}
	}
}

// checkEvent holds a parsed event against the definition.
func checkEvent(t *testing.T, raw []byte) {
	t.Helper()
	ev, err := ParseEvent(raw)
	var members map[string]jsontext.Value
	if plain := json.Unmarshal(raw, &members); (err == nil) != (plain == nil && members != nil) && !errors.Is(err, ErrTooDeep) {
		t.Fatalf("%q: got %v, while json says %v", raw, err, plain)
	}
	if err != nil {
		return
	}
	count := 0
	flatten(t, nil, raw, func(path []string, want jsontext.Value) {
		count++
		k := key{parts: path}
		for _, part := range path {
			k.hash = k.hash.child(part)
		}
		n := ev.find(&k)
		if n == nil {
			t.Fatalf("%q: %q is not found", raw, path)
		}
		if got := ev.raw[n.from:n.to]; got != string(want) {
			t.Fatalf("%q: at %q is %s, want %s", raw, path, got, want)
		}
		if s, ok := stringOf(want); ok != (n.kind == text) || s != n.str {
			t.Fatalf("%q: at %q is the string %q, want %q", raw, path, n.str, s)
		}
		if list, ok := elements(want); ok {
			var scalars []scalar
			for _, element := range list {
				if s := parseScalar(string(element)); s.kind >= null {
					scalars = append(scalars, s)
				}
			}
			if int(n.n) != len(scalars) {
				t.Fatalf("%q: at %q are %d entries, want %d", raw, path, n.n, len(scalars))
			}
			for i, s := range scalars {
				if ev.entries[int(n.first)+i] != s {
					t.Fatalf("%q: entry %d at %q differs", raw, i, path)
				}
			}
		}
	})
	if count != len(ev.nodes) {
		t.Fatalf("%q: %d properties, want %d", raw, len(ev.nodes), count)
	}
}

func TestEventAgainstDefinition(t *testing.T) {
	t.Parallel()
	g := newGenerator(11)
	for range 2000 {
		checkEvent(t, []byte(g.event()))
	}
}

func FuzzParseEvent(f *testing.F) {
	g := newGenerator(5)
	for range 10 {
		f.Add([]byte(g.event()))
	}
	f.Add([]byte(`{"a":[1,[2],{"b":3},null,"\u00e9"],"":{"":{}},"e":1e3,"n":-0}`))
	f.Fuzz(func(t *testing.T, raw []byte) { checkEvent(t, raw) })
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"":            {""},
		"type":        {"type"},
		"content.a":   {"content", "a"},
		`a\.b.c`:      {"a.b", "c"},
		`a\\.b`:       {`a\`, "b"},
		`a\\\.b`:      {`a\.b`},
		`a\xb`:        {`a\xb`},
		`a\`:          {`a\`},
		`.`:           {"", ""},
		`a..b`:        {"a", "", "b"},
		`\\\\`:        {`\\`},
		`content.\.`:  {"content", "."},
		`é\.日.\u0041`: {"é.日", `\u0041`},
	} {
		if got := parseKey(text).parts; strings.Join(got, "\x00") != strings.Join(want, "\x00") {
			t.Errorf("%q has the parts %q, want %q", text, got, want)
		}
	}
}

// FuzzKey escapes names as homeservers do when they flatten an event; the key made
// of them must name that path again.
func FuzzKey(f *testing.F) {
	f.Add("content", "m.relates_to", `a\b`)
	f.Fuzz(func(t *testing.T, a, b, c string) {
		escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`)
		k := parseKey(escape.Replace(a) + "." + escape.Replace(b) + "." + escape.Replace(c))
		if len(k.parts) != 3 || k.parts[0] != a || k.parts[1] != b || k.parts[2] != c {
			t.Errorf("%q, %q, %q became %q", a, b, c, k.parts)
		}
	})
}
