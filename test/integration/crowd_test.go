package integration

// A world of many users and rooms, and a model of what they have unread: lists of messages, and nothing clever.

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"

	"tocsin/pipeline/stream"
	"tocsin/test/stack"
)

// lobby is the room in which all users are told something last, to see their badges.
const lobby = "!lobby:hs"

// crowd is a world whose users are in all of its rooms, each with one pusher.
type crowd struct {
	*world
	cluster *stream.Cluster
	users   []string
	rooms   []string                       // without the lobby
	sent    map[string][]string            // the messages of a room, oldest first
	unread  map[string]map[string][]int    // by user and room: indices of messages in sent
	due     map[string]map[string][]string // by user and room: the messages that the user is to be told of
	away    map[string]map[string]bool     // by user and room: whether the user has left it

	told      map[string][]stack.Notification // by user: what pushes has read so far
	heard     int                             // requests of the gateway that it has read
	heardFrom map[string]int                  // the same of those that hang
}

// newCrowd makes a crowd. Users and rooms are spread over so many partitions, and no worker runs yet.
func newCrowd(t *testing.T, partitions, users, rooms int) *crowd {
	t.Helper()
	c := &crowd{
		world: newWorld(t), sent: map[string][]string{}, unread: map[string]map[string][]int{}, due: map[string]map[string][]string{}, away: map[string]map[string]bool{},
		told: map[string][]stack.Notification{}, heardFrom: map[string]int{},
	}
	// Where nothing fails, nothing may come twice, and a slow machine is no failure.
	c.cfg.Redis.Timeout, c.cfg.Kafka.SessionTimeout = 20*time.Second, 20*time.Second
	c.cfg.Kafka.HeartbeatInterval, c.cfg.Kafka.CommitInterval = 300*time.Millisecond, 300*time.Millisecond // so that many of these worlds fit beside one another
	c.cluster = c.connect()
	for _, topic := range []string{c.cfg.Topics.Events, c.cfg.Topics.Notifications} {
		if partitions > 4 {
			c.kafka.Repartition(t, topic, partitions)
		}
	}
	c.until("the producer knows of the partitions", 20*time.Second, func() bool { return c.knows(c.cfg.Topics.Events, partitions) })
	for i := range users {
		user := fmt.Sprintf("@u%d:%s", i, server)
		c.users = append(c.users, user)
		c.unread[user], c.due[user], c.away[user] = map[string][]int{}, map[string][]string{}, map[string]bool{}
		c.pusher(user, "key of "+user)
	}
	for i := range rooms {
		c.rooms = append(c.rooms, fmt.Sprintf("!r%d:hs", i))
	}
	var joins []kafka.Message
	for _, room := range append(slices.Clone(c.rooms), lobby) {
		for _, user := range append([]string{"@alice:other"}, c.users...) {
			joins = append(joins, c.member(room, user, "join"))
		}
	}
	c.write(joins...)
	return c
}

// knows tells whether the producer sees so many partitions of a topic. It asks its own view, not the brokers.
func (c *crowd) knows(topic string, partitions int) bool {
	c.Helper()
	client := &kafka.Client{Addr: c.writer.Addr, Transport: c.writer.Transport}
	view, err := client.Metadata(c.Context(), &kafka.MetadataRequest{Topics: []string{topic}})
	return err == nil && len(view.Topics) == 1 && len(view.Topics[0].Partitions) == partitions
}

// member is a member event of a user about itself.
func (c *crowd) member(room, user, membership string) kafka.Message {
	c.Helper()
	return c.event(room, fmt.Sprintf("$%s%s%s%d", membership, user, room, time.Now().UnixNano()), "m.room.member", user, &user, map[string]any{"membership": membership, "displayname": "the one of " + user})
}

// say writes a message to a room.
func (c *crowd) say(room string) {
	c.Helper()
	id := fmt.Sprintf("$%s.%d", room, len(c.sent[room]))
	c.sent[room] = append(c.sent[room], id)
	for _, user := range c.users {
		if !c.away[user][room] {
			c.unread[user][room] = append(c.unread[user][room], len(c.sent[room])-1)
			c.due[user][room] = append(c.due[user][room], id)
		}
	}
	c.write(c.message(room, id))
}

