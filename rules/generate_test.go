package rules

// This file makes random rulesets, events, rooms and recipients. The vocabulary is
// small, so that much of it matches.

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

type generator struct{ *rand.Rand }

func newGenerator(seed uint64) generator {
	return generator{rand.New(rand.NewPCG(seed, 1))}
}

func (g generator) one(of ...string) string { return of[g.IntN(len(of))] }

func (g generator) chance(percent int) bool { return g.IntN(100) < percent }

// list joins up to n random things to a JSON array.
func (g generator) list(n int, one func() string) string {
	parts := make([]string, g.IntN(n+1))
	for i := range parts {
		parts[i] = one()
	}
	return "[" + strings.Join(parts, ",") + "]"
}

func (g generator) options() Options {
	flip := func() bool { return g.chance(30) }
	opts := Options{
		Dialect:          Dialect(g.one("", "current", "2015")),
		NoLegacyMentions: flip(),
		Features: Features{
			RelatedEvents: flip(), RoomVersionSupports: flip(), ThreadSubscriptions: flip(),
			EncryptedEventRule: flip(), Polls: flip(), Jitsi: flip(),
		},
	}
	return opts
}

func (g generator) user() string {
	return g.one("@alice:hs", "@bob:hs", "@Carol:hs", "@the_real.dave:hs", "@éa:hs", "", "@:hs", "eve")
}

func (g generator) name() string {
	return g.one("Alice", "bob", "", "The Real Dave", "*", "a?c", "日本", "Élodie", "@room", "İpek", "\u212Aim", "x y", "cake", "foo bar", "é")
}

func (g generator) word() string {
	return g.one("Alice", "bob", "cake", "CAKE", "the", "real", "Dave", "the_real.dave", "日本", "élodie", "É", "@room", "x", "y", "foo", "bar", "*", "a?c", "İpek",
		"\u212Aim", "kim", "@alice:hs", "carol", "ß", "")
}

func (g generator) text() string {
	n := g.IntN(6)
	var b strings.Builder
	for range n {
		b.WriteString(g.word())
		b.WriteString(g.one(" ", " ", "-", "", "_", ", ", "\\n", "⚡"))
	}
	return b.String()
}

func (g generator) pattern() string {
	p := g.word()
	for g.chance(40) {
		p += g.one("*", "?", "**", " ", "*?", "[", "{a,b}", "_") + g.word()
	}
	if g.chance(15) {
		p = g.one("*", "?") + p
	}
	return p
}

func (g generator) key() string {
	return g.one("type", "sender", "room_id", "state_key", "content.body", "content.body", "content.msgtype", "content.membership", "content.n", "content.flag", "content.nothing",
		`content.m\\.mentions.user_ids`, `content.m\\.mentions.room`, "content.list", `content.a\\.b`, "content.a.b", "content", "", "content.type")
}

func (g generator) scalar() string {
	return g.one(`"a"`, `"Cake"`, `"@alice:hs"`, "1", "0", "-1", "true", "false", "null", "1.5", "1e3", "9007199254740993", "123456789012345678901", `""`, `"true"`)
}

func (g generator) condition() string {
	switch g.IntN(14) {
	case 0, 1, 2, 3:
		return fmt.Sprintf(`{"kind":"event_match","key":"%s","pattern":"%s"}`, g.key(), g.pattern())
	case 4:
		return fmt.Sprintf(`{"kind":"event_match","key":"%s","pattern":"%s"}`, g.one("type", "room_id", "sender"), g.one(g.eventType(), g.room(), g.user()))
	case 5:
		return fmt.Sprintf(`{"kind":"event_property_is","key":"%s","value":%s}`, g.key(), g.scalar())
	case 6:
		return fmt.Sprintf(`{"kind":"event_property_contains","key":"%s","value":%s}`, g.key(), g.scalar())
	case 7:
		return `{"kind":"contains_display_name"}`
	case 8:
		return fmt.Sprintf(`{"kind":"room_member_count","is":"%s%d"}`, g.one("", "==", "<", ">", ">=", "<=", "=", "=>"), g.IntN(4))
	case 9:
		return fmt.Sprintf(`{"kind":"sender_notification_permission","key":"%s"}`, g.one("room", "other"))
	case 10:
		return fmt.Sprintf(`{"kind":"profile_tag","profile_tag":"%s"}`, g.one("phone", "desk"))
	case 11:
		return fmt.Sprintf(`{"kind":"im.nheko.msc3664.related_event_match","rel_type":"%s"%s}`, g.one("m.in_reply_to", "m.thread"), g.one("", `,"key":"sender","pattern":"@alice:hs"`, `,"include_fallbacks":true`))
	case 12:
		return g.one(`{"kind":"org.matrix.msc3931.room_version_supports","feature":"org.matrix.msc3932.extensible_events"}`,
			`{"kind":"io.element.msc4306.thread_subscription","subscribed":true}`, `{"kind":"io.element.msc4306.thread_subscription","subscribed":false}`)
	default:
		return g.one(`{"kind":"unknown"}`, `{"kind":"event_match"}`, `[]`, `{"kind":"event_property_is","key":"type"}`, `{"kind":"event_match","key":"type","pattern":"m.*"}`)
	}
}

func (g generator) actions() string {
	return g.list(3, func() string {
		return g.one(`"notify"`, `"notify"`, `"dont_notify"`, `"coalesce"`, `"future"`, `{"set_tweak":"sound","value":"x"}`, `{"set_tweak":"highlight"}`,
			`{"set_tweak":"highlight","value":false}`, `{"set_tweak":1}`, `{}`, `3`)
	})
}

