package stream

// Where a consumer goes on when its offset is not in the log.

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestResume(t *testing.T) {
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	committed := func(offset int64) commit { return commit{offset: offset, note: note{incarnation: 7, time: at(1000)}} }
	suspect := func(offset int64) commit { c := committed(offset); c.suspect = true; return c }
	now := at(5000)
	for _, tc := range []struct {
		name      string
		committed commit
		bounds    Bounds
		first     time.Time
		want      resumption
	}{
		{"nothing committed", commit{offset: -1}, Bounds{3, 9}, time.Time{}, resumption{offset: 3, incarnation: 5000, verdict: isFresh}},
		{"inside", committed(5), Bounds{3, 9}, time.Time{}, resumption{offset: 5, incarnation: 7}},
		{"at the end", committed(9), Bounds{3, 9}, time.Time{}, resumption{offset: 9, incarnation: 7}},
		{"at the start", committed(3), Bounds{3, 9}, time.Time{}, resumption{offset: 3, incarnation: 7}},
		{"below the start", committed(1), Bounds{3, 9}, time.Time{}, resumption{offset: 3, incarnation: 7, verdict: hasGap, gap: 2}},
		{"above, first record newer", committed(20), Bounds{0, 9}, at(1001), resumption{offset: 0, incarnation: 5000, verdict: wasMade}},
		{"above, first record as new", committed(20), Bounds{0, 9}, at(1000), resumption{offset: 0, incarnation: 5000, verdict: wasMade}},
		{"above, first record older", committed(20), Bounds{0, 9}, at(999), resumption{offset: 9, incarnation: 5000, verdict: wasCut}},
		{"above an empty log", committed(20), Bounds{0, 0}, time.Time{}, resumption{offset: 0, incarnation: 5000, verdict: wasMade}},
		{"above, committed by another tool", commit{offset: 20}, Bounds{0, 9}, at(1), resumption{offset: 0, incarnation: 5000, verdict: wasMade}},
		{"above, clock behind", commit{offset: 20, note: note{incarnation: 9000, time: at(1000)}}, Bounds{0, 9}, at(1), resumption{offset: 9, incarnation: 9001, verdict: wasCut}},
		{"inside, was missing, first record newer", suspect(5), Bounds{0, 9}, at(1001), resumption{offset: 0, incarnation: 5000, verdict: wasMade}},
		{"inside, was missing, first record older", suspect(5), Bounds{0, 9}, at(999), resumption{offset: 5, incarnation: 7}},
		{"inside, was missing, first record as new", suspect(5), Bounds{0, 9}, at(1000), resumption{offset: 5, incarnation: 7}},
		{"at the start, was missing", suspect(0), Bounds{0, 9}, at(1001), resumption{offset: 0, incarnation: 7}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.want.bounds = tc.bounds
			if got := resume(tc.committed, tc.bounds, tc.first, now); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
}

func TestNote(t *testing.T) {
	n := note{incarnation: 1700000000000, time: time.UnixMilli(1700000000123)}
	if got := parseNote(n.String()); got != n {
		t.Errorf("%q reads as %+v, want %+v", n, got, n)
	}
	n.memory, n.safe = "0123456789abcdef", 77
	if got := parseNote(n.String() + " later=1"); got != n {
		t.Errorf("%q reads as %+v, want %+v", n, got, n)
	}
	if got, want := parseNote("tocsin incarnation=7 time=9 safe=x memory=m"), (note{incarnation: 7, time: time.UnixMilli(9)}); got != want {
		t.Errorf("a note that is right in part reads as %+v, want %+v", got, want)
	}
	for _, foreign := range []string{"", "x", "tocsin", "tocsin incarnation=x time=1", "NO_METADATA"} {
		if got := parseNote(foreign); got != (note{}) {
			t.Errorf("%q reads as %+v, want nothing", foreign, got)
		}
	}
}

// spot is where a record was seen.
type spot struct {
	value       string
	offset      int64
	incarnation int64
}

// spots collects them.
type spots struct {
	mu  sync.Mutex
	all []spot
}

func (s *spots) handler() Handler {
	return work{take: func(_ context.Context, batch []*Record) ([]Task, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range batch {
			s.all = append(s.all, spot{string(r.Value), r.Offset, r.Incarnation})
		}
		return nil, nil
	}}
}

func (s *spots) values() (values []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.all {
		values = append(values, x.value)
	}
	return values
}

func (s *spots) incarnation(i int) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[i].incarnation
}

// The log's beginning was deleted while nobody read: go on with what is left.
func TestRetentionOvertakes(t *testing.T) {
	b := newFake(t, nil)
	topic := b.topic("retention", 1, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	s := &spots{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "10 records", func() bool { return idle(c) })
	c.stop()
	b.write(numbered(topic, 0, 10, 30)...)
	if err := b.fake.DeleteRecords(topic, 0, 20); err != nil {
		t.Fatal(err)
	}
	c = b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "the rest", func() bool { return idle(c) })
	wantNumbers(t, s.values()[10:], 20, 30)
	if s.incarnation(0) != s.incarnation(19) {
		t.Error("the incarnation changed, though no offset was given out again")
	}
}

// The same, while a consumer is held up by a slow record.
func TestRetentionOvertakesRunning(t *testing.T) {
	b := newFake(t, nil, func(c *Config) { c.FetchBytes, c.MaxInFlight = 1<<10, 5 })
	topic := b.topic("running", 1, nil)
	for i := range 10 {
		b.write(numbered(topic, 0, i*5, i*5+5)...) // in batches of their own
	}
	release := make(chan struct{})
	done := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: func(ctx context.Context, lane string, tasks []Task) error {
		<-release
		return done.do(ctx, lane, tasks)
	}}})
	eventually(t, "5 taken", func() bool { p := c.Progress(); return len(p) == 1 && p[0].Position == 5 })
	if err := b.fake.DeleteRecords(topic, 0, 45); err != nil {
		t.Fatal(err)
	}
	close(release)
	eventually(t, "the end", func() bool { return idle(c) && c.Progress()[0].Position == 50 })
	all := done.all()
	wantNumbers(t, all[len(all)-5:], 45, 50)
	eventually(t, "the commit", func() bool {
		offsets, err := b.Committed(t.Context(), "g-"+b.run, topic)
		return err == nil && offsets[0].Offset == 50
	})
}

