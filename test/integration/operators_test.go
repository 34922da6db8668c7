package integration

// What operators do while a worker runs, by the very binary that they run: the rejection guard, restoring pushers, pausing.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/test/stack"
)

// program builds cmd/tocsin, once for all tests.
var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "tocsin")
	if out, err := exec.Command("go", "build", "-o", path, "tocsin/cmd/tocsin").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// tocsin runs a command of the operator's, and returns what it says.
func (w *world) tocsin(args ...string) string {
	w.Helper()
	path, err := program()
	if err != nil {
		w.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = w.environment()
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		w.Fatalf("tocsin %v: %v\n%s%s", args, err, &out, &complaints)
	}
	return out.String()
}

// environment is the world's configuration, as far as commands need it.
func (w *world) environment() []string {
	topics := w.cfg.Topics
	return append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TOCSIN_") }),
		"TOCSIN_HOMESERVER_SERVER_NAME="+server, "TOCSIN_KAFKA_BROKERS="+strings.Join(w.kafka.Brokers, ","), "TOCSIN_KAFKA_GROUP_PREFIX="+w.cfg.Kafka.GroupPrefix,
		"TOCSIN_REDIS_ADDRESSES="+w.redis.Addresses[0], "TOCSIN_REDIS_KEY_PREFIX="+w.cfg.Redis.KeyPrefix,
		"TOCSIN_TOPICS_EVENTS="+topics.Events, "TOCSIN_TOPICS_ACCOUNT="+topics.Account, "TOCSIN_TOPICS_NOTIFICATIONS="+topics.Notifications, "TOCSIN_TOPICS_ROOM_STATE="+topics.RoomState,
		"TOCSIN_TOPICS_RETRY_PREFIX="+topics.RetryPrefix, "TOCSIN_TOPICS_DEAD_LETTER="+topics.DeadLetter, "TOCSIN_TOPICS_FEEDBACK="+topics.Feedback)
}

// says runs a command that must say all of want.
func (w *world) says(args []string, want ...string) {
	w.Helper()
	out := w.tocsin(args...)
	for _, text := range want {
		if !strings.Contains(out, text) {
			w.Errorf("tocsin %v says\n%s\nand not %q", args, out, text)
		}
	}
}

// feedback is what the homeserver is told: "reason user app pushkey", sorted.
func (w *world) feedback() (all []string) {
	w.Helper()
	for _, rec := range w.everything(w.cfg.Topics.Feedback) {
		var f struct {
			UserID  string `json:"user_id"`
			AppID   string `json:"app_id"`
			Pushkey string `json:"pushkey"`
			Reason  string `json:"reason"`
		}
		if err := json.Unmarshal(rec.Value, &f); err != nil || string(rec.Key) != f.UserID {
			w.Fatalf("%s: %s: %v", rec.Key, rec.Value, err)
		}
		all = append(all, strings.Join([]string{f.Reason, f.UserID, f.AppID, f.Pushkey}, " "))
	}
	slices.Sort(all)
	return all
}

// A gateway rejects a pushkey, and others that it was not asked about: that user's pusher with that key goes, and nothing else.
func TestRejectionRemovesOnePusher(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	bob, carol := "@bob:"+server, "@carol:"+server
	g := w.gatewayAt("g.example")
	w.device(bob, "app", "dead", "g.example")
	w.device(bob, "app", "alive", "g.example")
	w.device(bob, "other", "dead", "g.example")
	w.device(carol, "app", "dead", "g.example")
	w.roomOf("!bob:hs", bob)
	w.roomOf("!carol:hs", carol)
	r := w.ready(w.start())
	w.settle(r)
	rejecting := true
	g.Decide(func(q stack.Request) stack.Answer {
		n, err := stack.DecodeNotification(q.Body)
		if rejecting && err == nil && n.Devices[0].AppID == "app" && n.Devices[0].Pushkey == "dead" {
			rejecting = false
			return stack.Answer{Rejected: []string{"dead", "alive", "stranger"}}
		}
		return stack.Answer{}
	})
	w.write(w.message("!bob:hs", "$one"))
	w.settle(r)
	w.write(w.message("!bob:hs", "$two"), w.message("!carol:hs", "$three"))
	w.settle(r)
	if diff := cmp.Diff([]string{"rejected " + bob + " app dead"}, w.feedback()); diff != "" {
		t.Errorf("the homeserver was told (-want +got):\n%s", diff)
	}
	// bob's other key, and both keys "dead" that were not rejected.
	want := map[string]int{"$one alive": 1, "$one dead": 2, "$two alive": 1, "$two dead": 1, "$three dead": 1}
	w.toldIs(g, want)
	w.says([]string{"pushers", "list", "--user", bob}, "removed", "active")
	w.says([]string{"pushers", "list", "--user", carol}, "active")
	r.stop()
}

