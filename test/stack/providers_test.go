package stack

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseProviderAnswer(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]ProviderAnswer{
		`{"app_id":"im.vector","status":410,"reason":"Unregistered","times":1}`: {AppID: "im.vector", Status: 410, Reason: "Unregistered", Times: 1},
		`{"provider":"apns","status":410,"timestamp":1700000000000}`:            {Provider: "apns", Status: 410, Timestamp: time.UnixMilli(1700000000000)},
		`{"provider":"fcm","fault":"silence","delay":"2s","rate":0.05,"headers":{"Retry-After":"30"},"status":503,"body":"x"}`: {
			Provider: "fcm", Fault: "silence", Delay: 2 * time.Second, Rate: 0.05, Header: map[string]string{"Retry-After": "30"}, Status: 503, Body: "x"},
		`{"rejected":[]}`: {Rejected: []string{}},
	} {
		if got, err := ParseProviderAnswer([]byte(raw)); err != nil || cmp.Diff(want, got) != "" {
			t.Errorf("%s: %v %s", raw, err, cmp.Diff(want, got))
		}
	}
	for raw, says := range map[string]string{
		`[]`: "", `{"status":"503"}`: "", `{"status":200,"status":200}`: "duplicate", `{"mood":1,"status":200}`: "mood",
		`{"status":199}`: "status 199", `{"delay":"soon"}`: `delay "soon"`, `{"delay":"-1s"}`: "delay", `{"status":500,"times":0}`: "times 0",
		`{"status":500,"rate":0}`: "rate 0", `{"times":3}`: "is missing", `{"delay":"1s","reason":"Unregistered"}`: "reason goes with a status",
		`{"provider":"apns","rejected":["k"]}`: "gateways alone", `{"fault":"flood"}`: `"flood" is none of any provider`, `{"provider":"webpush","fault":"goaway"}`: "none that webpush has: close, ",
	} {
		if got, err := ParseProviderAnswer([]byte(raw)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %+v, %v", raw, got, err)
		}
	}
}

// Who gets which answer, in the order of the pushes.
func TestProviderScript(t *testing.T) {
	t.Parallel()
	var s providerScript
	for _, a := range []ProviderAnswer{
		{Status: 501, Provider: ProviderFCM, Times: 2}, {Status: 502, AppID: "app.*"}, {Status: 503, Fault: "refuse_stream"}, {Status: 504, Rate: 0.5}, {Status: 505, Rejected: []string{"k"}}, {Status: 506, Rate: 1, Times: 1},
	} {
		s.add(a)
	}
	for i, tc := range []struct {
		provider, appID, added string
		want                   int // 0: nothing
	}{
		{ProviderFCM, "x", "x", 501},
		{ProviderFCM, "app.1", "app.*", 501},
		{ProviderFCM, "app.1", "app.*", 502},
		{ProviderFCM, "app.1", "app.*", 506}, // half a push
		{ProviderAPNs, "", "", 503},
		{ProviderAPNs, "", "", 504},
		{ProviderAPNs, "", "", 0},
		{ProviderGateway, "", "", 504},
		{ProviderGateway, "", "", 505},
		{ProviderGateway, "", "", 504},
	} {
		if got, ok := s.next(tc.provider, tc.appID, tc.added); got.Status != tc.want || ok != (tc.want != 0) {
			t.Errorf("push %d: %d, want %d", i, got.Status, tc.want)
		}
	}
	s.add(ProviderAnswer{Status: 500, Provider: ProviderFCM})
	s.add(ProviderAnswer{Status: 500, AppID: "a"})
	for _, tc := range []struct {
		provider, appID string
		want            int
	}{{ProviderAPNs, "", 0}, {ProviderFCM, "a", 0}, {"", "a", 1}, {ProviderFCM, "", 1}, {"", "", 1}} {
		if got := s.clear(tc.provider, tc.appID); got != tc.want {
			t.Errorf("clear %q %q: %d, want %d", tc.provider, tc.appID, got, tc.want)
		}
	}
	if s.waiting() != 0 {
		t.Errorf("%d are left", s.waiting())
	}
}

