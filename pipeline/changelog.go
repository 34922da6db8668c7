package pipeline

// The changelog of room state: what the rooms stage holds of each room, for a takeover without Redis.

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline/stream"
)

// stateChange is a record of tocsin.room-state.
type stateChange struct {
	Version int    `json:"v"`
	RoomID  string `json:"room_id"`
	Field   string `json:"field"`
	Value   string `json:"value"` // "POSITION VALUE", as in Redis: the highest position wins, whatever the order of the records
}

// changelog is the record that says what has become of a field of a room.
func changelog(topic, roomID, field, value string, at time.Time) stream.Message {
	kind, stateKey := stateEvent(field)
	return stateMessage(topic, AccountKey(roomID, kind, stateKey), roomID, field, value, at)
}

// importedChangelog is the same for an imported event. It has a key of its own: whatever comes first, compaction never lets it replace what the stream has told.
func importedChangelog(topic, roomID, field, value string, at time.Time) stream.Message {
	kind, stateKey := stateEvent(field)
	return stateMessage(topic, AccountKey(roomID, kind, stateKey, "imported"), roomID, field, value, at)
}

func stateMessage(topic, key, roomID, field, value string, at time.Time) stream.Message {
	encoded, err := json.Marshal(stateChange{Version: noticeVersion, RoomID: roomID, Field: field, Value: value})
	if err != nil {
		panic(fmt.Sprintf("a state change that does not encode: %v", err)) // only texts, all valid
	}
	return stream.Message{Topic: topic, Partition: stream.AnyPartition, Key: []byte(key), Value: encoded, Time: at}
}
