package pipeline

// The records of tocsin.notifications and the retry topics: what the rooms stage tells the users stage.

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pipeline/stream"
)

// noticeVersion counts up when a reader of the earlier one would do wrong.
const noticeVersion = 1

// Kind says what a notice tells.
type Kind string

// The kinds.
const (
	KindNotify Kind = "notify" // an event, and the users whom it notifies
	KindRead   Kind = "read"   // users have read up to a position
	KindRedact Kind = "redact" // an event is redacted
	KindInvite Kind = "invite" // users are invited
	KindJoin   Kind = "join"   // users have joined: no invite waits any more
	KindLeave  Kind = "leave"  // users have left or been banned
	KindCall   Kind = "call"   // a user has answered a call, or hung it up
	KindBadge  Kind = "badge"  // the counts alone, for one pusher, that are due again
	KindRetry  Kind = "retry"  // one delivery that is due again
)

// Notice is one record of tocsin.notifications, for users who share its partition.
type Notice struct {
	Version  int          `json:"v"`
	Kind     Kind         `json:"kind"`
	RoomID   string       `json:"room_id"`
	Position int64        `json:"position,omitzero"` // of the event; of read: per user
	Thread   string       `json:"thread,omitzero"`   // root of the thread that the event is in; "": the main timeline
	Call     string       `json:"call,omitzero"`     // of call, and of notify for an m.call.invite: the call_id
	Sender   string       `json:"sender,omitzero"`   // of invite: who invites
	Silent   bool         `json:"silent,omitzero"`   // changes counts, and nothing is pushed because of it
	Since    int64        `json:"since"`             // Kafka time of the record that it came from, in ms since 1970
	Origin   Origin       `json:"origin"`
	Event    *NoticeEvent `json:"event,omitzero"`
	Verdicts []Verdict    `json:"verdicts,omitzero"` // those of Users, each once
	Users    []Recipient  `json:"users"`
	Retry    *Attempt     `json:"retry,omitzero"`
}

// Origin is the record that a notice came from.
type Origin struct {
	Topic     string `json:"topic"`
	Partition int    `json:"partition"`
	Offset    int64  `json:"offset"`
}

// NoticeEvent is the event as its recipients are told of it.
type NoticeEvent struct {
	ID          string         `json:"event_id,omitzero"`
	Type        string         `json:"type"`
	Sender      string         `json:"sender,omitzero"`
	SenderName  string         `json:"sender_name,omitzero"`
	SenderKnown bool           `json:"sender_known,omitzero"` // the sender is a member of the room
	StateKey    *string        `json:"state_key,omitzero"`
	Content     jsontext.Value `json:"content,omitzero"`
	Room        RoomNames      `json:"room"`
}

// Recipient is one user of a notice.
type Recipient struct {
	ID       string         `json:"id"`
	Verdict  int            `json:"verdict"`            // index in Verdicts: what the global rules say; it alone counts
	Tags     map[string]int `json:"tags,omitzero"`      // the same for the pushers of a profile tag, where it differs
	Position int64          `json:"position,omitzero"`  // of read
	ThreadID string         `json:"thread_id,omitzero"` // of read
}

// Verdict is what a ruleset makes of an event.
type Verdict struct {
	Rule      string         `json:"rule,omitzero"`
	Notify    bool           `json:"notify,omitzero"`
	Coalesce  bool           `json:"coalesce,omitzero"`
	Highlight bool           `json:"highlight,omitzero"`
	Sound     bool           `json:"sound,omitzero"` // a sound that is not empty
	Tweaks    jsontext.Value `json:"tweaks,omitzero"`
}

// Attempt is what a retry knows of the attempts before it.
type Attempt struct {
	DeliveryID   string `json:"delivery_id"`
	AppID        string `json:"app_id"`
	Pushkey      string `json:"pushkey"`
	Attempts     int    `json:"attempts"`
	FirstFailure int64  `json:"first_failure"`  // ms since 1970
	Badge        int64  `json:"badge,omitzero"` // of counts alone: counts up, so that the newest of a pusher is known
}

// verdict is what a user's rules make of the notice for pushers with a profile tag: those of the tag, else the global ones.
func (n *Notice) verdict(u *Recipient, profileTag string) *Verdict {
	i := u.Verdict
	if t, ok := u.Tags[profileTag]; ok {
		i = t
	}
	return &n.Verdicts[i]
}

// since is the Kafka time that the age counts from.
func (n *Notice) since() time.Time { return time.UnixMilli(n.Since) }