// talk writes so many messages to each room.
func (c *crowd) talk(rounds int) {
	c.Helper()
	for range rounds {
		for _, room := range c.rooms {
			c.say(room)
		}
	}
}

// read writes a receipt of a user for a message.
func (c *crowd) read(user, room string, message int) {
	c.Helper()
	c.unread[user][room] = slices.DeleteFunc(c.unread[user][room], func(i int) bool { return i <= message })
	receipt, err := json.Marshal(map[string]any{"type": "m.receipt", "room_id": room, "content": map[string]any{
		c.sent[room][message]: map[string]any{"m.read": map[string]any{user: map[string]any{"ts": 1}}},
	}})
	if err != nil {
		c.Fatal(err)
	}
	c.write(kafka.Message{Topic: c.cfg.Topics.Events, Key: []byte(room), Value: receipt})
}

// redact redacts a message.
func (c *crowd) redact(room string, message int) {
	c.Helper()
	for _, rooms := range c.unread {
		rooms[room] = slices.DeleteFunc(rooms[room], func(i int) bool { return i == message })
	}
	redaction, err := json.Marshal(map[string]any{"event_id": fmt.Sprintf("$redact%d%s", message, room), "room_id": room, "type": "m.room.redaction", "sender": "@alice:other",
		"redacts": c.sent[room][message], "content": map[string]any{"redacts": c.sent[room][message]}, "origin_server_ts": 1})
	if err != nil {
		c.Fatal(err)
	}
	c.write(kafka.Message{Topic: c.cfg.Topics.Events, Key: []byte(room), Value: redaction})
}

// comeOrGo lets a user leave a room, or join it again.
func (c *crowd) comeOrGo(user, room string) {
	c.Helper()
	membership := "join"
	if c.away[user][room] = !c.away[user][room]; c.away[user][room] {
		membership = "leave"
		delete(c.unread[user], room)
	}
	c.write(c.member(room, user, membership))
}

// drained waits until everything that was written is done and committed: first the events, then what became of them.
func (c *crowd) drained() {
	c.Helper()
	for _, of := range []struct{ stage, topic string }{{"rooms", c.cfg.Topics.Events}, {"users", c.cfg.Topics.Notifications}} {
		c.until(of.topic+" is drained", 120*time.Second, func() bool {
			time.Sleep(50 * time.Millisecond) // each look is many requests
			bounds, err := c.cluster.Bounds(c.Context(), of.topic)
			if err != nil {
				return false
			}
			committed, err := c.cluster.Committed(c.Context(), c.cfg.Kafka.GroupPrefix+"."+of.stage, of.topic)
			if err != nil {
				return false
			}
			for p, b := range bounds {
				if b.End > b.First && committed[p].Offset != b.End { // above it, it is of a log that is gone
					return false
				}
			}
			return true
		})
	}
}

// pushes are what each user's pusher was told with success, in that order. Counts alone are left out.
func (c *crowd) pushes() map[string][]stack.Notification {
	c.Helper()
	all := c.gateway.Requests()
	requests := all[c.heard:]
	c.heard = len(all)
	c.mu.Lock()
	for host, h := range c.sick {
		all := h.answered()
		requests = append(requests, all[c.heardFrom[host]:]...)
		c.heardFrom[host] = len(all)
	}
	c.mu.Unlock()
	for _, r := range requests {
		n, err := stack.DecodeNotification(r.Body)
		if err != nil {
			c.Fatalf("%s: %v", r.Body, err)
		}
		if r.Status == 200 && n.EventID != "" {
			for _, d := range n.Devices {
				user := strings.TrimPrefix(d.Pushkey, "key of ")
				c.told[user] = append(c.told[user], n)
			}
		}
	}
	return c.told
}

