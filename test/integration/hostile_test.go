package integration

// Users and gateways that mean no good, or are merely slow: what they do must cost nobody else.

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/segmentio/kafka-go"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// random is a text of n characters that no compression makes smaller.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)[:n]
}

// Tweaks of users who share a room add up to more than any record takes.
func TestLargeTweaksHoldUpNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writer.BatchBytes = 8 << 20
	for i := range 3 {
		user := fmt.Sprintf("@evil%d:%s", i, server)
		w.account(user, "m.push_rules", "", map[string]any{"global": map[string]any{"content": []any{map[string]any{
			"rule_id": "x", "pattern": "hello", "default": false, "enabled": true, "actions": []any{"notify", map[string]any{"set_tweak": "sound", "value": random(1_900_000)}},
		}}}})
	}
	w.room("!r:hs")
	for i := range 3 {
		user := fmt.Sprintf("@evil%d:%s", i, server)
		w.write(w.join("!r:hs", user))
	}
	r := w.ready(w.start())
	w.settled(r)
	w.write(w.message("!r:hs", "$poison"))
	w.done(30*time.Second, []*running{r}, w.cfg.Topics.Events)
	w.all([]string{"$poison"}, 30*time.Second)
}

// A state key that is almost as large as an event may be.
func TestLargeStateKeyHoldsUpNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writer.BatchBytes = 8 << 20
	w.room("!r:hs")
	r := w.ready(w.start())
	w.settled(r)
	key := "@" + random(1_045_000) + strings.Repeat("%", 2000)
	w.write(w.event("!r:hs", "$poison", "m.room.member", "@alice:other", &key, map[string]any{"membership": "join"}))
	w.write(w.message("!r:hs", "$after"))
	w.all([]string{"$after"}, 30*time.Second)
	w.done(30*time.Second, []*running{r}, w.cfg.Topics.Events)
}

// A large tweak, a large pushkey and a gateway that is not there: the retry would fit into no record.
func TestLargePushkeyHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.writer.BatchBytes = 8 << 20
	evil := "@evil:" + server
	w.account(evil, "m.push_rules", "", map[string]any{"global": map[string]any{"content": []any{map[string]any{
		"rule_id": "x", "pattern": "hello", "default": false, "enabled": true, "actions": []any{"notify", map[string]any{"set_tweak": "sound", "value": random(2_090_000)}},
	}}}})
	key := random(2_090_000)
	value := fmt.Sprintf(`{"user_id":%q,"type":"pusher","content":{"kind":"http","app_id":"app","pushkey":%q,"data":{"url":"https://private.example/_matrix/push/v1/notify"}}}`, evil, key)
	w.write(kafka.Message{Topic: w.cfg.Topics.Account, Key: []byte("evils-pusher"), Value: []byte(value)})
	h := w.hang("private.example")
	h.server.Close() // connection refused
	w.room("!r:hs")
	w.write(w.join("!r:hs", evil))
	r := w.ready(w.start())
	w.settled(r)
	m := w.event("!r:hs", "$poison", "m.room.message", "@alice:other", nil, map[string]any{"msgtype": "m.text", "body": "hello", "x": random(60_000)})
	w.write(m)
	w.done(20*time.Second, []*running{r}, w.cfg.Topics.Events, w.cfg.Topics.Notifications)
}

// More waits for one user's slow gateway than a partition takes at once.
func TestSlowGatewayHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := "@slow:" + server
	var bob string // in the same partition as slow
	for i := 0; ; i++ {
		if bob = fmt.Sprintf("@bob%d:%s", i, server); stream.PartitionOf(bob, 4) == stream.PartitionOf(slow, 4) {
			break
		}
	}
	w.device(bob, "app", "bobk", "push.example")
	w.device(slow, "app", "slowk", "slow.example")
	w.slow("slow.example", 5*time.Second)
	w.roomOf("!busy:hs", slow)
	w.roomOf("!quiet:hs", bob)
	r := w.ready(w.start())
	w.write(w.message("!quiet:hs", "$first"))
	w.all([]string{"$first"}, 30*time.Second)
	var batch []kafka.Message
	for i := range 1200 {
		batch = append(batch, w.message("!busy:hs", fmt.Sprintf("$b%d", i)))
	}
	w.write(batch...)
	w.done(20*time.Second, []*running{r}, w.cfg.Topics.Events) // the busy room is evaluated
	began := time.Now()
	w.write(w.message("!quiet:hs", "$second"))
	w.all([]string{"$second"}, 30*time.Second)
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("another user of the partition waited %v", took)
	}
	r.stop()
}

// A clean stop in the middle of what waits for one user.
func TestCleanStopInABacklogDoublesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!r:hs")
	w.slow("push.example", 300*time.Millisecond)
	r := w.ready(w.start())
	all := ids("line", 15)
	var batch []kafka.Message
	for _, id := range all {
		batch = append(batch, w.message("!r:hs", id))
	}
	w.write(batch...)
	w.until("some are pushed", 20*time.Second, func() bool { times, _ := w.pushed(); return len(times) > 3 })
	r.stop()
	r = w.ready(w.start())
	if doubled := w.all(all, 90*time.Second); doubled > 0 {
		t.Errorf("%d of %d notifications came twice after a clean stop", doubled, len(all))
	}
	r.stop()
}

