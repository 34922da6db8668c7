package rules

import (
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

func TestTweaksKeepTheirOrderInJSON(t *testing.T) {
	t.Parallel()
	for _, want := range []string{`{}`, `{"sound":"default","highlight":true}`, `{"z":1.50,"a":{"b":[null]},"":""}`} {
		var tweaks Tweaks
		if err := json.Unmarshal([]byte(want), &tweaks); err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(tweaks)
		if err != nil || string(got) != want {
			t.Errorf("%s became %s, %v", want, got, err)
		}
	}
	var tweaks Tweaks
	for _, bad := range []string{`[]`, `"x"`, `1`} {
		if err := json.Unmarshal([]byte(bad), &tweaks); err == nil {
			t.Errorf("%s is taken for tweaks", bad)
		}
	}
	if got, err := json.Marshal(struct{ T Tweaks }{}); err != nil || string(got) != `{"T":{}}` {
		t.Errorf("no tweaks became %s, %v", got, err)
	}
}

func TestTweaksLookup(t *testing.T) {
	t.Parallel()
	tweaks := Tweaks{{"sound", jsontext.Value(`"ding"`)}, {"x", jsontext.Value(`1`)}}
	if s, ok := tweaks.Sound(); s != "ding" || !ok {
		t.Errorf("sound is %q, %v", s, ok)
	}
	if s, ok := (Tweaks{{"sound", jsontext.Value(`true`)}}).Sound(); ok {
		t.Errorf("a sound that is no string is %q", s)
	}
	if string(tweaks.Lookup("x")) != "1" || tweaks.Lookup("y") != nil {
		t.Error("tweaks are not found by name")
	}
}

func TestHighlightIsTheTruthOfItsValue(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{
		"true": true, "false": false, "null": true, `"x"`: true, `""`: false, "1": true, "0": false, "0.0": false, "-0": false, "0.5": true, "1e999": true,
		"[]": false, "[ ]": false, "[0]": true, "{}": false, `{"a":1}`: true,
	} {
		out := parseActions([]jsontext.Value{jsontext.Value(`{"set_tweak":"highlight","value":` + value + `}`)})
		if out.highlight != want {
			t.Errorf("highlight with %s is %v", value, out.highlight)
		}
	}
}

func TestDecisionsAreCompared(t *testing.T) {
	t.Parallel()
	a := Decision{RuleID: "a", Notify: true, Tweaks: Tweaks{{"x", jsontext.Value("1")}}}
	b := a
	b.Tweaks = Tweaks{{"x", jsontext.Value("2")}}
	if !a.equal(&a) || a.equal(&b) || !cmp.Equal(a, a) {
		t.Error("equal decisions are not told from different ones")
	}
}
