package pipeline

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"tocsin/pipeline/stream"
	"tocsin/rules"
)

func TestDecodeAccount(t *testing.T) {
	t.Parallel()
	const pusher = `{"user_id":"@u:x","type":"pusher","content":{"kind":"http","app_id":"a|p","pushkey":"k%","data":{"url":"https://g/_matrix/push/v1/notify"}}}`
	for _, tc := range []struct {
		name, key string
		value     []byte
		field     string
		removed   bool
		reason    string
	}{
		{"rules", "@u:x|m.push_rules", []byte(`{"user_id":"@u:x","type":"m.push_rules","content":{"global":{}}}`), "m.push_rules", false, ""},
		{"rules removed", "@u:x|m.push_rules", nil, "m.push_rules", true, ""},
		{"rules removed by null content", "@u:x|m.push_rules", []byte(`{"user_id":"@u:x","type":"m.push_rules","content":null}`), "m.push_rules", true, ""},
		{"a pusher", AccountKey("@u:x", "pusher", "a|p", "k%"), []byte(pusher), "pusher|a%7Cp|k%25", false, ""},
		{"the pusher removed", "@u:x|pusher|a%7Cp|k%25", nil, "pusher|a%7Cp|k%25", true, ""},
		{"another type", "@u:x|m.direct", []byte(`{"user_id":"@u:x","type":"m.direct","content":{}}`), "", false, ""},
		{"empty", "@u:x|m.push_rules", []byte{}, "", false, "empty"},
		{"no JSON", "@u:x|m.push_rules", []byte(`{`), "", false, "invalid_json"},
		{"a repeated key", "@u:x|m.push_rules", []byte(`{"user_id":"@u:x","type":"m.push_rules","content":{"global":{},"global":{}}}`), "", false, "duplicate_key"},
		{"no user", "x", []byte(`{"type":"m.push_rules","content":{}}`), "", false, "no_user_id"},
		{"no type", "@u:x", []byte(`{"user_id":"@u:x","content":{}}`), "", false, "no_type"},
		{"content is a list", "@u:x|m.push_rules", []byte(`{"user_id":"@u:x","type":"m.push_rules","content":[]}`), "", false, "wrong_type"},
		{"a pusher without key", "@u:x|pusher", []byte(`{"user_id":"@u:x","type":"pusher","content":{"kind":"http","app_id":"a"}}`), "", false, "bad_pusher"},
		{"a tombstone without type", "@u:x", nil, "", false, "wrong_key"},
		{"a pusher's tombstone without pushkey", "@u:x|pusher|a", nil, "", false, "wrong_key"},
		{"a tombstone with a bad escape", "@u:x|m.push%2", nil, "", false, "wrong_key"},
	} {
		r, err := DecodeAccount(&stream.Record{Key: []byte(tc.key), Value: tc.value})
		var u *Unreadable
		if errors.As(err, &u) {
			if u.Reason != tc.reason {
				t.Errorf("%s: reason %s, want %q", tc.name, u.Reason, tc.reason)
			}
			continue
		}
		if tc.reason != "" || r.UserID != "@u:x" || r.Field != tc.field || (r.Content == nil) != tc.removed {
			t.Errorf("%s: got %+v %v", tc.name, r, err)
		}
	}
}

func TestDecodeAccountFields(t *testing.T) {
	t.Parallel()
	value := func(s string) VersionedValue { return VersionedValue{Value: s} }
	pusher := func(rest string) VersionedValue {
		return value(`1700 {"kind":"http","app_id":"a","pushkey":"k","data":{"url":"https://g/_matrix/push/v1/notify"}` + rest + `}`)
	}
	compile := internRules(rules.Options{}, slog.New(slog.DiscardHandler))
	a := decodeAccount("@u:x", map[string]VersionedValue{
		"m.ignored_user_list": value(`{"ignored_users":{"@bad:x":{},"@worse:x":7}}`),
		"account":             value(`{"deactivated":true}`),
		"pusher|a|k":          pusher(`,"profile_tag":"work"`),
		"pusher|b|k":          pusher(`,"pushkey_ts":99,"profile_tag":"` + strings.Repeat("x", maxTag+1) + `"`),
		"pusher|c|k":          pusher(`,"enabled":false`),
		"pusher|d|k":          value(`1700 {"kind":null,"app_id":"d","pushkey":"k"}`),
		"pusher|e|k":          value(`broken`),
	}, compile)
	if !a.Ignores("@bad:x") || !a.Ignores("@worse:x") || a.Ignores("@good:x") || !a.Deactivated {
		t.Errorf("got %+v", a)
	}
	if len(a.Pushers) != 2 || a.Pushers[0].PushkeyTS != 1700 || a.Pushers[1].PushkeyTS != 99 || !slices.Equal(a.Tags, []string{"work"}) {
		t.Errorf("pushers %+v tags %v", a.Pushers, a.Tags)
	}
	if a.Rules == nil || a.Rules != decodeAccount("@v:x", nil, compile).Rules {
		t.Error("users without rules of their own share the defaults")
	}
}

func TestPusherTimeStaysWithItsContent(t *testing.T) {
	t.Parallel()
	saved := pusherValue([]byte(`{"a":1}`), time.Unix(5, 0))
	if !sameContent(saved, []byte(`{"a":1}`)) || sameContent(saved, []byte(`{"a":2}`)) || sameContent("", []byte(`{}`)) {
		t.Errorf("sameContent is wrong about %q", saved)
	}
}