// The topic was made anew while nobody read. Kafka drops the commits then.
func TestTopicMadeAnewWhileAway(t *testing.T) {
	b := newFake(t, nil)
	topic := b.topic("anew", 1, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	s := &spots{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "10 records", func() bool { return idle(c) })
	c.stop()
	b.remake(topic)
	b.write(numbered(topic, 0, 10, 15)...)
	c = b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "5 records", func() bool { return idle(c) })
	wantNumbers(t, s.values(), 0, 15)
	if s.incarnation(10) <= s.incarnation(9) {
		t.Errorf("incarnation %d after %d, want it to rise", s.incarnation(10), s.incarnation(9))
	}
}

// remake deletes a topic and makes it again.
func (b *broker) remake(topic string) {
	b.t.Helper()
	if err := b.fake.DeleteTopic(topic); err != nil {
		b.t.Fatal(err)
	}
	if err := b.fake.CreateTopic(topic, 1, nil); err != nil {
		b.t.Fatal(err)
	}
}

// The topic is made anew under a consumer that runs, and its new log may be shorter or longer than the old one by the time it is noticed.
func TestTopicMadeAnewWhileRunning(t *testing.T) {
	for name, n := range map[string]int{"shorter": 5, "longer": 50} {
		t.Run(name, func(t *testing.T) {
			b := newFake(t, nil)
			topic := b.topic("anew", 1, nil)
			b.write(numbered(topic, 0, 0, 10)...)
			s := &spots{}
			c := b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
			eventually(t, "10 records", func() bool { return idle(c) })
			if err := b.fake.DeleteTopic(topic); err != nil {
				t.Fatal(err)
			}
			if n > 10 { // shorter logs are noticed by the offset alone
				eventually(t, "noticed", func() bool { return c.noticedLoss() })
			}
			if err := b.fake.CreateTopic(topic, 1, nil); err != nil {
				t.Fatal(err)
			}
			b.write(numbered(topic, 0, 10, 10+n)...)
			eventually(t, "the new records", func() bool { return len(s.values()) >= 10+n && idle(c) })
			wantNumbers(t, s.values(), 0, 10+n)
			if s.incarnation(10) <= s.incarnation(9) {
				t.Errorf("incarnation %d after %d, want it to rise", s.incarnation(10), s.incarnation(9))
			}
			c.stop()
			// What was committed is of the new log.
			b.write(numbered(topic, 0, 10+n, 12+n)...)
			c = b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
			eventually(t, "the rest", func() bool { return idle(c) })
			wantNumbers(t, s.values(), 0, 12+n)
			if s.incarnation(10) != s.incarnation(10+n) {
				t.Errorf("incarnation %d after a restart, want %d as before", s.incarnation(10+n), s.incarnation(10))
			}
		})
	}
}

