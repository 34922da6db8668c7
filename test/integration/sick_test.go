package integration

// Gateways that fail in every way there is: what becomes of each notification, how often it is sent, and when.

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/delivery"
	"tocsin/test/stack"
)

// gzipBomb unpacks to 64 MiB, and holds no answer.
func gzipBomb() []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for range 64 {
		_, _ = z.Write(make([]byte, 1<<20))
	}
	_ = z.Close()
	return b.Bytes()
}

// sickness is what a gateway does to the first requests, and what must become of the notification. Afterwards it is well.
type sickness struct {
	name    string
	answers []stack.Answer
	tiers   string // the retry topics that it waits in, one after another
	dead    string // the reason why it is given up; "": it is delivered
	more    int    // requests that a single attempt makes beyond the first
}

func sicknesses(now time.Time) []sickness {
	fault := func(f stack.Fault) []stack.Answer { return []stack.Answer{{Fault: f}} }
	status := func(codes ...int) (answers []stack.Answer) {
		for _, code := range codes {
			answers = append(answers, stack.Answer{Status: code})
		}
		return answers
	}
	with := func(code int, name, value string) []stack.Answer {
		return []stack.Answer{{Status: code, Header: map[string]string{name: value}}}
	}
	return []sickness{
		// The request has left, and nobody knows whether it was taken: the next one comes when the gateway has given up, too.
		{name: "hangs before reading", answers: fault(stack.HangUnread), tiers: "5m"},
		{name: "hangs", answers: fault(stack.Hang), tiers: "5m"},
		{name: "hangs in the header", answers: fault(stack.HangInHeader), tiers: "5m"},
		{name: "resets unread", answers: fault(stack.ResetUnread), tiers: "5m"},
		{name: "resets", answers: fault(stack.Reset), tiers: "5m"},
		{name: "resets in the header", answers: fault(stack.ResetInHeader), tiers: "5m"},
		{name: "closes", answers: fault(stack.CloseUnanswered), tiers: "5m"},
		{name: "endless header", answers: fault(stack.EndlessHeader), tiers: "5m"},
		{name: "not HTTP", answers: fault(stack.NotHTTP), tiers: "5m"},
		// It was taken: that says the status, whatever comes after it.
		{name: "hangs in the body", answers: fault(stack.HangInBody)},
		{name: "slow body", answers: fault(stack.SlowBody)},
		{name: "resets in the body", answers: fault(stack.ResetInBody)},
		{name: "endless body", answers: fault(stack.EndlessBody)},
		{name: "unreadable body", answers: []stack.Answer{{Body: []byte("<p>fine</p>")}}},
		{name: "empty body", answers: []stack.Answer{{Body: []byte{}}}},
		{name: "rejects nonsense", answers: []stack.Answer{{Body: []byte(`{"rejected":"key"}`)}}},
		{name: "gzip bomb", answers: []stack.Answer{{Body: gzipBomb(), Header: map[string]string{"Content-Encoding": "gzip"}}}},
		// It was not taken.
		{name: "500", answers: status(500), tiers: "5s"},
		{name: "503 twice", answers: status(503, 503), tiers: "5s 30s"},
		{name: "502 four times", answers: status(502, 502, 502, 502), tiers: "5s 30s 5m 1h"},
		{name: "503 that hangs in the body", answers: []stack.Answer{{Status: 503, Fault: stack.HangInBody}}, tiers: "5s"},
		{name: "503 with seconds", answers: with(503, "Retry-After", "120"), tiers: "5m"},
		{name: "429", answers: status(429), tiers: "5s"},
		{name: "429 with seconds", answers: with(429, "Retry-After", "20"), tiers: "30s"},
		{name: "429 with a date", answers: with(429, "Retry-After", now.Add(4*time.Minute).UTC().Format(http.TimeFormat)), tiers: "5m"},
		{name: "429 with nonsense", answers: with(429, "Retry-After", "soon"), tiers: "5s"},
		{name: "507", answers: status(507), tiers: "1h"},
		{name: "redirect", answers: with(302, "Location", "https://trap.example/_matrix/push/v1/notify"), tiers: "1h"},
		{name: "permanent redirect", answers: with(308, "Location", "https://trap.example/_matrix/push/v1/notify"), tiers: "1h"},
		{name: "401", answers: status(401), tiers: "1h"},
		{name: "403", answers: status(403), tiers: "1h"},
		{name: "404", answers: status(404), tiers: "1h"},
		{name: "400", answers: status(400), tiers: "5s"},
		{name: "413 for the content", answers: status(413), more: 1},
		// It will not be taken.
		{name: "400 always", answers: status(400, 400, 400), tiers: "5s 30s", dead: "refused"},
		{name: "404 always", answers: status(404, 404, 404), tiers: "1h 1h", dead: "exhausted"},
		{name: "413 always", answers: status(413, 413), dead: "refused", more: 1},
	}
}

