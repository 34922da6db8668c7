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
	for seed := range uint64(500) {
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

func TestBulkAllocatesNothingPerRecipient(t *testing.T) {
	w := loadWorkload(t)
	room, recipients := w.room(), w.recipients(2000)
	var e Evaluator
	var events []*Event
	for _, raw := range w.Events {
		ev, err := ParseEvent(raw)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
	out := e.Evaluate(events[0], room, recipients, nil)
	n := 0
	allocations := testing.AllocsPerRun(10*len(events), func() {
		out = e.Evaluate(events[n%len(events)], room, recipients, out)
		n++
	})
	if allocations > float64(len(recipients))/100 {
		t.Errorf("%.0f allocations for %d recipients", allocations, len(recipients))
	}
}

func TestBulkOfNobody(t *testing.T) {
	t.Parallel()
	ev := mustParse(`{"type":"m.room.message"}`)
	var e Evaluator
	if out := e.Evaluate(ev, nil, nil, make([]Decision, 3)); len(out) != 0 {
		t.Errorf("%d decisions for nobody", len(out))
	}
	out := e.Evaluate(ev, nil, []Recipient{{UserID: "@a:hs"}, {UserID: "@b:hs"}}, []Decision{{RuleID: "old"}, {RuleID: "old"}})
	for _, d := range out {
		if d.RuleID != "" || d.Notify {
			t.Errorf("without rules there is a decision: %+v", d)
		}
	}
}

// TestBulkOfManyMentions has more mentions than are kept in a list.
func TestBulkOfManyMentions(t *testing.T) {
	t.Parallel()
	rs, _ := Compile(nil, Options{})
	ev := mustParse(`{"type":"m.room.message","content":{"m.mentions":{"user_ids":["@1:hs","@2:hs","@3:hs","@4:hs","@5:hs","@6:hs","@7:hs","@8:hs","@9:hs","@10:hs",""]}}}`)
	var e Evaluator
	out := e.Evaluate(ev, nil, []Recipient{{UserID: "@10:hs", Rules: rs}, {UserID: "@11:hs", Rules: rs}, {Rules: rs}}, nil)
	for i, want := range []string{".m.rule.is_user_mention", ".m.rule.message", ".m.rule.message"} {
		if out[i].RuleID != want {
			t.Errorf("recipient %d: %s, want %s", i, out[i].RuleID, want)
		}
	}
}
