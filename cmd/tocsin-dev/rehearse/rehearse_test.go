package rehearse_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/cmd/tocsin-dev/rehearse"
	"tocsin/pushers"
	"tocsin/test/stack"
)

// lineOf is the line of a delivery to each app, with the status as it is to be and the address of the gateway.
var lineOf = map[string]string{
	"org.example.ios": `{"kind":"push","provider":"apns","app_id":"org.example.ios","headers":{"apns-collapse-id":"jiZIFowOWHz-4JGqARvA3zgyJwT9UQ9F","apns-expiration":"4102444800",` +
		`"apns-id":"01234567-89ab-8def-8123-456789abcdef","apns-priority":"10","apns-push-type":"alert","apns-topic":"org.example.ios","content-type":"application/json; charset=utf-8"},` +
		`"body":{"aps":{"alert":{"loc-args":[],"loc-key":"Notification"},"mutable-content":1},"room_id":"!room:example.org","event_id":"$event","unread_count":1},"status":%d}`,
	"org.example.android": `{"kind":"push","provider":"fcm","app_id":"org.example.android","headers":{"content-type":"application/json"},` +
		`"body":{"message":{"token":"D63yuATKLVZrrIA2AERYFoGB4zhiz4bu0vY0r8oVQZM","data":{"event_id":"$event","room_id":"!room:example.org","prio":"high","unread":"1"},` +
		`"android":{"priority":"high","ttl":"2419200s"}}},"status":%d}`,
	"org.example.web": `{"kind":"push","provider":"webpush","app_id":"org.example.web","headers":{"content-encoding":"aes128gcm","content-type":"application/octet-stream","ttl":"2419200","urgency":"normal"},` +
		`"body":{"content":{"body":"hello","msgtype":"m.text"},"event_id":"$event","room_id":"!room:example.org","sender":"@bob:example.org","type":"m.room.message","unread":1},"status":%d}`,
	"org.example.desktop": `{"kind":"push","url":"https://GATEWAY/_matrix/push/v1/notify","body":{"notification":{"id":"$event","event_id":"$event","room_id":"!room:example.org","type":"m.room.message",` +
		`"sender":"@bob:example.org","content":{"msgtype":"m.text","body":"hello"},"prio":"high","counts":{"unread":1},` +
		`"devices":[{"app_id":"org.example.desktop","pushkey":"IDNpDByaCLYCWtsfbotO91ODdHx1_Ix1-haAtdpqS9M"}]}},"status":%d}`,
}

// apart are the apps of the tests that stand for a provider each.
var apart = []string{"org.example.ios", "org.example.android", "org.example.web", "org.example.desktop"}

// worker is a worker's part of a rehearsal.
type worker struct {
	*bed
	t       *testing.T
	to      map[string]pushers.Pusher
	with    map[string]sender
	gateway string
}

func newWorker(t *testing.T, b *bed) *worker {
	w := &worker{bed: b, t: t, to: b.devices(t), with: b.senders(t)}
	for _, s := range w.with {
		if g, ok := s.(viaGateway); ok {
			w.gateway = strings.TrimPrefix(strings.TrimSuffix(g.url, "/_matrix/push/v1/notify"), "https://")
		}
	}
	return w
}

// send is what came of a delivery to the made-up device of an app, in short.
func (w *worker) send(app string) string {
	w.t.Helper()
	o := w.with[app].Send(w.t.Context(), delivery(w.to[app]))
	text := fmt.Sprintf("%v %s %d", o.Verdict, o.Reason, o.Status)
	if o.RetryAfter != 0 {
		text += " " + o.RetryAfter.String()
	}
	return text
}

