package rules

import "testing"

func TestMutes(t *testing.T) {
	t.Parallel()
	const room = "!room:example.org"
	override := func(rules string) string { return `{"global":{"override":[` + rules + `]}}` }
	muted := `{"rule_id":"!room:example.org","enabled":true,"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!room:example.org"}]}`
	for _, tc := range []struct {
		name, rules, tag, decided string
		want                      bool
	}{
		{"the defaults", ``, "", ".m.rule.message", false},
		{"the master rule", override(`{"rule_id":".m.rule.master","enabled":true,"actions":[]}`), "", ".m.rule.message", true},
		{"the master rule, switched off", override(`{"rule_id":".m.rule.master","enabled":false,"actions":[]}`), "", ".m.rule.message", false},
		{"an override rule for the room", override(muted), "", ".m.rule.message", true},
		{"before a mention", override(muted), "", ".m.rule.is_user_mention", true},
		{"as it was written once", override(`{"rule_id":"x","enabled":true,"actions":["dont_notify"],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!room:example.org"}]}`), "", ".m.rule.message", true},
		{"by its property", override(`{"rule_id":"x","enabled":true,"actions":[],"conditions":[{"kind":"event_property_is","key":"room_id","value":"!room:example.org"}]}`), "", ".m.rule.message", true},
		{"for all rooms of a server", override(`{"rule_id":"x","enabled":true,"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"*:example.org"}]}`), "", ".m.rule.message", true},
		{"without conditions", override(`{"rule_id":"x","enabled":true,"actions":[],"conditions":[]}`), "", ".m.rule.message", true},
		{"another room's", override(`{"rule_id":"x","enabled":true,"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!other:example.org"}]}`), "", ".m.rule.message", false},
		{"switched off", override(`{"rule_id":"x","enabled":false,"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!room:example.org"}]}`), "", ".m.rule.message", false},
		{"only of one sender", override(`{"rule_id":"x","enabled":true,"actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!room:example.org"},{"kind":"event_match","key":"sender","pattern":"@a:b"}]}`), "", ".m.rule.message", false},
		{"one that notifies", override(`{"rule_id":"x","enabled":true,"actions":["notify"],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!room:example.org"}]}`), "", ".m.rule.message", false},
		{"one that notifies, before one that does not", override(`{"rule_id":"x","enabled":true,"actions":["notify"],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!room:example.org"}]},` + muted), "", ".m.rule.message", false},
		{"after a rule of the user's own that has decided", override(`{"rule_id":"x","enabled":true,"actions":["notify"],"conditions":[{"kind":"event_match","key":"type","pattern":"m.call.invite"}]},` + muted), "", "x", false},
		{"a room rule", `{"global":{"room":[{"rule_id":"!room:example.org","enabled":true,"actions":[]}]}}`, "", ".m.rule.message", true},
		{"a room rule, after a mention", `{"global":{"room":[{"rule_id":"!room:example.org","enabled":true,"actions":[]}]}}`, "", ".m.rule.is_user_mention", false},
		{"a room rule, after a keyword", `{"global":{"content":[{"rule_id":"word","enabled":true,"actions":["notify"],"pattern":"word"}],"room":[{"rule_id":"!room:example.org","enabled":true,"actions":[]}]}}`, "", "word", false},
		{"muted instead of all messages: the ids are the same", override(muted), "", "!room:example.org", true},
		{"the rule that has decided is gone", `{"global":{"room":[{"rule_id":"!room:example.org","enabled":true,"actions":[]}]}}`, "", "word", true},
		{"another device's scope", `{"device":{"work":{"override":[` + muted + `]}}}`, "home", ".m.rule.message", false},
		{"this device's scope", `{"device":{"work":{"override":[` + muted + `]}}}`, "work", ".m.rule.message", true},
	} {
		rs, problems := Compile([]byte(tc.rules), Options{})
		if len(problems) > 0 {
			t.Fatalf("%s: %v", tc.name, problems)
		}
		if got := rs.Mutes(room, tc.tag, tc.decided); got != tc.want {
			t.Errorf("%s: Mutes after %s is %v, want %v", tc.name, tc.decided, got, tc.want)
		}
	}
}
