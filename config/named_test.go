package config

import (
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"tocsin/credential"
	"tocsin/pushers/apns"
	"tocsin/pushers/apps"
	"tocsin/pushers/fcm"
	"tocsin/pushers/webpush"
)

// What is said of each is in testdata/named.txt.
func TestNamedFaults(t *testing.T) {
	goldenFaults(t, "named.txt", []faultCase{
		{"types", "shapes:\n  a: {type: circel}\n  b:\n    radius: 5\n    wrong: 1\n  c:\n  d: {type: }\n  e: {type: ''}\n  f: {type: [circle]}\n  g: {type: 5}\n  h: {type: hexagon}\n  i: {type: Circle}\n", nil},
		{"slips for the type", "shapes:\n  a: {typ: circle, radius: x}\n  b: {Type: circle}\n  c: {typ: circle, type: square}\n", nil},
		{"types given twice", "shapes:\n  a: {type: circle, type: square, side: 5s}\n  b: {type: x, type: circle}\n", nil},
		{"keys", "shapes:\n  a: {type: circle, side: 5s, lable: x, zzz: 1, paint: {colour: red, radius: 5}}\n  b: {type: square, radius: 5, code_file: x, code: y, paint: {}}\n", nil},
		{"dots and odd names", "shapes:\n  a: {type: circle, paint.color: red, '': 1}\n  '': {type: circle}\n  'a b': {type: circle}\n  \"a\\nb\": {type: circle}\n", nil},
		{"given twice", "shapes:\n  a.b: {type: square, side: 5s, side: 6s}\n  'a.b': {type: circle}\n", nil},
		{"no sections", "shapes: [a]\n", nil},
		{"no sections either", "shapes: circle\n", nil},
		{"not mappings", "shapes:\n  a: circle\n  b: [type, circle]\n  c: 5\n", nil},
		{"values", "shapes:\n  a:\n    type: circle\n    radius: wide\n    label: 5\n    paint: red\n    code: 1\n  b:\n    type: square\n    side: 30\n    label:\n", nil},
		{"what the sections say", "shapes:\n  im.*.[a-z]:\n    type: circle\n    radius: 0\n  a].[b:\n    type: circle\n    paint:\n      layers: [x, '']\n      color: green\n" +
			"  b.c: {type: square, side: 2h}\n  d: {type: circle, code: x}\n  bad.[name]: {type: circle, paint: {color: x}}\n  bad: {type: x}\n", nil},
		{"a section is silent on a key with a fault", "shapes:\n  a: {type: circle, radius: x, paint: {color: 5}}\n", nil},
		{"secrets", "shapes:\n  a: {type: circle, label: x, code: x, code_file: empty}\n  b: {type: circle, label: x, code_file: nowhere}\n  c.d: {type: circle, label: x, code_file: empty}\n  e: {type: circle, code_file: ''}\n", nil},
		{"a name that must be in quotes", "shapes:\n  *.b: {type: circle}\n", nil},
		{"anchors, aliases, tags and merges", "shapes:\n  a: &x {type: circle}\n  b: *x\n  c: {<<: *x, type: *x}\n  &y d: {type: circle}\n  ? *z\n  : {type: circle}\n", nil},
		{"a section that is an alias", "shapes: *x\n", nil},
		{"the variable", "", []string{"TOCSIN_SHAPES=a: {type: circel}\nb: {type: square, side: 5, radius: 1}\nbad: {type: circle, radius: 0}\nb: {type: square}\n"}},
		{"the variable in JSON", "", []string{`TOCSIN_SHAPES={"a":{"type":"circel"},"b":{"type":"square","side":5,"label":null},"bad":{"type":"circle","radius":0}}`}},
		{"the variable holds no mapping", "", []string{"TOCSIN_SHAPES=circle"}},
		{"the variable is not YAML", "", []string{"TOCSIN_SHAPES={a: {type: circle}"}},
		{"the variable is not UTF-8", "", []string{"TOCSIN_SHAPES=a: \xff"}},
		{"the variable has an anchor", "", []string{"TOCSIN_SHAPES=&x {}"}},
		{"the variable names the section", "", []string{"TOCSIN_SHAPES=shapes:\n  a: {type: circle}\n"}},
		{"the variable's secret", "", []string{"TOCSIN_SHAPES=a: {type: circle, label: x, code_file: nowhere}"}},
		{"the file's faults stay when the variable replaces it, but for what its sections say", "shapes:\n  a: {type: circle, radius: 0, label: x, code_file: nowhere}\n  b: {type: x}\n  bad: {type: square}\n", []string{"TOCSIN_SHAPES=a: {type: circle, radius: -1}"}},
		{"variables of parts", "", []string{"TOCSIN_SHAPES_A=x", "TOCSIN_SHAPES_FILE=x", "TOCSIN_SHAPES_A_CODE=x", "TOCSIN_SHAPE=x", "TOCSIN_SHAPES[A]_CODE=x"}},
		{"names that are no keys", "shape: {}\nradius: 5\nserver: {shapes: {}}\nlimits: {radius: 5, color: 1}\nshapes: {a: {type: circle}}\n", nil},
	}, sampleFaults)
}

