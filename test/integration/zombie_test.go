package integration

// A worker that has lost its partitions and does not know.

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tocsin/pipeline"
	"tocsin/pipeline/state"
)

// The requests by which a member of a group says that it is alive (Kafka protocol, API keys).
const (
	apiOffsetCommit = 8
	apiHeartbeat    = 12
)

// spell lies between a worker and Kafka. While it is cast, the group coordinators get no sign of life from the worker, for each names a member that does not exist, and the worker is told
// each time that all is well. Everything else passes: the worker reads and writes on.
type spell struct {
	cast atomic.Bool
	lies atomic.Int64 // answers that were turned into success
}

func (s *spell) dial(ctx context.Context, kind, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, kind, address)
	if err != nil {
		return nil, err
	}
	return &spellbound{Conn: conn, spell: s, asked: map[uint32][2]int16{}}, nil
}

// spellbound is one connection. Requests and answers are frames: their size in four bytes, then that.
type spellbound struct {
	net.Conn
	spell *spell

	writing sync.Mutex
	request []byte // what has come of a request

	mu    sync.Mutex
	asked map[uint32][2]int16 // by correlation id, requests that were changed: API key and version

	answer, ready []byte // what has come of an answer; what of it can be read
}

// Write implements [net.Conn]: whole requests go on.
func (c *spellbound) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.request = append(c.request, b...)
	for {
		frame, rest, whole := cutFrame(c.request)
		if !whole {
			return len(b), nil
		}
		c.enchant(frame)
		if _, err := c.Conn.Write(frame); err != nil {
			return 0, err
		}
		c.request = rest
	}
}

// Read implements [net.Conn]: of whole answers.
func (c *spellbound) Read(b []byte) (int, error) {
	for len(c.ready) == 0 {
		if frame, rest, whole := cutFrame(c.answer); whole {
			c.disenchant(frame)
			c.ready, c.answer = frame, rest
			break
		}
		some := make([]byte, 64<<10)
		n, err := c.Conn.Read(some)
		c.answer = append(c.answer, some[:n]...)
		if err != nil && n == 0 {
			return 0, err
		}
	}
	n := copy(b, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

func cutFrame(b []byte) (frame, rest []byte, whole bool) {
	if len(b) < 4 || len(b) < 4+int(binary.BigEndian.Uint32(b)) {
		return nil, b, false
	}
	n := 4 + int(binary.BigEndian.Uint32(b))
	return b[:n:n], b[n:], true
}

// enchant changes the member id of a sign of life. Both requests begin with group, generation and member.
func (c *spellbound) enchant(frame []byte) {
	api, version := int16(binary.BigEndian.Uint16(frame[4:])), int16(binary.BigEndian.Uint16(frame[6:]))
	if !c.spell.cast.Load() || api != apiHeartbeat && api != apiOffsetCommit {
		return
	}
	c.mu.Lock()
	c.asked[binary.BigEndian.Uint32(frame[8:])] = [2]int16{api, version}
	c.mu.Unlock()
	text := func(at int) int { return at + 2 + max(0, int(int16(binary.BigEndian.Uint16(frame[at:])))) } // the end of the text there
	member := text(text(12)) + 4                                                                         // after the client's name, the group and the generation
	frame[text(member)-1] ^= 1
}

// disenchant takes the errors out of the answer to such a request.
func (c *spellbound) disenchant(frame []byte) {
	id := binary.BigEndian.Uint32(frame[4:])
	c.mu.Lock()
	asked, changed := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if !changed {
		return
	}
	c.spell.lies.Add(1)
	if asked[0] == apiHeartbeat {
		clear(frame[len(frame)-2:])
		return
	}
	at := 8
	if asked[1] >= 3 {
		at += 4 // the throttle time
	}
	number := func() (n int) { n = int(int32(binary.BigEndian.Uint32(frame[at:]))); at += 4; return n }
	for range number() { // topics
		at += 2 + int(binary.BigEndian.Uint16(frame[at:]))
		for range number() { // partitions: index and error
			clear(frame[at+4 : at+6])
			at += 6
		}
	}
}

// ruleset is a user's n-th.
func ruleset(n int) map[string]any {
	return map[string]any{"global": map[string]any{"override": []any{map[string]any{
		"rule_id": fmt.Sprintf("version%d", n), "enabled": true, "default": false, "actions": []any{},
		"conditions": []any{map[string]any{"kind": "event_match", "key": "type", "pattern": "nobody.sends.this"}},
	}}}}
}

// The old owner of all partitions goes on for ten seconds beside the new one: it reads the same records, counts for the same users, changes the same rooms and accounts. Nobody's
// counts, rules or rooms may be wrong afterwards.
func TestZombieBesideTheNewOwner(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4, 4, 4)
	c.cfg.Kafka.SessionTimeout = 6 * time.Second // the least that brokers allow: so long the new owner waits
	var s spell
	zombie := c.ready(c.startOn(s.dial))
	c.talk(2)
	c.drained()

	s.cast.Store(true)
	owner := c.ready(c.start())
	c.assigned(4, owner) // all of them, and the zombie believes the same
	lies := s.lies.Load()

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	one := func(of []string) string { return of[random.IntN(len(of))] }
	names, rules := map[string]string{}, map[string]int{}
	end := time.Now().Add(10 * time.Second)
	for step := 0; time.Now().Before(end); step++ {
		room, user := one(c.rooms), one(c.users)
		c.say(room)
		switch message := random.IntN(len(c.sent[room])); random.IntN(6) {
		case 0:
			c.read(user, room, message)
		case 1:
			c.redact(room, message)
		case 2:
			c.comeOrGo(user, room)
		case 3:
			names[room] = fmt.Sprintf("name %d", step)
			c.write(c.event(room, fmt.Sprintf("$name%d", step), "m.room.name", "@alice:other", new(string), map[string]any{"name": names[room]}))
		case 4:
			rules[user] = step
			c.account(user, "m.push_rules", "", ruleset(step))
		}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond) // as much traffic as the machine bears; what matters is the time
	}
	if s.lies.Load() == lies {
		t.Error("nobody had to be told that it is alive: the test shows nothing")
	}
	c.drained()
	c.done(120*time.Second, []*running{zombie}, c.cfg.Topics.Account, c.cfg.Topics.Events, c.cfg.Topics.Notifications) // by its own account: it has done everything a second time
	s.cast.Store(false)

	c.badges()
	c.roomsAre(names)
	c.rulesAre(rules)
	c.positionsRise()
	c.assigned(4, owner, zombie) // the zombie knows now, and is a member like any other
	c.badges()
	zombie.stop()
	c.badges()
	owner.stop()
}