// sends holds what came of a delivery to each app, in the order of apart, and waits for its line: a service writes down after the fact that it has reset a connection.
func (w *worker) sends(what string, want ...string) {
	w.t.Helper()
	got := make([]string, len(apart))
	for i, app := range apart {
		written := len(w.lines())
		got[i] = w.send(app)
		w.output.await(w.t, "\n", written+1)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

// wrote holds the lines that there are since the first so many, by the statuses of a delivery to each app.
func (w *worker) wrote(since int, statuses ...int) {
	w.t.Helper()
	var want []string
	for i, status := range statuses {
		want = append(want, strings.ReplaceAll(fmt.Sprintf(lineOf[apart[i%len(apart)]], status), "GATEWAY", w.gateway))
	}
	if diff := cmp.Diff(want, w.lines()[since:]); diff != "" {
		w.t.Errorf("lines (-want +got)\n%s", diff)
	}
}

var taken = []string{"delivered accepted 200", "delivered accepted 200", "delivered accepted 201", "delivered accepted 200"}

func TestPushesAreTakenAndShown(t *testing.T) {
	t.Parallel()
	w := newWorker(t, run(t, t.TempDir()))
	w.sends("at first", taken...)
	w.wrote(0, 200, 200, 201, 200)
	// An app that is a pattern: the device is known by its app id.
	const pattern, device = "org.example.ios.beta.*", "org.example.ios.beta.rehearsal"
	w.with[pattern].Send(t.Context(), delivery(w.to[device]))
	// A browser that is not ours: its messages are taken, and nobody here can read them.
	stranger := delivery(w.to["org.example.web"])
	stranger.Notification.Device.Pusher.Data = []byte(`{"endpoint":"https://push.example.net/push/somebody","auth":"AAAAAAAAAAAAAAAAAAAAAA"}`)
	if o := w.with["org.example.web"].Send(t.Context(), stranger); o.Verdict != pushers.Delivered {
		t.Errorf("a stranger: %+v", o)
	}
	lines := w.lines()
	if len(lines) != 6 || !strings.Contains(lines[4], `"app_id":"`+device+`"`) || !strings.Contains(lines[5], `"app_id":"org.example.web"`) || !strings.HasSuffix(lines[5], `"body":null,"status":201}`) {
		t.Errorf("lines\n%s", strings.Join(lines, "\n"))
	}
}

func TestAnswersAreScripted(t *testing.T) {
	t.Parallel()
	b := run(t, t.TempDir())
	w := newWorker(t, b)
	const waiting = "answers waiting: "
	for _, answer := range []string{
		`{"provider":"apns","status":503,"reason":"ServiceUnavailable","headers":{"Retry-After":"30"}}`, `{"provider":"fcm","status":503,"reason":"UNAVAILABLE","headers":{"Retry-After":"30"}}`,
		`{"app_id":"org.example.web","status":503,"headers":{"Retry-After":"30"}}`, `{"app_id":"org.example.desktop","status":503,"headers":{"Retry-After":"30"}}`,
	} {
		b.say(t, `{"provider":`+answer+`}`, waiting)
	}
	w.sends("down", "retry ServiceUnavailable 503 30s", "retry unavailable 503 30s", "retry http_503 503 30s", "retry http_503 503 30s")
	w.wrote(0, 503, 503, 503, 503)
	w.sends("after that", taken...)

	b.say(t, `{"provider":{"status":410,"reason":"Unregistered","times":3}}`, waiting)
	b.say(t, `{"provider":{"provider":"gateway","rejected":["IDNpDByaCLYCWtsfbotO91ODdHx1_Ix1-haAtdpqS9M"]}}`, waiting)
	w.sends("dead", "gone Unregistered 410", "gone unregistered 410", "gone http_410 410", "gone rejected 200")
	w.wrote(8, 410, 410, 410, 200)

	b.say(t, `{"provider":{"fault":"reset","times":4}}`, waiting)
	w.sends("reset", "uncertain no_answer 0", "uncertain no_answer 0", "retry stale_connection 0", "retry stale_connection 0")
	w.wrote(12, 0, 0, 0, 0)

	b.say(t, `{"provider":{"provider":"fcm","status":500,"rate":0.25}}`, waiting)
	var statuses []string
	for range 8 {
		_, status, _ := strings.Cut(w.send("org.example.android"), " ")
		statuses = append(statuses, strings.Fields(status)[1])
	}
	if want := []string{"200", "200", "200", "500", "200", "200", "200", "500"}; !slices.Equal(statuses, want) {
		t.Errorf("a quarter of them fails: %v", statuses)
	}
	b.say(t, `{"clear":{"provider":"fcm"}}`, "answers forgotten: 1")
	b.say(t, `{"provider":{"provider":"apns","status":500,"delay":"5s"}}`, waiting)
	b.say(t, `{"provider":{"app_id":"org.example.ios.beta.*","status":500}}`, waiting) // nobody's
	if got := w.send("org.example.ios"); got != "uncertain timeout 0" {
		t.Errorf("an answer that comes late: %s", got)
	}
	w.sends("at last", taken...)
}

func TestOutages(t *testing.T) {
	t.Parallel()
	b := run(t, t.TempDir())
	w := newWorker(t, b)
	w.sends("before", taken...)
	for _, how := range []stack.Outage{stack.Refused, stack.Silent} {
		b.say(t, fmt.Sprintf(`{"outage":{"how":%q}}`, how), "gateway "+string(how))
		written := len(b.lines())
		for _, app := range apart {
			if got := w.send(app); strings.HasPrefix(got, "delivered") || strings.HasPrefix(got, "gone") || strings.HasPrefix(got, "drop") {
				t.Errorf("%s: %s: %s", how, app, got)
			}
		}
		b.say(t, `{"outage":{"provider":"fcm","how":"off"}}`, "fcm off")
		w.recovers("org.example.android")
		b.say(t, `{"outage":{"how":"off"}}`, "gateway off")
		for _, app := range []string{apart[0], apart[2], apart[3]} {
			w.recovers(app)
		}
		if lines := b.lines()[written:]; len(lines) != 4 {
			t.Errorf("%s: what was sent meanwhile came through:\n%s", how, strings.Join(lines, "\n"))
		}
	}
}

// file is one of the folder.
func (w *worker) file(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// recovers waits until an app is reached again: its sender leaves a service alone for a moment that it could not reach.
func (w *worker) recovers(app string) {
	w.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := w.send(app)
		if strings.HasPrefix(got, "delivered") {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is not reached again within 20 s: %s", app, got)
		}
	}
}

// The services are stopped, and started again in the same folder: a worker that went on pushes as before.
func TestKeysAndPortsSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := run(t, dir)
	w := newWorker(t, first)
	configuration := w.file("apps.yaml")
	w.sends("before", taken...)
	first.stop()
	for _, app := range apart {
		if got := w.send(app); !strings.HasPrefix(got, "retry") && !strings.HasPrefix(got, "uncertain") {
			t.Errorf("%s: while nobody is there: %s", app, got)
		}
	}
	w.bed = run(t, dir)
	for _, app := range apart {
		w.recovers(app)
	}
	lines := slices.DeleteFunc(w.lines(), func(line string) bool { return strings.Contains(line, `"status":401`) }) // access tokens end with the service that gave them
	if len(lines) != len(apart) {
		t.Errorf("lines\n%s", strings.Join(lines, "\n"))
	}
	if again := w.file("apps.yaml"); again != configuration {
		t.Errorf("another configuration:\n%s\n%s", configuration, again)
	}
}

func TestCommandsThatAreWrong(t *testing.T) {
	t.Parallel()
	b := run(t, t.TempDir())
	for command, says := range map[string]string{
		`{`:                                      "not understood: ",
		`{}`:                                     "a command is one of provider, clear and outage",
		`{"provider":{"status":503},"clear":{}}`: "a command is one of provider, clear and outage",
		`{"weather":{}}`:                         `"weather"`,
		`{"provider":{}}`:                        "provider: status, rejected, delay or fault is missing",
		`{"provider":{"status":42}}`:             "provider: status 42 is no HTTP status",
		`{"provider":{"status":503,"provider":"hms"}}`:            `provider "hms" is none of apns, fcm, webpush, gateway`,
		`{"provider":{"status":503,"rate":1.5}}`:                  "rate 1.5 is not above 0 and at most 1",
		`{"provider":{"fault":"refuse_stream","provider":"fcm"}}`: `fault "refuse_stream" is none that fcm has: close, `,
		`{"outage":{"how":"partial"}}`:                            `outage "partial" is none of refused, silent, off`,
		`{"outage":{"how":"silent","provider":"hms"}}`:            `provider "hms" is none of those that run`,
		`{"clear":{"provider":"hms"}}`:                            `provider "hms" is none of those that run`,
	} {
		b.say(t, command, says)
	}
	newWorker(t, b).sends("none of it counts", taken...)
}

func TestControlByHTTP(t *testing.T) {
	t.Parallel()
	b := run(t, t.TempDir())
	_, rest, _ := strings.Cut(b.guide.String(), `"how":"refused"}}' `)
	address, _, _ := strings.Cut(rest, "\n")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	ask := func(method, body, origin string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.NewReplacer("\n", "", "\t", "").Replace(string(text))
	}
	for _, tc := range []struct {
		method, body, origin string
		status               int
		says                 string
	}{
		{"POST", `{"provider":{"provider":"apns","status":503}}` + "\n\n" + `{"outage":{"provider":"webpush","how":"refused"}}`, "", 200, `{"done": 2,"told": "outage: apns off, fcm off, webpush refused, gateway off"}`},
		{"POST", `{"clear":{}}` + "\n" + `{"provider":{}}`, "", 400, `"done": 1,"error": "provider: status, `},
		{"POST", "", "", 400, "the body has no command"},
		{"POST", strings.Repeat(" ", 2<<20), "", 400, "error"},
		{"POST", `{"clear":{}}`, "https://evil.example", 403, "cross-origin"},
		{"PUT", `{"clear":{}}`, "", 405, ""},
		{"GET", "", "", 200, `"webpush": {"url": "https://127.0.0.1:`},
		{"GET", "", "", 200, `"outage": "refused","pushes": {}}`},
	} {
		if status, text := ask(tc.method, tc.body, tc.origin); status != tc.status || !strings.Contains(text, tc.says) {
			t.Errorf("%s %.60s: %d %s", tc.method, tc.body, status, text)
		}
	}
	w := newWorker(t, b)
	w.send("org.example.ios")
	wrong := delivery(w.to["org.example.ios"])
	wrong.Notification.Device.Pusher.Pushkey = pushers.NewPushkey("c2hvcnQ=")
	w.with["org.example.ios"].Send(t.Context(), wrong)
	if _, text := ask("GET", "", ""); !strings.Contains(text, `"pushes": {"200": 1,"400": 1},"refusal": "BadDeviceToken"`) {
		t.Errorf("it shows %s", text)
	}
}

// What can't begin says why, and leaves nothing behind.
func TestNoRehearsal(t *testing.T) {
	t.Parallel()
	if err := rehearse.Run(t.Context(), rehearse.Options{Guide: io.Discard, Output: io.Discard}); err == nil || !strings.Contains(err.Error(), "no app is named") {
		t.Errorf("without apps: %v", err)
	}
	if err := rehearse.Run(t.Context(), rehearse.Options{Apps: names, Control: "nowhere:none", Guide: io.Discard, Output: io.Discard}); err == nil || !strings.Contains(err.Error(), "control") {
		t.Errorf("with a control address that is none: %v", err)
	}
	if err := rehearse.Run(t.Context(), rehearse.Options{Apps: names, Listen: "::", Guide: io.Discard, Output: io.Discard}); err == nil || !strings.Contains(err.Error(), "name one") {
		t.Errorf("with all addresses and no name: %v", err)
	}
	if err := rehearse.Run(t.Context(), rehearse.Options{Apps: names, Listen: "192.0.2.1", Guide: io.Discard, Output: io.Discard}); err == nil || !strings.Contains(err.Error(), "apns: listen") {
		t.Errorf("with an address of another machine: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := rehearse.Run(ctx, rehearse.Options{Apps: names, Guide: io.Discard, Output: io.Discard}); err != nil {
		t.Errorf("that ends as it begins: %v", err)
	}
}

// A reader of the pushes that has gone ends the rehearsal.
func TestNobodyReads(t *testing.T) {
	t.Parallel()
	guide := &pages{}
	dir, ended := t.TempDir(), make(chan error, 1)
	go func() {
		ended <- rehearse.Run(t.Context(), rehearse.Options{Data: dir, Apps: names, Guide: guide, Output: broken{}})
	}()
	guide.await(t, "Ctrl-C", 1)
	newWorker(t, &bed{dir: dir, guide: guide}).send("org.example.ios")
	select {
	case err := <-ended:
		if err == nil || !strings.Contains(err.Error(), "write a push down") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("it goes on")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
