package stream

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// noise is n bytes that no codec makes smaller.
func noise(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestBury(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	roomy := b.topic("roomy", 1, map[string]string{"max.message.bytes": "4000000"})
	tight := b.topic("tight", 1, map[string]string{"max.message.bytes": "20000"})
	at := time.UnixMilli(1_700_000_000_000)
	from := []Header{{Key: "traceparent", Value: []byte("00-1")}, {Key: HeaderNotify, Value: []byte("false")}, {Key: HeaderReason, Value: []byte("an old one")}}
	record := func(key, value []byte, headers ...Header) *Record {
		return &Record{Topic: "in", Partition: 3, Offset: 17, Key: key, Value: value, Headers: headers, Time: at}
	}
	for _, tc := range []struct {
		name, topic string
		rec         *Record
		whole       bool
	}{
		{"as it came", roomy, record([]byte("k"), []byte("v"), from...), true},
		{"tombstone", roomy, record([]byte("k"), nil, from...), true},
		{"empty", roomy, record(nil, []byte{}, from...), true},
		{"3 MB", roomy, record([]byte("k"), noise(3_000_000), from...), true},
		{"5 MB", roomy, record([]byte("k"), noise(5_000_000), from...), false},
		{"value", tight, record([]byte("k"), noise(50_000), from...), false},
		{"key", tight, record(noise(50_000), noise(50_000), from...), false},
		{"headers", tight, record([]byte("k"), noise(50_000), append(from, Header{Key: "big", Value: noise(100_000)})...), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(b.readAll(tc.topic))
			d := b.NewDeadLetters(tc.topic)
			defer d.Close()
			cause := Cause{Stage: "rooms", Reason: "malformed", Detail: "line 1\nend " + strings.Repeat("ä", 200), Attempts: 2}
			if err := d.Bury(t.Context(), tc.rec, cause); err != nil {
				t.Fatal(err)
			}
			all := b.readAll(tc.topic)
			if len(all) != before+1 {
				t.Fatalf("%d letters more, want one", len(all)-before)
			}
			letter := all[before]
			size, isCut := letter.Header(HeaderOriginalSize)
			if tc.whole {
				if !bytes.Equal(letter.Key, tc.rec.Key) || !bytes.Equal(letter.Value, tc.rec.Value) || (letter.Value == nil) != (tc.rec.Value == nil) || isCut {
					t.Errorf("key of %d bytes, value of %d bytes (nil %v), cut %v; want it as it came", len(letter.Key), len(letter.Value), letter.Value == nil, isCut)
				}
			} else {
				if size != strconv.Itoa(len(tc.rec.Value)) || !bytes.HasPrefix(tc.rec.Value, letter.Value) || len(letter.Value) < 2000 {
					t.Errorf("value of %d bytes of %q, want a good beginning of %d", len(letter.Value), size, len(tc.rec.Value))
				}
			}
			want := map[string]string{HeaderStage: "rooms", HeaderReason: "malformed", HeaderOriginTopic: "in", HeaderOriginPartition: "3",
				HeaderOriginOffset: "17", HeaderOriginTime: "1700000000000", HeaderAttempts: "2"}
			if tc.name != "headers" {
				want["traceparent"], want[HeaderNotify] = "00-1", "false"
			}
			for name, value := range want {
				if got, _ := letter.Header(name); got != value {
					t.Errorf("header %s is %q, want %q", name, got, value)
				}
			}
			seen := map[string]bool{}
			for _, h := range letter.Headers {
				if seen[h.Key] {
					t.Errorf("header %s is there twice", h.Key)
				}
				seen[h.Key] = true
			}
			detail, _ := letter.Header(HeaderDetail)
			if len(detail) > 256 || len(detail) < 250 || !utf8.ValidString(detail) || !strings.HasPrefix(detail, "line 1 end ä") {
				t.Errorf("detail of %d bytes: %q", len(detail), detail)
			}
		})
	}
}

func TestCarryHeaders(t *testing.T) {
	in := []Header{{Key: "traceparent"}, {Key: HeaderNotify}, {Key: "custom"}, {Key: HeaderReason}, {Key: HeaderState}, {Key: HeaderStreamPosition}, {Key: "tocsin-future"}}
	out := CarryHeaders(in)
	if len(out) != 2 || out[0].Key != "traceparent" || out[1].Key != "custom" || len(in) != 7 || in[1].Key != HeaderNotify {
		t.Errorf("carried %v, left %v", out, in)
	}
}
