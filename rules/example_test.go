package rules_test

import (
	"fmt"
	"os"
	"strings"

	"tocsin/rules"
)

// A user has a keyword, and gets a message with it.
func Example() {
	ruleset, problems := rules.Compile([]byte(`{"global":{"content":[
		{"rule_id":"cake","pattern":"cake*","actions":["notify",{"set_tweak":"sound","value":"ding"}]}
	]}}`), rules.Options{})
	event, err := rules.ParseEvent([]byte(`{"type":"m.room.message","sender":"@bob:example.org","room_id":"!kitchen:example.org",
		"content":{"msgtype":"m.text","body":"There are cakes for all!"}}`))
	if err != nil || len(problems) > 0 {
		panic("these are well-formed")
	}
	room := &rules.Room{Version: "11", MemberCount: 12}
	alice := &rules.Recipient{UserID: "@alice:example.org", DisplayName: "Alice"}

	d := ruleset.Evaluate(event, room, alice)
	sound, _ := d.Tweaks.Sound()
	fmt.Println(d.RuleID, d.Kind, d.Notify, d.Highlight, sound)
	// Output: cake content true false ding
}

// All recipients of an event at once: most share one ruleset.
func ExampleEvaluator_Evaluate() {
	compiler := rules.NewCompiler(rules.Options{})
	defaults, _ := compiler.Compile(nil)
	muted, _ := compiler.Compile([]byte(`{"global":{"override":[{"rule_id":"mute","actions":[],
		"conditions":[{"kind":"event_match","key":"room_id","pattern":"!kitchen:example.org"}]}]}}`))
	event, _ := rules.ParseEvent([]byte(`{"type":"m.room.message","sender":"@bob:example.org","room_id":"!kitchen:example.org",
		"content":{"msgtype":"m.text","body":"Carol, tea?","m.mentions":{"user_ids":["@carol:example.org"]}}}`))
	recipients := []rules.Recipient{
		{UserID: "@alice:example.org", Rules: defaults},
		{UserID: "@carol:example.org", Rules: defaults},
		{UserID: "@dave:example.org", Rules: muted},
	}

	var evaluator rules.Evaluator // keep it for the next event
	for i, d := range evaluator.Evaluate(event, &rules.Room{MemberCount: 4}, recipients, nil) {
		fmt.Println(recipients[i].UserID, d.Notify, d.RuleID)
	}
	// Output:
	// @alice:example.org true .m.rule.message
	// @carol:example.org true .m.rule.is_user_mention
	// @dave:example.org false mute
}

// Why is there no notification?
func ExampleRuleset_Explain() {
	ruleset, _ := rules.Compile([]byte(`{"global":{"override":[{"rule_id":"quiet","actions":[],
		"conditions":[{"kind":"room_member_count","is":">10"}]}]}}`), rules.Options{})
	event, _ := rules.ParseEvent([]byte(`{"type":"m.room.message","content":{"body":"hello"}}`))
	fmt.Print(ruleset.Explain(event, &rules.Room{MemberCount: 12}, &rules.Recipient{UserID: "@alice:example.org"}))
	// Output:
	//   1. override .m.rule.master: disabled
	//   2. override quiet: matched: it decides
	//        + the number of joined members > 10; saw 12
	// 17 more rules are not asked.
	// No notification, because of the override rule quiet: it matches first, and its actions do not notify.
}

// Part of the rules is malformed: the rest is used.
func ExampleCompile() {
	_, problems := rules.Compile([]byte(`{"global":{"content":[{"rule_id":"cake"},{"rule_id":"tea","pattern":"tea","actions":[]}]}}`), rules.Options{})
	for _, p := range problems {
		fmt.Println(p)
	}
	// Output: global.content[0]: pattern is not a string
}

// A test suite in any language asks in JSON lines.
func ExampleBatch() {
	questions := strings.NewReader(`{"name":"1","kind":"condition","condition":{"kind":"room_member_count","is":"2"},"context":{"room_member_count":2}}
{"name":"2","kind":"actions","actions":["coalesce",{"set_tweak":"highlight"}]}
`)
	if err := rules.Batch(questions, os.Stdout); err != nil {
		panic(err)
	}
	// Output:
	// {"name":"1","match":true}
	// {"name":"2","matched_rule_id":null,"notify":true,"coalesce":true,"highlight":true,"tweaks":{"highlight":true}}
}

// Names are exact, and a name may not occur twice.
func ExampleParseEvent() {
	_, err := rules.ParseEvent([]byte(`{"type":"m.room.message","type":"m.room.member"}`))
	fmt.Println(err)
	// Output: duplicate key in a JSON object (at byte 24)
}