// The homeserver is told before the pusher is removed: while Kafka is away, it stays.
func TestRejectedPusherStaysUntilTheHomeserverIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob := "@bob:" + server
	w.roomOf("!r:hs", bob)
	held := make(chan struct{})
	w.gateway.Script(stack.Answer{Hold: held, Rejected: []string{"bobs-key"}})
	w.gateway.Decide(func(stack.Request) stack.Answer { return stack.Answer{Rejected: []string{"bobs-key"}} }) // should the worker lose its partitions meanwhile
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$one"))
	w.until("the request is under way", 30*time.Second, func() bool { return w.gateway.Waiting() == 0 })
	w.network.cut()
	close(held)
	w.until("the gateway has rejected it", 30*time.Second, func() bool { return len(w.gateway.Requests()) == 1 })
	w.hears("write to Kafka: trying again", "pusher-feedback")
	w.says([]string{"pushers", "list", "--user", bob}, "active")
	if got := w.feedback(); len(got) > 0 {
		t.Errorf("the homeserver was told %v with Kafka away", got)
	}
	w.network.heal()
	w.until("the homeserver is told", 60*time.Second, func() bool { return len(w.feedback()) > 0 })
	w.until("it is removed", 60*time.Second, func() bool { return strings.Contains(w.tocsin("pushers", "list", "--user", bob), "removed") })
	r.stop()
}

