package demo

// Why a user was not told: the same rules, asked again.

import (
	"github.com/go-json-experiment/json"

	"tocsin/rules"
)

// whyNot says in a few words why a user has not been pushed about an event.
func whyNot(e *shown, user string) string {
	switch {
	case localServer(user) != server:
		return "of another homeserver"
	case !hasDevice(user):
		return "no device"
	}
	event, err := rules.ParseEvent(e.raw)
	if err != nil {
		return "the event can't be read"
	}
	if event.Type() == "m.room.member" {
		return "an invite is for one alone"
	}
	room := &rules.Room{Version: "11", MemberCount: len(e.members), Creators: []string{e.sender}}
	d := rulesOf(user).Evaluate(event, room, &rules.Recipient{UserID: user, DisplayName: displayName(user)})
	switch {
	case d.Notify:
		return "the device is gone"
	case d.RuleID == "":
		return "no rule matches"
	}
	return "by " + d.RuleID
}

func localServer(user string) string { return user[len(localpart(user))+2:] }

func hasDevice(user string) bool {
	for _, d := range devices {
		if d.user == user {
			return true
		}
	}
	return false
}

// rulesOf are a user's rules as the worker compiles them.
func rulesOf(user string) *rules.Ruleset {
	var raw []byte
	if global, ok := pushRules[user]; ok {
		var err error
		if raw, err = json.Marshal(object{"global": global}); err != nil {
			return rulesOf("") // they are constants of this package: it can't be
		}
	}
	ruleset, _ := rules.Compile(raw, rules.Options{})
	return ruleset
}
