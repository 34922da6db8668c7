package stream

// The dead-letter topic: what can't be handled goes there with its reason, and the way continues.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DeadLetters writes to the dead-letter topic. It is safe for concurrent use.
type DeadLetters struct {
	cluster *Cluster
	topic   string
	writer  *Writer
}

// Cause says why a record is buried.
type Cause struct {
	Stage    string
	Reason   string // one of few words, for metrics and filters
	Detail   string // for people; neither content nor secrets
	Attempts int
}

// NewDeadLetters returns a writer to that topic, apart from other writers so that large letters hold up nothing else.
func (c *Cluster) NewDeadLetters(topic string) *DeadLetters {
	return &DeadLetters{cluster: c, topic: topic, writer: c.NewWriter(WriterConfig{})}
}

// Close is [Writer.Close].
func (d *DeadLetters) Close() { d.writer.Close() }

// Bury writes a record to the dead-letter topic, key, value and headers as they came, with headers that say where it came from and why. It returns nil when that
// is acknowledged. A value that is too large even there is cut, and [HeaderOriginalSize] says so.
func (d *DeadLetters) Bury(ctx context.Context, rec *Record, cause Cause) error {
	letter := Message{Topic: d.topic, Partition: AnyPartition, Key: rec.Key, Value: rec.Value, Headers: d.headers(rec, cause)}
	err := d.writer.Write(ctx, letter)
	if !errors.Is(err, ErrTooLarge) {
		return err
	}
	limit, err := d.limit(ctx)
	if err != nil {
		return err
	}
	for ; limit >= smallestLimit; limit /= 2 {
		if err = d.writer.Write(ctx, cut(letter, limit)); !errors.Is(err, ErrTooLarge) {
			return err
		}
	}
	return err
}

const (
	maxDetail     = 256
	smallestLimit = 2048
)

// headers are those of the record, and ours instead of any that look like ours.
func (d *DeadLetters) headers(rec *Record, cause Cause) []Header {
	headers := slices.DeleteFunc(slices.Clone(rec.Headers), isOurs)
	add := func(name, value string) { headers = append(headers, Header{Key: name, Value: []byte(value)}) }
	number := func(name string, n int64) { add(name, strconv.FormatInt(n, 10)) }
	add(HeaderStage, cause.Stage)
	add(HeaderReason, cause.Reason)
	add(HeaderDetail, shorten(cause.Detail, maxDetail))
	add(HeaderOriginTopic, rec.Topic)
	number(HeaderOriginPartition, int64(rec.Partition))
	number(HeaderOriginOffset, rec.Offset)
	number(HeaderOriginTime, rec.Time.UnixMilli())
	number(HeaderAttempts, int64(cause.Attempts))
	number(HeaderTime, d.cluster.clock.Now().UnixMilli())
	return headers
}

// limit is what the topic takes, less what a batch needs around a message.
func (d *DeadLetters) limit(ctx context.Context) (int, error) {
	configs, err := d.cluster.TopicConfigs(ctx, d.topic)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(configs[d.topic]["max.message.bytes"])
	if err != nil {
		return 0, fmt.Errorf("max.message.bytes of topic %s: %w", d.topic, err)
	}
	return max(n-256, smallestLimit), nil
}

// cut makes a message fit into so many bytes: first of its value, then, if they alone are too many, of its key and of the headers it came with.
func cut(m Message, limit int) Message {
	m.Headers = append(slices.Clone(m.Headers), Header{Key: HeaderOriginalSize, Value: []byte(strconv.Itoa(len(m.Value)))})
	if m.size()-len(m.Value) > limit/2 {
		m.Key = m.Key[:min(len(m.Key), limit/4)]
	}
	if m.size()-len(m.Value) > limit/2 {
		m.Headers = slices.DeleteFunc(m.Headers, func(h Header) bool { return !isOurs(h) })
	}
	m.Value = m.Value[:min(len(m.Value), max(0, limit-(m.size()-len(m.Value))))]
	return m
}

// shorten makes a text valid UTF-8 of at most n bytes on one line.
func shorten(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= n {
		return s
	}
	for s = s[:n]; !utf8.ValidString(s); {
		s = s[:len(s)-1]
	}
	return s
}
