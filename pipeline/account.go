package pipeline

// What is known of a user: rules, pushers, ignored users. Reading records of matrix.account, and what was saved of them.

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
	"tocsin/rules"
)

// Types of account records (README, "What the homeserver writes"). Others are not for us.
const (
	typePushRules = "m.push_rules"
	typeIgnored   = "m.ignored_user_list"
	typePusher    = "pusher"
	typeAccount   = "account"
)

// Bounds of a pusher's identity (Client-Server API, POST /pushers/set: 64 characters and 512 bytes), and of a profile tag, which travels with each event: a pusher with a longer one follows the
// global rules.
const (
	maxAppID   = 256
	maxPushkey = 512
	maxTag     = 256
)

// pusherField begins the field of a pusher; app id and pushkey follow, escaped as in the record's key.
const pusherField = typePusher + "|"

// AccountRecord is one record of matrix.account: what became of one thing that a user has set.
type AccountRecord struct {
	UserID  string
	Type    string
	Field   string         // where it is saved
	Content jsontext.Value // nil: removed
}

// wireAccount is the value of such a record.
type wireAccount struct {
	UserID  string         `json:"user_id"`
	Type    string         `json:"type"`
	Content jsontext.Value `json:"content"`
}

// DecodeAccount reads a record of matrix.account, or returns an [*Unreadable]. A record of a type that is not for us has no Field.
func DecodeAccount(rec *stream.Record) (AccountRecord, error) {
	if rec.Value == nil {
		return accountTombstone(string(rec.Key))
	}
	if len(rec.Value) == 0 {
		return AccountRecord{}, unreadable("empty", "the record's value is empty")
	}
	var w wireAccount
	if err := json.Unmarshal(rec.Value, &w); err != nil {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return AccountRecord{}, unreadable("duplicate_key", "the record repeats a key")
		}
		return AccountRecord{}, unreadable("invalid_json", "the record is no object with the texts user_id and type")
	}
	switch {
	case !strings.HasPrefix(w.UserID, "@"):
		return AccountRecord{}, unreadable("no_user_id", "user_id is no Matrix user id")
	case w.Type == "":
		return AccountRecord{}, unreadable("no_type", "the record has no type")
	}
	r := AccountRecord{UserID: w.UserID, Type: w.Type, Content: w.Content}
	if w.Content == nil || w.Content.Kind() == 'n' {
		r.Content = nil // {"content":null} removes, as a tombstone does
	}
	switch w.Type {
	case typePushRules, typeIgnored, typeAccount:
		r.Field = w.Type
		if r.Content != nil && r.Content.Kind() != '{' {
			return AccountRecord{}, unreadable("wrong_type", "content is no object")
		}
	case typePusher:
		if r.Content == nil {
			return accountTombstone(string(rec.Key))
		}
		p, err := pushers.ParsePusher(r.Content)
		if err != nil {
			return AccountRecord{}, &Unreadable{Reason: "bad_pusher", Err: err}
		}
		if len(p.AppID) > maxAppID || len(p.Pushkey.Reveal()) > maxPushkey {
			return AccountRecord{}, unreadable("bad_pusher", "app_id has at most %d bytes, pushkey %d (Client-Server API, POST /pushers/set)", maxAppID, maxPushkey)
		}
		r.Field = pusherFieldOf(p.AppID, p.Pushkey.Reveal())
	}
	return r, nil
}

// accountTombstone reads the identity from the key alone.
func accountTombstone(key string) (AccountRecord, error) {
	parts := strings.Split(key, "|")
	for i := range parts {
		part, err := url.PathUnescape(parts[i])
		if err != nil {
			return AccountRecord{}, unreadable("wrong_key", "the key has a %% that begins no escape")
		}
		parts[i] = part
	}
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "@") {
		return AccountRecord{}, unreadable("wrong_key", "the key of a removal must be user|type or user|pusher|app_id|pushkey")
	}
	r := AccountRecord{UserID: parts[0], Type: parts[1]}
	switch {
	case r.Type == typePusher && len(parts) == 4:
		r.Field = pusherFieldOf(parts[2], parts[3])
	case r.Type == typePusher:
		return AccountRecord{}, unreadable("wrong_key", "the key of a pusher must be user|pusher|app_id|pushkey")
	case r.Type == typePushRules || r.Type == typeIgnored || r.Type == typeAccount:
		r.Field = r.Type
	}
	return r, nil
}

