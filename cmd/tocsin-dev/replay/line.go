package replay

// The form of one input line.

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/test/stack"
)

// line is one line of the input: exactly one of its fields is set.
type line struct {
	record  *record
	gateway *stack.Answer
	direct  *stack.ProviderAnswer // of the push services that are told directly
	config  []byte                // JSON object of settings
	idle    bool                  // {"wait":"idle"}
}

// record is what a homeserver would write.
type record struct {
	topic   string // topicEvents or topicAccount
	key     []byte // nil: none
	value   []byte // nil: a tombstone
	headers []stack.RecordHeader
}

// The topics of the input, by the names that a line has for them.
const (
	topicEvents  = "events"
	topicAccount = "account"
)

// parseLine reads one line. Errors say what is wrong, not where.
func parseLine(raw []byte) (line, error) {
	if skipSpace(raw, 0) == len(raw) {
		return line{}, errors.New("the line is empty")
	}
	if err := checkSyntax(raw); err != nil {
		return line{}, err
	}
	list, err := members(raw)
	if err != nil {
		return line{}, err
	}
	seen := map[string]bool{}
	for _, m := range list {
		if seen[m.name] {
			return line{}, fmt.Errorf("%q is given twice", m.name)
		}
		seen[m.name] = true
	}
	for _, control := range []string{"wait", "gateway", "provider", "config"} {
		if seen[control] && len(list) > 1 {
			return line{}, fmt.Errorf("%q stands alone in its line", control)
		}
	}
	switch {
	case seen["wait"]:
		if textOf(list[0].raw) != "idle" {
			return line{}, fmt.Errorf(`"wait" must be "idle", not %s`, shorten(list[0].raw))
		}
		return line{idle: true}, nil
	case seen["gateway"]:
		answer, err := parseAnswer(list[0].raw)
		return line{gateway: answer}, err
	case seen["provider"]:
		answer, err := parseProviderAnswer(list[0].raw)
		return line{direct: answer}, err
	case seen["config"]:
		if kindOf(list[0].raw) != '{' {
			return line{}, fmt.Errorf(`"config" must be an object of settings, not %s`, kindName(list[0].raw))
		}
		return line{config: list[0].raw}, nil
	}
	r, err := parseRecord(list)
	return line{record: r}, err
}