// A wave of rejections of requests that are all under way at once: what the guard let through is removed, the rest is held. The operator looks, resets the guard, and brings back what was removed.
func TestWaveOfRejections(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.spareRedis()
	w.cfg.Admin.Listen = "127.0.0.1:0"
	const phones = 30
	hosts := []string{"a.example", "b.example", "c.example", "d.example", "e.example", "f.example"} // none begins with room for all
	apple := w.gatewayAt(hosts...)
	var users, keys []string
	for i := range phones {
		users, keys = append(users, fmt.Sprintf("@u%d:%s", i, server)), append(keys, fmt.Sprintf("key%d", i))
		w.device(users[i], "ios", keys[i], hosts[i%len(hosts)])
	}
	w.device(users[0], "web", "browser", "web.example")
	w.roomOf("!r:hs", users...)
	held := make(chan struct{})
	apple.Script(stack.Answer{Hold: held, Rejected: keys, Times: phones})
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$wave"))
	w.until("all requests are under way", 60*time.Second, func() bool { return apple.Waiting() == 0 })
	close(held)
	w.settle(r)

	told := w.feedback()
	if len(told) != 9 {
		t.Errorf("the homeserver was told to remove %d pushers before the guard tripped, want 9: %v", len(told), told)
	}
	removed := map[string]bool{}
	for _, f := range told {
		removed[f[strings.LastIndexByte(f, ' ')+1:]] = true
		if !strings.HasPrefix(f, "rejected @u") || !strings.Contains(f, " ios ") {
			t.Errorf("the homeserver was told %q", f)
		}
	}
	if n := w.logged("push settled", "$wave", "reason=held"); n != phones-9 {
		t.Errorf("%d of %d notifications were dropped because their pushers are held, want %d", n, phones, phones-9)
	}
	if w.logged("level=ERROR", "the rejection guard of an app has tripped", "app_id=ios", "rejected=10 tried=30") != 1 {
		t.Error("the log does not say, or not once, that the guard has tripped")
	}
	if m := w.metrics(r, "tocsin_guard_tripped"); m != "tocsin_guard_tripped 1\n" {
		t.Errorf("the alarm: %q", m)
	}
	if m := w.metrics(r, `reason="held"`); !strings.HasSuffix(m, fmt.Sprintf(" %d\n", phones-9)) {
		t.Errorf("what was held is not counted: %q", m)
	}

	// While it is tripped nothing goes to those that are held, though the gateway is well again; other apps go on.
	w.write(w.message("!r:hs", "$meanwhile"))
	w.settle(r)
	for one := range w.told(apple) {
		if strings.HasPrefix(one, "$meanwhile") {
			t.Errorf("%s was told although it is held, or removed", one)
		}
	}
	if n := w.told(w.gateway)["$meanwhile browser"]; n != 1 {
		t.Errorf("another app was told %d times", n)
	}
	w.says([]string{"pushers", "guard"}, "ios", "10 of 30 tried")
	var heldUser, removedUser string
	for i, key := range keys {
		if removed[key] {
			removedUser = users[i]
		} else {
			heldUser = users[i]
		}
	}
	w.says([]string{"pushers", "list", "--user", heldUser}, "held: rejected")
	w.says([]string{"pushers", "list", "--user", removedUser}, "removed")

	w.says([]string{"pushers", "guard", "reset", "ios"}, "is reset")
	w.hears("the rejection guard of an app was reset")
	w.write(w.message("!r:hs", "$reset"))
	w.settle(r)
	for _, key := range keys {
		if n := w.told(apple)["$reset "+key]; n != 1 && !removed[key] || n != 0 && removed[key] {
			t.Errorf("after the reset %s (removed: %v) was told %d times", key, removed[key], n)
		}
	}

	w.says([]string{"pushers", "restore", "--app", "ios", "--since", "1h", "--dry-run"}, "9 of 9 removed pushers would be restored")
	w.says([]string{"pushers", "restore", "--app", "ios", "--since", "1h"}, "9 of 9 removed pushers were restored")
	pokes := 0
	w.until("all are told again", 60*time.Second, func() bool {
		pokes++
		poke := fmt.Sprintf("$poke%d", pokes)
		w.write(w.message("!r:hs", poke))
		w.settle(r)
		told := w.told(apple)
		return !slices.ContainsFunc(keys, func(key string) bool { return told[poke+" "+key] != 1 })
	})
	restored := 0
	for _, f := range w.feedback() {
		if strings.HasPrefix(f, "restored ") {
			restored++
		}
	}
	if restored != 9 {
		t.Errorf("the homeserver was told of %d restored pushers", restored)
	}
	w.says([]string{"pushers", "guard"}, "No guard has tripped")
	r.stop()
}

// A pusher that its user sets anew while the gateway rejects it stays, and is told.
func TestPusherSetAnewIsNotRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	bob := "@bob:" + server
	g := w.gatewayAt("g.example")
	w.device(bob, "app", "key", "g.example")
	w.roomOf("!r:hs", bob)
	held := make(chan struct{})
	g.Script(stack.Answer{Hold: held, Rejected: []string{"key"}})
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$one"))
	w.until("the request is under way", 30*time.Second, func() bool { return g.Waiting() == 0 })
	w.account(bob, "pusher", "|app|key", map[string]any{"kind": "http", "app_id": "app", "pushkey": "key", "pushkey_ts": 2, "data": map[string]any{"url": "https://g.example/_matrix/push/v1/notify"}})
	w.applied(r)
	close(held)
	w.settle(r)
	if got := w.requests(g); len(got) != 2 || len(w.feedback()) > 0 {
		t.Errorf("requests %v, the homeserver was told %v; want a second request, and nothing to the homeserver", got, w.feedback())
	}
	w.write(w.message("!r:hs", "$two"))
	w.settle(r)
	if n := w.told(g)["$two key"]; n != 1 {
		t.Errorf("the next message was told %d times", n)
	}
	w.says([]string{"pushers", "list", "--user", bob}, "active")
	r.stop()
}