// keyEscaper escapes what separates the parts of a key.
var keyEscaper = strings.NewReplacer("%", "%25", "|", "%7C")

// AccountKey is the key of a record of matrix.account.
func AccountKey(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, p := range parts {
		escaped[i] = keyEscaper.Replace(p)
	}
	return strings.Join(escaped, "|")
}

func pusherFieldOf(appID, pushkey string) string { return AccountKey(typePusher, appID, pushkey) }

// pusherValue is how a pusher is saved: when its content last changed, in seconds, and the content.
func pusherValue(content jsontext.Value, since time.Time) string {
	return strconv.FormatInt(since.Unix(), 10) + " " + string(content)
}

// sameContent says whether a saved pusher has this content; its time then stays.
func sameContent(saved string, content jsontext.Value) bool {
	_, old, ok := strings.Cut(saved, " ")
	return ok && old == string(content)
}

// Account is a user as rooms and users stages need them. It is shared and never changed.
type Account struct {
	UserID      string
	Rules       *rules.Ruleset
	Pushers     []RegisteredPusher
	Tags        []string // distinct profile tags of the pushers, sorted, without the empty one
	Deactivated bool
	ignored     map[string]struct{}
}

// RegisteredPusher is a pusher, and where it is saved.
type RegisteredPusher struct {
	pushers.Pusher
	Field   string
	Version Version
}

// Ignores says whether the user ignores the sender.
func (a *Account) Ignores(sender string) bool {
	_, ok := a.ignored[sender]
	return ok
}

// Pusher is the pusher with that identity that is pushed to, or nil.
func (a *Account) Pusher(appID, pushkey string) *RegisteredPusher {
	for i := range a.Pushers {
		if p := &a.Pushers[i]; p.AppID == appID && p.Pushkey.Reveal() == pushkey {
			return p
		}
	}
	return nil
}

// saved is the pusher that is saved in that field, or nil.
func (a *Account) saved(field string) *RegisteredPusher {
	for i := range a.Pushers {
		if a.Pushers[i].Field == field {
			return &a.Pushers[i]
		}
	}
	return nil
}

// compileRules turns the content of m.push_rules into a ruleset; nil content means the defaults.
type compileRules func(content []byte) *rules.Ruleset

// decodeAccount reads the saved fields of a user. What is malformed is left out.
func decodeAccount(userID string, fields map[string]VersionedValue, compile compileRules) *Account {
	a := &Account{UserID: userID}
	var content []byte
	for field, v := range fields {
		switch {
		case field == typePushRules:
			content = []byte(v.Value)
		case field == typeIgnored:
			a.ignored = map[string]struct{}{}
			members(member(jsontext.Value(v.Value), "ignored_users"), func(user string, _ jsontext.Value) { a.ignored[user] = struct{}{} })
		case field == typeAccount:
			a.Deactivated = string(member(jsontext.Value(v.Value), "deactivated")) == "true"
		case strings.HasPrefix(field, pusherField):
			if p, ok := decodePusher(field, v); ok {
				a.Pushers = append(a.Pushers, p)
			}
		}
	}
	a.Rules = compile(content)
	slices.SortFunc(a.Pushers, func(x, y RegisteredPusher) int { return strings.Compare(x.Field, y.Field) })
	for i := range a.Pushers {
		if tag := a.Pushers[i].ProfileTag; tag != "" && len(tag) <= maxTag && !slices.Contains(a.Tags, tag) {
			a.Tags = append(a.Tags, tag)
		}
	}
	slices.Sort(a.Tags)
	return a
}

// decodePusher reads a saved pusher; false if it is none that is pushed to.
func decodePusher(field string, v VersionedValue) (RegisteredPusher, bool) {
	p, ok := SavedPusher(field, v)
	return p, ok && !p.Disabled
}

// SavedPusher reads a saved pusher, even if it is disabled; false if it is none that can be pushed to.
func SavedPusher(field string, v VersionedValue) (RegisteredPusher, bool) {
	since, content, _ := strings.Cut(v.Value, " ")
	p, err := pushers.ParsePusher([]byte(content))
	if err != nil || p.Kind != "http" {
		return RegisteredPusher{}, false // "kind": null deletes a pusher, "email" is the homeserver's own
	}
	if p.PushkeyTS == 0 {
		p.PushkeyTS, _ = strconv.ParseInt(since, 10, 64)
	}
	return RegisteredPusher{Pusher: p, Field: field, Version: v.Version}, true
}
