package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// scan reads all that cfg asks for, as "partition@offset value".
func (b *broker) scan(cfg ScanConfig) []string {
	b.t.Helper()
	var read []string
	cfg.Record = func(r *Record) error {
		read = append(read, fmt.Sprintf("%d@%d %s", r.Partition, r.Offset, r.Value))
		return nil
	}
	if err := b.Scan(b.t.Context(), cfg); err != nil {
		b.t.Fatal(err)
	}
	return read
}

// forEver keeps records of old times.
var forEver = map[string]string{"retention.ms": "-1"}

// at is a time of the tests.
func at(second int) time.Time { return time.UnixMilli(1_700_000_000_000 + int64(second)*1000) }

func TestScan(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic("scan", 3, forEver)
	for second, partition := range []int{0, 1, 1, 0, 0, 1} {
		b.write(Message{Topic: topic, Partition: partition, Value: fmt.Appendf(nil, "s%d", second), Time: at(second)})
	}
	for _, tc := range []struct {
		name string
		cfg  ScanConfig
		want []string
	}{
		{"all, by time", ScanConfig{}, []string{"0@0 s0", "1@0 s1", "1@1 s2", "0@1 s3", "0@2 s4", "1@2 s5"}},
		{"since", ScanConfig{Since: at(2)}, []string{"1@1 s2", "0@1 s3", "0@2 s4", "1@2 s5"}},
		{"until", ScanConfig{Until: at(2)}, []string{"0@0 s0", "1@0 s1"}},
		{"between", ScanConfig{Since: at(1), Until: at(4)}, []string{"1@0 s1", "1@1 s2", "0@1 s3"}},
		{"from", ScanConfig{From: map[int]int64{0: 2, 1: 99}}, []string{"0@2 s4"}},
		{"from, and since", ScanConfig{From: map[int]int64{0: 1}, Since: at(4)}, []string{"0@2 s4", "1@2 s5"}},
		{"nothing", ScanConfig{Since: at(100)}, nil},
		{"nothing, the wrong way round", ScanConfig{Since: at(4), Until: at(1)}, nil},
		{"before time began", ScanConfig{Since: time.Unix(-5, 0), Until: time.Unix(-1, 0)}, nil},
	} {
		tc.cfg.Topic = topic
		if got := b.scan(tc.cfg); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	var steps []ScanProgress
	b.scan(ScanConfig{Topic: topic, Progress: func(p ScanProgress) { steps = append(steps, p) }})
	first, last := steps[0], steps[len(steps)-1]
	if (first != ScanProgress{Total: 6, Partitions: 3, Done: 1}) || (last != ScanProgress{Offsets: 6, Total: 6, Partitions: 3, Done: 3}) {
		t.Errorf("progress from %+v to %+v", first, last)
	}
	enough := errors.New("enough")
	n := 0
	if err := b.Scan(t.Context(), ScanConfig{Topic: topic, Record: func(*Record) error { n++; return enough }}); !errors.Is(err, enough) || n != 1 {
		t.Errorf("%d records, then %v", n, err)
	}
	if err := b.Scan(t.Context(), ScanConfig{Topic: "missing-" + b.run}); !errors.Is(err, ErrMissingTopic) {
		t.Errorf("a topic that is missing: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Scan(ctx, ScanConfig{Topic: topic}); err == nil {
		t.Error("a scan that was called off is content")
	}
}

// A scan reads more than one fetch brings, and not what is written meanwhile.
func TestScanEnds(t *testing.T) {
	t.Parallel()
	b := newBroker(t, func(c *Config) { c.FetchBytes = 1 << 10 })
	topic := b.topic("scan", 2, nil)
	for i := range 20 {
		b.write(numbered(topic, i%2, i*50, i*50+50)...)
	}
	n := 0
	err := b.Scan(t.Context(), ScanConfig{Topic: topic, Record: func(*Record) error {
		if n++; n%100 == 0 {
			b.write(numbered(topic, 0, 0, 10)...)
		}
		return nil
	}})
	if err != nil || n != 1000 {
		t.Errorf("%d records, %v", n, err)
	}
}

// Records that retention deletes under a scan are gone; it goes on behind them.
func TestScanIsOvertaken(t *testing.T) {
	b := newFake(t, nil, func(c *Config) { c.FetchBytes = 1 << 10 })
	topic := b.topic("scan", 1, nil)
	for i := range 10 {
		b.write(numbered(topic, 0, i*50, i*50+50)...)
	}
	var last string
	n := 0
	err := b.Scan(t.Context(), ScanConfig{Topic: topic, Record: func(r *Record) error {
		if n++; n == 1 {
			if err := b.fake.DeleteRecords(topic, 0, 400); err != nil {
				return err
			}
		}
		last = string(r.Value)
		return nil
	}})
	if err != nil || last != "499" || n > 300 {
		t.Errorf("%d records, the last %s, %v", n, last, err)
	}
}

func TestRecordAt(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.topic("at", 2, forEver)
	b.write(Message{Topic: topic, Partition: 1, Value: []byte("a"), Time: at(1)}, Message{Topic: topic, Partition: 1, Value: []byte("b"), Time: at(2)})
	if r, err := b.RecordAt(t.Context(), topic, 1, 1); err != nil || string(r.Value) != "b" || r.Offset != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	for _, p := range [][2]int64{{1, 2}, {1, -1}, {0, 0}, {2, 0}, {-1, 0}} {
		if r, err := b.RecordAt(t.Context(), topic, int(p[0]), p[1]); r != nil || err != nil {
			t.Errorf("%v: %+v, %v", p, r, err)
		}
	}
	if got, err := b.TimeAt(t.Context(), topic, 1, 1); err != nil || !got.Equal(at(2)) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := b.OffsetsAt(t.Context(), topic, at(2)); err != nil || got[0] != 0 || got[1] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}