// What a configuration says of its apps is in testdata/apps.txt.
func TestAppsFaults(t *testing.T) {
	goldenFaults(t, "apps.txt", []faultCase{
		{"types and keys", example + `apps:
  im.vector.app.ios.*:
    type: apn
    key_file: key.p8
  im.vector.app.android: {service_account_file: f.json}
  org.example.web: {type: webpush, vapid_key: x, contact: push@example.org, timeout: 5s, service_account_file: f.json}
  org.example.desktop: {type: gateway, key_file: x, form: full}
`, nil},
		{"values", example + `apps:
  im.vector.app.ios.*: {type: apns, key_id: x, cert_password: y, timeout: 1h}
  im.vector.app.[a-z: {type: fcm, service_account_file: f.json, fcm_options: '{"token":"x"}'}
  im.{a,b].app: {type: apns, cert_file: a.pem, key_file: a.p8}
  org.example.*: {type: webpush, vapid_key_file: v.pem, contact: push@example.org, allowed_endpoints: [a.org, "b c"]}
  org.example.desktop: {type: gateway, url: "ftp://x", ca_file: 5}
`, nil},
		{"a file of a password", example + `apps: {a: {type: apns, cert_file: a.p12, cert_password_file: nowhere}}`, nil},
		{"the variable", example, []string{`TOCSIN_APPS={"im.vector.app.*":{"type":"apns"},"*":{"type":"http"}}`, "TOCSIN_APPS_IM_VECTOR_APP_TYPE=apns", "TOCSIN_APP=x"}},
	}, func(t *testing.T, tc faultCase) Faults {
		t.Helper()
		_, err := Parse([]byte(tc.file), tc.environ)
		var faults Faults
		if !errors.As(err, &faults) {
			t.Errorf("%s: %v", tc.name, err)
		}
		return faults
	})
}

// What the README shows is a configuration, in the file and in the variable.
func TestAppsInREADME(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?ms)^```yaml\n(apps:\n(.*?))^```$").FindSubmatch(text)
	if shown == nil {
		t.Fatalf("%s shows no apps", readme)
	}
	ios, android, web := apns.Defaults(), fcm.Defaults(), webpush.Defaults()
	ios.KeyFile, ios.KeyID, ios.TeamID, ios.Topic = "/etc/tocsin/AuthKey.p8", "ABCDE12345", "FGHIJ67890", "im.vector.app"
	android.ServiceAccountFile = "/etc/tocsin/firebase.json"
	web.VAPIDKeyFile, web.Contact = "/etc/tocsin/vapid.pem", "push@example.org"
	want := apps.Config{
		"im.vector.app.ios.*": &ios, "im.vector.app.android": &android, "org.example.web": &web,
		"org.example.desktop": &apps.Gateway{URL: "https://push.internal/_matrix/push/v1/notify"},
	}
	for name, c := range map[string]*Config{
		"file":     mustParse(t, example+string(shown[1])),
		"variable": mustParse(t, example+"apps: {a: {type: gateway}}", "TOCSIN_APPS="+string(shown[2])),
	} {
		if !reflect.DeepEqual(c.Apps, want) {
			t.Errorf("%s: got %+v, want %+v", name, c.Apps, want)
		}
	}
}