// noticedLoss reports whether the consumer has noticed that its topic is missing: by a fetch, or by a commit, which ends the generation.
func (r *running) noticedLoss() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil || len(r.current.parts) == 0 {
		return true
	}
	p := r.current.parts[0]
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone
}

// The log lost its end, as after an unclean election: what was done is not done again, and the new records under the old offsets are seen.
func TestLogWasCut(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("cut", 1, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	s := &spots{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "10 records", func() bool { return idle(c) })
	c.stop()
	// As if there had been 20 records, the last of them now.
	n := note{incarnation: s.incarnation(0), time: time.Now()}
	res, err := b.client.OffsetCommit(t.Context(), &kafka.OffsetCommitRequest{GroupID: "g-" + b.run, GenerationID: -1,
		Topics: map[string][]kafka.OffsetCommit{topic: {{Partition: 0, Offset: 20, Metadata: n.String()}}}})
	if err != nil || res.Topics[topic][0].Error != nil {
		t.Fatal(err, res)
	}
	c = b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "ready", func() bool { return c.Ready() })
	b.write(numbered(topic, 0, 10, 13)...)
	eventually(t, "the new records", func() bool { return len(s.values()) == 13 })
	wantNumbers(t, s.values(), 0, 13)
	if s.incarnation(10) <= s.incarnation(9) {
		t.Errorf("incarnation %d after %d, want it to rise: offsets are given out a second time", s.incarnation(10), s.incarnation(9))
	}
}

// A broker may say for a while that it does not know a topic. That must not make anybody begin again, nor stop the commits.
func TestTopicIsMissingForAWhile(t *testing.T) {
	b := newFake(t, nil)
	topic := b.topic("blink", 1, nil)
	b.write(numbered(topic, 0, 0, 10)...)
	s := &spots{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	_, news := b.tail(TailConfig{Topic: topic})
	eventually(t, "10 records", func() bool { return idle(c) })
	unknown := b.fake.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.UnknownTopicOrPartition, Count: -1})
	eventually(t, "noticed", c.noticedLoss)
	unknown.Remove()
	b.write(numbered(topic, 0, 10, 20)...)
	eventually(t, "10 more, by the tail too", func() bool { return idle(c) && len(s.values()) >= 20 && news.len() >= 10 })
	wantNumbers(t, s.values(), 0, 20)
	wantNumbers(t, news.all(), 10, 20)
	eventually(t, "the commit", func() bool {
		offsets, err := b.Committed(t.Context(), "g-"+b.run, topic)
		return err == nil && offsets[0].Offset == 20
	})
}
