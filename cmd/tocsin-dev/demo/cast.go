package demo

// Who plays: the users with their rules and devices, and the rooms that they are in.

// server is the homeserver of the demo.
const server = "tocsin.example"

// The users. Their names say how they want to be notified; see accounts.
const (
	alice = "@alice:" + server // the defaults
	bob   = "@bob:" + server   // a keyword, and two devices
	carol = "@carol:" + server // muted the garden
	dave  = "@dave:" + server  // mentions only in the garden; ids only to his device
	erin  = "@erin:" + server  // has a new phone: the pushkey of the old one is dead
	robot = "@weatherbot:" + server
	rita  = "@rita:elsewhere.example" // of another homeserver, whose business her notifications are
)

// The rooms.
const (
	garden = "!garden:" + server // everybody
	direct = "!direct:" + server // Alice and Bob
	night  = "!night:" + server  // encrypted
)

// app ids of the devices.
const (
	phone  = "org.example.phone"
	laptop = "org.example.laptop"
)

// deadKey is the pushkey that the gateway rejects.
const deadKey = "ERIN-OLD-PHONE"

// roomPlan is a room as it begins.
type roomPlan struct {
	id, name  string
	encrypted bool
	members   []string // the first one makes it
}

var rooms = []roomPlan{
	{id: garden, name: "Garden", members: []string{alice, bob, carol, dave, erin, robot, rita}},
	{id: direct, members: []string{bob, alice}},
	{id: night, name: "Night shift", encrypted: true, members: []string{erin, bob, carol}},
}

// device is a pusher of a user.
type device struct{ user, app, pushkey, format string }

var devices = []device{
	{alice, phone, "ALICE-PHONE", ""},
	{bob, phone, "BOB-PHONE", ""},
	{bob, laptop, "BOB-LAPTOP", ""},
	{carol, phone, "CAROL-PHONE", ""},
	{dave, phone, "DAVE-PHONE", "event_id_only"},
	{erin, phone, deadKey, ""},
}

// object is a JSON object.
type object = map[string]any

// pushRules are the rules that a user has set (Client-Server API, m.push_rules); everybody else has the defaults.
var pushRules = map[string]object{
	bob: {"content": []any{rule("tomato*", object{
		"pattern": "tomato*", "actions": []any{"notify", object{"set_tweak": "highlight"}, object{"set_tweak": "sound", "value": "bell.caf"}},
	})}},
	carol: {"override": []any{rule("no garden", object{
		"conditions": []any{object{"kind": "event_match", "key": "room_id", "pattern": garden}}, "actions": []any{},
	})}},
	dave: {"room": []any{rule(garden, object{"actions": []any{}})}},
}

// rule is a push rule of a user's own.
func rule(id string, more object) object {
	r := object{"rule_id": id, "default": false, "enabled": true}
	for k, v := range more {
		r[k] = v
	}
	return r
}

// displayName is what a user is called: the local part, with a capital.
func displayName(user string) string {
	local := localpart(user)
	return string(local[0]-'a'+'A') + local[1:]
}

// localpart is a user id without the sign and the server.
func localpart(user string) string {
	for i, c := range user {
		if c == ':' {
			return user[1:i]
		}
	}
	return user
}