// parseRecord reads {"topic":…,"key":…,"value":…,"headers":{…}}.
func parseRecord(list []member) (*record, error) {
	r := &record{}
	var keyed, valued bool
	for _, m := range list {
		var err error
		switch m.name {
		case "topic":
			if r.topic, err = m.text(); err == nil && r.topic != topicEvents && r.topic != topicAccount {
				err = fmt.Errorf("%q must be %q or %q, not %q", "topic", topicEvents, topicAccount, r.topic)
			}
		case "key":
			var key string
			key, err = m.text()
			r.key, keyed = []byte(key), true
		case "value":
			r.value, err = parseValue(m)
			valued = true
		case "headers":
			r.headers, err = parseHeaders(m.raw)
		default:
			err = fmt.Errorf("unknown member %q: a line is a record (topic, key, value, headers) or one of wait, gateway, provider, config", m.name)
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case r.topic == "":
		return nil, fmt.Errorf("%q is missing: %q or %q", "topic", topicEvents, topicAccount)
	case !valued:
		return nil, fmt.Errorf("%q is missing: an object, a raw string, or null for a tombstone", "value")
	case !keyed:
		r.key = ownKey(r.topic, r.value)
	}
	return r, nil
}

// parseValue passes an object on as it stands and a raw string byte for byte.
func parseValue(m member) ([]byte, error) {
	switch kindOf(m.raw) {
	case '{':
		return m.raw, nil
	case '"':
		s, err := m.text()
		return []byte(s), err
	case 'n':
		return nil, nil
	}
	return nil, fmt.Errorf("%q must be an object, a raw string, or null for a tombstone, not %s", "value", kindName(m.raw))
}

func parseHeaders(raw []byte) ([]stack.RecordHeader, error) {
	if kindOf(raw) != '{' {
		return nil, fmt.Errorf("%q must be an object of strings, not %s", "headers", kindName(raw))
	}
	list, err := members(raw)
	if err != nil {
		return nil, err
	}
	headers := make([]stack.RecordHeader, 0, len(list))
	for _, m := range list {
		value, err := m.text()
		if err != nil {
			return nil, fmt.Errorf("headers: %w", err)
		}
		headers = append(headers, stack.RecordHeader{Name: m.name, Value: []byte(value)})
	}
	return headers, nil
}

// ownKey is the key that a homeserver gives such a record: the room of an event, the user and the kind of an account record. It is nil where the value
// doesn't say it.
func ownKey(topic string, value []byte) []byte {
	list, err := members(value)
	if err != nil {
		return nil
	}
	if topic == topicEvents {
		if room := textOf(find(list, "room_id")); room != "" {
			return []byte(room)
		}
		return nil
	}
	user, kind := textOf(find(list, "user_id")), textOf(find(list, "type"))
	if user == "" || kind == "" {
		return nil
	}
	parts := []string{user, kind}
	if kind == "pusher" {
		content, err := members(find(list, "content"))
		if err != nil {
			return nil
		}
		parts = append(parts, textOf(find(content, "app_id")), textOf(find(content, "pushkey")))
	}
	for i, part := range parts {
		parts[i] = strings.NewReplacer("%", "%25", "|", "%7C").Replace(part)
	}
	return []byte(strings.Join(parts, "|"))
}

// originTime is the origin_server_ts of an event (milliseconds since 1970); false if it has none that a clock could read.
func originTime(value []byte) (time.Time, bool) {
	list, err := members(value)
	if err != nil {
		return time.Time{}, false
	}
	const year9999 = 253_402_300_799_999
	ms, err := strconv.ParseInt(string(find(list, "origin_server_ts")), 10, 64)
	if err != nil || ms < 0 || ms > year9999 {
		return time.Time{}, false
	}
	return time.UnixMilli(ms), true
}

// pusher is what an account record says of the pusher that it sets, as far as it has to be known to show what is pushed there.
type pusher struct {
	appID, pushkey string
	url            string // of its gateway; "" if it is no URL
	endpoint       string // of a browser at its push service
}

// pusherOf reads an account record; false if it sets no pusher.
func pusherOf(value []byte) (p pusher, ok bool) {
	list, err := members(value)
	if err != nil || textOf(find(list, "type")) != "pusher" {
		return p, false
	}
	content, err := members(find(list, "content"))
	if err != nil {
		return p, false
	}
	p.appID, p.pushkey = textOf(find(content, "app_id")), textOf(find(content, "pushkey"))
	if data, err := members(find(content, "data")); err == nil {
		p.url, p.endpoint = textOf(find(data, "url")), textOf(find(data, "endpoint"))
	}
	if _, err := url.Parse(p.url); err != nil {
		p.url = ""
	}
	return p, true
}

// parseProviderAnswer reads what push services that are told directly are to answer.
func parseProviderAnswer(raw []byte) (*stack.ProviderAnswer, error) {
	if kindOf(raw) != '{' {
		return nil, fmt.Errorf(`"provider" must be an object, not %s`, kindName(raw))
	}
	answer, err := stack.ParseProviderAnswer(raw)
	if err != nil {
		return nil, fmt.Errorf("provider: %w", err)
	}
	return &answer, nil
}

// wireAnswer is the object of a gateway line.
type wireAnswer struct {
	Status   *int              `json:"status"`
	Rejected *[]string         `json:"rejected"`
	Delay    *string           `json:"delay"`
	Headers  map[string]string `json:"headers"` // of the answer, such as Retry-After
	Times    *int              `json:"times"`
}

// parseAnswer reads what the embedded gateway is to answer.
func parseAnswer(raw []byte) (*stack.Answer, error) {
	var wire wireAnswer
	if kindOf(raw) != '{' {
		return nil, fmt.Errorf(`"gateway" must be an object, not %s`, kindName(raw))
	}
	if err := json.Unmarshal(raw, &wire, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	answer := &stack.Answer{Header: wire.Headers, Times: 1}
	if wire.Status == nil && wire.Rejected == nil && wire.Delay == nil {
		return nil, errors.New("gateway: needs status, rejected or delay")
	}
	if wire.Status != nil {
		if answer.Status = *wire.Status; answer.Status < 200 || answer.Status > 599 {
			return nil, fmt.Errorf("gateway: status %d is no HTTP status from 200 to 599", answer.Status)
		}
	}
	if wire.Rejected != nil {
		answer.Rejected = *wire.Rejected
	}
	if wire.Delay != nil {
		delay, err := time.ParseDuration(*wire.Delay)
		if err != nil || delay < 0 {
			return nil, fmt.Errorf(`gateway: delay %q is no duration such as "200ms" or "5s"`, *wire.Delay)
		}
		answer.Delay = delay
	}
	if wire.Times != nil {
		if answer.Times = *wire.Times; answer.Times < 1 {
			return nil, fmt.Errorf("gateway: times %d is less than 1", answer.Times)
		}
	}
	return answer, nil
}
