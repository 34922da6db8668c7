package integration

// What the homeserver writes: accounts, rooms and what is said in them.

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"
)

// write produces records; the write itself is tried until it succeeds.
func (w *world) write(messages ...kafka.Message) {
	w.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := w.writer.WriteMessages(context.Background(), messages...)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("write: %v", err)
		}
	}
}

// account writes a record of a user's account.
func (w *world) account(user, kind, key string, content any) {
	w.Helper()
	value, err := json.Marshal(map[string]any{"user_id": user, "type": kind, "content": content})
	if err != nil {
		w.Fatal(err)
	}
	w.write(kafka.Message{Topic: w.cfg.Topics.Account, Key: []byte(user + "|" + kind + key), Value: value})
}

// pusher registers a pusher at the gateway that all share.
func (w *world) pusher(user, pushkey string) {
	w.Helper()
	w.device(user, "app", pushkey, "push.example")
}

// event is a record of the events topic.
func (w *world) event(room, id, kind, sender string, stateKey *string, content any) kafka.Message {
	w.Helper()
	e := map[string]any{"event_id": id, "room_id": room, "type": kind, "sender": sender, "content": content, "origin_server_ts": 1}
	if stateKey != nil {
		e["state_key"] = *stateKey
	}
	value, err := json.Marshal(e)
	if err != nil {
		w.Fatal(err)
	}
	return kafka.Message{Topic: w.cfg.Topics.Events, Key: []byte(room), Value: value}
}

// message is a message of @alice's.
func (w *world) message(room, id string) kafka.Message {
	w.Helper()
	return w.event(room, id, "m.room.message", "@alice:other", nil, map[string]any{"msgtype": "m.text", "body": "hello"})
}

// room makes a room with @bob in it.
func (w *world) room(room string) {
	w.Helper()
	w.roomOf(room, "@carol:other", "@bob:"+server)
}

// join is the event by which a user joins a room.
func (w *world) join(room, user string) kafka.Message {
	w.Helper()
	return w.event(room, "$join"+user+room, "m.room.member", user, &user, map[string]any{"membership": "join"})
}

// ids are so many event ids.
func ids(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("$%s%d", prefix, i)
	}
	return out
}

// device registers a pusher of an app at the gateway of a host.
func (w *world) device(user, appID, pushkey, host string) {
	w.Helper()
	w.account(user, "pusher", "|"+appID+"|"+pushkey, map[string]any{
		"kind": "http", "app_id": appID, "pushkey": pushkey, "pushkey_ts": 1, "data": map[string]any{"url": "https://" + host + "/_matrix/push/v1/notify"},
	})
}

// roomOf makes a room with these users and one who writes.
func (w *world) roomOf(room string, users ...string) {
	w.Helper()
	for _, user := range append([]string{"@alice:other"}, users...) {
		w.write(w.join(room, user))
	}
}

// receipt is a read receipt.
func (w *world) receipt(room, user, event string) kafka.Message {
	w.Helper()
	value := fmt.Sprintf(`{"type":"m.receipt","room_id":%q,"content":{%q:{"m.read":{%q:{"ts":1}}}}}`, room, event, user)
	return kafka.Message{Topic: w.cfg.Topics.Events, Key: []byte(room), Value: []byte(value)}
}

// feed writes messages to several rooms, a few at a time, and calls between after each step.
func (w *world) feed(prefix string, n int, between func(step int)) []string {
	w.Helper()
	const rooms, chunk = 4, 10
	for r := range rooms {
		w.room(fmt.Sprintf("!%s%d:hs", prefix, r))
	}
	all := ids(prefix, n)
	for from := 0; from < n; from += chunk {
		var batch []kafka.Message
		for i := from; i < min(from+chunk, n); i++ {
			batch = append(batch, w.message(fmt.Sprintf("!%s%d:hs", prefix, i%rooms), all[i]))
		}
		w.write(batch...)
		between(from / chunk)
	}
	return all
}
