package replay

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/test/stack"
)

func TestParseLine(t *testing.T) {
	deep := `{"type":"m.x","a":` + strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000) + "}"
	tests := []struct {
		name, in string
		want     line
	}{
		{"event", `{"topic":"events","key":"!r:x","value":{"room_id":"!r:x"},"headers":{"notify":"false","a":""}}`,
			line{record: &record{topicEvents, []byte("!r:x"), []byte(`{"room_id":"!r:x"}`), []stack.RecordHeader{{Name: "notify", Value: []byte("false")}, {Name: "a", Value: []byte{}}}}}},
		{"an object stays as it is", `{"topic":"events","key":"k","value":{ "b" : 1e0, "b":"\u0041" }}`,
			line{record: &record{topicEvents, []byte("k"), []byte(`{ "b" : 1e0, "b":"\u0041" }`), nil}}},
		{"an event's own key", `{"topic":"events","value":{"type":"a","room_id":"!r:x"}}`,
			line{record: &record{topicEvents, []byte("!r:x"), []byte(`{"type":"a","room_id":"!r:x"}`), nil}}},
		{"no key to be found", `{"topic":"events","value":{"type":"a"}}`, line{record: &record{topicEvents, nil, []byte(`{"type":"a"}`), nil}}},
		{"an account's own key", `{"topic":"account","value":{"user_id":"@a:x","type":"m.push_rules","content":{}}}`,
			line{record: &record{topicAccount, []byte("@a:x|m.push_rules"), []byte(`{"user_id":"@a:x","type":"m.push_rules","content":{}}`), nil}}},
		{"a pusher's own key", `{"topic":"account","value":{"user_id":"@a:x","type":"pusher","content":{"app_id":"a|b","pushkey":"100%"}}}`,
			line{record: &record{topicAccount, []byte("@a:x|pusher|a%7Cb|100%25"), []byte(`{"user_id":"@a:x","type":"pusher","content":{"app_id":"a|b","pushkey":"100%"}}`), nil}}},
		{"raw string", `{"topic":"events","key":"k","value":"{\"a\":\n\u00e9\ud83d\ude00"}`, line{record: &record{topicEvents, []byte("k"), []byte("{\"a\":\né😀"), nil}}},
		{"raw string that is no UTF-8", "{\"topic\":\"events\",\"key\":\"k\",\"value\":\"\xff\\\\\xfe\"}", line{record: &record{topicEvents, []byte("k"), []byte("\xff\\\xfe"), nil}}},
		{"empty raw string", `{"topic":"events","key":"k","value":""}`, line{record: &record{topicEvents, []byte("k"), []byte{}, nil}}},
		{"tombstone", `{"topic":"account","key":"k","value":null}`, line{record: &record{topicAccount, []byte("k"), nil, nil}}},
		{"empty key", `{"topic":"events","key":"","value":null}`, line{record: &record{topicEvents, []byte{}, nil, nil}}},
		{"deep", `{"topic":"events","key":"k","value":` + deep + `}`, line{record: &record{topicEvents, []byte("k"), []byte(deep), nil}}},
		{"spaces", " {\t\"wait\" : \"idle\" } \r", line{idle: true}},
		{"config", `{"config":{"homeserver":{"server_name":"x"}}}`, line{config: []byte(`{"homeserver":{"server_name":"x"}}`)}},
		{"status", `{"gateway":{"status":503,"times":2}}`, line{gateway: &stack.Answer{Status: 503, Times: 2}}},
		{"rejected", `{"gateway":{"rejected":["k"],"times":1}}`, line{gateway: &stack.Answer{Rejected: []string{"k"}, Times: 1}}},
		{"delay", `{"gateway":{"delay":"200ms","times":5}}`, line{gateway: &stack.Answer{Delay: 200 * time.Millisecond, Times: 5}}},
		{"a push service", `{"provider":{"app_id":"im.vector","status":410,"reason":"Unregistered","times":1}}`, line{direct: &stack.ProviderAnswer{AppID: "im.vector", Status: 410, Reason: "Unregistered", Times: 1}}},
		{"once", `{"gateway":{"status":429,"headers":{"Retry-After":"60"}}}`, line{gateway: &stack.Answer{Status: 429, Header: map[string]string{"Retry-After": "60"}, Times: 1}}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			got, err := parseLine([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmp.AllowUnexported(line{}, record{})); diff != "" {
				t.Error(diff)
			}
			if got.record != nil && tc.want.record.value != nil && got.record.value == nil {
				t.Error("the value became a tombstone")
			}
		})
	}
}