func (g generator) eventType() string {
	return g.one("m.room.message", "m.room.message", "m.room.encrypted", "m.room.member", "m.reaction", "m.room.tombstone", "m.call.invite", "org.matrix.msc1767.message", "im.vector.modular.widgets",
		"org.matrix.msc3381.poll.start", "x")
}

func (g generator) room() string { return g.one("!r:hs", "!muted:hs", "!R:hs", "!other:hs") }

func (g generator) rule(kind Kind) string {
	id := fmt.Sprintf("rule%d", g.IntN(100))
	switch {
	case kind == KindRoom:
		id = g.room()
	case kind == KindSender:
		id = g.user()
	case g.chance(30):
		all := defaultRules()
		raw, _ := decodeRule([]byte(all[g.IntN(len(all))].json))
		id = raw.id()
	case g.chance(10):
		id = ".future.rule"
	}
	body := fmt.Sprintf(`{"rule_id":%q,"actions":%s`, id, g.actions())
	if g.chance(20) {
		body += `,"enabled":` + g.one("true", "false", "null", `"x"`)
	}
	if kind == KindContent && !g.chance(5) {
		body += fmt.Sprintf(`,"pattern":"%s"`, g.pattern())
	}
	if (kind == KindOverride || kind == KindUnderride) && !g.chance(5) {
		body += `,"conditions":` + g.list(3, g.condition)
	}
	return body + "}"
}

func (g generator) scope() string {
	var lists []string
	for _, kind := range kinds {
		if g.chance(60) {
			most := 4
			if g.chance(10) {
				most = 30
			}
			lists = append(lists, fmt.Sprintf("%q:%s", string(kind), g.list(most, func() string { return g.rule(kind) })))
		}
	}
	return "{" + strings.Join(lists, ",") + "}"
}

func (g generator) ruleset() string {
	if g.chance(30) {
		return "null"
	}
	raw := `{"global":` + g.scope()
	if g.chance(30) {
		raw += `,"device":{"phone":` + g.scope() + `,"desk":` + g.scope() + `}`
	}
	return raw + "}"
}

func (g generator) event() string {
	var content []string
	add := func(percent int, member string) {
		if g.chance(percent) {
			content = append(content, member)
		}
	}
	add(80, fmt.Sprintf(`"body":"%s"`, g.text()))
	add(40, fmt.Sprintf(`"msgtype":"%s"`, g.one("m.text", "m.notice", "m.emote")))
	add(20, fmt.Sprintf(`"membership":"%s"`, g.one("invite", "join")))
	add(20, `"n":`+g.scalar())
	add(20, `"flag":`+g.scalar())
	add(20, `"list":`+g.list(4, g.scalar))
	add(10, `"a.b":"cake"`)
	add(10, `"a":{"b":"Cake"}`)
	add(10, `"type":"jitsi"`)
	if g.chance(30) {
		content = append(content, `"m.mentions":`+g.one(`{}`, `null`, `{"room":true}`, `{"user_ids":["@alice:hs","@bob:hs",3]}`, `{"user_ids":"@alice:hs"}`, `{"user_ids":["@Carol:hs"],"room":1}`))
	}
	if g.chance(20) {
		content = append(content, `"m.relates_to":`+g.one(`{"rel_type":"m.thread","event_id":"$t"}`, `{"rel_type":"m.replace","event_id":"$e"}`, `{"m.in_reply_to":{"event_id":"$q"}}`))
	}
	if g.chance(15) {
		content = append(content, `"org.matrix.msc1767.markup":`+g.one(`[{"body":"the Cake"}]`, `[{"body":"x","mimetype":"text/html"},{"body":"Alice"}]`, `[3]`, `{}`))
	}
	members := []string{`"content":{` + strings.Join(content, ",") + `}`}
	if !g.chance(5) {
		members = append(members, fmt.Sprintf(`"type":"%s"`, g.eventType()))
	}
	if !g.chance(5) {
		members = append(members, fmt.Sprintf(`"sender":"%s"`, g.user()), fmt.Sprintf(`"room_id":"%s"`, g.room()))
	}
	if g.chance(30) {
		members = append(members, fmt.Sprintf(`"state_key":"%s"`, g.one("", g.user(), "@ALICE:hs")))
	}
	return "{" + strings.Join(members, ",") + "}"
}

func (g generator) roomState() *Room {
	if g.chance(5) {
		return nil
	}
	r := &Room{Version: g.one("", "1", "9", "10", "11", "12", "org.matrix.msc1767.10"), MemberCount: g.IntN(5) - 1, ThreadID: g.one("", "", "$t")}
	if g.chance(50) {
		r.Creators = []string{g.user()}
	}
	if g.chance(60) {
		r.PowerLevels = ParsePowerLevels([]byte(fmt.Sprintf(`{"users":{"@alice:hs":%s},"users_default":%d,"notifications":{"room":%s}}`, g.one("100", `"60"`, "12.5"), g.IntN(70), g.one("50", "20", `"100"`, "null"))))
	}
	if g.chance(30) {
		ev, _ := ParseEvent([]byte(g.event()))
		r.Related = map[string]RelatedEvent{g.one("m.in_reply_to", "m.thread"): {Event: ev, IsFallingBack: g.chance(30)}}
	}
	return r
}

func (g generator) recipient(rs *Ruleset) Recipient {
	return Recipient{
		UserID: g.user(), DisplayName: g.name(), Rules: rs,
		ProfileTag: g.one("", "", "", "phone", "desk", "none"),
		Thread:     Subscription(g.IntN(3)),
	}
}
