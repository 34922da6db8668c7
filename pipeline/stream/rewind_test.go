package stream

// What is read again after the memory of the handler has changed.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	h := history{rewind: 30 * time.Second, safe: 5}
	for s := range 30 {
		h.saw(at(s), int64(10+s))
	}
	if h.safe != 5 {
		t.Errorf("within the time to rewind %d is safe, want 5", h.safe)
	}
	h.saw(at(30), 40)
	if h.safe != 10 {
		t.Errorf("after 30 s %d is safe, want what was done at first: 10", h.safe)
	}
	h.saw(at(45), 55)
	if h.safe != 25 {
		t.Errorf("after 45 s %d is safe, want 25", h.safe)
	}
	// The memory is away for an hour: then it was well again for a moment only.
	h.saw(at(3645), 55)
	if h.safe != 55 {
		t.Errorf("%d is safe, want what was done an hour ago: 55", h.safe)
	}
	for s := range 100_000 {
		h.saw(at(4000).Add(time.Duration(s)*time.Millisecond), int64(60+s))
	}
	if len(h.moments) > historySteps+1 {
		t.Errorf("%d moments are remembered, want at most %d", len(h.moments), historySteps+1)
	}
	if want := int64(60 + 69_999); h.safe < want-1000 || h.safe > want {
		t.Errorf("%d is safe, want a little less than %d", h.safe, want)
	}
}

// memory is where a handler saves its records, and can be another one from one moment to the next.
type memory struct {
	mu    sync.Mutex
	name  string
	err   error
	asked int      // how often it was asked for its name
	done  []string // value, with an exclamation mark if it was done before
	again int
	fail  func(value string) error
}

func (m *memory) Memory(context.Context) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.name, m.err
}

// askedAgain is a condition: the memory has been asked so many times more from now on.
func (m *memory) askedAgain(times int) func() bool {
	asked := func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.asked
	}
	until := asked() + times
	return func() bool { return asked() >= until }
}

func (m *memory) become(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.name, m.done, m.again = name, nil, 0
}

func (m *memory) handler() Handler {
	return work{take: func(_ context.Context, batch []*Record) ([]Task, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, r := range batch {
			if m.fail != nil {
				if err := m.fail(string(r.Value)); err != nil {
					return nil, err
				}
			}
			value := string(r.Value)
			if r.Again {
				value += "!"
				m.again++
			}
			m.done = append(m.done, value)
		}
		return nil, nil
	}}
}

func (m *memory) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.done)
}

func (b *broker) noteOf(group, topic string) commit {
	b.t.Helper()
	commits, err := b.commits(b.t.Context(), group, topic, []int{0})
	if err != nil {
		b.t.Fatal(err)
	}
	return commits[0]
}

func marked(from, to int, mark string) (values []string) {
	for i := from; i < to; i++ {
		values = append(values, fmt.Sprint(i)+mark)
	}
	return values
}

func TestRewind(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("rewind", 1, nil)
	m := &memory{name: "a"}
	const rewind = 300 * time.Millisecond
	cfg := ConsumerConfig{Group: "g-" + b.run, Topic: topic, Handler: m.handler(), Memory: m.Memory, Rewind: rewind}
	b.write(numbered(topic, 0, 0, 10)...)
	c := b.consume(cfg)
	eventually(t, "the first records are safe", func() bool { n := b.noteOf(cfg.Group, topic); return n.offset == 10 && n.note.safe == 10 })
	b.write(numbered(topic, 0, 10, 20)...)
	eventually(t, "20 records", func() bool { return len(m.all()) == 20 })
	c.stop()
	if n := b.noteOf(cfg.Group, topic); n.offset != 20 || n.note.memory != "a" || n.note.safe != 10 {
		t.Fatalf("committed %d with note %+v, want 20, memory a and 10 safe", n.offset, n.note)
	}

	// The same memory: nothing again.
	b.write(numbered(topic, 0, 20, 22)...)
	m.become("a")
	c = b.consume(cfg)
	eventually(t, "2 records more", func() bool { return idle(c) })
	c.stop()
	if got, want := m.all(), marked(20, 22, ""); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}

	// Another one, and a crash in the middle: what stands at the commit stays.
	m.become("b")
	b.write(numbered(topic, 0, 22, 25)...)
	m.fail = func(value string) error {
		if value == "15" {
			return errors.New("no further")
		}
		return nil
	}
	cfg.Handler = one{m.handler()}
	c = b.consume(cfg)
	eventually(t, "the rewind has begun", func() bool { return len(m.all()) == 5 })
	eventually(t, "it has gone on for some commits", m.askedAgain(3)) // it is asked as often as there is a commit
	c.stop()                                                          // commits
	if n := b.noteOf(cfg.Group, topic); n.offset != 22 || n.note.memory != "a" || n.note.safe != 10 {
		t.Fatalf("in the middle: committed %d with note %+v, want 22, memory a and 10 safe", n.offset, n.note)
	}
	m.become("b")
	m.fail = nil
	c = b.consume(cfg)
	eventually(t, "all records", func() bool { return idle(c) })
	eventually(t, "the new memory is committed", func() bool { n := b.noteOf(cfg.Group, topic); return n.offset == 25 && n.note.memory == "b" })
	if got, want := m.all(), append(marked(10, 22, "!"), marked(22, 25, "")...); !slices.Equal(got, want) {
		t.Fatalf("got %v, want %v", got, want)
	}

	// In the middle of its work: the consumer finds out by itself.
	m.become("c")
	eventually(t, "the newest memory is committed", func() bool { return b.noteOf(cfg.Group, topic).note.memory == "c" })
	c.stop()
	for i, value := range m.all() {
		if want := fmt.Sprintf("%d!", 25-len(m.all())+i); value != want {
			t.Errorf("record %d is %q, want %q", i, value, want)
		}
	}
}

