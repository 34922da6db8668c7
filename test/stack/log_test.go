package stack_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/segmentio/kafka-go"

	"tocsin/test/stack"
)

func TestLogReadsWhatItAppends(t *testing.T) {
	servers := stack.Kafka(t)
	t.Cleanup(func() { servers.DeleteTopics(t) })
	transport := &kafka.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	topic := servers.Prefix + "bells"
	if err := create(t.Context(), &kafka.Client{Addr: kafka.TCP(servers.Brokers...), Transport: transport}, topic); err != nil {
		t.Fatal(err)
	}
	log, err := stack.DialLog(servers.Brokers, []string{topic}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if err := log.Configure(t.Context(), []string{topic}, map[string]string{"retention.ms": "-1", "max.message.bytes": "8000000"}); err != nil {
		t.Fatal(err)
	}
	want := []stack.Record{
		{Topic: topic, Key: []byte("k"), Value: []byte("ding"), Headers: []stack.RecordHeader{{Name: "a", Value: []byte("1")}, {Name: "a", Value: []byte("2")}}, Time: time.UnixMilli(0)},
		{Topic: topic, Key: []byte("k"), Time: time.UnixMilli(1), Offset: 1},                          // a tombstone
		{Topic: topic, Value: []byte{}, Time: time.UnixMilli(1_700_000_000_000), Offset: 2},           // no key, no bytes
		{Topic: topic, Value: bytes.Repeat([]byte("x"), 3_000_000), Time: time.Unix(1, 0), Offset: 3}, // more than a topic takes by default
	}
	var got []stack.Record
	for i, r := range want {
		if err := log.Append(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if end := log.End(stack.Place{Topic: topic}); end != int64(i+1) {
			t.Errorf("after record %d the end is %d", i, end)
		}
		if i%2 == 0 {
			continue // read two at once
		}
		if err := log.Read(t.Context(), func(r stack.Record) error { got = append(got, r); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Error(diff)
	}
	if a := got[0].Header("a"); a != "2" || got[0].Header("b") != "" {
		t.Errorf("the last header is %q", a)
	}
	if got[1].Value != nil || got[2].Value == nil {
		t.Error("a tombstone and a value of no bytes were taken for each other")
	}
	other, err := stack.DialLog(servers.Brokers, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := other.Refresh(t.Context(), []string{topic}, 1); err != nil || other.End(stack.Place{Topic: topic}) != 4 {
		t.Errorf("another client sees the end at %d, %v", other.End(stack.Place{Topic: topic}), err)
	}
}
