package rules

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCompileReportsProblems(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, raw string
		want      []string
	}{
		{"nothing", "", nil},
		{"null", "null", nil},
		{"empty", "{}", nil},
		{"unknown members", `{"global":{"new":[]},"more":1}`, nil},
		{"an unknown condition is none", `{"global":{"override":[{"rule_id":"a","actions":[],"conditions":[{"kind":"new"}]}]}}`, nil},
		{"an unknown action is none", `{"global":{"override":[{"rule_id":"a","enabled":false,"actions":["new",3]}]}}`, nil},
		{"broken", `{"global":`, []string{"rules: not a JSON object; the defaults are used"}},
		{"a list", `[]`, []string{"rules: not a JSON object; the defaults are used"}},
		{"null and more", `null 1`, []string{"rules: not a JSON object; the defaults are used"}},
		{"scopes", `{"global":1,"device":{"a":2,"":{}}}`, []string{
			"global: not an object", "device.a: not an object", "device: a scope has an empty profile tag, which no pusher is looked up by"}},
		{"lists", `{"global":{"room":{},"sender":[1,{"rule_id":2},{"rule_id":"@a:hs","rule_id":"@b:hs"}]}}`, []string{
			"global.room: not a list", "global.sender[0]: the rule is not an object", "global.sender[1]: rule_id is not a string, or is empty",
			"global.sender[2]: the rule is not well-formed (a repeated key, or invalid UTF-8)"}},
		{"a list twice", `{"global":{"room":[],"room":[]}}`, []string{"global.room: the list occurs twice; only the first is used"}},
		{"rules", `{"global":{"override":[{"rule_id":"a","enabled":1},{"rule_id":"b","conditions":1},{"rule_id":"c","actions":{}}],"content":[{"rule_id":"d"}]}}`, []string{
			"global.override[0]: enabled is not a boolean", "global.override[1]: conditions is not a list", "global.override[2]: actions is not a list",
			"global.content[0]: pattern is not a string"}},
		{"conditions", `{"global":{"override":[{"rule_id":"a","actions":[],"conditions":[{"kind":"event_match","key":1},{"kind":"room_member_count","is":"=2"}]}]}}`, []string{
			"global.override[0].conditions[0]: key is not a string", "global.override[0].conditions[1]: is has an unknown operator"}},
		{"default rules", `{"global":{"underride":[{"rule_id":".m.rule.message","enabled":"x","actions":1},{"rule_id":".m.rule.message"}]}}`, []string{
			"global.underride[0]: enabled is not a boolean; the default is used", "global.underride[0]: actions is not a list; the default is used",
			"global.underride[1]: the rule occurs twice; only the first is used"}},
		{"a scope twice", `{"device":{"a":{},"a":{}}}`, []string{"device.a: the scope occurs twice; only the first is used"}},
		{"a long pattern", `{"global":{"content":[{"rule_id":"a","actions":[],"pattern":"` + strings.Repeat("x", MaxPattern+1) + `"}]}}`, []string{
			"global.content[0].conditions[0]: pattern is longer than 65536 bytes"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			rs, problems := Compile([]byte(tc.raw), Options{})
			var got []string
			for _, p := range problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			ev, _ := ParseEvent([]byte(`{"type":"m.room.message"}`))
			if d := rs.Evaluate(ev, nil, &Recipient{}); d.RuleID != ".m.rule.message" {
				t.Errorf("the defaults are gone: %+v", d)
			}
		})
	}
}

func TestProblemsAreBounded(t *testing.T) {
	t.Parallel()
	raw := `{"global":{"room":[` + strings.Repeat("1,", 50_000) + `1]}}`
	if _, problems := Compile([]byte(raw), Options{}); len(problems) != maxProblems+1 {
		t.Errorf("%d problems", len(problems))
	}
}

// TestInvalidUTF8SpoilsOneRule is apart because the bytes are no JSON for a table.
func TestInvalidUTF8SpoilsOneRule(t *testing.T) {
	t.Parallel()
	raw := "{\"global\":{\"override\":[{\"rule_id\":\"\xff\",\"actions\":[]},{\"rule_id\":\"ok\",\"actions\":[\"notify\"]}]}}"
	rs, problems := Compile([]byte(raw), Options{})
	ev, _ := ParseEvent([]byte(`{}`))
	if d := rs.Evaluate(ev, nil, &Recipient{}); d.RuleID != "ok" || len(problems) != 1 {
		t.Errorf("got %+v with %v", d, problems)
	}
}

// order returns the ids of the rules in the order in which they are tried.
func (rs *Ruleset) order() string {
	var ids []string
	for _, r := range rs.global.rules {
		ids = append(ids, r.id)
	}
	return strings.Join(ids, "\n")
}