// Each of these gateways has one user. Whatever it does, the notification comes exactly as often as it must, at the time it must, and the pusher stays.
func TestSickGateways(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.timeless()
	w.cfg.Delivery.Timeout, w.cfg.Delivery.Breaker.Open = 5*time.Second, time.Second
	w.cfg.Admin.Listen = "127.0.0.1:0"
	trap := w.gatewayAt("trap.example")
	cases := sicknesses(v.Now())
	gateways := make([]*stack.RecordingGateway, len(cases))
	name := func(i int) string { return fmt.Sprintf("%d", i) }
	for i, c := range cases {
		gateways[i] = w.gatewayAt("h" + name(i) + ".example")
		gateways[i].Script(c.answers...)
		user := "@u" + name(i) + ":" + server
		w.device(user, "app"+name(i), "key"+name(i), "h"+name(i)+".example")
		w.roomOf("!r"+name(i)+":hs", user)
	}
	r := w.ready(w.start())
	for i := range cases {
		w.write(w.message("!r"+name(i)+":hs", "$m"+name(i)))
	}
	w.settle(r)
	for i := range cases {
		w.write(w.message("!r"+name(i)+":hs", "$after"+name(i)))
	}
	w.settle(r)

	tiers, dead := w.tiersOf(), w.dead()
	for i, c := range cases {
		requests := w.requests(gateways[i])
		want := len(c.answers) + 1 // the last is the one after
		if c.dead == "" && (len(c.answers) > 0 && c.tiers != "" || c.more > 0) {
			want++ // and that which was taken
		}
		if len(requests) != want || w.told(gateways[i])["$after"+name(i)+" key"+name(i)] != 1 {
			t.Errorf("%s: the gateway got %v, want %d requests, one of them of the next message", c.name, requests, want)
		}
		if got := strings.Join(tiers["$m"+name(i)], " "); got != c.tiers {
			t.Errorf("%s: it waited for %q, want %q", c.name, got, c.tiers)
		}
		if got := strings.Join(dead["$m"+name(i)], " "); got != c.dead {
			t.Errorf("%s: given up because of %q, want %q", c.name, got, c.dead)
		}
		taken := w.told(gateways[i])["$m"+name(i)+" key"+name(i)]
		if c.dead == "" && taken != 1 || c.dead != "" && taken != 0 {
			t.Errorf("%s: taken %d times: %v", c.name, taken, requests)
		}
	}
	for answer, n := range map[string]int{
		`action="settle",answer="unreadable_reply"`: 8, `action="retry",answer="timeout"`: 3, `action="retry",answer="http_302"`: 1, `action="retry",answer="http_429"`: 4, `action="dead_letter",answer="http_413"`: 1,
	} {
		if line := w.metrics(r, answer); !strings.HasSuffix(line, fmt.Sprintf(" %d\n", n)) {
			t.Errorf("the metrics say %q of %s, want %d", line, answer, n)
		}
	}
	if got := trap.Requests(); len(got) > 0 {
		t.Errorf("a redirect was followed: %v", got)
	}
	if got := w.everything(w.cfg.Topics.Feedback); len(got) > 0 {
		t.Errorf("the homeserver was told to remove a pusher: %s", got[0].Value)
	}
	r.stop()
}

// tiersOf are the retry topics that each event's attempts went through, in the order of the attempts. Where no attempt was made, none is named.
func (w *world) tiersOf() map[string][]string {
	w.Helper()
	byAttempt := map[string]map[int]string{}
	for _, tier := range delivery.Tiers {
		topic := w.cfg.Topics.Retry(tier)
		for _, rec := range w.everything(topic) {
			n := w.retryOf(rec.Value)
			if n.Event.ID == "" || n.Retry.Attempts == 0 {
				continue
			}
			if byAttempt[n.Event.ID] == nil {
				byAttempt[n.Event.ID] = map[int]string{}
			}
			byAttempt[n.Event.ID][n.Retry.Attempts] = strings.TrimPrefix(topic, w.cfg.Topics.RetryPrefix+".")
		}
	}
	tiers := map[string][]string{}
	for event, of := range byAttempt {
		for _, attempt := range slices.Sorted(maps.Keys(of)) {
			tiers[event] = append(tiers[event], of[attempt])
		}
	}
	return tiers
}

// retry is what a delivery looks like in a retry topic and in the dead letter.
type retry struct {
	Event struct {
		ID string `json:"event_id"`
	} `json:"event"`
	Retry struct {
		Pushkey  string `json:"pushkey"`
		Attempts int    `json:"attempts"`
	} `json:"retry"`
}

func (w *world) retryOf(value []byte) (n retry) {
	w.Helper()
	if err := json.Unmarshal(value, &n); err != nil {
		w.Fatalf("%s: %v", value, err)
	}
	return n
}

