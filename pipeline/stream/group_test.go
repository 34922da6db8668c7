package stream

// Several members of a group: joining, leaving, draining, and what Kafka says of it.

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// ledger checks what the members of a group do together.
type ledger struct {
	mu       sync.Mutex
	times    map[string]int // "key/seq": how often it was done
	last     map[string]int // by key: the highest that was done, done for the first time
	active   map[string]int // by key: Do calls
	acked    map[string]int // by key: the highest that was acknowledged
	disorder int
	overlaps int
	repeats  int
}

func newLedger() *ledger {
	return &ledger{times: map[string]int{}, last: map[string]int{}, active: map[string]int{}, acked: map[string]int{}}
}

// begin notes tasks of messages that ledgerMessages made.
func (l *ledger) begin(key string, tasks []Task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.active[key]++; l.active[key] > 1 {
		l.overlaps++
	}
	for _, task := range tasks {
		var seq int
		fmt.Sscan(string(task.Record.Value), &seq)
		id := fmt.Sprintf("%s/%d", key, seq)
		if l.times[id]++; l.times[id] > 1 {
			l.repeats++
			continue
		}
		if seq != l.last[key]+1 {
			l.disorder++
		}
		l.last[key] = seq
	}
}

func (l *ledger) end(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active[key]--
}

func (l *ledger) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times)
}

// ledgerMessages are n messages for each of so many keys, numbered from 1.
func ledgerMessages(topic string, keys, n int) (msgs []Message) {
	for seq := 1; seq <= n; seq++ {
		for k := range keys {
			msgs = append(msgs, Message{Topic: topic, Partition: AnyPartition, Key: fmt.Appendf(nil, "key%d", k), Value: fmt.Append(nil, seq)})
		}
	}
	return msgs
}

// TestChurn lets members join and leave while messages flow. Nothing may be lost, out of order or done twice at once.
func TestChurn(t *testing.T) {
	t.Parallel()
	const keys, each = 200, 100
	b := newBroker(t, func(c *Config) { c.MaxInFlight = 300 })
	topic := b.topic("churn", 8, nil)
	b.write(ledgerMessages(topic, keys, each)...)

	l := newLedger()
	handler := work{do: func(ctx context.Context, lane string, tasks []Task) error {
		l.begin(lane, tasks)
		defer l.end(lane)
		select {
		case <-time.After(time.Duration(1+rand.IntN(20)) * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}}
	members := []*running{b.consume(ConsumerConfig{Topic: topic, Handler: handler})}
	changes := 0
	for start := time.Now(); l.len() < keys*each; changes++ {
		if time.Since(start) > time.Minute {
			t.Fatalf("%d of %d messages after a minute", l.len(), keys*each)
		}
		time.Sleep(time.Duration(100+rand.IntN(200)) * time.Millisecond)
		if len(members) < 3 && (len(members) == 1 || rand.IntN(2) == 0) {
			members = append(members, b.consume(ConsumerConfig{Topic: topic, Handler: handler}))
		} else {
			i := rand.IntN(len(members))
			members[i].stop()
			members = append(members[:i], members[i+1:]...)
		}
	}
	t.Logf("%d joins and leaves, %d messages, %d repeated", changes, l.len(), l.repeats)
	if l.disorder > 0 || l.overlaps > 0 {
		t.Errorf("%d out of order, %d at once", l.disorder, l.overlaps)
	}
	if l.repeats > keys*each/20 {
		t.Errorf("%d were repeated: every change was clean, so hardly any should be", l.repeats)
	}
}

// A drain that takes longer than the session, because another member joins meanwhile: commits keep the membership, and nothing is done twice.
func TestDrainLongerThanSession(t *testing.T) {
	t.Parallel()
	b := newBroker(t, func(c *Config) { c.SessionTimeout = 1200 * time.Millisecond })
	topic := b.topic("long", 4, nil)
	for p := range 4 {
		b.write(Message{Topic: topic, Partition: p, Key: fmt.Appendf(nil, "key%d", p), Value: []byte("1")})
	}
	l := newLedger()
	handler := work{do: func(_ context.Context, lane string, tasks []Task) error {
		l.begin(lane, tasks)
		defer l.end(lane)
		time.Sleep(2500 * time.Millisecond)
		return nil
	}}
	first := b.consume(ConsumerConfig{Topic: topic, Handler: handler})
	eventually(t, "4 begun", func() bool { return l.len() == 4 })
	second := b.consume(ConsumerConfig{Topic: topic, Handler: handler})
	eventually(t, "shared", func() bool {
		return len(first.Progress()) == 2 && len(second.Progress()) == 2 && idle(first) && idle(second)
	})
	if l.repeats > 0 {
		t.Errorf("%d messages were done twice", l.repeats)
	}
}

// A member that has lost its partitions can't commit any more: its commit ends its generation, and the committed offset stays.
func TestCommitIsFenced(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("fence", 1, nil)
	group := "g-" + b.run
	b.write(numbered(topic, 0, 0, 10)...)
	done := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: done.do}})
	eventually(t, "10 records committed", func() bool {
		offsets, err := b.Committed(t.Context(), group, topic)
		return err == nil && offsets[0].Offset == 10
	})
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()

	// Somebody removes the member, as a coordinator does that did not hear of it.
	leave := func() {
		res, err := b.client.LeaveGroup(t.Context(), &kafka.LeaveGroupRequest{GroupID: group, Members: []kafka.LeaveGroupRequestMember{{ID: current.gen.MemberID}}})
		if err != nil || leaveError(res) != nil {
			t.Fatal(err, leaveError(res))
		}
	}
	leave()
	current.parts[0].save(3, current.parts[0].note())
	if err := current.commit(t.Context(), true); !isFenced(err) {
		t.Errorf("the commit of a member that was removed: %v, want it fenced", err)
	}
	b.write(numbered(topic, 0, 10, 20)...)
	eventually(t, "back in the group", func() bool {
		c.mu.Lock()
		back := c.current != nil && c.current != current
		c.mu.Unlock()
		return back && idle(c) && c.Progress()[0].Position == 20
	})
	wantNumbers(t, done.all()[:10], 0, 10)
	wantNumbers(t, done.all()[done.len()-10:], 10, 20)
}