// openStore opens the deployment's Redis.
func (c *crowd) openStore() *state.Store {
	c.Helper()
	cfg := c.cfg.Redis
	cfg.Log = slog.New(slog.DiscardHandler)
	store, err := state.Open(cfg)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := store.Close(); err != nil {
			c.Error(err)
		}
	})
	return store
}

// roomsAre compares what is saved of the rooms with what was written last: names, and members.
func (c *crowd) roomsAre(names map[string]string) {
	c.Helper()
	store := c.openStore()
	for _, id := range c.rooms {
		room, err := pipeline.LoadRoom(c.Context(), store, id, pipeline.Homeserver{Name: server})
		if err != nil {
			c.Fatal(err)
		}
		if room.Name != names[id] {
			c.Errorf("%s is called %q, want %q", id, room.Name, names[id])
		}
		var want []string
		for _, user := range c.users {
			if !c.away[user][id] {
				want = append(want, user)
			}
		}
		slices.Sort(want)
		if got := room.LocalJoined(); !slices.Equal(got, want) {
			c.Errorf("%s has the members %v, want %v", id, got, want)
		}
		if got := room.Rules.MemberCount; int(got) != len(want)+1 {
			c.Errorf("%s counts %d members, want %d and @alice", id, got, len(want))
		}
	}
}

// rulesAre compares the saved rulesets with those that were written last.
func (c *crowd) rulesAre(last map[string]int) {
	c.Helper()
	fields, err := c.openStore().Accounts(c.Context(), c.users)
	if err != nil {
		c.Fatal(err)
	}
	for i, user := range c.users {
		version, ok := last[user]
		if !ok {
			continue
		}
		found := false
		for _, f := range fields[i] {
			found = found || strings.Contains(f.Value, fmt.Sprintf(`"version%d"`, version))
		}
		if !found {
			c.Errorf("%s has the rules %v, want version %d", user, fields[i], version)
		}
	}
}