// one is a handler that gets its records one by one.
type one struct{ Handler }

func (h one) Take(ctx context.Context, batch []*Record) ([]Task, error) {
	for i := range batch {
		if _, err := h.Handler.Take(ctx, batch[i:i+1]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// While the memory is away, nothing becomes safe, however long that takes.
func TestNothingIsSafeWithoutItsMemory(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("away", 1, nil)
	m := &memory{name: "a"}
	cfg := ConsumerConfig{Group: "g-" + b.run, Topic: topic, Handler: m.handler(), Memory: m.Memory, Rewind: 100 * time.Millisecond}
	c := b.consume(cfg)
	eventually(t, "it has begun", c.Ready)
	m.mu.Lock()
	m.err = errors.New("away")
	m.mu.Unlock()
	b.write(numbered(topic, 0, 0, 10)...)
	eventually(t, "10 records are committed", func() bool { return b.noteOf(cfg.Group, topic).offset == 10 })
	eventually(t, "five times the time to rewind is over", m.askedAgain(int(5*cfg.Rewind/b.cfg.CommitInterval)))
	if n := b.noteOf(cfg.Group, topic); n.note.safe != 0 {
		t.Errorf("%d is safe although nobody has seen the memory since", n.note.safe)
	}
	m.mu.Lock()
	m.err = nil
	m.mu.Unlock()
	eventually(t, "the records are safe", func() bool { return b.noteOf(cfg.Group, topic).note.safe == 10 })
	c.stop()
}

// Without a name on either side nothing is known, and nothing is done again.
func TestUnknownMemories(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("unknown", 1, nil)
	m := &memory{name: ""}
	cfg := ConsumerConfig{Group: "g-" + b.run, Topic: topic, Handler: m.handler(), Memory: m.Memory, Rewind: time.Hour}
	for i, step := range []struct {
		name, want string
		again      int
	}{{"", "", 0}, {"a", "a", 0}, {"", "a", 0}, {"b", "b", 2}} {
		m.become(step.name)
		b.write(numbered(topic, 0, i, i+1)...)
		c := b.consume(cfg)
		eventually(t, "the record is done", func() bool { return idle(c) })
		c.stop()
		if n := b.noteOf(cfg.Group, topic); n.note.memory != step.want || m.again != step.again {
			t.Errorf("step %d: the commit names %q, and %d records were done again; want %q and %d", i, n.note.memory, m.again, step.want, step.again)
		}
	}
}

// A restart waits until what runs has ended, and the next assignment asks for the memory anew.
func TestRestart(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("restart", 1, nil)
	b.write(numbered(topic, 0, 0, 3)...)
	m := &memory{name: "a"}
	begun, release := make(chan struct{}, 10), make(chan struct{})
	c := b.consume(ConsumerConfig{Topic: topic, Memory: m.Memory, Rewind: time.Hour, Handler: work{do: func(context.Context, string, []Task) error {
		begun <- struct{}{}
		<-release
		return nil
	}}})
	<-begun
	drained := c.Restart(errors.New("the server fails over"))
	select {
	case <-drained:
		t.Fatal("drained while a task runs")
	case <-time.After(100 * time.Millisecond):
	}
	m.mu.Lock()
	m.err = errors.New("not yet accepted")
	m.mu.Unlock()
	close(release)
	<-drained
	eventually(t, "the next assignment asks for the memory", m.askedAgain(2))
	if c.Ready() {
		t.Error("ready without a memory")
	}
	<-c.Restart(errors.New("once more")) // while it waits for the memory
	m.mu.Lock()
	m.err = nil
	m.mu.Unlock()
	eventually(t, "it goes on", func() bool { return idle(c) })
	c.stop()
	<-c.Restart(errors.New("after its end"))
}
