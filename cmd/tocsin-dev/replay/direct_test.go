package replay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/test/stack"
)

// apps is a first line with an app of each kind.
const apps = `{"config":{"apps":{"ios":{"type":"apns","timeout":"1s"},"droid":{"type":"fcm","timeout":"1s"},"web.*":{"type":"webpush"},"desk":{"type":"gateway"}},"delivery":{"timeout":"1s"}}}` + "\n"

// browserKey is a p256dh key.
const browserKey = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"

// registers is a line in which Bob sets a pusher.
func registers(appID, pushkey, data string) string {
	return fmt.Sprintf(`{"topic":"account","value":{"user_id":"@bob:example.org","type":"pusher","content":{"kind":"http","app_id":%q,"pushkey":%q,"data":{"url":"https://push.example.org/_matrix/push/v1/notify"%s}}}}`+"\n", appID, pushkey, data)
}

// devices are Bob's, one for each app; those of the app web.* have app ids of their own.
func devices() string {
	browser := `,"endpoint":"https://updates.push.services.mozilla.com/wpush/v2/bob","auth":"AAAAAAAAAAAAAAAAAAAAAA"`
	return registers("ios", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHv_=", "") + registers("droid", "bob:APA91b", "") + registers("web.site", browserKey, browser) + registers("desk", "DESK", "")
}

// TestTheSameInAnyYear: neither the wall clock nor its zone nor the environment has a say in what is told directly.
func TestTheSameInAnyYear(t *testing.T) {
	text := apps + cast + devices() + `{"provider":{"status":503,"headers":{"Retry-After":"20"},"times":7}}` + "\n"
	for i := range int64(5) {
		text += says(fmt.Sprint("$", i), "ding", 1_700_000_000+3600*i)
	}
	lines, first, err := replayed(t.Context(), t, text)
	if err != nil {
		t.Fatal(err)
	}
	for provider, want := range map[string][2]int{`"provider":"apns","app_id":"ios"`: {7, 5}, `"provider":"fcm","app_id":"droid"`: {8, 5}, `"provider":"webpush","app_id":"web.site"`: {7, 5}, `"app_id":"desk"`: {5, 5}} {
		pushes, accepted := 0, 0
		for line := range strings.Lines(first) {
			if strings.Contains(line, provider) {
				pushes++
				if strings.Contains(line, `"status":20`) {
					accepted++
				}
			}
		}
		if pushes != want[0] || accepted != want[1] {
			t.Errorf("%s: %d pushes, %d accepted, want %v of %d", provider, pushes, accepted, want, len(lines))
		}
	}
	t.Setenv("TZ", "Pacific/Kiritimati")
	t.Setenv("TOCSIN_APPS", `{ios: {type: gateway, url: "https://elsewhere.example.org/"}}`)
	t.Setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
	for range 2 {
		if _, again, err := replayed(t.Context(), t, text); err != nil || again != first {
			t.Errorf("%v\n%s\nand before\n%s", err, again, first)
		}
	}
	// What was recorded in other years differs in the times that are told, and in nothing else.
	for _, year := range []int{1971, 2001, 2090} {
		shift := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Unix() - 1_700_000_000
		moved, want := apps+cast+devices()+`{"provider":{"status":503,"headers":{"Retry-After":"20"},"times":7}}`+"\n", strings.ReplaceAll(first, `"pushkey_ts":1700000000`, fmt.Sprintf(`"pushkey_ts":%d`, 1_700_000_000+shift))
		for i := range int64(5) {
			moved += says(fmt.Sprint("$", i), "ding", 1_700_000_000+shift+3600*i)
			want = strings.ReplaceAll(want, fmt.Sprint(1_700_000_000+86400+3600*i), fmt.Sprint(1_700_000_000+shift+86400+3600*i))
		}
		if _, got, err := replayed(t.Context(), t, moved); err != nil || got != want {
			t.Errorf("%d: %v\n%s", year, err, cmp.Diff(want, got))
		}
	}
}

// TestFaultsAreShown: each fault of each push service is a line of its own, and the line is there before anything that comes after it.
func TestFaultsAreShown(t *testing.T) {
	for kind, app := range map[string]string{stack.ProviderAPNs: "ios", stack.ProviderFCM: "droid", stack.ProviderWebPush: "web.site"} {
		for _, fault := range stack.ProviderFaults(kind) {
			t.Run(kind+" "+fault, func(t *testing.T) {
				t.Parallel()
				var own string
				for line := range strings.Lines(devices()) {
					if strings.Contains(line, fmt.Sprintf(`"app_id":%q`, app)) {
						own = line
					}
				}
				text := apps + strings.Join(slices.Collect(strings.Lines(cast))[1:], "") + own
				text += fmt.Sprintf(`{"provider":{"app_id":%q,"fault":%q}}`, app, fault) + "\n" + says("$a", "a", 1000) + `{"wait":"idle"}` + "\n" + says("$b", "b", 2000)
				_, out, err := replayed(t.Context(), t, text)
				if err != nil {
					t.Fatal(err)
				}
				lines := slices.Collect(strings.Lines(out))
				if len(lines) < 2 || !strings.Contains(lines[0], `"$a"`) || !strings.Contains(lines[len(lines)-1], `"$b"`) {
					t.Fatalf("got\n%s", out)
				}
				for i, line := range lines[1:] {
					if !strings.Contains(line, `"status":20`) || !strings.Contains(line, `"$a"`) && i < len(lines)-2 {
						t.Errorf("line %d is %s", i+1, line)
					}
				}
			})
		}
	}
}

// TestNoBreaker: a push service that is away for long is tried again by the replay's clock alone.
func TestNoBreaker(t *testing.T) {
	for _, line := range []string{`{"provider":{"app_id":"ios","fault":"reset","times":12}}`, `{"provider":{"app_id":"ios","status":500,"times":12}}`} {
		text := apps + strings.Join(slices.Collect(strings.Lines(cast))[1:], "") + registers("ios", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "") + line + "\n" + says("$a", "a", 1000)
		lines, out, err := replayed(t.Context(), t, text)
		if err != nil || len(lines) != 13 || lines[12].Status != 200 {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// TestSettingsOfApps: what is wrong with section apps is said of the first line, by the names that it has there; what belongs to the push services is not looked at.
func TestSettingsOfApps(t *testing.T) {
	for settings, want := range map[string]string{
		`{"apps":{"ios":{"type":"apns","topik":"x"}}}`:                             "apps[ios].topik: is not a key of type apns",
		`{"apps":{"ios":{"type":"apns","topic":"no bundle id"}}}`:                  `apps[ios].topic: "no bundle id" is no bundle id`,
		`{"apps":{"ios":{"type":"apns","key_file":7,"form":"haiku"}}}`:             `apps[ios].form: "haiku" is none of`,
		`{"apps":{"ios":{"type":"apns"},"droid":{"type":"gcm"}}}`:                  "apps[droid].type: \"gcm\" is none of apns, fcm, webpush, gateway",
		`{"apps":{"ios":{"topic":"x"}}}`:                                           "apps[ios].type: is required",
		`{"apps":{"web":{"type":"webpush","contact":"nobody"}}}`:                   "apps[web].contact: ",
		`{"apps":{"web":{"type":"webpush","allowed_endpoints":[]}}}`:               "apps[web].allowed_endpoints: is empty",
		`{"apps":{"desk":{"type":"gateway","url":"ftp://x"}}}`:                     "apps[desk].url: it is not a URL",
		`{"apps":{"x{":{"type":"fcm"}}}`:                                           "apps[x{]: ",
		`{"apps":[]}`:                                                              "apps: must be a mapping",
		`{"apps":{"ios":"apns"}}`:                                                  "apps[ios]: must be",
		`{"apps":{"ios":{"type":"apns","timeout":"1s","timeout":"2s"}}}`:           "apps[ios].timeout: ",
		`{"apps":{"ios":{"type":"apns"},"ios":{"type":"fcm"}}}`:                    "apps[ios]: ",
		`{"apps":{"ios":{"type":"apns"}},"apps":{}}`:                               "apps: ",
		`{"apps":{"":{"type":"apns"}}}`:                                            "can't be a name",
		`{"apps":{"ios":{"type":"apns","topic":"x.y"}},"badge":{"count":"stars"}}`: "badge.count: ",
		`{"apps":{"ios":{"type":"apns","topic":"x.y"}},"admin":{"listen":":1"}}`:   "admin.listen can't be set",
	} {
		lines, _, err := replayed(t.Context(), t, `{"config":`+settings+"}\n"+cast+says("$a", "a", 1000))
		var input *InputError
		if !errors.As(err, &input) || input.Line != 1 || len(lines) > 0 || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", settings, err, want)
		}
	}
	good := `{"config":{"tracing":{"endpoint":"http://collector.invalid:4318","sample":1},"delivery":{"proxy":{"url":"http://proxy.invalid:3128"}},"apps":{` +
		`"ios":{"type":"apns","key_file":"/nowhere/a.p8","key_id":"?","team_id":7,"base_url":"https://apple.invalid","ca_file":"/nowhere/ca.pem"},` +
		`"droid":{"type":"fcm","service_account_file":"/nowhere/f.json","project_id":"p","base_url":"https://google.invalid","token_url":"https://google.invalid/token"},` +
		`"web.*":{"type":"webpush","vapid_key_file":"/nowhere/v.pem","base_url":"https://relay.invalid"},"desk":{"type":"gateway","url":"https://desk.invalid/any/path","ca_file":"/nowhere/ca.pem"}}}}` + "\n"
	_, out, err := replayed(t.Context(), t, good+cast+devices()+says("$a", "a", 1000))
	if err != nil || strings.Count(out, `"status":20`) != 5 || strings.Count(out, "\n") != 5 || !strings.Contains(out, `"url":"https://desk.invalid/any/path"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestProviderLines: an answer that no push could ever get is a fault of its line.
func TestProviderLines(t *testing.T) {
	for line, want := range map[string]string{
		`{"app_id":"android","status":500}`:                  `app_id "android" is no app of section apps in the settings`,
		`{"app_id":"desk","status":500}`:                     `app_id "desk" is of type gateway in the settings: what push gateways answer is said by "gateway"`,
		`{"provider":"gateway","status":500}`:                `what push gateways answer is said by "gateway"`,
		`{"rejected":["DESK"]}`:                              `what push gateways answer is said by "gateway"`,
		`{"app_id":"ios","provider":"fcm","status":500}`:     `app_id "ios" is of type apns in the settings, not fcm`,
		`{"app_id":"web.site","fault":"goaway"}`:             `fault "goaway" is none that webpush has: close, endless_body, not_http, reset, silence, slow_body`,
		`{"provider":"apns","app_id":"ios","fault":"flood"}`: `fault "flood" is none that apns has: deaf, goaway, goaway_taken, refuse_stream, reset, reset_stream, silence`,
	} {
		lines, _, err := replayed(t.Context(), t, apps+cast+devices()+`{"provider":`+line+"}\n"+says("$a", "a", 1000))
		var input *InputError
		if !errors.As(err, &input) || len(lines) > 0 || err.Error() != "-, line 10: provider: "+want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	for settings, want := range map[string]string{
		"":   "-, line 1: provider: section apps in the settings has no app of type apns, fcm or webpush",
		apps: "",
		`{"config":{"apps":{"ios":{"type":"apns"}}}}` + "\n": "-, line 2: provider: section apps in the settings has no app of type fcm",
	} {
		line := `{"provider":{"status":500}}`
		if strings.Contains(want, "fcm") && settings != "" {
			line = `{"provider":{"provider":"fcm","status":500}}`
		}
		if _, _, err := replayed(t.Context(), t, settings+line); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func TestPusherOf(t *testing.T) {
	for in, want := range map[string]pusher{
		`{"type":"pusher","content":{"app_id":"a","pushkey":"k","data":{"url":"https://x/y","endpoint":"https://e/"}}}`: {"a", "k", "https://x/y", "https://e/"},
		`{"type":"pusher","content":{"app_id":1,"pushkey":"k","data":{"url":":"}}}`:                                     {"", "k", "", ""},
		`{"type":"pusher","content":{"app_id":"a","data":7}}`:                                                           {"a", "", "", ""},
	} {
		if got, ok := pusherOf([]byte(in)); !ok || got != want {
			t.Errorf("%s: %+v %v", in, got, ok)
		}
	}
	for _, in := range []string{``, `null`, `{"type":"m.push_rules","content":{}}`, `{"type":"pusher"}`, `{"type":"pusher","content":null}`} {
		if got, ok := pusherOf([]byte(in)); ok {
			t.Errorf("%s: %+v", in, got)
		}
	}
}
