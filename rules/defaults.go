package rules

// This file is the server-default rules, in the order in which they are tried.
//
// Source: Matrix specification 1.19, push rules, "Predefined Rules"; the legacy
// mention rules from specification 1.16; experimental ones from the proposals
// named in their ids.

// The ids of default rules that have a special place or meaning.
const (
	ruleMaster              = ".m.rule.master"
	ruleContainsDisplayName = ".m.rule.contains_display_name"
	ruleRoomNotif           = ".m.rule.roomnotif"
	ruleContainsUserName    = ".m.rule.contains_user_name"
)

// isLegacyMention reports whether the rule guesses mentions from the text of a
// message. Such a rule is out of force for events that say whom they mention.
func isLegacyMention(id string) bool {
	return id == ruleContainsDisplayName || id == ruleRoomNotif || id == ruleContainsUserName
}

// defaultRule is one server-default rule as the API shows it, but for conditions
// on the recipient's own id, which are marked with "own".
type defaultRule struct {
	kind Kind
	when func(Options) bool // nil: always
	json string
}

// The switches that default rules depend on.
func legacyMentions(o Options) bool      { return !o.NoLegacyMentions }
func encryptedEvents(o Options) bool     { return o.Features.EncryptedEventRule }
func relatedEvents(o Options) bool       { return o.Features.RelatedEvents }
func polls(o Options) bool               { return o.Features.Polls }
func jitsi(o Options) bool               { return o.Features.Jitsi }
func extensibleEvents(o Options) bool    { return o.Features.RoomVersionSupports }
func threadSubscriptions(o Options) bool { return o.Features.ThreadSubscriptions }
func fallback(o Options) bool            { return o.Dialect == Dialect2015 }

