package pipeline

// Dead letters, as operators look at them: what one is, which are meant, and what goes back to be tried again. Pure.

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// DeadLetter is a record of the dead-letter topic: a delivery that was given up, or a record that a stage could not use.
type DeadLetter struct {
	Partition  int       // of the dead-letter topic
	Offset     int64     // of the dead-letter topic
	Buried     time.Time // when it was given up
	Stage      string
	Reason     string
	Detail     string
	Attempts   int
	Origin     Origin    // the record that it is, or came from
	OriginTime time.Time // zero if unknown
	Size       int       // bytes of the value
	CutFrom    int       // bytes that the value had before it was cut, because it was too large; -1 if it is whole
	Delivery   *DeadDelivery

	rec    *stream.Record
	notice *Notice // of a delivery
	newer  error   // it was written by a newer version
}

// DeadDelivery is the notification that was given up.
type DeadDelivery struct {
	ID      string
	UserID  string
	RoomID  string
	EventID string
	Type    string // of the event
	AppID   string
	Pushkey pushers.Pushkey
}

// ReadDeadLetter reads a record of the dead-letter topic. Whatever it is, there is something to be said about it.
func ReadDeadLetter(rec *stream.Record) *DeadLetter {
	text := func(name string) string { v, _ := rec.Header(name); return v }
	number := func(name string) int64 {
		n, err := strconv.ParseInt(text(name), 10, 64)
		if err != nil {
			return -1
		}
		return n
	}
	moment := func(name string) time.Time {
		if ms := number(name); ms > 0 {
			return time.UnixMilli(ms).UTC()
		}
		return time.Time{}
	}
	d := &DeadLetter{
		Partition: rec.Partition, Offset: rec.Offset, Buried: moment(stream.HeaderTime),
		Stage: text(stream.HeaderStage), Reason: text(stream.HeaderReason), Detail: text(stream.HeaderDetail), Attempts: int(max(number(stream.HeaderAttempts), 0)),
		Origin:     Origin{Topic: text(stream.HeaderOriginTopic), Partition: int(number(stream.HeaderOriginPartition)), Offset: number(stream.HeaderOriginOffset)},
		OriginTime: moment(stream.HeaderOriginTime), Size: len(rec.Value), CutFrom: int(number(stream.HeaderOriginalSize)), rec: rec,
	}
	if d.Buried.IsZero() {
		d.Buried = rec.Time.UTC()
	}
	d.readDelivery()
	return d
}

// readDelivery looks whether the letter is a delivery. Only what comes from our own topics can be one: whoever can send an event could make one up.
func (d *DeadLetter) readDelivery() {
	if d.Stage != "users" && d.Stage != "retry" {
		return
	}
	n, err := decodeNotice(d.rec)
	if errors.Is(err, stream.ErrStop) {
		d.newer = err
	}
	if err != nil || n.Retry == nil || len(n.Users) != 1 {
		return
	}
	d.notice = n
	d.Delivery = &DeadDelivery{ID: n.Retry.DeliveryID, UserID: n.Users[0].ID, RoomID: n.RoomID, AppID: n.Retry.AppID, Pushkey: pushers.NewPushkey(n.Retry.Pushkey)}
	if n.Event != nil {
		d.Delivery.EventID, d.Delivery.Type = n.Event.ID, n.Event.Type
	}
}

// ID names the letter for as long as Kafka keeps it: its partition and offset in the dead-letter topic.
func (d *DeadLetter) ID() string { return fmt.Sprintf("%d@%d", d.Partition, d.Offset) }

// ParseDeadLetterID reads what [DeadLetter.ID] writes.
func ParseDeadLetterID(id string) (partition int, offset int64, err error) {
	p, o, ok := strings.Cut(id, "@")
	partition, err1 := strconv.Atoi(p)
	offset, err2 := strconv.ParseInt(o, 10, 64)
	if !ok || err1 != nil || err2 != nil || partition < 0 || offset < 0 {
		return 0, 0, fmt.Errorf("%q is no dead letter's id, such as 3@17", id)
	}
	return partition, offset, nil
}

