package rules

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

// golden compares with a file of testdata, or rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; rewrite it with -update):\n%s", file, diff)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	keywords := `{"global":{
		"override":[{"rule_id":"mute","conditions":[{"kind":"event_match","key":"room_id","pattern":"!other:hs"}],"actions":[]},
			{"rule_id":"odd","conditions":[{"kind":"new"},{"kind":"event_property_is","key":"content.n","value":1},{"kind":"event_property_contains","key":"content.list","value":null},
				{"kind":"profile_tag","profile_tag":"phone"},{"kind":"room_member_count","is":">=10"}],"actions":["notify"]}],
		"content":[{"rule_id":"cake","pattern":"cake*","actions":["coalesce",{"set_tweak":"sound","value":"ding"}]}]},
		"device":{"phone":{"sender":[{"rule_id":"@carol:hs","enabled":false,"actions":[]}]}}}`
	for _, tc := range []struct {
		file, rules, event string
		opts               Options
		room               *Room
		recipient          Recipient
	}{
		{
			file: "explain_keyword.txt", rules: keywords,
			event:     `{"type":"m.room.message","sender":"@bob:hs","room_id":"!r:hs","content":{"msgtype":"m.text","body":"two cakes, Alice?","m.mentions":{},"n":1.0,"list":[1]}}`,
			room:      &Room{Version: "11", MemberCount: 3, Creators: []string{"@bob:hs"}},
			recipient: Recipient{UserID: "@alice:hs", DisplayName: "Alice", ProfileTag: "phone"},
		},
		{
			file: "explain_nothing.txt", rules: `{}`, event: `{"type":"m.room.topic","state_key":"","content":{"topic":"x"}}`,
			recipient: Recipient{},
		},
		{
			file: "explain_silent.txt", rules: `{"global":{"override":[{"rule_id":"everything","conditions":[],"actions":["dont_notify"]}]}}`, event: `{"type":"x"}`,
			recipient: Recipient{UserID: "@alice:hs"},
		},
		{
			file: "explain_proposals.txt", rules: `{"global":{"override":[{"rule_id":"reply","actions":[],"conditions":[
				{"kind":"im.nheko.msc3664.related_event_match","rel_type":"m.in_reply_to","key":"content.body","pattern":"tea"},
				{"kind":"im.nheko.msc3664.related_event_match","rel_type":"m.thread"}]}]}}`,
			event: `{"type":"m.message","sender":"@bob:hs","content":{"org.matrix.msc1767.markup":[{"body":"hi"}]}}`,
			opts:  Options{Features: Features{RelatedEvents: true, RoomVersionSupports: true, ThreadSubscriptions: true}, Dialect: Dialect2015},
			room: &Room{Version: "org.matrix.msc1767.10", MemberCount: -1, ThreadID: "$t",
				Related: map[string]RelatedEvent{"m.in_reply_to": {Event: mustParse(`{"sender":"@alice:hs","content":{"body":"cake"}}`), IsFallingBack: true}}},
			recipient: Recipient{UserID: "@alice:hs", Thread: Subscribed},
		},
	} {
		t.Run(tc.file, func(t *testing.T) {
			t.Parallel()
			rs, _ := Compile([]byte(tc.rules), tc.opts)
			golden(t, tc.file, rs.Explain(mustParse(tc.event), tc.room, &tc.recipient).String())
		})
	}
}

// TestExplainAgrees explains random decisions: the rule that the trace says decides
// must be the one that does.
func TestExplainAgrees(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		g := newGenerator(seed)
		rs, _ := Compile([]byte(g.ruleset()), g.options())
		r := g.recipient(rs)
		trace := rs.Explain(mustParse(g.event()), g.roomState(), &r)
		decides := ""
		for _, rule := range trace.Rules {
			if rule.Outcome == OutcomeMatched {
				decides += rule.RuleID
			}
			for _, c := range rule.Conditions {
				if c.Asks == "" || c.Saw == "" {
					t.Errorf("seed %d: a condition of %s is not explained: %+v", seed, rule.RuleID, c)
				}
			}
		}
		if decides != trace.Decision.RuleID || trace.String() == "" {
			t.Errorf("seed %d: %q decides by the trace, %q by the decision", seed, decides, trace.Decision.RuleID)
		}
	}
}

func mustParse(raw string) *Event {
	ev, err := ParseEvent([]byte(raw))
	if err != nil {
		panic(err)
	}
	return ev
}
