package integration

// Push services that apps are told by directly, and what devices hear from them.

import (
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"tocsin/pushers/apps"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// direct is a world with Apple, Google and a browser's push service beside its gateways. Devices have names, by which they are found in what the services were asked.
type direct struct {
	*world
	apple    *stack.APNs
	google   *stack.FCM
	browsers *stack.WebPush

	// What the services answer to the next requests for a device; they take what it has nothing for.
	appleSays   turns[stack.APNsAnswer]
	googleSays  turns[stack.FCMAnswer]
	browsersSay turns[stack.WebPushAnswer]
	held        map[string]<-chan struct{} // kinds of services that answer nothing until the channel is closed; set before the worker starts
	holding     atomic.Int64               // requests that wait for that

	folder string

	mu    sync.Mutex
	asked []asked
	names map[string]string // of devices, by their tokens at Apple
}

// asked is one request to a push service, as the service has read it.
type asked struct {
	device string
	event  string // "": of counts alone
	unread string // as it says; "": it says nothing
	taken  bool   // the device hears of it, whether or not the worker knows

	apple   *stack.APNsPush
	google  *stack.FCMRequest
	browser *stack.WebPushMessage
}

// newDirect makes a world in which no app is configured yet. Everything may take its time: what is silent is not slow.
func newDirect(t *testing.T) *direct {
	t.Helper()
	return newDirectOn(t, newWorld(t))
}

func newDirectOn(t *testing.T, w *world) *direct {
	t.Helper()
	d := &direct{world: w, folder: t.TempDir(), names: map[string]string{}, held: map[string]<-chan struct{}{}}
	d.cfg.Apps = apps.Config{}
	d.cfg.Delivery.Timeout, d.cfg.Kafka.DrainTimeout = patient, patient+10*time.Second
	d.apple = stack.APNsServer(t, stack.APNsOptions{
		TokenUpdates: -1, Observe: d.seeApple,
		Answer: func(p stack.APNsPush) stack.APNsAnswer {
			d.hold(apps.TypeAPNs)
			return d.appleSays.next(d.nameOf(p.Token))
		},
	})
	d.google = stack.FCMServer(t, stack.FCMOptions{
		Observe: d.seeGoogle,
		Answer: func(r stack.FCMRequest) stack.FCMAnswer {
			d.hold(apps.TypeFCM)
			return d.googleSays.next(r.Message.Token)
		},
	})
	d.browsers = stack.WebPushServer(t, stack.WebPushOptions{
		Observe: d.seeBrowser, Now: d.now,
		Answer: func(m stack.WebPushMessage) stack.WebPushAnswer {
			d.hold(apps.TypeWebPush)
			return d.browsersSay.next(browserOf(m))
		},
	})
	d.webPush = webpush.Options{Outbound: outbound.Options{Dial: d.browsers.Dial}}
	return d
}

// patient is how long an attempt may take where nothing is silent.
const patient = 30 * time.Second

// hold waits as long as the services of a kind answer nothing.
func (d *direct) hold(kind string) {
	if held := d.held[kind]; held != nil {
		d.holding.Add(1)
		defer d.holding.Add(-1)
		<-held
	}
}

func (d *direct) now() time.Time {
	if d.clock == nil {
		return time.Now()
	}
	return d.clock.Now()
}

// turns are answers by device, each given once. They are safe for concurrent use.
type turns[A any] struct {
	mu      sync.Mutex
	of      map[string][]A
	usually A // where there is nothing for a device
}

// always gives one answer from now on.
func (t *turns[A]) always(answer A) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.usually = answer
}

func (t *turns[A]) add(device string, answers ...A) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[string][]A{}
	}
	t.of[device] = append(t.of[device], answers...)
}

func (t *turns[A]) next(device string) A {
	t.mu.Lock()
	defer t.mu.Unlock()
	waiting := t.of[device]
	if len(waiting) == 0 {
		return t.usually
	}
	t.of[device] = waiting[1:]
	return waiting[0]
}

func (d *direct) note(a asked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, a)
}