// TestDefaultOrder has the order of the table in the specification, with the
// legacy rules of version 1.16 in the places they had.
func TestDefaultOrder(t *testing.T) {
	t.Parallel()
	rs, _ := Compile(nil, Options{})
	want := strings.Fields(`.m.rule.master .m.rule.suppress_notices .m.rule.invite_for_me .m.rule.member_event .m.rule.is_user_mention
		.m.rule.contains_display_name .m.rule.is_room_mention .m.rule.roomnotif .m.rule.tombstone .m.rule.reaction .m.rule.room.server_acl
		.m.rule.suppress_edits .m.rule.contains_user_name .m.rule.call .m.rule.encrypted_room_one_to_one .m.rule.room_one_to_one
		.m.rule.message .m.rule.encrypted`)
	if diff := cmp.Diff(want, strings.Fields(rs.order())); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	for _, r := range rs.global.rules {
		if r.enabled == (r.id == ruleMaster) {
			t.Errorf("%s: enabled is %v", r.id, r.enabled)
		}
	}
}

func TestDefaultsFollowFeatures(t *testing.T) {
	t.Parallel()
	count := func(opts Options) int {
		rs, _ := Compile(nil, opts)
		return len(rs.global.rules)
	}
	plain := count(Options{})
	for name, more := range map[string]int{"msc3664": 1, "msc3931": 12, "msc4306": 2, "msc4028": 1, "msc3381": 5, "jitsi": 1, "msc4210": -3} {
		var opts Options
		if err := opts.SetFeature(name, true); err != nil {
			t.Fatal(err)
		}
		if got := count(opts) - plain; got != more {
			t.Errorf("%s: %+d default rules, want %+d", name, got, more)
		}
	}
	if got := count(Options{Dialect: Dialect2015}) - plain; got != 1 {
		t.Errorf("dialect 2015: %+d default rules, want +1", got)
	}
	var opts Options
	if err := opts.SetFeature("msc1", true); err == nil {
		t.Error("an unknown feature is accepted")
	}
	if (Options{Dialect: "2016"}).Validate() == nil || (Options{Dialect: "2015"}).Validate() != nil {
		t.Error("dialects are not told apart")
	}
	if n := len(defaultRules()); n > 64 {
		t.Errorf("%d default rules do not fit the bits of a number", n)
	}
}

// pushrules is what GET /pushrules/ returns of a user who has changed nothing: the
// conditions of some default rules name the user.
func pushrules(name string) []byte {
	return fmt.Appendf(nil, `{"global":{"override":[
		{"rule_id":".m.rule.master","default":true,"enabled":false,"conditions":[],"actions":[]},
		{"rule_id":".m.rule.invite_for_me","default":true,"enabled":true,"conditions":[{"kind":"event_match","key":"state_key","pattern":"@%s:hs"}],"actions":["notify"]}],
		"content":[{"rule_id":".m.rule.contains_user_name","default":true,"enabled":true,"pattern":"%s","actions":["notify"]}]}}`, name, name)
}

func TestEqualRulesetsAreOne(t *testing.T) {
	t.Parallel()
	c := NewCompiler(Options{})
	same := func(a, b string) bool {
		x, _ := c.Compile([]byte(a))
		y, _ := c.Compile([]byte(b))
		return x == y
	}
	for name, pair := range map[string][2]string{
		"nothing and the defaults":          {"", "{}"},
		"the defaults of different users":   {string(pushrules("alice")), string(pushrules("bob"))},
		"white space between rules":         {`{"global":{"room":[{"rule_id":"!a","actions":[]}]}}`, `{"global": {"room": [{"rule_id":"!a","actions":[]} ]}}`},
		"a scope and no scope":              {`{"room":[{"rule_id":"!a","actions":[]}]}`, `{"global":{"room":[{"rule_id":"!a","actions":[]}]}}`},
		"what can't be used makes no odds":  {`{"global":{"room":[{"rule_id":"!a","actions":[]}]}}`, `{"global":{"room":[{"rule_id":"!a","actions":[]},3]}}`},
		"the order of scopes makes no odds": {`{"device":{"a":{"room":[{"rule_id":"!a"}]},"b":{}}}`, `{"device":{"b":{},"a":{"room":[{"rule_id":"!a"}]}}}`},
	} {
		if !same(pair[0], pair[1]) {
			t.Errorf("%s: two objects", name)
		}
	}
	for name, pair := range map[string][2]string{
		"another rule":       {`{"room":[{"rule_id":"!a","actions":[]}]}`, `{"room":[{"rule_id":"!b","actions":[]}]}`},
		"another kind":       {`{"override":[{"rule_id":"@a","actions":[]}]}`, `{"underride":[{"rule_id":"@a","actions":[]}]}`},
		"another order":      {`{"room":[{"rule_id":"!a"},{"rule_id":"!b"}]}`, `{"room":[{"rule_id":"!b"},{"rule_id":"!a"}]}`},
		"other actions":      {`{"room":[{"rule_id":"!a","actions":[]}]}`, `{"room":[{"rule_id":"!a","actions":["notify"]}]}`},
		"a disabled default": {`{}`, `{"underride":[{"rule_id":".m.rule.message","enabled":false}]}`},
		"another scope":      {`{"device":{"a":{"room":[{"rule_id":"!a"}]}}}`, `{"device":{"b":{"room":[{"rule_id":"!a"}]}}}`},
		"members moved over": {`{"content":[{"rule_id":"a","pattern":"b"}]}`, `{"content":[{"rule_id":"ab","pattern":""}]}`},
	} {
		if same(pair[0], pair[1]) {
			t.Errorf("%s: one object", name)
		}
	}
}