// DeadLetterFilter says which dead letters are meant. The zero value means all.
type DeadLetterFilter struct {
	Reasons, Stages, Topics []string           // any of them; none: all. Topics are those where the letters came from
	Apps                    pushers.AppPattern // of a delivery; then nothing but deliveries is meant
	Since, Until            time.Time          // of burial: from Since on, before Until
}

// Matches says whether a letter is meant.
func (f *DeadLetterFilter) Matches(d *DeadLetter) bool {
	oneOf := func(list []string, s string) bool { return len(list) == 0 || slices.Contains(list, s) }
	switch {
	case !oneOf(f.Reasons, d.Reason), !oneOf(f.Stages, d.Stage), !oneOf(f.Topics, d.Origin.Topic):
		return false
	case !f.Apps.IsZero() && (d.Delivery == nil || !f.Apps.Match(d.Delivery.AppID)):
		return false
	}
	return !d.Buried.Before(f.Since) && (f.Until.IsZero() || d.Buried.Before(f.Until))
}

// Replay says how dead letters go back.
type Replay struct {
	Topics     Topics
	Partitions func(topic string) int // 0: the topic does not exist
	Force      bool                   // also what may do harm
}

// Message is what a letter's replay writes, or an error that says why it can't be replayed.
//
// A delivery goes back to the users stage as a first attempt that begins now: with the same delivery id, so that it is not sent if it was delivered meanwhile. Any other record goes back
// where it was read, with its own key, bytes and headers, as a new record: whoever could not read it then may be able to now.
func (r *Replay) Message(d *DeadLetter, now time.Time) (stream.Message, error) {
	var m stream.Message
	var err error
	switch {
	case d.CutFrom >= 0:
		err = fmt.Errorf("it was cut from %d bytes to %d, because it was too large for the dead-letter topic", d.CutFrom, d.Size)
	case d.newer != nil:
		err = d.newer
	case d.notice != nil:
		m, err = r.delivery(d, now)
	default:
		m, err = r.record(d, now)
	}
	if err != nil {
		return stream.Message{}, err
	}
	switch n := r.Partitions(m.Topic); {
	case n == 0:
		return stream.Message{}, fmt.Errorf("topic %s does not exist", m.Topic)
	case m.Partition >= n:
		return stream.Message{}, fmt.Errorf("topic %s has no partition %d", m.Topic, m.Partition)
	}
	return m, nil
}

// delivery is the notice of a delivery that begins anew.
func (r *Replay) delivery(d *DeadLetter, now time.Time) (stream.Message, error) {
	if d.Delivery.Type == "m.call.invite" && !r.Force {
		return stream.Message{}, errors.New("it is a call, which is long over (--force rings all the same)")
	}
	n := *d.notice
	attempt := *n.Retry
	attempt.Attempts, attempt.FirstFailure = 0, 0
	n.Retry, n.Since = &attempt, now.UnixMilli()
	return stream.Message{
		Topic: r.Topics.Notifications, Partition: stream.AnyPartition, Key: []byte(d.Delivery.UserID), Value: n.encode(), Headers: stream.CarryHeaders(d.rec.Headers), Time: now,
	}, nil
}

// record is the record that could not be used, as it came.
func (r *Replay) record(d *DeadLetter, now time.Time) (stream.Message, error) {
	m := stream.Message{Topic: d.Origin.Topic, Partition: stream.AnyPartition, Key: d.rec.Key, Value: d.rec.Value, Time: now}
	for _, h := range d.rec.Headers {
		if !strings.HasPrefix(h.Key, "tocsin-") {
			m.Headers = append(m.Headers, h)
		}
	}
	switch from, t := d.Origin.Topic, r.Topics; {
	case from == "" || d.Stage == "":
		return m, errors.New("it does not say where it came from")
	case d.Stage == "rooms" && from == t.Events:
		if _, placed := d.rec.Header(HeaderStreamPosition); !placed && !r.Force && isState(d.rec.Value) {
			return m, errors.New("it is a state event without a stream-position: written again, it would replace newer state of the room (--force writes it all the same)")
		}
	case d.Stage == "accounts" && from == t.Account:
		if !r.Force {
			return m, errors.New("it is an account record: written again, it would replace a newer one of the same key (--force writes it all the same)")
		}
	case d.Stage == "users" && from == t.Notifications:
		m.Partition = d.Origin.Partition // that of its users, which its key does not tell
	case d.Stage == "retry" && strings.HasPrefix(from, t.RetryPrefix+"."):
	case d.Stage == "users" || d.Stage == "retry":
		return m, errors.New("it is no delivery that can be read")
	default:
		return m, fmt.Errorf("it came from %s, which stage %s does not read", from, d.Stage)
	}
	return m, nil
}

