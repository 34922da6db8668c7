package fcm_test

import (
	"fmt"

	"tocsin/pushers"
	"tocsin/pushers/fcm"
)

// What goes to Google of an event is which one it is and where: the app fetches the rest from its homeserver.
func ExampleConfig_Body() {
	cfg := fcm.Defaults()
	d := pushers.Delivery{
		UserID: "@alice:example.org",
		Notification: pushers.Notification{
			EventID: "$event", RoomID: "!room:example.org", Type: "m.room.message", Sender: "@bob:example.org", Prio: pushers.PrioHigh,
			Counts: pushers.Counts{Unread: 1},
			Device: pushers.Device{Pusher: pushers.Pusher{AppID: "org.example.app", Pushkey: pushers.NewPushkey("registration-token")}},
		},
	}
	body, err := cfg.Body(&d, now)
	fmt.Println(string(body), err)
	// Output: {"message":{"token":"registration-token","data":{"event_id":"$event","room_id":"!room:example.org","prio":"high","unread":"1"},"android":{"priority":"high"}}} <nil>
}