// everyMessage waits until each user is told of each message in the rooms: some may come back from a retry topic. What is read or redacted is not pushed any more, so this
// comes before it.
func (c *crowd) everyMessage() {
	c.Helper()
	c.until("everybody is told of everything", 120*time.Second, func() bool {
		told := c.pushes()
		for _, user := range c.users {
			for _, room := range c.rooms {
				for _, id := range c.due[user][room] {
					if !slices.ContainsFunc(told[user], func(n stack.Notification) bool { return n.EventID == id }) {
						return false
					}
				}
			}
		}
		return true
	})
}

// everyMessageInOrder waits for each message, and checks that nobody was told of one twice, nor out of the room's order. Those that went by a retry topic because the machine was too slow
// for them have no order.
func (c *crowd) everyMessageInOrder() {
	c.Helper()
	c.everyMessage()
	detours := map[string]bool{}
	for line := range strings.Lines(c.logs.String()) {
		if strings.Contains(line, "pusher_slow") {
			for _, field := range strings.Fields(line) {
				if id, ok := strings.CutPrefix(field, "event_id="); ok {
					detours[id] = true
				}
			}
		}
	}
	isDetour := func(id string) bool { return detours[id] }
	for _, user := range c.users {
		for _, room := range c.rooms {
			var got []string
			for _, n := range c.pushes()[user] {
				if n.RoomID == room {
					got = append(got, n.EventID)
				}
			}
			want := slices.Clone(c.due[user][room])
			if len(got) != len(want) || !slices.Equal(slices.DeleteFunc(slices.Clone(got), isDetour), slices.DeleteFunc(slices.Clone(want), isDetour)) {
				c.Errorf("%s was told of %v in %s, want %v", user, got, room, want)
			}
		}
	}
}

// badges says something in the lobby, and compares the badge that it shows each user with the model.
func (c *crowd) badges() {
	c.Helper()
	c.say(lobby)
	last := c.sent[lobby][len(c.sent[lobby])-1]
	c.until("everybody is told of "+last, 120*time.Second, func() bool {
		for _, told := range c.pushesOf(last) {
			if told == nil {
				return false
			}
		}
		return true
	})
	for user, n := range c.pushesOf(last) {
		want := 0
		for _, messages := range c.unread[user] {
			want += len(messages)
		}
		if n.Counts == nil || n.Counts.Unread != want {
			c.Errorf("%s: the badge says %+v, want %d; the model is %v", user, n.Counts, want, c.unread[user])
		}
	}
}

// pushesOf is what each user was told of an event; nil for who was not.
func (c *crowd) pushesOf(id string) map[string]*stack.Notification {
	c.Helper()
	told, of := c.pushes(), map[string]*stack.Notification{}
	for _, user := range c.users {
		of[user] = nil
		for _, n := range told[user] {
			if n.EventID == id {
				of[user] = &n
			}
		}
	}
	return of
}

// positionsRise checks that each message that somebody is told of has one position, above those of the messages before it in its room.
func (c *crowd) positionsRise() {
	c.Helper()
	type notice struct {
		Kind     string `json:"kind"`
		Position int64  `json:"position"`
		Event    struct {
			ID string `json:"event_id"`
		} `json:"event"`
	}
	positions := map[string]int64{}
	for _, rec := range c.everything(c.cfg.Topics.Notifications) {
		var n notice
		if err := json.Unmarshal(rec.Value, &n); err != nil {
			c.Fatal(err)
		}
		if n.Kind != "notify" {
			continue
		}
		if before, twice := positions[n.Event.ID]; twice && before != n.Position {
			c.Errorf("%s has the positions %d and %d", n.Event.ID, before, n.Position)
		}
		positions[n.Event.ID] = n.Position
	}
	for _, room := range c.rooms {
		last := int64(0)
		for _, id := range c.sent[room] {
			if !slices.ContainsFunc(c.users, func(user string) bool { return slices.Contains(c.due[user][room], id) }) {
				continue
			}
			position, ok := positions[id]
			if !ok || position <= last {
				c.Errorf("%s has position %d (known: %v) after %d", id, position, ok, last)
			}
			last = position
		}
	}
}
