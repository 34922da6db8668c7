package rules

import "testing"

func TestSmoke(t *testing.T) {
	c := NewCompiler(Options{})
	a, p := c.Compile(nil)
	if len(p) > 0 {
		t.Fatal(p)
	}
	b, _ := c.Compile([]byte(`{"global":{"override":[{"rule_id":"x","actions":[],"conditions":[{"kind":"event_match","key":"room_id","pattern":"!muted"}]}],"content":[{"rule_id":"cake","pattern":"c?ke*","actions":["notify",{"set_tweak":"highlight"}]}]}}`))
	if a == b {
		t.Fatal()
	}
	ev, err := ParseEvent([]byte(`{"type":"m.room.message","sender":"@a:hs","room_id":"!r","content":{"body":"I like CAKEs, alice","m.x":[1,"a",{"b":[1]}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, rs := range []*Ruleset{a, b} {
		for _, u := range []string{"@bob:hs", "@alice:hs"} {
			t.Log(rs.Evaluate(ev, &Room{MemberCount: 3}, &Recipient{UserID: u}))
		}
	}
	for _, bad := range []string{"", "null", "[]", "{", "{}x", `{"a":1,"a":2}`, "{\"a\":\"\xff\"}"} {
		_, err := ParseEvent([]byte(bad))
		t.Log(bad, err)
	}
}
func BenchmarkParse(b *testing.B) {
	raw := []byte(`{"type":"m.room.message","room_id":"!abcdefgh:example.org","sender":"@alice:example.org","event_id":"$143273582443PhrSn:example.org","origin_server_ts":1432735824653,"content":{"msgtype":"m.text","body":"Hello bob, are you coming to the meeting tomorrow? I think we should talk about the cake","format":"org.matrix.custom.html","formatted_body":"<b>Hello</b> bob, are you coming to the meeting tomorrow? I think we should talk about the cake","m.mentions":{"user_ids":["@bob:example.org"]},"m.relates_to":{"m.in_reply_to":{"event_id":"$abc"}}},"unsigned":{"age":1234}}`)
	b.ReportAllocs()
	a, _ := Compile(nil, Options{})
	room := &Room{MemberCount: 3, Creators: []string{"@x:hs"}}
	r := &Recipient{UserID: "@carol:hs", DisplayName: "Carol"}
	for b.Loop() {
		ev, err := ParseEvent(raw)
		if err != nil {
			b.Fatal(err)
		}
		a.Evaluate(ev, room, r)
	}
}