// Apps that were put together by hand are asked, too, whatever they are made of.
func TestValidateApps(t *testing.T) {
	t.Parallel()
	c := mustParse(t, example)
	c.Apps = apps.Config{
		"none": nil, "nothing": (*apps.Gateway)(nil), "value": apps.Gateway{CAFile: "ca.pem"}, "pointer": &apps.Gateway{URL: "x"}, "[": &apps.Gateway{}, "right": &apps.Gateway{}, "a b": &apps.Gateway{URL: "x"},
	}
	want := strings.Join([]string{
		"apps[none]: is nothing: give it settings, or remove it",
		"apps[nothing]: is nothing: give it settings, or remove it",
		`apps[[]: "[" is no pattern of app ids, such as im.vector.app.*: `,
		"apps[a b].url: it is not a URL such as https://push.example.org/_matrix/push/v1/notify",
		"apps[pointer].url: it is not a URL such as https://push.example.org/_matrix/push/v1/notify",
		"apps[value].ca_file: is set without url",
	}, "\n")
	err := c.Validate()
	if err == nil || !IsFault(err) {
		t.Fatalf("got %v", err)
	}
	if got := regexp.MustCompile(`(app\.\*: ).*`).ReplaceAllString(err.Error(), "$1"); got != want { // without the reason of the library
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	c.Apps = apps.Config{"right": &apps.Gateway{}}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// JSON replaces the apps as a whole, and what the base had before is never changed.
func TestMergeApps(t *testing.T) {
	t.Parallel()
	read := func() *Config {
		return mustParse(t, example+"apps:\n  a: {type: gateway, url: 'https://a'}\n  b: {type: fcm, service_account_file: f, timeout: 5s}\n")
	}
	base := read()
	saved := *base
	for _, unchanged := range []string{`{}`, `{"apps":null}`, `{"log":{"level":"warn"}}`} {
		if err := Merge(base, []byte(unchanged)); err != nil || !reflect.DeepEqual(base.Apps, read().Apps) {
			t.Errorf("%s: %v, %+v", unchanged, err, base.Apps)
		}
	}
	if err := Merge(base, []byte(`{"apps":{"a":{"type":"apns","cert_file":"c","cert_password":"p"}}}`)); err != nil {
		t.Fatal(err)
	}
	ios := apns.Defaults()
	ios.CertFile, ios.CertPassword = "c", credential.NewSecret("p")
	if want := (apps.Config{"a": &ios}); !reflect.DeepEqual(base.Apps, want) {
		t.Errorf("got %+v, want %+v", base.Apps, want)
	}
	if !reflect.DeepEqual(saved.Apps, read().Apps) {
		t.Errorf("what the base had is %+v", saved.Apps)
	}
	if err := Merge(base, []byte(`{"apps":{}}`)); err != nil || len(base.Apps) != 0 {
		t.Errorf("%v, %+v", err, base.Apps)
	}
	for _, tc := range []struct{ json, want string }{
		{`{"apps":{"a":{"type":"gateway","url":"x"},"b":{"type":"fmc"},"c":{"type":"fcm","timeout":5}}}`, strings.Join([]string{
			`apps[b].type: "fmc" is none of apns, fcm, webpush, gateway; did you mean fcm?`,
			`apps[c].timeout: must be a duration such as 500ms, 5s or 1h30m: "5" has no unit`,
			"apps[a].url: it is not a URL such as https://push.example.org/_matrix/push/v1/notify",
			"apps[c].service_account_file: is missing: make a key in the Firebase console, under project settings, service accounts",
		}, "\n")},
		{`{"apps":{"a":{"type":"gateway"},"a":{"type":"gateway"}}}`, "apps[a]: is given twice: keep one"},
		{`{"apps":[]}`, "apps: must be a mapping of names to sections, not a list"},
		{`{"apps":"{}"}`, "apps: must be a mapping of names to sections, not a text"},
	} {
		base := read()
		if err := Merge(base, []byte(tc.json)); err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", tc.json, err, tc.want)
		}
		if !reflect.DeepEqual(base, read()) {
			t.Errorf("%s: the base has changed", tc.json)
		}
	}
}

// The tables tell kinds in their order, and the files of secrets with these. Every key of an app says what it means.
func TestKindsTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	if err := writeKinds(&b, reflect.ValueOf(sampleShapes{})); err != nil {
		t.Fatal(err)
	}
	golden(t, "kinds.md", b.String())
	b.Reset()
	if err := AppsTable(&b); err != nil || strings.Contains(b.String(), "|  |\n") {
		t.Errorf("%v: a key means nothing:\n%s", err, b.String())
	}
}

// Options that mean a JSON object are written as a mapping, or as a text that holds one.
func TestJSONInYAML(t *testing.T) {
	t.Parallel()
	const want = `{"android":{"priority":"high","n":-1.5e3,"list":[1,"a",null,true]},"notification":{}}`
	for name, yaml := range map[string]string{
		"a mapping": "\n      android:\n        priority: high\n        n: -1.5e3\n        list: [1, a, null, True]\n      notification: {}\n",
		"a text":    "'" + want + "'\n",
	} {
		c, err := Parse([]byte("homeserver: {server_name: hs}\napps:\n  app:\n    type: fcm\n    service_account_file: x\n    fcm_options: "+yaml), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := c.Apps["app"].(*fcm.Config).Overrides.String(); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for yaml, want := range map[string]string{
		"{token: x}":           `apps[app].fcm_options: is not valid: "token" can't be set`,
		"{android: 5}":         "android is not a JSON object",
		"{android: {n: 010}}":  `"010" is no number of JSON`,
		"{android: {n: .inf}}": "is no number of JSON",
		"[a]":                  "must be a mapping, or a text with a JSON object, not a list",
	} {
		if _, err := Parse([]byte("apps:\n  app:\n    type: fcm\n    fcm_options: "+yaml+"\n"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", yaml, err, want)
		}
	}
}