// encode is the record's value.
func (n *Notice) encode() []byte {
	n.Version = noticeVersion
	value, err := json.Marshal(n, json.Deterministic(true))
	if err != nil {
		panic(fmt.Sprintf("a notice that does not encode: %v", err)) // its raw parts were all parsed before
	}
	return value
}

// decodeNotice reads a record of tocsin.notifications or a retry topic: an [*Unreadable] if nobody can, an error that wraps [stream.ErrStop] if a newer tocsin can.
func decodeNotice(rec *stream.Record) (*Notice, error) {
	var version struct {
		V int `json:"v"`
	}
	if err := json.Unmarshal(rec.Value, &version); err != nil || version.V <= 0 {
		return nil, unreadable("invalid_json", "not a notice of tocsin's")
	}
	if version.V > noticeVersion {
		return nil, fmt.Errorf("%s/%d@%d was written by a newer version of tocsin (format %d, this one reads up to %d): upgrade this worker: %w",
			rec.Topic, rec.Partition, rec.Offset, version.V, noticeVersion, stream.ErrStop)
	}
	n := &Notice{}
	if err := json.Unmarshal(rec.Value, n); err != nil {
		return nil, unreadable("invalid_json", "not a notice of tocsin's")
	}
	if err := n.check(); err != nil {
		return nil, &Unreadable{Reason: "invalid_notice", Err: err}
	}
	return n, nil
}

// check refuses what would make the users stage stumble.
func (n *Notice) check() error {
	switch n.Kind {
	case KindNotify, KindRead, KindRedact, KindInvite, KindJoin, KindLeave, KindCall, KindRetry, KindBadge:
	default:
		return fmt.Errorf("kind %q is unknown", n.Kind)
	}
	needsEvent := n.Kind == KindNotify || n.Kind == KindRetry
	if needsEvent && n.Event == nil {
		return fmt.Errorf("a %s without an event", n.Kind)
	}
	if (n.Kind == KindRetry || n.Kind == KindBadge) && (n.Retry == nil || len(n.Users) != 1) {
		return fmt.Errorf("a %s without its attempt or its user", n.Kind)
	}
	for _, u := range n.Users {
		if needsEvent && (u.Verdict < 0 || u.Verdict >= len(n.Verdicts)) {
			return fmt.Errorf("a user without a verdict")
		}
		for _, v := range u.Tags {
			if v < 0 || v >= len(n.Verdicts) {
				return fmt.Errorf("a user without a verdict")
			}
		}
	}
	return nil
}

// Bounds of one record: the users that share it, what they add to it, and the content that it carries. A Matrix event has at most 64 KiB; what is larger travels without its content,
// and is pushed without it; so are tweaks that no client ever sets so large. What users set themselves must not make a record so large that its topic refuses it, and nobody is told of the event.
const (
	noticeUsers   = 256
	noticeBytes   = 512 << 10 // of a record that is for more than one user
	noticeContent = 128 << 10
	noticeTweaks  = 4 << 10
)

// spread distributes a notice's users over the partitions that they belong to, several records for one partition if they are many, or what is theirs is large.
func spread(n Notice, users []Recipient, topic string, partitions int, headers []stream.Header, at time.Time) []stream.Message {
	byPartition := make([][]Recipient, partitions)
	for _, u := range users {
		p := stream.PartitionOf(u.ID, partitions)
		byPartition[p] = append(byPartition[p], u)
	}
	var out []stream.Message
	most := noticeUsers // at once: less, where what is theirs is large
	for p, users := range byPartition {
		for len(users) > 0 {
			part := n.part(users[:min(len(users), most)])
			value := part.encode()
			if len(value) > noticeBytes && len(part.Users) > 1 {
				most = max(1, min(len(part.Users)-1, len(part.Users)*noticeBytes/len(value)))
				continue
			}
			users = users[len(part.Users):]
			out = append(out, stream.Message{Topic: topic, Partition: p, Key: []byte(n.RoomID), Value: value, Headers: headers, Time: at})
		}
	}
	return out
}

// part is the notice for some of its users, with only their verdicts.
func (n Notice) part(users []Recipient) Notice {
	all := n.Verdicts
	index := map[int]int{}
	n.Users, n.Verdicts = slices.Clone(users), nil
	keep := func(i int) int {
		at, ok := index[i]
		if !ok {
			at = len(n.Verdicts)
			index[i] = at
			n.Verdicts = append(n.Verdicts, all[i])
		}
		return at
	}
	for i := range n.Users {
		u := &n.Users[i]
		if len(all) > 0 {
			u.Verdict = keep(u.Verdict)
		}
		tags := maps.Clone(u.Tags) // the caller keeps its own
		for tag, v := range tags {
			tags[tag] = keep(v)
		}
		u.Tags = tags
	}
	return n
}