// TestSharingMindsTheOrigin compiles the same text once as changes of a default rule,
// whose conditions are ours, and once as it is, without conditions.
func TestSharingMindsTheOrigin(t *testing.T) {
	t.Parallel()
	c := NewCompiler(Options{Dialect: Dialect2015})
	raw := []byte(`{"global":{"override":[{"rule_id":".m.rule.suppress_notices","conditions":[{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}],"actions":[]}],
		"underride":[{"rule_id":".m.rule.message","actions":["notify",{"set_tweak":"x"}]}]}}`)
	edited, _ := c.compile(raw, false)
	verbatim, _ := c.compile(raw, true)
	for event, want := range map[string][2]string{
		`{"type":"other"}`: {".m.rule.fallback", ".m.rule.message"},
		`{"type":"other","content":{"msgtype":"x.m.notice.y"}}`: {".m.rule.fallback", ".m.rule.suppress_notices"},
	} {
		for i, rs := range []*Ruleset{edited, verbatim} {
			r := Recipient{Rules: rs}
			var e Evaluator
			one, bulk := rs.Evaluate(mustParse(event), nil, &r), e.Evaluate(mustParse(event), nil, []Recipient{r}, nil)[0]
			if one.RuleID != want[i] || bulk.RuleID != want[i] {
				t.Errorf("%s: %q alone and %q in bulk, want %q", event, one.RuleID, bulk.RuleID, want[i])
			}
		}
	}
}

// TestSlowPatternsBeyondTheLimit has one user whose rule is beyond the limit and
// another with the same rule alone: the first must not spoil it for the second.
func TestSlowPatternsBeyondTheLimit(t *testing.T) {
	t.Parallel()
	c := NewCompiler(Options{})
	rule := func(i int) string { return fmt.Sprintf(`{"rule_id":"r%d","pattern":"%d?","actions":[]}`, i, i) }
	var list []string
	for i := range MaxSlowPatterns + 2 {
		list = append(list, rule(i))
	}
	many, problems := c.Compile([]byte(`{"content":[` + strings.Join(list, ",") + `]}`))
	if len(problems) != 1 {
		t.Errorf("problems: %v, want one", problems)
	}
	one, _ := c.Compile([]byte(`{"content":[` + rule(MaxSlowPatterns) + `]}`))
	ev, _ := ParseEvent(fmt.Appendf(nil, `{"content":{"body":"%dx"}}`, MaxSlowPatterns))
	for rs, want := range map[*Ruleset]string{many: "", one: fmt.Sprintf("r%d", MaxSlowPatterns)} {
		if d := rs.Evaluate(ev, nil, &Recipient{}); d.RuleID != want {
			t.Errorf("%q matches, want %q", d.RuleID, want)
		}
	}
}

func TestSharedRulesetsAreForgotten(t *testing.T) {
	c := NewCompiler(Options{})
	for i := range 100 {
		c.Compile(fmt.Appendf(nil, `{"room":[{"rule_id":"!room%d","actions":[]}]}`, i))
	}
	held := func() int {
		c.rulesets.mu.Lock()
		defer c.rulesets.mu.Unlock()
		return len(c.rulesets.held)
	}
	for deadline := time.Now().Add(10 * time.Second); held() > 1; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d rulesets that nobody holds are kept", held())
		}
		runtime.GC()
	}
}

