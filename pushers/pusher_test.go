package pushers_test

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"tocsin/pushers"
)

func TestParsePusher(t *testing.T) {
	t.Parallel()
	plain := pushers.Pusher{Kind: "http", AppID: "app", Pushkey: pushers.NewPushkey("key"), URL: "https://gw/"}
	with := func(change func(*pushers.Pusher)) pushers.Pusher {
		p := plain
		change(&p)
		return p
	}
	for _, tc := range []struct {
		name, in string
		want     pushers.Pusher
	}{
		{"as small as can be", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/"}}`, plain},
		{"as the specification shows it", `{"app_display_name":"Appy McAppface","app_id":"app","data":{"url":"https://gw/","format":"event_id_only"},
			"device_display_name":"Alice's phone","kind":"http","lang":"en-US","profile_tag":"xyz","pushkey":"key"}`,
			with(func(p *pushers.Pusher) {
				p.ProfileTag, p.Format, p.Data = "xyz", pushers.FormatEventIDOnly, jsontext.Value(`{"format":"event_id_only"}`)
			})},
		{"data goes on without the url, whatever is in it", `{"kind":"http","app_id":"app","pushkey":"key","data":{"z":[1, "é"],"url":"https://gw/","default_payload":{"aps":{"mutable-content":1}}}}`,
			with(func(p *pushers.Pusher) {
				p.Data = jsontext.Value(`{"default_payload":{"aps":{"mutable-content":1}},"z":[1,"é"]}`)
			})},
		{"a format of a later day", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/","format":"poem"}}`,
			with(func(p *pushers.Pusher) { p.Format, p.Data = "poem", jsontext.Value(`{"format":"poem"}`) })},
		{"a format that is no text", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/","format":1}}`,
			with(func(p *pushers.Pusher) { p.Data = jsontext.Value(`{"format":1}`) })},
		{"pushkey_ts", `{"kind":"http","app_id":"app","pushkey":"key","pushkey_ts":1700000000,"data":{"url":"https://gw/"}}`,
			with(func(p *pushers.Pusher) { p.PushkeyTS = 1700000000 })},
		{"pushkey_ts that is no integer", `{"kind":"http","app_id":"app","pushkey":"key","pushkey_ts":1.5,"data":{"url":"https://gw/"}}`, plain},
		{"pushkey_ts that is out of range", `{"kind":"http","app_id":"app","pushkey":"key","pushkey_ts":99999999999999999999,"data":{"url":"https://gw/"}}`, plain},
		{"pushkey_ts that is a text", `{"kind":"http","app_id":"app","pushkey":"key","pushkey_ts":"1700000000","data":{"url":"https://gw/"}}`, plain},
		{"profile_tag that is no text", `{"kind":"http","app_id":"app","pushkey":"key","profile_tag":{},"data":{"url":"https://gw/"}}`, plain},
		{"profile_tag of null", `{"kind":"http","app_id":"app","pushkey":"key","profile_tag":null,"data":{"url":"https://gw/"}}`, plain},
		{"enabled", `{"kind":"http","app_id":"app","pushkey":"key","enabled":true,"data":{"url":"https://gw/"}}`, plain},
		{"disabled", `{"kind":"http","app_id":"app","pushkey":"key","enabled":false,"data":{"url":"https://gw/"}}`,
			with(func(p *pushers.Pusher) { p.Disabled = true })},
		{"disabled by the unstable name", `{"kind":"http","app_id":"app","pushkey":"key","org.matrix.msc3881.enabled":false,"data":{"url":"https://gw/"}}`,
			with(func(p *pushers.Pusher) { p.Disabled = true })},
		{"the stable name counts", `{"kind":"http","app_id":"app","pushkey":"key","enabled":true,"org.matrix.msc3881.enabled":false,"data":{"url":"https://gw/"}}`, plain},
		{"enabled that is no boolean", `{"kind":"http","app_id":"app","pushkey":"key","enabled":"false","data":{"url":"https://gw/"}}`, plain},
		{"no counts", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/","disable_badge_count":true}}`,
			with(func(p *pushers.Pusher) { p.NoCounts, p.Data = true, jsontext.Value(`{"disable_badge_count":true}`) })},
		{"no counts, by the unstable name", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/","org.matrix.msc4076.disable_badge_count":true}}`,
			with(func(p *pushers.Pusher) {
				p.NoCounts, p.Data = true, jsontext.Value(`{"org.matrix.msc4076.disable_badge_count":true}`)
			})},
		{"no counts that is no boolean", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/","disable_badge_count":"true"}}`,
			with(func(p *pushers.Pusher) { p.Data = jsontext.Value(`{"disable_badge_count":"true"}`) })},
		{"no counts belongs into data", `{"kind":"http","app_id":"app","pushkey":"key","disable_badge_count":true,"data":{"url":"https://gw/"}}`, plain},
		{"no counts alone", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/","events_only":true}}`,
			with(func(p *pushers.Pusher) { p.EventsOnly, p.Data = true, jsontext.Value(`{"events_only":true}`) })},
		{"no http pusher needs no url", `{"kind":"email","app_id":"m.email","pushkey":"a@example.org","data":{}}`,
			pushers.Pusher{Kind: "email", AppID: "m.email", Pushkey: pushers.NewPushkey("a@example.org")}},
		{"names are exact", `{"kind":"http","app_id":"app","pushkey":"key","Pushkey":"other","data":{"url":"https://gw/","URL":"https://other/"}}`,
			with(func(p *pushers.Pusher) { p.Data = jsontext.Value(`{"URL":"https://other/"}`) })},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got, err := pushers.ParsePusher([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestParsePusherRefuses(t *testing.T) {
	t.Parallel()
	const form = "pusher: not an object with the text fields kind, app_id and pushkey and an object data"
	for _, tc := range []struct{ name, in, want string }{
		{"nothing", ``, form},
		{"a list", `[]`, form},
		{"null", `null`, "pusher: app_id and pushkey must not be empty"},
		{"half of it", `{"kind":"http","app_id":"app"`, form},
		{"more than one value", `{} {}`, form},
		{"a name twice", `{"kind":"http","kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/"}}`, form},
		{"a name twice inside", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":"https://gw/","url":"http://10.0.0.1/"}}`, form},
		{"no UTF-8", "{\"kind\":\"http\",\"app_id\":\"app\",\"pushkey\":\"\xff\",\"data\":{\"url\":\"https://gw/\"}}", form},
		{"a number for a key", `{"kind":"http","app_id":"app","pushkey":1,"data":{"url":"https://gw/"}}`, form},
		{"a text for data", `{"kind":"http","app_id":"app","pushkey":"key","data":"https://gw/"}`, form},
		{"no app_id", `{"kind":"http","pushkey":"key","data":{"url":"https://gw/"}}`, "pusher: app_id and pushkey must not be empty"},
		{"no pushkey", `{"kind":"http","app_id":"app","data":{"url":"https://gw/"}}`, "pusher: app_id and pushkey must not be empty"},
		{"no data", `{"kind":"http","app_id":"app","pushkey":"key"}`, "pusher: data.url of an http pusher must be a text"},
		{"no url", `{"kind":"http","app_id":"app","pushkey":"key","data":{}}`, "pusher: data.url of an http pusher must be a text"},
		{"a url that is no text", `{"kind":"http","app_id":"app","pushkey":"key","data":{"url":["https://gw/"]}}`, "pusher: data.url of an http pusher must be a text"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if p, err := pushers.ParsePusher([]byte(tc.in)); err == nil || err.Error() != tc.want {
				t.Errorf("got %v and the error %v, want %s", p, err, tc.want)
			}
		})
	}
}

// FuzzParsePusher holds that whatever is accepted can be pushed to, and that its data is the object that it says.
func FuzzParsePusher(f *testing.F) {
	f.Add([]byte(`{"kind":"http","app_id":"app","pushkey":"key","pushkey_ts":1,"data":{"url":"https://gw/","format":"event_id_only"}}`))
	f.Add([]byte(`{"kind":"email","app_id":"m.email","pushkey":"a@example.org","enabled":false}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := pushers.ParsePusher(raw)
		if err != nil {
			return
		}
		if p.AppID == "" || p.Pushkey.IsZero() || p.Kind == "http" && p.URL == "" {
			t.Errorf("accepted %+v", p)
		}
		if p.Data != nil && (!p.Data.IsValid() || p.Data.Kind() != '{' || string(p.Data) == "{}") {
			t.Errorf("data is %s", p.Data)
		}
	})
}