func (d *direct) seeApple(p stack.APNsPush) {
	a := asked{device: d.nameOf(p.Token), taken: p.Taken, apple: &p}
	payload, err := stack.DecodeAPNs(p.Payload)
	if err != nil || p.Status != 200 && p.Status != 0 && p.Reason == "" {
		d.Errorf("Apple was sent %s: %v %s", p.Payload, err, p.Reason)
	}
	a.event = payload.EventID
	for _, n := range []*int{payload.UnreadCount, payload.APS.Badge} {
		if n != nil {
			a.unread = strconv.Itoa(*n)
		}
	}
	d.note(a)
}

func (d *direct) seeGoogle(r stack.FCMRequest) {
	if r.Problem != "" && r.Problem != badAccess {
		d.Errorf("Google was sent %s: %s", r.Body, r.Problem)
	}
	if r.Problem == "" { // else nobody has read it
		d.note(asked{device: r.Message.Token, event: r.Message.Data["event_id"], unread: r.Message.Data["unread"], taken: r.Status == 200 || r.Status == 0, google: &r})
	}
}

// badAccess is what Google says of an access token that was taken away.
const badAccess = "the access token is not good"

func (d *direct) seeBrowser(m stack.WebPushMessage) {
	var text struct {
		EventID string `json:"event_id"`
		Unread  *int   `json:"unread"`
	}
	if err := json.Unmarshal(m.Text, &text); err != nil || m.Fault != nil {
		d.Errorf("a browser's push service was sent %s: %v, %v", m.Text, err, m.Fault)
	}
	a := asked{device: browserOf(m), event: text.EventID, taken: m.Status == 201 || m.Status == 0, browser: &m}
	if text.Unread != nil {
		a.unread = strconv.Itoa(*text.Unread)
	}
	d.note(a)
}

// requests are those for a device that are about an event; "" for counts alone.
func (d *direct) requestsFor(device, event string) (all []asked) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.asked {
		if a.device == device && a.event == event {
			all = append(all, a)
		}
	}
	return all
}

// taken is how often a device was told of an event.
func (d *direct) taken(device, event string) (n int) {
	for _, a := range d.requestsFor(device, event) {
		if a.taken {
			n++
		}
	}
	return n
}

// directly counts how often each device was told of each event, by "event device". Counts alone are left out.
func (d *direct) directly() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	times := map[string]int{}
	for _, a := range d.asked {
		if a.taken && a.event != "" {
			times[a.event+" "+a.device]++
		}
	}
	return times
}

// directlyIs checks that each device was told of each event so often.
func (d *direct) directlyIs(when string, want map[string]int) {
	d.Helper()
	if diff := cmp.Diff(want, d.directly()); diff != "" {
		d.Errorf("%s: told directly (-want +got):\n%s", when, diff)
	}
}

// oneNamePerPush checks that Apple heard of each event for each device under one name, however often.
func (d *direct) oneNamePerPush() {
	d.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	names, owners := map[string]string{}, map[string]string{}
	for _, a := range d.asked {
		if a.apple == nil || a.event == "" {
			continue
		}
		what, id := a.event+" "+a.device, a.apple.ID
		if before, again := names[what]; again && before != id {
			d.Errorf("%s was called %s and %s", what, before, id)
		}
		if before, again := owners[id]; again && before != what {
			d.Errorf("%s and %s were both called %s", before, what, id)
		}
		names[what], owners[id] = id, what
	}
}

// once is each event for each device, once.
func once(events []string, devices ...string) map[string]int {
	want := map[string]int{}
	for _, event := range events {
		for _, device := range devices {
			want[event+" "+device] = 1
		}
	}
	return want
}

// only is one of a list.
func only[T any](d *direct, what string, all []T) T {
	d.Helper()
	if len(all) != 1 {
		d.Fatalf("%s: there are %d, want 1: %v", what, len(all), all)
	}
	return all[0]
}

// userOf makes up a user for each device.
func userOf(i int) string { return fmt.Sprintf("@u%d:%s", i, server) }
