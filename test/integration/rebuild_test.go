package integration

// A Redis that has lost everything.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"tocsin/cmd/app"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/test/stack"
)

// flush empties a Redis, which must be the test's own.
func (w *world) flush() {
	w.Helper()
	client := redis.NewClient(&redis.Options{Addr: w.redis.Addresses[0]})
	defer client.Close()
	if err := client.FlushAll(context.Background()).Err(); err != nil {
		w.Fatal(err)
	}
}

// Everything is gone in the middle of traffic: the worker stops and says what to do, `tocsin rebuild` does it, and all goes on as before.
func TestRebuildAfterFlush(t *testing.T) {
	t.Parallel()
	w := newWorldOn(t, stack.NewForgetfulRedis(t).RedisServers)
	var out bytes.Buffer
	if err := app.Rebuild(t.Context(), w.cfg, &out); err == nil || !strings.Contains(err.Error(), "never run") {
		t.Fatalf("rebuild before the first start: %v", err)
	}
	dora, erin := "@dora:"+server, "@erin:"+server
	join := map[string]any{"membership": "join", "displayname": "Dora"}
	w.pusher(dora, "doras-key")
	w.pusher(erin, "erins-key")
	w.account(dora, "m.push_rules", "", map[string]any{"global": map[string]any{"override": []any{
		map[string]any{"rule_id": "quiet", "enabled": true, "conditions": []any{map[string]any{"kind": "event_match", "key": "content.body", "pattern": "hush"}}, "actions": []any{}},
		map[string]any{"rule_id": "room", "enabled": true, "conditions": []any{
			map[string]any{"kind": "event_match", "key": "content.body", "pattern": "@room"}, map[string]any{"kind": "sender_notification_permission", "key": "room"},
		}, "actions": []any{"notify", map[string]any{"set_tweak": "highlight"}}},
	}}})
	r := w.ready(w.start())
	w.room("!r:hs")
	w.write(
		w.event("!r:hs", "$create", "m.room.create", "@alice:other", new(string), map[string]any{"room_version": "10", "creator": "@alice:other"}),
		w.event("!r:hs", "$power", "m.room.power_levels", "@alice:other", new(string), map[string]any{"users": map[string]any{"@alice:other": 100}, "users_default": 0}),
		w.event("!r:hs", "$name1", "m.room.name", "@alice:other", new(string), map[string]any{"name": "Old name"}),
		w.event("!r:hs", "$dora", "m.room.member", dora, &dora, join),
		w.join("!r:hs", erin),
		w.event("!r:hs", "$name2", "m.room.name", "@alice:other", new(string), map[string]any{"name": "The room"}),
		w.event("!r:hs", "$leaves", "m.room.member", erin, &erin, map[string]any{"membership": "leave"}),
	)
	all := w.feed("a", 60, func(step int) {
		if step == 3 {
			w.flush()
		}
	})
	select {
	case err := <-r.ended:
		if !errors.Is(err, pipeline.ErrLost) || !strings.Contains(err.Error(), "tocsin rebuild") {
			t.Fatalf("the worker stopped with %v, want to hear of the loss and of `tocsin rebuild`", err)
		}
		r.ended <- err
	case <-time.After(30 * time.Second):
		t.Fatal("the worker goes on with an empty Redis")
	}
	again := w.start()
	select {
	case err := <-again.ended:
		if err == nil || !strings.Contains(err.Error(), "tocsin rebuild") {
			t.Fatalf("another worker stopped with %v, want to hear of `tocsin rebuild`", err)
		}
		again.ended <- err
	case <-time.After(30 * time.Second):
		t.Fatal("another worker starts with an empty Redis")
	}

	if err := app.Rebuild(t.Context(), w.cfg, &out); err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", &out)
	for _, want := range []string{w.cfg.Topics.Account + ": 4 records read", w.cfg.Topics.RoomState + ": ", "start the workers"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the rebuild did not say %q", want)
		}
	}
	if err := app.Rebuild(t.Context(), w.cfg, &out); !errors.Is(err, state.ErrHeld) {
		t.Errorf("a second rebuild: %v, want to hear that there is nothing to do", err)
	}

	r = w.ready(w.start())
	w.all(all, 60*time.Second)
	w.settled(r)
	before, _ := w.pushed()
	from := len(w.gateway.Requests())
	say := func(id, body string) {
		w.write(w.event("!r:hs", id, "m.room.message", "@alice:other", nil, map[string]any{"msgtype": "m.text", "body": body}))
	}
	say("$hush", "hush")
	say("$room", "@room look")
	w.write(w.message("!r:hs", "$plain"))
	w.all([]string{"$hush", "$room", "$plain"}, 30*time.Second)
	w.until("five are told", 20*time.Second, func() bool {
		told := w.told(w.gateway)
		return !slices.ContainsFunc([]string{"$hush bobs-key", "$room bobs-key", "$room doras-key", "$plain bobs-key", "$plain doras-key"}, func(one string) bool { return told[one] == 0 })
	})
	w.settled(r)
	told := map[string]string{}
	for _, request := range w.gateway.Requests()[from:] {
		n, err := stack.DecodeNotification(request.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, device := range n.Devices {
			if n.EventID != "" {
				told[n.EventID+" "+device.Pushkey] = fmt.Sprintf("%s in %q", device.AppID, n.RoomName)
				if strings.Contains(string(request.Body), `"highlight":true`) {
					told[n.EventID+" "+device.Pushkey] += ", highlight"
				}
			}
		}
	}
	plain := `app in "The room"`
	for key, want := range map[string]string{
		"$hush bobs-key": plain, "$room bobs-key": plain + ", highlight", "$room doras-key": plain + ", highlight", "$plain bobs-key": plain, "$plain doras-key": plain,
	} {
		if key == "$room bobs-key" {
			delete(told, key) // the default rule, whichever it is
		} else if told[key] != want {
			t.Errorf("%s was told %q, want %q", key, told[key], want)
		}
		delete(told, key)
	}
	if len(told) > 0 {
		t.Errorf("told besides: %v", told)
	}
	for id, n := range before {
		if n > 2 {
			t.Errorf("%s was pushed %d times", id, n)
		}
	}

	// What is read clears what was counted since.
	w.write(w.receipt("!r:hs", dora, "$plain"))
	w.until("dora has nothing unread", 20*time.Second, func() bool {
		s := w.saved([]string{dora}, nil)
		u, err := pipeline.DecodeUnread([]byte(s.Counts[dora]["!r:hs"]))
		n, _ := u.Count()
		return err == nil && n == 0
	})
	if !strings.Contains(w.logs.String(), "redis was rebuilt from kafka") {
		t.Error("the worker does not say that it doesn't know the counts from before")
	}
	out.Reset()
	event := []byte(`{"type":"m.room.message","room_id":"!r:hs","sender":"@alice:other","event_id":"$x","content":{"body":"hi"}}`)
	if err := app.Explain(t.Context(), w.cfg, app.ExplainOptions{UserID: dora, Event: event}, &out); err != nil || !strings.Contains(out.String(), "Redis was rebuilt at") {
		t.Errorf("explain says %v:\n%s", err, &out)
	}
	r.stop()
}