// Unreadable records that come while Redis is away are buried once.
func TestDeadLettersComeOnceWhileRedisIsAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!r:hs")
	r := w.ready(w.start())
	w.settled(r)
	w.link.cut()
	w.write(kafka.Message{Topic: w.cfg.Topics.Account, Key: []byte("x"), Value: []byte("garbage")}, kafka.Message{Topic: w.cfg.Topics.Account, Key: []byte("x"), Value: []byte("garbage")})
	w.hears("take records: trying again", "topic="+w.cfg.Topics.Account+" ")
	refused := w.link.refused.Load()
	w.until("it was tried again, and again", 30*time.Second, func() bool { return w.link.refused.Load() >= refused+180 }) // by all stages together
	w.link.heal()
	w.settled(r)
	transport := &kafka.Transport{}
	defer transport.CloseIdleConnections()
	client := &kafka.Client{Addr: kafka.TCP(w.kafka.Brokers...), Timeout: 5 * time.Second, Transport: transport}
	var n int64
	for p := range 4 {
		res, err := client.ListOffsets(context.Background(), &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{w.cfg.Topics.DeadLetter: {kafka.LastOffsetOf(p)}}})
		if err != nil {
			t.Fatal(err)
		}
		n += res.Topics[w.cfg.Topics.DeadLetter][0].LastOffset
	}
	if n != 2 {
		t.Errorf("2 unreadable records became %d dead letters", n)
	}
	r.stop()
}

// A Redis that is emptied under a running worker stops it, and what came meanwhile is not acknowledged.
func TestRedisEmptiedUnderAWorkerStopsIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.room("!r:hs")
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$before"))
	w.all([]string{"$before"}, 20*time.Second)
	w.settled(r)
	w.emptyRedis()
	w.write(w.message("!r:hs", "$meanwhile"))
	select {
	case err := <-r.ended:
		if !errors.Is(err, pipeline.ErrLost) {
			t.Errorf("it ended with %v", err)
		}
		r.ended <- err
	case <-time.After(20 * time.Second):
		t.Error("it goes on with an empty Redis")
	}
	cluster, err := stream.Connect(w.cfg.Kafka)
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	done, err := cluster.Committed(t.Context(), w.cfg.Kafka.GroupPrefix+".rooms", w.cfg.Topics.Events)
	if err != nil {
		t.Fatal(err)
	}
	bounds, err := cluster.Bounds(t.Context(), w.cfg.Topics.Events)
	if err != nil {
		t.Fatal(err)
	}
	if p := stream.PartitionOf("!r:hs", len(bounds)); done[p].Offset != bounds[p].End-1 {
		t.Errorf("%d of %d records are acknowledged: all but the last should be", done[p].Offset, bounds[p].End)
	}
}

// emptyRedis removes everything of this test's deployment.
func (w *world) emptyRedis() {
	w.Helper()
	client := redis.NewClient(&redis.Options{Addr: w.redis.Addresses[0]})
	defer client.Close()
	ctx := context.Background()
	keys, err := client.Keys(ctx, w.redis.Prefix+"*").Result()
	if err != nil {
		w.Fatal(err)
	}
	if err := client.Del(ctx, keys...).Err(); err != nil { // all at once, as FLUSHALL does
		w.Fatal(err)
	}
}

// A user with many pushers, each at a gateway that hangs.
func TestManyPushersTakeNotAllRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	evil := "@evil:" + server
	h := w.hang("h0.example")
	defer h.release()
	var batch []kafka.Message
	for i := range 600 {
		host := fmt.Sprintf("h%d.example", i)
		w.mu.Lock()
		w.sick[host] = h
		w.mu.Unlock()
		value := fmt.Sprintf(`{"user_id":%q,"type":"pusher","content":{"kind":"http","app_id":"app","pushkey":"k%d","data":{"url":"https://%s/_matrix/push/v1/notify"}}}`, evil, i, host)
		batch = append(batch, kafka.Message{Topic: w.cfg.Topics.Account, Key: fmt.Appendf(nil, "%s|pusher|app|k%d", evil, i), Value: []byte(value)})
	}
	w.write(batch...)
	w.room("!r:hs")
	w.write(w.join("!evil:hs", evil))
	w.ready(w.start())
	w.write(w.message("!r:hs", "$before"))
	w.all([]string{"$before"}, 20*time.Second)
	w.write(w.message("!evil:hs", "$evil1"), w.message("!evil:hs", "$evil2"), w.message("!evil:hs", "$evil3"))
	w.until("the gateways hang", 20*time.Second, func() bool { return h.waiting.Load() >= 30 })
	began := time.Now()
	w.write(w.message("!r:hs", "$bob"))
	w.all([]string{"$bob"}, 20*time.Second)
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("bob's healthy gateway waited %v for the pushers of another user", took)
	}
}