// defaultRules returns the default rules of a deployment: the table below
// without those whose feature is off.
func defaultRules() []defaultRule {
	return []defaultRule{
		{KindOverride, nil, `{"rule_id":".m.rule.master","enabled":false,"actions":[]}`},
		{KindOverride, encryptedEvents, `{"rule_id":".org.matrix.msc4028.encrypted_event",` + typeIs("m.room.encrypted") + `,"actions":["notify"]}`},
		{KindOverride, nil, `{"rule_id":".m.rule.suppress_notices",
			"conditions":[{"kind":"event_match","key":"content.msgtype","pattern":"m.notice"}],"actions":[]}`},
		{KindOverride, nil, `{"rule_id":".m.rule.invite_for_me",
			"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.member"},
				{"kind":"event_match","key":"content.membership","pattern":"invite"},
				{"kind":"event_match","key":"state_key","own":"user_id"}],` + notifySound + `}`},
		{KindOverride, nil, `{"rule_id":".m.rule.member_event",` + typeIs("m.room.member") + `,"actions":[]}`},
		{KindOverride, relatedEvents, `{"rule_id":".im.nheko.msc3664.reply",
			"conditions":[{"kind":"im.nheko.msc3664.related_event_match","rel_type":"m.in_reply_to","key":"sender","own":"user_id"}],` + notifySoundHighlight + `}`},
		{KindOverride, nil, `{"rule_id":".m.rule.is_user_mention",
			"conditions":[{"kind":"event_property_contains","key":"content.m\\.mentions.user_ids","own":"user_id"}],` + notifySoundHighlight + `}`},
		{KindOverride, legacyMentions, `{"rule_id":".m.rule.contains_display_name",
			"conditions":[{"kind":"contains_display_name"}],` + notifySoundHighlight + `}`},
		{KindOverride, nil, `{"rule_id":".m.rule.is_room_mention",
			"conditions":[{"kind":"event_property_is","key":"content.m\\.mentions.room","value":true},
				{"kind":"sender_notification_permission","key":"room"}],` + notifyHighlight + `}`},
		{KindOverride, legacyMentions, `{"rule_id":".m.rule.roomnotif",
			"conditions":[{"kind":"sender_notification_permission","key":"room"},
				{"kind":"event_match","key":"content.body","pattern":"@room"}],` + notifyHighlight + `}`},
		{KindOverride, nil, `{"rule_id":".m.rule.tombstone",
			"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.tombstone"},
				{"kind":"event_match","key":"state_key","pattern":""}],` + notifyHighlight + `}`},
		{KindOverride, nil, `{"rule_id":".m.rule.reaction",` + typeIs("m.reaction") + `,"actions":[]}`},
		{KindOverride, nil, `{"rule_id":".m.rule.room.server_acl",
			"conditions":[{"kind":"event_match","key":"type","pattern":"m.room.server_acl"},
				{"kind":"event_match","key":"state_key","pattern":""}],"actions":[]}`},
		{KindOverride, nil, `{"rule_id":".m.rule.suppress_edits",
			"conditions":[{"kind":"event_property_is","key":"content.m\\.relates_to.rel_type","value":"m.replace"}],"actions":[]}`},
		{KindOverride, polls, `{"rule_id":".org.matrix.msc3930.rule.poll_response",` + typeIs("org.matrix.msc3381.poll.response") + `,"actions":[]}`},

		{KindContent, legacyMentions, `{"rule_id":".m.rule.contains_user_name",
			"conditions":[{"kind":"event_match","key":"content.body","own":"user_localpart"}],` + notifySoundHighlight + `}`},

		{KindPostContent, threadSubscriptions, `{"rule_id":".io.element.msc4306.rule.unsubscribed_thread",
			"conditions":[{"kind":"io.element.msc4306.thread_subscription","subscribed":false}],"actions":[]}`},
		{KindPostContent, threadSubscriptions, `{"rule_id":".io.element.msc4306.rule.subscribed_thread",
			"conditions":[{"kind":"io.element.msc4306.thread_subscription","subscribed":true}],` + notifySound + `}`},

		{KindUnderride, nil, `{"rule_id":".m.rule.call",` + typeIs("m.call.invite") + `,
			"actions":["notify",{"set_tweak":"sound","value":"ring"}]}`},
		{KindUnderride, nil, `{"rule_id":".m.rule.encrypted_room_one_to_one",` + oneToOne("m.room.encrypted") + `,` + notifySound + `}`},
		{KindUnderride, nil, `{"rule_id":".m.rule.room_one_to_one",` + oneToOne("m.room.message") + `,` + notifySound + `}`},
		{KindUnderride, extensibleEvents, extensibleOneToOne("encrypted_room_one_to_one", "org.matrix.msc1767.encrypted")},
		{KindUnderride, extensibleEvents, extensibleOneToOne("message.room_one_to_one", "org.matrix.msc1767.message")},
		{KindUnderride, extensibleEvents, extensibleOneToOne("file.room_one_to_one", "org.matrix.msc1767.file")},
		{KindUnderride, extensibleEvents, extensibleOneToOne("image.room_one_to_one", "org.matrix.msc1767.image")},
		{KindUnderride, extensibleEvents, extensibleOneToOne("video.room_one_to_one", "org.matrix.msc1767.video")},
		{KindUnderride, extensibleEvents, extensibleOneToOne("audio.room_one_to_one", "org.matrix.msc1767.audio")},
		{KindUnderride, nil, `{"rule_id":".m.rule.message",` + typeIs("m.room.message") + `,"actions":["notify"]}`},
		{KindUnderride, nil, `{"rule_id":".m.rule.encrypted",` + typeIs("m.room.encrypted") + `,"actions":["notify"]}`},
		{KindUnderride, extensibleEvents, extensible("encrypted", "m.encrypted")},
		{KindUnderride, extensibleEvents, extensible("message", "m.message")},
		{KindUnderride, extensibleEvents, extensible("file", "m.file")},
		{KindUnderride, extensibleEvents, extensible("image", "m.image")},
		{KindUnderride, extensibleEvents, extensible("video", "m.video")},
		{KindUnderride, extensibleEvents, extensible("audio", "m.audio")},
		{KindUnderride, jitsi, `{"rule_id":".im.vector.jitsi",
			"conditions":[{"kind":"event_match","key":"type","pattern":"im.vector.modular.widgets"},
				{"kind":"event_match","key":"content.type","pattern":"jitsi"},
				{"kind":"event_match","key":"state_key","pattern":"*"}],"actions":["notify"]}`},
		{KindUnderride, polls, `{"rule_id":".org.matrix.msc3930.rule.poll_start_one_to_one",` + oneToOne("org.matrix.msc3381.poll.start") + `,` + notifySound + `}`},
		{KindUnderride, polls, `{"rule_id":".org.matrix.msc3930.rule.poll_start",` + typeIs("org.matrix.msc3381.poll.start") + `,"actions":["notify"]}`},
		{KindUnderride, polls, `{"rule_id":".org.matrix.msc3930.rule.poll_end_one_to_one",` + oneToOne("org.matrix.msc3381.poll.end") + `,` + notifySound + `}`},
		{KindUnderride, polls, `{"rule_id":".org.matrix.msc3930.rule.poll_end",` + typeIs("org.matrix.msc3381.poll.end") + `,"actions":["notify"]}`},
		{KindUnderride, fallback, `{"rule_id":".m.rule.fallback","conditions":[],"actions":["notify"]}`},
	}
}

// The actions that default rules have in common. A rule without a highlight
// tweak does not highlight; homeservers that say so with a tweak of false mean
// the same.
const (
	notifySound          = `"actions":["notify",{"set_tweak":"sound","value":"default"}]`
	notifyHighlight      = `"actions":["notify",{"set_tweak":"highlight"}]`
	notifySoundHighlight = `"actions":["notify",{"set_tweak":"sound","value":"default"},{"set_tweak":"highlight"}]`
)

func typeIs(eventType string) string {
	return `"conditions":[{"kind":"event_match","key":"type","pattern":"` + eventType + `"}]`
}

func oneToOne(eventType string) string {
	return `"conditions":[{"kind":"room_member_count","is":"2"},
		{"kind":"event_match","key":"type","pattern":"` + eventType + `"}]`
}

const inExtensibleRooms = `{"kind":"org.matrix.msc3931.room_version_supports","feature":"` + FeatureExtensibleEvents + `"}`

func extensibleOneToOne(name, eventType string) string {
	return `{"rule_id":".org.matrix.msc3933.rule.extensible.` + name + `",
		"conditions":[{"kind":"event_match","key":"type","pattern":"` + eventType + `"},
			{"kind":"room_member_count","is":"2"},` + inExtensibleRooms + `],` + notifySound + `}`
}

func extensible(name, eventType string) string {
	return `{"rule_id":".org.matrix.msc1767.rule.extensible.` + name + `",
		"conditions":[{"kind":"event_match","key":"type","pattern":"` + eventType + `"},` + inExtensibleRooms + `],"actions":["notify"]}`
}