// isState says whether a value could be read as a state event.
func isState(value []byte) bool {
	var e struct {
		StateKey jsontext.Value `json:"state_key"`
	}
	return json.Unmarshal(value, &e, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil && e.StateKey != nil
}

// secretMembers are those of account records and notices that nobody may see: who knows them can push to a device.
var secretMembers = []string{"pushkey", "auth", "endpoint", "p256dh"}

// Value is the value with every pushkey replaced by its hash; content is shown. An error says that this can't be done, because the value can't be read; only what the rooms stage
// could not use, which holds no pushkeys, is shown even then.
func (d *DeadLetter) Value() ([]byte, error) {
	masked, err := maskMembers(d.rec.Value)
	switch {
	case len(d.rec.Value) == 0:
		return d.rec.Value, nil
	case err == nil:
		return masked, nil
	case d.Stage == "rooms":
		return d.rec.Value, nil
	}
	return nil, errors.New("the value is no JSON, so the pushkeys in it can't be hidden")
}

// Bytes is the value as it is, with secrets and content.
func (d *DeadLetter) Bytes() []byte { return d.rec.Value }

// Headers are those that the record came with; a value may be anything that the producer wrote.
func (d *DeadLetter) Headers() []stream.Header {
	return slices.DeleteFunc(slices.Clone(d.rec.Headers), func(h stream.Header) bool { return strings.HasPrefix(h.Key, "tocsin-") })
}

// Key is the record's key without a pushkey, which an account record's key may end with.
func (d *DeadLetter) Key() string {
	key := string(d.rec.Key)
	if d.Stage != "accounts" {
		return key
	}
	parts := strings.SplitN(key, "|", 4) // user, type, app id, pushkey
	for i, part := range parts {
		if i == 3 || i == 2 && len(parts) < 4 || i == 0 && !strings.HasPrefix(part, "@") {
			parts[i] = pushers.NewPushkey(part).String()
		}
	}
	return strings.Join(parts, "|")
}

// maskMembers replaces the values of secret members, at any depth, and leaves the rest as it is.
func maskMembers(value []byte) ([]byte, error) {
	lenient := []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}
	in := jsontext.NewDecoder(bytes.NewReader(value), lenient...)
	var out bytes.Buffer
	enc := jsontext.NewEncoder(&out, lenient...)
	for {
		kind, n := in.StackIndex(in.StackDepth())
		t, err := in.ReadToken()
		if err != nil {
			return nil, err
		}
		isName, name := kind == '{' && n%2 == 0 && t.Kind() == '"', ""
		if isName {
			name = t.String()
		}
		if err := enc.WriteToken(t); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(secretMembers, func(secret string) bool { return strings.EqualFold(secret, name) }) {
			secret, err := in.ReadValue()
			if err != nil {
				return nil, err
			}
			var text string
			if json.Unmarshal(secret, &text) != nil {
				text = string(secret)
			}
			if err := enc.WriteToken(jsontext.String(pushers.NewPushkey(text).String())); err != nil {
				return nil, err
			}
		}
		if in.StackDepth() == 0 {
			break
		}
	}
	if len(bytes.TrimSpace(value[in.InputOffset():])) > 0 {
		return nil, errors.New("more than one JSON value")
	}
	return bytes.TrimSpace(out.Bytes()), nil
}