func TestParseLineRefuses(t *testing.T) {
	tests := []struct{ in, want string }{
		{``, `the line is empty`},
		{` `, `the line is empty`},
		{`{"topic":"events"`, `not valid JSON: unexpected EOF`},
		{`{"topic":"events","value":{}} x`, `not one JSON object: "x" follows it`},
		{`[]`, `not a JSON object`},
		{`"events"`, `not a JSON object`},
		{`{}`, `"topic" is missing: "events" or "account"`},
		{`{"value":{}}`, `"topic" is missing: "events" or "account"`},
		{`{"topic":"event","value":{}}`, `"topic" must be "events" or "account", not "event"`},
		{`{"topic":1,"value":{}}`, `"topic" must be a string, not a number`},
		{`{"topic":"events"}`, `"value" is missing: an object, a raw string, or null for a tombstone`},
		{`{"topic":"events","value":[]}`, `"value" must be an object, a raw string, or null for a tombstone, not an array`},
		{`{"topic":"events","value":true}`, `"value" must be an object, a raw string, or null for a tombstone, not true`},
		{`{"topic":"events","value":{},"key":null}`, `"key" must be a string, not null`},
		{`{"topic":"events","value":"\ud800"}`, `\ud800 stands for no character`},
		{`{"topic":"events","value":{},"headers":[]}`, `"headers" must be an object of strings, not an array`},
		{`{"topic":"events","value":{},"headers":{"a":1}}`, `headers: "a" must be a string, not a number`},
		{`{"topic":"events","value":{},"offset":1}`, `unknown member "offset": a line is a record (topic, key, value, headers) or one of wait, gateway, provider, config`},
		{`{"topic":"events","topic":"events","value":{}}`, `"topic" is given twice`},
		{`{"topic":"events","value":{},"wait":"idle"}`, `"wait" stands alone in its line`},
		{`{"wait":"idle","gateway":{"status":503}}`, `"wait" stands alone in its line`},
		{`{"wait":"done"}`, `"wait" must be "idle", not "done"`},
		{`{"wait":5}`, `"wait" must be "idle", not 5`},
		{`{"config":[]}`, `"config" must be an object of settings, not an array`},
		{`{"provider":{"status":503},"gateway":{"status":503}}`, `"gateway" stands alone in its line`},
		{`{"provider":{"status":503},"topic":"events"}`, `"provider" stands alone in its line`},
		{`{"provider":503}`, `"provider" must be an object, not a number`},
		{`{"provider":{}}`, `provider: status, rejected, delay or fault is missing: what to answer`},
		{`{"provider":{"status":410,"times":0}}`, `provider: times 0 is less than 1`},
		{`{"provider":{"status":410,"provider":"hms"}}`, `provider: provider "hms" is none of apns, fcm, webpush, gateway`},
		{`{"gateway":503}`, `"gateway" must be an object, not a number`},
		{`{"gateway":{}}`, `gateway: needs status, rejected or delay`},
		{`{"gateway":{"times":2}}`, `gateway: needs status, rejected or delay`},
		{`{"gateway":{"status":503,"times":0}}`, `gateway: times 0 is less than 1`},
		{`{"gateway":{"status":99}}`, `gateway: status 99 is no HTTP status from 200 to 599`},
		{`{"gateway":{"delay":"soon"}}`, `gateway: delay "soon" is no duration such as "200ms" or "5s"`},
		{`{"gateway":{"delay":"-1s"}}`, `gateway: delay "-1s" is no duration such as "200ms" or "5s"`},
	}
	for _, tc := range tests {
		got, err := parseLine([]byte(tc.in))
		if err == nil {
			t.Errorf("%s: read as %+v", tc.in, got)
		} else if err.Error() != tc.want && !strings.HasPrefix(tc.want, "not valid JSON") || !strings.HasPrefix(err.Error(), tc.want[:14]) {
			t.Errorf("%s:\n got %v\nwant %v", tc.in, err, tc.want)
		}
	}
	for _, in := range []string{`{"gateway":{"status":"503"}}`, `{"gateway":{"status":503,"colour":"red"}}`, `{"gateway":{"status":503,"status":502}}`, `{"gateway":{"rejected":"k"}}`} {
		if _, err := parseLine([]byte(in)); err == nil || !strings.HasPrefix(err.Error(), "gateway: ") {
			t.Errorf("%s: %v", in, err)
		}
	}
	deep := strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 19_999)
	for _, in := range []string{
		`{"topic":"events","value":` + deep + `}`, `{"topic":"events","value":` + deep + `]}`, `{"topic":"events","value":` + deep + `}}}`,
	} {
		if _, err := parseLine([]byte(in)); err == nil {
			t.Error("brackets that don't match, 20,000 deep, were not seen")
		}
	}
}