// Sending is paused and goes on, all of it or one app's, without a restart: nothing is lost, and nothing comes twice.
func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	users := []string{"@i:" + server, "@a:" + server}
	g := w.gatewayAt("g.example")
	w.device(users[0], "im.vector.ios", "i", "g.example")
	w.device(users[1], "im.vector.android", "a", "g.example")
	w.roomOf("!r:hs", users...)
	r := w.ready(w.start())
	w.settle(r)

	w.says([]string{"pause"}, "All sending is paused")
	w.hears("sending is paused", "apps=all")
	w.says([]string{"paused"}, "Paused: All sending")
	w.write(w.message("!r:hs", "$all"))
	w.until("both wait", 60*time.Second, func() bool { return w.logged("push settled", "$all", "detail=paused") == 2 })
	w.atRest(r)
	if got := w.requests(g); len(got) > 0 {
		t.Errorf("sent although all sending is paused: %v", got)
	}
	w.says([]string{"resume"}, "goes on")
	w.hears("sending is resumed", "apps=all")
	w.settle(r)

	w.says([]string{"pause", "--app", "*.ios"}, "Sending to *.ios is paused")
	w.hears("sending is paused", "apps=*.ios")
	w.write(w.message("!r:hs", "$some"))
	w.until("one waits", 60*time.Second, func() bool { return w.logged("push settled", "$some", "detail=paused") == 1 })
	w.until("the other is told", 60*time.Second, func() bool { return w.told(g)["$some a"] == 1 })
	w.atRest(r)
	if n := w.told(g)["$some i"]; n > 0 {
		t.Error("sent to an app that is paused")
	}
	// A worker that is started meanwhile knows of it.
	r.stop()
	r = w.ready(w.start())
	w.write(w.message("!r:hs", "$later"))
	w.until("the other is told", 60*time.Second, func() bool { return w.told(g)["$later a"] == 1 })
	w.until("one waits", 60*time.Second, func() bool { return w.logged("push settled", "$later", "detail=paused") == 1 })
	w.says([]string{"resume", "--app", "*.ios"}, "goes on")
	w.hears("sending is resumed", "apps=*.ios")
	w.settle(r)
	want := map[string]int{"$all i": 1, "$all a": 1, "$some i": 1, "$some a": 1, "$later i": 1, "$later a": 1}
	w.toldIs(g, want)
	r.stop()
}

// In shadow mode everything is done but the request. With delivery.users it is done for them alone. What was not sent is not sent later.
func TestShadowAndUsers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	w.cfg.Admin.Listen = "127.0.0.1:0"
	bob, carol := "@bob:"+server, "@carol:"+server
	w.device(carol, "app", "carols-key", "push.example")
	w.roomOf("!r:hs", bob, carol)
	shadow := w.cfg.Delivery
	shadow.Mode = "shadow"
	live := w.cfg.Delivery
	w.cfg.Delivery = shadow
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$shadow"))
	w.settle(r)
	if got := w.gateway.Requests(); len(got) > 0 {
		t.Errorf("shadow mode sent %s", got[0].Body)
	}
	for _, user := range []string{bob, carol} {
		if w.logged("push settled", "event_id=$shadow", "user_id="+user, "app_id=app", "reason=shadow") != 1 {
			t.Errorf("the log does not say what %s would have been sent", user)
		}
	}
	if m := w.metrics(r, `reason="shadow"`); !strings.HasSuffix(m, " 2\n") {
		t.Errorf("what would have been sent is counted as %q", m)
	}
	r.stop()

	w.cfg.Delivery = live
	w.cfg.Delivery.Users = []string{"@bo*:" + server}
	r = w.ready(w.start())
	w.write(w.message("!r:hs", "$some"))
	w.settle(r)
	if w.logged("push settled", "event_id=$some", "user_id="+carol, "reason=shadow") != 1 {
		t.Error("the log does not say what carol would have been sent")
	}
	r.stop()

	w.cfg.Delivery.Users = nil
	r = w.ready(w.start())
	w.write(w.message("!r:hs", "$all"))
	w.settle(r)
	w.toldIs(w.gateway, map[string]int{"$some bobs-key": 1, "$all bobs-key": 1, "$all carols-key": 1})
	if _, unread := w.pushed(); unread["$all"] != 3 {
		t.Errorf("%d unread, want 3: what was not sent counts, too", unread["$all"])
	}
	r.stop()
}
