package demo

// The homeserver: it makes events and account records, and writes them to Kafka as a real one would (README, "What the homeserver writes").

import (
	"context"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// homeserver writes the two input topics. Its methods are called one after another.
type homeserver struct {
	writer *stream.Writer
	topics pipeline.Topics
	screen *Screen
	url    string // of the push gateway
	run    string // part of each event id, so that those of an earlier run are others
	events int
	joined map[string]map[string]bool // members by room
	names  map[string]string          // of rooms
}

// event is what happens in a room. ID, Room, Time are filled in by send.
type event struct {
	ID       string  `json:"event_id"`
	Room     string  `json:"room_id"`
	Type     string  `json:"type"`
	Sender   string  `json:"sender"`
	StateKey *string `json:"state_key,omitzero"`
	Time     int64   `json:"origin_server_ts"`
	Content  object  `json:"content"`

	about string // how the screen shows it; "" if it doesn't
}

// send writes an event and returns its id.
func (h *homeserver) send(ctx context.Context, e event) (id string, err error) {
	h.events++
	e.ID, e.Time = fmt.Sprintf("$%s-%d", h.run, h.events), time.Now().UnixMilli()
	raw, err := json.Marshal(e, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("sample event: %w", err)
	}
	if e.about != "" {
		h.screen.expect(e.ID, shown{room: h.names[e.Room], sender: e.Sender, text: e.about, raw: raw, members: h.members(e.Room)})
	}
	return e.ID, h.write(ctx, h.topics.Events, e.Room, raw)
}

// members are the joined users of a room.
func (h *homeserver) members(room string) []string {
	var users []string
	for u := range h.joined[room] {
		users = append(users, u)
	}
	return users
}

// state sends a state event that nobody has to see.
func (h *homeserver) state(ctx context.Context, room, sender, kind, key string, content object) error {
	_, err := h.send(ctx, event{Room: room, Sender: sender, Type: kind, StateKey: &key, Content: content})
	return err
}

// found makes a room with its members.
func (h *homeserver) found(ctx context.Context, plan roomPlan) error {
	creator := plan.members[0]
	h.names[plan.id], h.joined[plan.id] = plan.name, map[string]bool{}
	if plan.name == "" {
		h.names[plan.id] = "(one-to-one)"
	}
	type step struct {
		kind    string
		content object
	}
	steps := []step{
		{"m.room.create", object{"room_version": "11"}},
		{"m.room.power_levels", object{"users": object{creator: 100}}},
	}
	if plan.name != "" {
		steps = append(steps, step{"m.room.name", object{"name": plan.name}})
	}
	if plan.encrypted {
		steps = append(steps, step{"m.room.encryption", object{"algorithm": "m.megolm.v1.aes-sha2"}})
	}
	for _, s := range steps {
		if err := h.state(ctx, plan.id, creator, s.kind, "", s.content); err != nil {
			return err
		}
	}
	for _, user := range plan.members {
		if err := h.join(ctx, plan.id, user); err != nil {
			return err
		}
	}
	return nil
}

func (h *homeserver) join(ctx context.Context, room, user string) error {
	h.joined[room][user] = true
	return h.state(ctx, room, user, "m.room.member", user, object{"membership": "join", "displayname": displayName(user)})
}

// register writes a user's device and rules to the account topic.
func (h *homeserver) register(ctx context.Context, d device) error {
	data := object{"url": h.url}
	if d.format != "" {
		data["format"] = d.format
	}
	return h.account(ctx, d.user, "pusher", object{"kind": "http", "app_id": d.app, "pushkey": d.pushkey, "data": data}, d.app, d.pushkey)
}

func (h *homeserver) setRules(ctx context.Context, user string, global object) error {
	return h.account(ctx, user, "m.push_rules", object{"global": global})
}

// account writes a record of matrix.account.
func (h *homeserver) account(ctx context.Context, user, kind string, content object, more ...string) error {
	raw, err := json.Marshal(object{"user_id": user, "type": kind, "content": content}, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("sample account: %w", err)
	}
	return h.write(ctx, h.topics.Account, pipeline.AccountKey(append([]string{user, kind}, more...)...), raw)
}

// read writes a read receipt: an ephemeral event, without id or sender.
func (h *homeserver) read(ctx context.Context, room, user, eventID string) error {
	h.screen.note(fmt.Sprintf("%s has read %s", localpart(user), h.names[room]))
	raw, err := json.Marshal(object{"type": "m.receipt", "room_id": room, "content": object{eventID: object{"m.read": object{user: object{"ts": time.Now().UnixMilli()}}}}})
	if err != nil {
		return fmt.Errorf("sample receipt: %w", err)
	}
	return h.write(ctx, h.topics.Events, room, raw)
}

func (h *homeserver) write(ctx context.Context, topic, key string, value []byte) error {
	return h.writer.Write(ctx, stream.Message{Topic: topic, Partition: stream.AnyPartition, Key: []byte(key), Value: value, Time: time.Now()})
}