// A twentieth is every twentieth, however long it goes on.
func TestProviderRate(t *testing.T) {
	t.Parallel()
	var s providerScript
	s.add(ProviderAnswer{Status: 500, Rate: 0.05})
	for i := 1; i <= 100_000; i++ {
		if _, ok := s.next(ProviderFCM, "", ""); ok != (i%20 == 0) {
			t.Fatalf("push %d: %v", i, ok)
		}
	}
}

func TestProviderPushLine(t *testing.T) {
	t.Parallel()
	for want, p := range map[string]ProviderPush{
		`{"kind":"push","provider":"apns","app_id":"a\"b","headers":{"apns-id":"1","topic":"t"},"body":{"a": 1},"status":200}`: {
			Provider: ProviderAPNs, AppID: `a"b`, Header: map[string]string{"topic": "t", "apns-id": "1"}, Body: []byte(`{"a": 1}`), Status: 200},
		`{"kind":"push","provider":"webpush","app_id":"","headers":{},"body":null,"status":0}`:         {Provider: ProviderWebPush},
		`{"kind":"push","provider":"fcm","app_id":"","headers":{},"body":{"a":[1,"\n"]},"status":400}`: {Provider: ProviderFCM, Body: []byte("{\"a\":\n[1, \"\\n\"]}"), Status: 400},
		`{"kind":"push","url":"https://x/","body":"no�json","status":200}`:                             {Provider: ProviderGateway, URL: "https://x/", Body: []byte("no\xffjson"), Status: 200},
	} {
		if got := string(p.Line()); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestWebPushKeysFollowFromTheEndpoint(t *testing.T) {
	t.Parallel()
	keys := func(endpoint string) string {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		p256dh, auth := WebPushKeys(u)
		return string(p256dh) + string(auth)
	}
	own := SubscribeWebPush("push.example", "a b")
	if got := keys(own.Endpoint); got != string(own.private.PublicKey().Bytes())+string(own.secret) {
		t.Error("a browser of ours has other keys")
	}
	if keys("https://Push.example:443/x?y") != keys("https://push.example/x?y") {
		t.Error("the keys go by how the host is written")
	}
	if keys("https://push.example/x") == keys("https://push.example/y") || keys("https://push.example/x") == keys("https://other.example/x") {
		t.Error("two endpoints share their keys")
	}
}

// providersOf are the services in a folder.
func providersOf(t *testing.T, dir string) *Providers {
	t.Helper()
	return started(t, StartProviders, ProvidersOptions{Dir: dir})
}

func TestProvidersKeepWhatIsInTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	all := func() (apps []*ProviderApp, files map[string]string) {
		p, err := StartProviders(ProvidersOptions{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		for _, provider := range AllProviders() {
			for _, name := range []string{"org.example.app", "im.*", "*", "../../etc", "a/b", strings.Repeat("long", 50)} {
				app, err := p.Add(provider, name, "")
				if err != nil {
					t.Fatal(err)
				}
				apps = append(apps, app)
			}
		}
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		files = map[string]string{}
		err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("%s: others can read it: %v", path, info.Mode())
			}
			text, err := os.ReadFile(path)
			files[path] = string(text) + info.ModTime().String()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return apps, files
	}
	apps, files := all()
	again, filesAgain := all()
	if diff := cmp.Diff(apps, again); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(files, filesAgain); diff != "" {
		t.Error(diff)
	}
	seen := map[Setting]string{}
	for _, app := range apps {
		for _, s := range app.Settings {
			if strings.HasSuffix(s.Key, "_file") && !strings.HasPrefix(s.Value, dir+string(filepath.Separator)) {
				t.Errorf("%s: %s is not in the folder", app.Name, s.Value)
			}
			if strings.HasSuffix(s.Key, "_file") && s.Key != "ca_file" || s.Key == "key_id" {
				if seen[s] != "" {
					t.Errorf("%s and %s share %s", app.Name, seen[s], s.Key)
				}
				seen[s] = app.Name
			}
			if s.Key != "contact" && !slices.Contains(ProviderKeys(app.Provider), s.Key) {
				t.Errorf("%s: %s is none of the keys that it stands in for", app.Provider, s.Key)
			}
		}
	}
}

func TestProvidersKnowTheAppOfADevice(t *testing.T) {
	t.Parallel()
	p := providersOf(t, t.TempDir())
	app, err := p.Add(ProviderAPNs, "im.*", "")
	if err != nil {
		t.Fatal(err)
	}
	from := credential{ProviderAPNs, app.Settings[1].Value}
	p.Register("im.base64", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "")
	p.Register("im.hex", "ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB", "")
	p.Register("web", "p256dh", "https://push.example/x")
	for device, want := range map[string][2]string{
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f": {"im.base64", "im.*"},
		"abababababababababababababababababababababababababababababababab": {"im.hex", "im.*"},
		"https://push.example/x": {"web", "im.*"}, "p256dh": {"im.*", "im.*"},
	} {
		if appID, added := p.app(from, device); [2]string{appID, added} != want {
			t.Errorf("%s: %s, %s", device, appID, added)
		}
	}
	if appID, added := p.app(credential{ProviderFCM, "other"}, "unknown"); appID+added != "" {
		t.Errorf("nobody's push is of %s, %s", appID, added)
	}
}

func TestProvidersRefuse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := StartProviders(ProvidersOptions{Dir: dir, Only: []string{"hms"}}); err == nil || !strings.Contains(err.Error(), `"hms" is no provider`) {
		t.Errorf("a service that nobody knows: %v", err)
	}
	for _, file := range []string{"ca.key", "ports.json", "service-account.key"} {
		spoiled := t.TempDir()
		if err := os.WriteFile(filepath.Join(spoiled, file), []byte("?"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := StartProviders(ProvidersOptions{Dir: spoiled}); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("with a %s that is none: %v", file, err)
		}
	}
	p := started(t, StartProviders, ProvidersOptions{Dir: dir, Only: []string{ProviderGateway}})
	if _, err := p.Add(ProviderFCM, "app", ""); err == nil || !strings.Contains(err.Error(), `"fcm" does not run`) {
		t.Errorf("an app of a service that does not run: %v", err)
	}
	if p.URL(ProviderFCM) != "" {
		t.Errorf("it is at %s", p.URL(ProviderFCM))
	}
	if err := p.Script(ProviderAnswer{}); err == nil {
		t.Error("an answer that says nothing was taken")
	}
}

func TestProviderAnswerInTheirWords(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1_700_000_000_000)
	retry := map[string]string{"Retry-After": "30"}
	a := ProviderAnswer{Status: 410, Header: retry}
	if diff := cmp.Diff(APNsAnswer{Status: 410, Reason: "Unregistered", Timestamp: now, Header: map[string]string{"retry-after": "30"}}, a.apns(now)); diff != "" {
		t.Error(diff)
	}
	for reason, want := range map[string]FCMAnswer{
		"":             {Status: 410, Header: retry},
		"Unregistered": {Status: 410, Header: retry, ErrorCode: "UNREGISTERED"}, "PERMISSION_DENIED": {Status: 410, Header: retry, RPC: "PERMISSION_DENIED"},
	} {
		a.Reason = reason
		if diff := cmp.Diff(want, a.fcm()); diff != "" {
			t.Error(diff)
		}
	}
	a.Reason = "gone"
	if diff := cmp.Diff(WebPushAnswer{Status: 410, Header: retry, Body: "gone"}, a.webPush()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Answer{Status: 410, Header: retry, Body: []byte("gone")}, a.gateway(), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
}
