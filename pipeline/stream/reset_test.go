package stream

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// writeTen writes ten records to partition 0, a second apart.
func (b *broker) writeTen(topic string) {
	b.t.Helper()
	for i := range 10 {
		b.write(Message{Topic: topic, Partition: 0, Value: []byte{byte('0' + i)}, Time: at(i)})
	}
}

// A group without members goes on where it was set, its numbering is the same, and what its commit remembers is true.
func TestResetOffsets(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic, group := b.topic("reset", 2, forEver), "g-"+b.run
	b.writeTen(topic)
	s := &spots{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "10 records", func() bool { return idle(c) && len(s.values()) == 10 })
	members, err := b.Members(t.Context(), group)
	if err != nil || len(members) != 1 || members[0].ClientID == "" || members[0].Host == "" || len(members[0].Partitions) != 2 {
		t.Errorf("members: %+v, %v", members, err)
	}
	if err := b.ResetOffsets(t.Context(), group, topic, map[int]int64{0: 3}); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "tocsin at ") {
		t.Errorf("a group with members: %v", err)
	}
	start := time.Now()
	if err := b.Remember(t.Context(), group, topic, map[int]int64{0: 3}); !errors.Is(err, ErrInUse) || time.Since(start) > 5*time.Second {
		t.Errorf("a commit besides members: %v", err)
	}
	c.stop()
	if members, err := b.Members(t.Context(), group); err != nil || len(members) != 0 {
		t.Errorf("members of a group that was left: %v, %v", members, err)
	}

	for _, offset := range []int64{-1, 11} {
		if err := b.ResetOffsets(t.Context(), group, topic, map[int]int64{0: offset}); err == nil {
			t.Errorf("offset %d was taken", offset)
		}
	}
	if err := b.ResetOffsets(t.Context(), group, topic, map[int]int64{0: 7}); err != nil {
		t.Fatal(err)
	}
	saved, err := b.commits(t.Context(), group, topic, []int{0, 1})
	if err != nil || saved[0].offset != 7 || saved[0].note != (note{incarnation: s.incarnation(0), time: at(9)}) {
		t.Errorf("committed %+v, %v", saved, err)
	}
	c = b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "3 records again", func() bool { return idle(c) && len(s.values()) == 13 })
	wantNumbers(t, s.values()[10:], 7, 10)
	if s.incarnation(12) != s.incarnation(0) {
		t.Errorf("incarnation %d, want %d as before", s.incarnation(12), s.incarnation(0))
	}
	c.stop()
}

// A group that never was gets offsets with a numbering and a time of their own.
func TestResetOffsetsOfNewGroup(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic, group := b.topic("reset", 1, forEver), "g-"+b.run
	b.writeTen(topic)
	if members, err := b.Members(t.Context(), group); err != nil || len(members) != 0 {
		t.Errorf("members of a group that never was: %v, %v", members, err)
	}
	if err := b.ResetOffsets(t.Context(), group, topic, map[int]int64{0: 8}); err != nil {
		t.Fatal(err)
	}
	saved, err := b.commits(t.Context(), group, topic, []int{0})
	if n := saved[0].note; err != nil || saved[0].offset != 8 || !n.time.Equal(at(7)) || time.Since(time.UnixMilli(n.incarnation)) > time.Minute {
		t.Errorf("committed %+v, %v", saved, err)
	}
	s := &spots{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: s.handler()})
	eventually(t, "2 records", func() bool { return idle(c) && len(s.values()) == 2 })
	wantNumbers(t, s.values(), 8, 10)
	c.stop()
	other := "other-" + group
	if err := b.Remember(t.Context(), other, topic, map[int]int64{0: 5}); err != nil {
		t.Fatal(err)
	}
	if marks, err := b.Committed(t.Context(), other, topic); err != nil || marks[0].Offset != 5 {
		t.Errorf("remembered %v, %v", marks, err)
	}
}
