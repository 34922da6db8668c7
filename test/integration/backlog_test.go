package integration

// A start with many records waiting.

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
)

// 100,000 account records wait, among them a user's rules from three times; the last of them is the last record of its partition. No event is evaluated before all are applied: it is pushed as
// the last rules say.
func TestEventsWaitForAllAccounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if w.redis.Embedded != nil {
		w.redis.Embedded.FreezeTime(time.Now()) // with a clock of its own it looks at all keys before each command
	}
	w.room("!r:hs")
	w.write(w.message("!r:hs", "$m"))
	bob := "@bob:" + server
	rules := func(sound string) any {
		return map[string]any{"global": map[string]any{"override": []any{map[string]any{
			"rule_id": "mine", "enabled": true, "conditions": []any{map[string]any{"kind": "event_match", "key": "type", "pattern": "m.room.message"}},
			"actions": []any{"notify", map[string]any{"set_tweak": "sound", "value": sound}},
		}}}}
	}
	record := func(user string, content any) kafka.Message {
		value, err := json.Marshal(map[string]any{"user_id": user, "type": "m.push_rules", "content": content})
		if err != nil {
			t.Fatal(err)
		}
		return kafka.Message{Topic: w.cfg.Topics.Account, Key: []byte(user + "|m.push_rules"), Value: value}
	}
	began := time.Now()
	const all, batch = 100_000, 5000
	for n := 0; n < all; n += batch {
		messages := make([]kafka.Message, 0, batch)
		for i := range batch {
			user, sound := fmt.Sprintf("@user%d:%s", (n+i)%20_000, server), "default"
			if i == batch-1 && (n == 0 || n == all/2 || n == all-batch) {
				user, sound = bob, fmt.Sprintf("sound%d", n)
			}
			messages = append(messages, record(user, rules(sound)))
		}
		w.write(messages...)
	}
	t.Logf("%d records written in %v", all, time.Since(began).Round(time.Millisecond))

	began = time.Now()
	r := w.ready(w.start())
	t.Logf("ready after %v", time.Since(began).Round(time.Millisecond))
	w.all([]string{"$m"}, 30*time.Second)
	request := w.gateway.Requests()[0]
	var sent struct {
		Notification struct {
			Devices []struct {
				Tweaks struct {
					Sound string `json:"sound"`
				} `json:"tweaks"`
			} `json:"devices"`
		} `json:"notification"`
	}
	if err := json.Unmarshal(request.Body, &sent); err != nil {
		t.Fatal(err)
	}
	if got, want := sent.Notification.Devices[0].Tweaks.Sound, fmt.Sprintf("sound%d", all-batch); got != want {
		t.Errorf("the push has sound %q, want %q, as the last rules say", got, want)
	}
	r.stop()
}
