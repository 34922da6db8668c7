package apns_test

import (
	"fmt"

	"tocsin/pushers"
	"tocsin/pushers/apns"
)

func ExampleConfig_Payload() {
	app := apns.Defaults()
	fmt.Println(string(app.Payload(&pushers.Notification{
		EventID: "$0cTr40iZmOd3Aj0c65e", RoomID: "!vkibNVqwhZVOaNskRU:matrix.org", Type: "m.room.message", Counts: pushers.Counts{Unread: 1},
		Device: pushers.Device{Pusher: pushers.Pusher{Data: []byte(`{"default_payload":{"aps":{"mutable-content":1}}}`)}},
	})))
	// Output: {"aps":{"mutable-content":1},"room_id":"!vkibNVqwhZVOaNskRU:matrix.org","event_id":"$0cTr40iZmOd3Aj0c65e","unread_count":1}
}