func TestOriginTime(t *testing.T) {
	for in, want := range map[string]int64{
		`{"origin_server_ts":0}`: 0, `{"a":{"origin_server_ts":1},"origin_server_ts":17}`: 17, `{"origin_server_ts":253402300799999}`: 253402300799999,
		`{}`: -1, `{"origin_server_ts":"17"}`: -1, `{"origin_server_ts":-1}`: -1, `{"origin_server_ts":1.5}`: -1, `{"origin_server_ts":253402300800000}`: -1,
		``: -1, `null`: -1, `[1]`: -1, `{"origin_server_ts":1`: -1, `{"content":{"origin_server_ts":1}}`: -1,
	} {
		got, ok := originTime([]byte(in))
		if ok != (want >= 0) || ok && got.UnixMilli() != want {
			t.Errorf("%s: %v %v, want %d", in, got, ok, want)
		}
	}
}

// FuzzParseLine holds that no line makes the parser panic, and that a line that package jsontext refuses is refused here, too.
func FuzzParseLine(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"events","key":"k","value":{"a":[1,{"b":"\\\""}]},"headers":{"a":"b"}}`, `{"topic":"account","value":null}`, `{"wait":"idle"}`,
		`{"gateway":{"status":503,"times":2}}`, `{"provider":{"fault":"reset"}}`, `{"config":{}}`, `{"topic":"events","value":"\ud83d\ude00"}`, `{{{`, `{"a`, `{"a":}`, `{"a":"\`, `{"a":"\u12`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		l, err := parseLine(raw)
		if err != nil {
			return
		}
		if checkSyntax(raw) != nil {
			t.Errorf("%q was read", raw)
		}
		if l.record != nil {
			ownKey(l.record.topic, l.record.value)
			originTime(l.record.value)
			pusherOf(l.record.value)
		}
	})
}

// FuzzMembers holds that anything at all can be a value: a raw string of hostile bytes is looked at for its room, key and time.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{`{"room_id":"x","origin_server_ts":1}`, `{"a":`, `{"a"`, `{"`, `{"a":]`, `{"a":"\`, `{"a":1,}`, `{,}`, `{}x`, `{"a":{"b":[}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		ownKey(topicEvents, raw)
		ownKey(topicAccount, raw)
		originTime(raw)
		pusherOf(raw)
		depth(raw)
		_, _ = parseLine(raw)
	})
}