// leaveError must find the error code that kafka-go reads into the throttle time.
func TestLeaveErrorOfStranger(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("stranger", 1, nil)
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{}})
	eventually(t, "ready", c.Ready)
	res, err := b.client.LeaveGroup(t.Context(), &kafka.LeaveGroupRequest{GroupID: "g-" + b.run, Members: []kafka.LeaveGroupRequestMember{{ID: "nobody"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := leaveError(res); !isOneOf(err, kafka.UnknownMemberId) {
		t.Errorf("a stranger's leave: %v, want unknown member", err)
	}
}

// Partitions that are added are noticed and dealt out, and their first records are seen.
func TestPartitionsAreAdded(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("grow", 1, nil)
	done := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: done.do}})
	eventually(t, "ready", c.Ready)
	res, err := b.client.CreatePartitions(t.Context(), &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: topic, Count: 3}}})
	if err != nil || res.Errors[topic] != nil {
		t.Fatal(err, res.Errors)
	}
	b.write(numbered(topic, 2, 0, 5)...)
	eventually(t, "3 partitions", func() bool { return len(c.Progress()) == 3 && idle(c) && done.len() == 5 })
}

// A topic that is missing is waited for.
func TestTopicAppearsLater(t *testing.T) {
	said := &journal{}
	b := newBroker(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(said, nil)) })
	done := &seen{}
	topic := "later-" + b.run
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: done.do}})
	eventually(t, "it has looked for the topic", func() bool { return len(said.lines("look for the topic: trying again", topic)) > 0 })
	b.topic("later", 1, nil)
	b.write(numbered(topic, 0, 0, 3)...)
	eventually(t, "3 records", func() bool { return idle(c) && done.len() == 3 })
}

// The coordinator and the leaders move to other brokers under load.
func TestCoordinatorAndLeadersMove(t *testing.T) {
	t.Parallel()
	b := newFake(t, []kfake.Opt{kfake.NumBrokers(3)})
	topic := b.topic("move", 6, nil)
	l := newLedger()
	handler := work{do: func(_ context.Context, lane string, tasks []Task) error {
		l.begin(lane, tasks)
		l.end(lane)
		return nil
	}}
	b.consume(ConsumerConfig{Topic: topic, Handler: handler})
	b.consume(ConsumerConfig{Topic: topic, Handler: handler})
	msgs := ledgerMessages(topic, 20, 100)
	for len(msgs) > 0 {
		b.write(msgs[:200]...)
		msgs = msgs[200:]
		b.fake.ShufflePartitionLeaders()
		if len(msgs)%600 == 0 {
			b.fake.RehashCoordinators()
		}
		time.Sleep(50 * time.Millisecond)
	}
	eventually(t, "2000 messages", func() bool { return l.len() == 2000 })
	if l.disorder > 0 || l.overlaps > 0 {
		t.Errorf("%d out of order, %d at once", l.disorder, l.overlaps)
	}
}

// When kafka-go has lost its membership without leaving, the consumer leaves for it; else the group would wait until the session is over.
func TestLeavesForLostMember(t *testing.T) {
	t.Parallel()
	b := newFake(t, nil, func(c *Config) {
		c.SessionTimeout, c.DrainTimeout, c.StuckAfter = time.Minute, time.Minute, 2*time.Minute
	})
	topic := b.topic("ghost", 1, nil)
	group := "g-" + b.run
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{}})
	eventually(t, "ready", c.Ready)
	c.mu.Lock()
	lost := c.current.gen.MemberID
	c.mu.Unlock()

	// The coordinator is away: it closes the connections of all that concerns the group, kafka-go's own farewell included.
	away := func() func(kmsg.Request) (kmsg.Response, error, bool) {
		until := time.Now().Add(time.Second)
		return func(kmsg.Request) (kmsg.Response, error, bool) {
			if time.Now().After(until) {
				b.fake.DropControl()
				return nil, nil, false
			}
			b.fake.KeepControl()
			return nil, fmt.Errorf("away"), true
		}
	}()
	for _, key := range []kmsg.Key{kmsg.Heartbeat, kmsg.JoinGroup, kmsg.LeaveGroup, kmsg.FindCoordinator, kmsg.OffsetCommit} {
		b.fake.ControlKey(int16(key), away)
	}
	eventually(t, "lost", func() bool { return !c.Ready() })
	start := time.Now()
	eventually(t, "back", c.Ready)
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("coming back took %v: the group waited for the ghost", took)
	}
	for _, m := range b.fake.GroupInfo(group).Members {
		if m.MemberID == lost {
			t.Error("the lost member is still in the group")
		}
	}
}