// dead are the reasons of the dead letters, by event.
func (w *world) dead() map[string][]string {
	w.Helper()
	dead := map[string][]string{}
	for _, rec := range w.everything(w.cfg.Topics.DeadLetter) {
		event := w.retryOf(rec.Value).Event.ID
		for _, h := range rec.Headers {
			if strings.HasSuffix(h.Key, "reason") {
				dead[event] = append(dead[event], string(h.Value))
			}
		}
	}
	return dead
}

// A gateway that refuses connections: everything waits, and comes once when it is back.
func TestGatewayGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.timeless()
	w.cfg.Delivery.Breaker.Open = 200 * time.Millisecond
	var down atomic.Bool
	down.Store(true)
	var refused atomic.Int64
	w.pushThrough = func(ctx context.Context, kind, address string) (net.Conn, error) {
		if down.Load() {
			refused.Add(1)
			return nil, errors.New("connection refused")
		}
		return w.gateway.Dial(ctx, kind, address)
	}
	var users, all []string
	for i := range 8 {
		users = append(users, fmt.Sprintf("@u%d:%s", i, server))
		w.device(users[i], "app", "key"+users[i], "away.example")
	}
	w.roomOf("!r:hs", users...)
	r := w.ready(w.start())
	for _, id := range ids("away", 10) {
		w.write(w.message("!r:hs", id))
		for _, user := range users {
			all = append(all, id+" key"+user)
		}
	}
	w.hears("a push service is away")
	w.atRest(r)
	w.hears("detail=service_down")
	if n := refused.Load(); n >= int64(len(all)) {
		t.Errorf("%d of %d notifications were tried although the gateway is away", n, len(all))
	}
	down.Store(false)
	w.settle(r)
	w.hears("a push service is back")
	told := w.told(w.gateway)
	for _, one := range all {
		if told[one] != 1 {
			t.Errorf("%s: told %d times", one, told[one])
		}
	}
	if len(told) != len(all) || len(w.dead()) > 0 {
		t.Errorf("%d notifications, want %d; dead letters %v", len(told), len(all), w.dead())
	}
	r.stop()
}

// One of ten gateways hangs with all that it gets: everybody else hears everything meanwhile.
func TestOneGatewayHangsNineDoNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.spareRedis()
	w.cfg.Delivery.Timeout, w.cfg.Kafka.DrainTimeout, w.cfg.Kafka.StuckAfter = time.Minute, 2*time.Minute, 3*time.Minute // it hangs until it is released
	w.cfg.Delivery.ConcurrencyPerGateway = 64
	var users []string
	gateways := map[string]*stack.RecordingGateway{}
	held := make(chan struct{})
	release := sync.OnceFunc(func() { close(held) })
	defer release()
	for g := range 10 {
		host := fmt.Sprintf("g%d.example", g)
		gateways[host] = w.gatewayAt(host)
		for u := range 5 {
			users = append(users, fmt.Sprintf("@u%d-%d:%s", g, u, server))
			w.device(users[len(users)-1], "app", fmt.Sprintf("key%d-%d", g, u), host)
		}
	}
	sick := gateways["g0.example"]
	sick.Script(stack.Answer{Hold: held, Times: 1000})
	w.roomOf("!r:hs", users...)
	r := w.ready(w.start())
	w.write(w.message("!r:hs", "$first"))
	w.until("all users of the sick gateway have a request there", 60*time.Second, func() bool { return sick.Waiting() <= 1000-5 })
	var batch = []string{"$first"}
	for _, id := range ids("line", 15) {
		batch = append(batch, id)
		w.write(w.message("!r:hs", id))
	}
	want := map[string]int{}
	for g := 1; g < 10; g++ {
		for u := range 5 {
			for _, id := range batch {
				want[fmt.Sprintf("%s key%d-%d", id, g, u)] = 1
			}
		}
	}
	got := func() map[string]int {
		all := map[string]int{}
		for _, g := range gateways {
			maps.Copy(all, w.told(g))
		}
		return all
	}
	w.until("all users of the others have heard everything", 60*time.Second, func() bool { return len(got()) >= len(want) })
	if diff := cmp.Diff(want, got()); diff != "" {
		t.Errorf("while one hangs (-want +got):\n%s", diff)
	}
	if sick.Waiting() < 1000-5 {
		t.Errorf("the sick gateway was sent %d requests for 5 pushers", 1000-sick.Waiting())
	}
	release()
	for u := range 5 {
		for _, id := range batch {
			want[fmt.Sprintf("%s key0-%d", id, u)] = 1
		}
	}
	w.until("the sick gateway's users have heard everything", 60*time.Second, func() bool { return len(got()) >= len(want) })
	w.settle(r)
	if diff := cmp.Diff(want, got()); diff != "" {
		t.Errorf("afterwards (-want +got):\n%s", diff)
	}
	r.stop()
}
