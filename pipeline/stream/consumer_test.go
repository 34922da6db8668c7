package stream

// What a consumer promises: everything is done once and in order, as long as nothing goes wrong.

import (
	"fmt"
	"testing"
)

func TestConsumeInOrderAndResume(t *testing.T) {
	b := newBroker(t)
	topic := b.topic("order", 2, nil)
	b.write(numbered(topic, AnyPartition, 0, 100)...)

	first := &seen{}
	c := b.consume(ConsumerConfig{Topic: topic, Handler: work{do: first.do}})
	eventually(t, "100 records", func() bool { return first.len() == 100 })
	c.stop()
	for i, v := range first.all() {
		if v != fmt.Sprint(i) {
			t.Fatalf("record %d is %s", i, v)
		}
	}
	b.write(numbered(topic, AnyPartition, 100, 150)...)
	second := &seen{}
	c = b.consume(ConsumerConfig{Topic: topic, Handler: work{do: second.do}})
	eventually(t, "50 more records", func() bool { return second.len() == 50 })
	eventually(t, "the watermark at the end", func() bool {
		for _, p := range c.Progress() {
			if p.Position != p.End || p.Watermark != p.End {
				return false
			}
		}
		return c.Ready() && len(c.Progress()) == 2
	})
	c.stop()
	for i, v := range second.all() {
		if v != fmt.Sprint(100+i) {
			t.Fatalf("record %d is %s", 100+i, v)
		}
	}
}