// TestHostileRulesets compiles and evaluates rules that are made to be slow.
func TestHostileRulesets(t *testing.T) {
	t.Parallel()
	many := func(n int, one func(i int) string) string {
		parts := make([]string, n)
		for i := range parts {
			parts[i] = one(i)
		}
		return strings.Join(parts, ",")
	}
	content := func(n int, pattern func(i int) string) string {
		return `{"global":{"content":[` + many(n, func(i int) string {
			return fmt.Sprintf(`{"rule_id":"r%d","pattern":%q,"actions":[]}`, i, pattern(i))
		}) + `]}}`
	}
	rulesets := map[string]string{
		"10,000 words":                 content(10_000, func(i int) string { return fmt.Sprintf("word%d", i) }),
		"10,000 prefixes":              content(10_000, func(i int) string { return fmt.Sprintf("a%d*", i) }),
		"10,000 parts":                 content(10_000, func(i int) string { return fmt.Sprintf("*ab%d*", i) }),
		"10,000 question marks":        content(10_000, func(i int) string { return fmt.Sprintf("*a?a?a%d?*", i) }),
		"more rules than there may be": content(MaxRules+1000, func(i int) string { return fmt.Sprintf("x%d", i) }),
		"20 patterns of 64 KiB":        content(20, func(i int) string { return fmt.Sprintf("*%d", i) + strings.Repeat("*a", MaxPattern/2-4) }),
		"20 slow patterns of 64 KiB":   content(20, func(i int) string { return "*" + strings.Repeat("a?", MaxPattern/2-4) + fmt.Sprint(i) + "*" }),
		"10,000 keys of 100 parts": `{"global":{"override":[` + many(10_000, func(i int) string {
			return fmt.Sprintf(`{"rule_id":"r%d","conditions":[{"kind":"event_match","key":"%s","pattern":"x"}],"actions":[]}`, i, strings.Repeat("content.", 100))
		}) + `]}}`,
		"a key of 100,000 parts": `{"global":{"override":[{"rule_id":"r","conditions":[{"kind":"event_match","key":"` + strings.Repeat("a.", 100_000) + `","pattern":"x"}],"actions":[]}]}}`,
		"100,000 conditions":     `{"global":{"override":[{"rule_id":"r","conditions":[` + many(100_000, func(int) string { return `{"kind":"room_member_count","is":">0"}` }) + `],"actions":[]}]}}`,
		"100,000 actions":        `{"global":{"override":[{"rule_id":"r","actions":[` + many(100_000, func(i int) string { return `"notify"` }) + `]}]}}`,
		"10,000 tweaks":          `{"global":{"override":[{"rule_id":"r","actions":[` + many(10_000, func(i int) string { return fmt.Sprintf(`{"set_tweak":"t%d"}`, i) }) + `]}]}}`,
		"10,000 device scopes":   `{"device":{` + many(10_000, func(i int) string { return fmt.Sprintf(`"tag%d":{}`, i) }) + `}}`,
		"10,000 lists deep":      `{"global":{"override":[` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + `]}}`,
	}
	bodies := []string{strings.Repeat("a", 60_000), strings.Repeat("ab ", 20_000)}
	var e Evaluator
	for name, raw := range rulesets {
		begin := time.Now()
		rs, problems := Compile([]byte(raw), Options{})
		if len(problems) > 10 {
			t.Errorf("%s: %d problems", name, len(problems))
		}
		r := Recipient{UserID: "@a:hs", DisplayName: strings.Repeat("a ", 1000), Rules: rs}
		for _, body := range bodies {
			ev, err := ParseEvent([]byte(`{"type":"m.room.message","content":{"body":"` + body + `"}}`))
			if err != nil {
				t.Fatal(err)
			}
			room := &Room{MemberCount: 2}
			want := rs.Evaluate(ev, room, &r)
			if got := e.Evaluate(ev, room, []Recipient{r}, nil)[0]; got.RuleID != want.RuleID {
				t.Errorf("%s: %q in bulk, %q alone", name, got.RuleID, want.RuleID)
			}
		}
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%s took %v", name, took)
		} else if took > time.Second {
			t.Logf("%s took %v", name, took)
		}
	}
}

func FuzzCompile(f *testing.F) {
	g := newGenerator(9)
	for seeds := 0; seeds < 10; {
		if raw := g.ruleset(); len(raw) < 800 { // long ones keep the fuzzer busy with making them short
			f.Add([]byte(raw), g.Uint64())
			seeds++
		}
	}
	f.Add([]byte(`{"global":{"override":[{"rule_id":".x","conditions":[{}]}]},"device":{"a":{"room":[{"rule_id":"!a"}]}}}`), uint64(2))
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		g := newGenerator(seed)
		opts := g.options()
		rs, _ := Compile(raw, opts)
		ev, err := ParseEvent([]byte(g.event()))
		if err != nil {
			t.Fatal(err)
		}
		room := g.roomState()
		r := g.recipient(rs)
		var e Evaluator
		want := rs.Evaluate(ev, room, &r)
		if diff := cmp.Diff(want, e.Evaluate(ev, room, []Recipient{r}, nil)[0]); diff != "" {
			t.Errorf("in bulk the decision differs (-reference +bulk):\n%s", diff)
		}
		if trace := rs.Explain(ev, room, &r); !cmp.Equal(trace.Decision, want) {
			t.Errorf("the explanation is of another decision")
		}
	})
}
