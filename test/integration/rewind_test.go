package integration

// A Redis that fails over to a replica that lagged behind.

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/pipeline/state"
	"tocsin/test/stack"
)

// saved is what Redis holds of users and rooms, without what differs from one way of writing it to another.
type saved struct {
	Accounts map[string]map[string]string
	Counts   map[string]map[string]string
	Rooms    map[string]map[string]string
}

// saved reads it, past the workers' own connection.
func (w *world) saved(users, rooms []string) saved {
	w.Helper()
	cfg := w.cfg.Redis
	cfg.Addresses = w.redis.Addresses
	store, err := state.Open(cfg)
	if err != nil {
		w.Fatal(err)
	}
	defer store.Close()
	s := saved{map[string]map[string]string{}, map[string]map[string]string{}, map[string]map[string]string{}}
	accounts, err := store.Accounts(w.Context(), users)
	if err != nil {
		w.Fatal(err)
	}
	counts, err := store.Counts(w.Context(), users)
	if err != nil {
		w.Fatal(err)
	}
	for i, user := range users {
		s.Accounts[user], s.Counts[user] = map[string]string{}, map[string]string{}
		for field, v := range accounts[i] {
			s.Accounts[user][field] = fmt.Sprint(v.Version, " ", v.Value)
		}
		for room, bytes := range counts[i].Rooms {
			s.Counts[user][room] = string(bytes)
		}
	}
	for _, room := range rooms {
		_, err := store.LoadRoom(w.Context(), room, func(int) func(string, string) {
			s.Rooms[room] = map[string]string{}
			return func(field, value string) {
				if field == "done" { // its end says when it was written
					value = value[:strings.LastIndexByte(value, ' ')]
				}
				s.Rooms[room][field] = value
			}
		})
		if err != nil {
			w.Fatal(err)
		}
	}
	return s
}

// ends are the ends of a topic's partitions.
func (w *world) ends(topic string) map[int]int64 {
	w.Helper()
	bounds, err := w.connect().Bounds(w.Context(), topic)
	if err != nil {
		w.Fatal(err)
	}
	ends := map[int]int64{}
	for p, b := range bounds {
		ends[p] = b.End
	}
	return ends
}

// The last writes are lost, twice in a row: what Redis holds becomes what it was, nobody is told twice, and all goes on.
func TestFailoverLosesNothing(t *testing.T) {
	t.Parallel()
	redis := stack.NewForgetfulRedis(t)
	w := newWorldOn(t, redis.RedisServers)
	bob, dora, erin := "@bob:"+server, "@dora:"+server, "@erin:"+server
	w.room("!last:hs")
	workers := []*running{w.start(), w.start()}
	for _, r := range workers {
		w.ready(r)
	}
	w.pusher(erin, "erins-key")
	w.write(w.join("!a0:hs", erin))
	all := w.feed("a", 40, func(int) {})
	w.all(all, 60*time.Second)
	w.settled(workers...)
	snapshot := redis.Snapshot(t)

	// All of this happens, is told, and is then forgotten.
	w.pusher(dora, "doras-key")
	w.applied(workers...) // no order is promised between accounts and events
	w.write(
		w.join("!a0:hs", dora),
		w.event("!a0:hs", "$leaves", "m.room.member", erin, &erin, map[string]any{"membership": "leave"}),
		w.event("!a0:hs", "$name", "m.room.name", "@alice:other", new(string), map[string]any{"name": "The room"}),
		w.join("!new:hs", bob),
		w.event("!a2:hs", "$redacts", "m.room.redaction", "@alice:other", nil, map[string]any{"redacts": all[38]}),
		w.receipt("!a1:hs", bob, all[37]),
		w.message("!new:hs", "$new"),
	)
	lost := w.feed("b", 40, func(int) {})
	for i := range 10 {
		id := fmt.Sprintf("$dora%d", i)
		w.write(w.message("!a0:hs", id))
		lost = append(lost, id)
	}
	w.all(append(lost, "$new"), 60*time.Second)
	w.settled(workers...)
	users, rooms := []string{bob, dora, erin}, []string{"!a0:hs", "!a1:hs", "!a2:hs", "!a3:hs", "!b0:hs", "!b1:hs", "!new:hs", "!last:hs"}
	want, ends := w.saved(users, rooms), w.ends(w.cfg.Topics.Notifications)
	before, _ := w.pushed()

	for range 2 {
		redis.FailOver(t, snapshot)
		w.hears("they are read again, and nobody is told of them a second time") // in the middle of the first rewind the second failover comes
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		diff := cmp.Diff(want, w.saved(users, rooms))
		if diff == "" {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("what Redis holds stays another than before the failover (-before +after):\n%s", diff)
		}
	}
	for _, r := range workers {
		w.ready(r)
	}
	w.settled(workers...)
	if diff := cmp.Diff(want, w.saved(users, rooms)); diff != "" {
		t.Errorf("what Redis holds (-before the failover +after it):\n%s", diff)
	}
	if after, _ := w.pushed(); !maps.Equal(before, after) {
		t.Errorf("pushed %v by the rewind; before it %v", after, before)
	}
	if diff := cmp.Diff(ends, w.ends(w.cfg.Topics.Notifications)); diff != "" {
		t.Errorf("the rewind wrote notices (-before +after):\n%s", diff)
	}

	w.write(w.message("!a0:hs", "$after"), w.message("!new:hs", "$after-new"))
	w.all([]string{"$after", "$after-new"}, 30*time.Second)
	w.settled(workers...)
	times, _ := w.pushed()
	if times["$after"] != 2 || times["$after-new"] != 1 {
		t.Errorf("after it, pushed %d and %d times; want once to each of bob and dora, and once to bob", times["$after"], times["$after-new"])
	}
	for id, n := range times {
		if most := 2; n > most && id != "" { // badges are told alone as often as they change
			t.Errorf("%s was pushed %d times", id, n)
		}
	}
	for _, r := range workers {
		r.stop()
	}
	if n := strings.Count(w.logs.String(), "another process than before: it has restarted"); n < len(workers) {
		t.Errorf("%d workers noticed a failover, want at least %d", n, len(workers))
	}
}
