package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// compare evaluates random recipients both ways and reports where they differ.
func compare(t *testing.T, e *Evaluator, seed uint64) {
	t.Helper()
	g := newGenerator(seed)
	opts := g.options()
	compiler := NewCompiler(opts)
	var raws []string
	var rulesets []*Ruleset
	for range 1 + g.IntN(4) {
		raw := g.ruleset()
		rs, _ := compiler.compile([]byte(raw), g.chance(10))
		raws, rulesets = append(raws, raw), append(rulesets, rs)
	}
	if g.chance(10) { // another deployment's, and none
		other, _ := Compile(nil, g.options())
		raws, rulesets = append(raws, "null", "none"), append(rulesets, other, nil)
	}
	recipients := make([]Recipient, g.IntN(12))
	which := make([]int, len(recipients))
	for i := range recipients {
		which[i] = g.IntN(len(rulesets))
		recipients[i] = g.recipient(rulesets[which[i]])
	}
	var out []Decision
	for range 3 {
		raw := g.event()
		ev, err := ParseEvent([]byte(raw))
		if err != nil {
			t.Fatalf("event %s: %v", raw, err)
		}
		room := g.roomState()
		out = e.Evaluate(ev, room, recipients, out)
		if len(out) != len(recipients) {
			t.Fatalf("%d decisions for %d recipients", len(out), len(recipients))
		}
		for i := range recipients {
			want := recipients[i].Rules.Evaluate(ev, room, &recipients[i])
			if diff := cmp.Diff(want, out[i]); diff != "" {
				t.Fatalf("seed %d: in bulk the decision differs (-reference +bulk):\n%s\nevent: %s\nroom: %+v\nrecipient: %+v\nrules: %s\noptions: %+v",
					seed, diff, raw, room, recipients[i], raws[which[i]], opts)
			}
		}
	}
}

func TestBulkEqualsReference(t *testing.T) {
	var e Evaluator
	for seed := range uint64(1000) {
		compare(t, &e, seed)
	}
}

func FuzzBulkEqualsReference(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		var e Evaluator
		compare(t, &e, seed)
	})
}
