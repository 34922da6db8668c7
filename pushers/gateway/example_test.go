package gateway_test

import (
	"fmt"

	"tocsin/pushers"
	"tocsin/pushers/gateway"
)

// A pusher that wants event_id_only hears of an event, and nothing of what is in it.
func ExampleBody() {
	body, err := gateway.Body(&pushers.Notification{
		EventID: "$event", RoomID: "!room:example.org", Type: "m.room.message", Content: []byte(`{"body":"for your eyes only"}`),
		Prio: pushers.PrioHigh, Counts: pushers.Counts{Unread: 3},
		Device: pushers.Device{Pusher: pushers.Pusher{AppID: "org.example.app", Pushkey: pushers.NewPushkey("key"), Format: pushers.FormatEventIDOnly}},
	})
	fmt.Println(string(body), err)
	// Output: {"notification":{"event_id":"$event","room_id":"!room:example.org","prio":"high","counts":{"unread":3},"devices":[{"app_id":"org.example.app","pushkey":"key"}]}} <nil>
}
