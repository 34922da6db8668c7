package webpush_test

// Messages on the wire, as a push service and a browser see them.

import (
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tocsin/clock"
	"tocsin/pushers"
	"tocsin/pushers/outbound"
	"tocsin/pushers/webpush"
	"tocsin/test/stack"
)

// TestSendGoldens has the browser read what the golden files say.
func TestSendGoldens(t *testing.T) {
	t.Parallel()
	for name, d := range goldens() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, stack.WebPushOptions{})
			check(t, connected(t, s).Send(t.Context(), d), accepted)
			checkGolden(t, name, s.messages()[0].Text)
		})
	}
}

// TestSendHeaders has what a push service reads.
func TestSendHeaders(t *testing.T) {
	t.Parallel()
	type header struct {
		TTL            int
		Urgency, Topic string
	}
	now := clock.NewVirtual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	with := func(data map[string]any, change func(*pushers.Delivery)) pushers.Delivery {
		d := to("browser", data)
		d.Expires = now.Now().Add(time.Hour + time.Second/2)
		change(&d)
		return d
	}
	plain := func(data map[string]any) pushers.Delivery { return with(data, func(*pushers.Delivery) {}) }
	last := map[string]any{"only_last_per_room": true}
	counts := func(d *pushers.Delivery) {
		d.Notification = pushers.Notification{Counts: pushers.Counts{Unread: 1}, Device: d.Notification.Device}
	}
	const roomTopic, countsTopic = "AIXdb2UTALJbg3o_pTMoRRkw06Ii5ZfW", "Jr02GH8xdIMKCJSs_d1xVUr-VcQCox2n" // of this user, for ever
	for name, tc := range map[string]struct {
		d      pushers.Delivery
		change func(*webpush.Config)
		want   header
	}{
		"message":          {plain(nil), nil, header{3600, "normal", ""}},
		"low":              {with(nil, func(d *pushers.Delivery) { d.Notification.Prio = pushers.PrioLow }), nil, header{3600, "low", ""}},
		"without priority": {with(nil, func(d *pushers.Delivery) { d.Notification.Prio = "" }), nil, header{3600, "normal", ""}},
		"call":             {with(nil, func(d *pushers.Delivery) { d.Notification.Type = "m.call.invite" }), nil, header{3600, "high", ""}},
		"counts":           {with(nil, counts), nil, header{3600, "low", countsTopic}},
		"last of a room":   {plain(last), nil, header{3600, "normal", roomTopic}},
		"of no room":       {with(last, func(d *pushers.Delivery) { d.Notification.RoomID = "" }), nil, header{3600, "normal", ""}},
		"bounded":          {plain(nil), func(c *webpush.Config) { c.TTL = 15 * time.Minute }, header{900, "normal", ""}},
		"no bound":         {with(nil, func(d *pushers.Delivery) { d.Expires = time.Time{} }), nil, header{28 * 24 * 3600, "normal", ""}},
		"nearly over":      {with(nil, func(d *pushers.Delivery) { d.Expires = now.Now().Add(999 * time.Millisecond) }), nil, header{0, "normal", ""}},
		"over":             {with(nil, func(d *pushers.Delivery) { d.Expires = now.Now().Add(-time.Minute) }), nil, header{0, "normal", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, public := app(t)
			if tc.change != nil {
				tc.change(&cfg)
			}
			s := start(t, stack.WebPushOptions{Key: public, Now: now.Now})
			sender := newSender(t, cfg, webpush.Options{Outbound: outbound.Options{Dial: s.Dial}, Clock: now})
			check(t, sender.Send(t.Context(), tc.d), accepted)
			m := s.messages()[0]
			if got := (header{m.TTL, m.Urgency, m.Topic}); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			if m.Subject != "mailto:push@example.org" || m.Key != public || sender.PublicKey() != public {
				t.Errorf("signed by %s with %s", m.Subject, m.Key)
			}
			if len(m.Body)%256 != 0 || m.Header.Get("User-Agent") != "tocsin" {
				t.Errorf("%d bytes, %v", len(m.Body), m.Header)
			}
		})
	}
}

// TestSendTopics holds that no two rooms, users or kinds share a topic.
func TestSendTopics(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{})
	sender := connected(t, s)
	for _, user := range []string{"@a:x", "@b:x"} {
		for _, room := range []string{"!1:x", "!2:x", ""} {
			d := to("browser", map[string]any{"only_last_per_room": true})
			d.UserID, d.Notification.RoomID = user, room
			if room == "" {
				d.Notification = pushers.Notification{Device: d.Notification.Device}
			}
			for range 2 {
				check(t, sender.Send(t.Context(), d), accepted)
			}
		}
	}
	topics := map[string]int{}
	for _, m := range s.messages() {
		topics[m.Topic]++
	}
	for topic, n := range topics {
		if n != 2 {
			t.Errorf("%q for %d messages", topic, n)
		}
	}
	if len(topics) != 6 {
		t.Errorf("%d topics, want 6", len(topics))
	}
}

// TestSendOptions has pushers and apps that want less.
func TestSendOptions(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{})
	cfg, _ := app(t)
	cfg.Format = pushers.FormatEventIDOnly
	sender := newSender(t, cfg, webpush.Options{Outbound: outbound.Options{Dial: s.Dial}})
	quiet := to("browser", nil)
	quiet.Notification = pushers.Notification{Device: quiet.Notification.Device}
	quiet.Notification.Device.Pusher.EventsOnly = true
	check(t, sender.Send(t.Context(), quiet), pushers.Outcome{Verdict: pushers.Delivered, Reason: "events_only"})
	d := to("browser", nil)
	d.Notification.Device.Pusher.EventsOnly = true
	check(t, sender.Send(t.Context(), d), accepted)
	messages := s.messages()
	const want = `{"event_id":"$3957tyerfgewrf384","missed_calls":1,"room_id":"!slw48wfj34rtnrf:example.com","unread":2}`
	if len(messages) != 1 || string(messages[0].Text) != want || d.Notification.Device.Pusher.Format != "" {
		t.Errorf("%d messages, the first is %s", len(messages), messages[0].Text)
	}
}

// TestSendVerdicts has the main answers of push services, as they come.
func TestSendVerdicts(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer stack.WebPushAnswer
		want   pushers.Outcome
	}{
		"created":          {stack.WebPushAnswer{}, accepted},
		"accepted":         {stack.WebPushAnswer{Status: 202}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 202}},
		"shorter":          {stack.WebPushAnswer{Header: map[string]string{"TTL": "60"}}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted_shorter_ttl", Status: 201}},
		"redirect":         {stack.WebPushAnswer{Status: 307, Header: map[string]string{"Location": "https://10.0.0.1/"}}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "http_307", Status: 307, RetryAfter: time.Hour}},
		"not understood":   {stack.WebPushAnswer{Status: 400}, pushers.Outcome{Verdict: pushers.Drop, Reason: "http_400", Status: 400}},
		"invalid":          {stack.WebPushAnswer{Status: 400, Body: `{"code":400,"errno":106}`}, pushers.Outcome{Verdict: pushers.Gone, Reason: "invalid_subscription", Status: 400}},
		"bad token":        {stack.WebPushAnswer{Status: 403}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "http_403", Status: 403}},
		"unknown":          {stack.WebPushAnswer{Status: 404}, pushers.Outcome{Verdict: pushers.Gone, Reason: "http_404", Status: 404}},
		"expired":          {stack.WebPushAnswer{Status: 410}, pushers.Outcome{Verdict: pushers.Gone, Reason: "http_410", Status: 410}},
		"throttled":        {stack.WebPushAnswer{Status: 429, Header: map[string]string{"Retry-After": "30"}}, pushers.Outcome{Verdict: pushers.Retry, Reason: "http_429", Status: 429, RetryAfter: 30 * time.Second}},
		"Windows":          {stack.WebPushAnswer{Status: 406}, pushers.Outcome{Verdict: pushers.Retry, Reason: "http_406", Status: 406}},
		"away":             {stack.WebPushAnswer{Status: 503}, pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503", Status: 503}},
		"reset":            {stack.WebPushAnswer{Fault: stack.Reset}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		"closed":           {stack.WebPushAnswer{Fault: stack.CloseUnanswered}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		"not HTTP":         {stack.WebPushAnswer{Fault: stack.NotHTTP}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer"}},
		"silent":           {stack.WebPushAnswer{Fault: stack.Hang}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"}},
		"slow":             {stack.WebPushAnswer{Delay: time.Hour}, pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"}},
		"an endless reply": {stack.WebPushAnswer{Fault: stack.EndlessBody}, accepted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, stack.WebPushOptions{})
			s.Script(tc.answer)
			cfg, _ := app(t)
			timeout := 20 * time.Second
			if tc.want.Reason == "timeout" {
				timeout = time.Second
			}
			sender := newSender(t, cfg, webpush.Options{Network: outbound.Config{Timeout: timeout}, Outbound: outbound.Options{Dial: s.Dial}})
			d := to("geheim", nil)
			got := sender.Send(t.Context(), d)
			check(t, got, tc.want)
			for _, secret := range []string{"geheim", d.Notification.Device.Pusher.Pushkey.Reveal(), "vapid "} {
				if strings.Contains(fmt.Sprint(got.Cause), secret) {
					t.Errorf("the cause shows a secret: %v", got.Cause)
				}
			}
			check(t, sender.Send(t.Context(), to("another", nil)), accepted)
		})
	}
}

// TestSendTooLarge has push services that take less than they must.
func TestSendTooLarge(t *testing.T) {
	t.Parallel()
	d := to("browser", nil)
	d.Notification.Content = jsontext.Value(`{"msgtype":"m.text","body":"` + strings.Repeat("long ", 180) + `"}`)
	refusing := func(limit int) *service {
		return start(t, stack.WebPushOptions{Answer: func(m stack.WebPushMessage) stack.WebPushAnswer {
			if len(m.Body) > limit {
				return stack.WebPushAnswer{Status: http.StatusRequestEntityTooLarge}
			}
			return stack.WebPushAnswer{}
		}})
	}
	half := refusing(1024)
	check(t, connected(t, half).Send(t.Context(), d), accepted)
	if m := half.messages(); len(m) != 2 || len(m[1].Body) > 1024 || !strings.Contains(string(m[1].Text), "long long") || !strings.Contains(string(m[1].Text), "…") {
		t.Errorf("%d messages, the last is %s", len(m), m[len(m)-1].Text)
	}
	nothing := refusing(0)
	check(t, connected(t, nothing).Send(t.Context(), d), pushers.Outcome{Verdict: pushers.Drop, Reason: "http_413", Status: 413})
	if n := len(nothing.messages()); n != 2 {
		t.Errorf("%d messages, want 2", n)
	}
}

// TestSendWithAnotherKey has browsers that subscribed with the key that was before.
func TestSendWithAnotherKey(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{})
	sender := connected(t, s)
	s.Script(stack.WebPushAnswer{Status: 403})
	check(t, sender.Send(t.Context(), to("old", nil)), pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "http_403", Status: 403}) // it may be our fault
	check(t, sender.Send(t.Context(), to("new", nil)), accepted)
	s.Script(stack.WebPushAnswer{Status: 403}, stack.WebPushAnswer{Status: 403})
	check(t, sender.Send(t.Context(), to("old", nil)), pushers.Outcome{Verdict: pushers.Gone, Reason: "vapid_other_key", Status: 403})
	check(t, sender.Send(t.Context(), to("new", nil)), pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "http_403", Status: 403})
}

// TestSendRefuses has pushers and notifications of which nothing leaves.
func TestSendRefuses(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{})
	sender := connected(t, s)
	for reason, change := range map[string]func(*pushers.Delivery){
		"bad_subscription":     func(d *pushers.Delivery) { d.Notification.Device.Pusher.Data = nil },
		"endpoint_not_allowed": func(d *pushers.Delivery) { *d = to("browser", map[string]any{"endpoint": "https://push.example/x"}) },
		"bad_url": func(d *pushers.Delivery) {
			*d = to("browser", map[string]any{"endpoint": "http://fcm.googleapis.com/x"})
		},
		"bad_notification": func(d *pushers.Delivery) { d.Notification.Content = jsontext.Value(`{"half`) },
	} {
		d := to("browser", nil)
		change(&d)
		got := sender.Send(t.Context(), d)
		check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: reason})
		if got.Cause == nil {
			t.Errorf("%s: no cause", reason)
		}
	}
	if n := len(s.messages()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// TestSendIsGuarded has a host that is allowed, and an address that is not.
func TestSendIsGuarded(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{TLS: stack.GoodTLS})
	cfg, _ := app(t)
	cfg.AllowedEndpoints, cfg.CAFile = []string{"**"}, authority(t, s)
	d := to("browser", map[string]any{"endpoint": "https://" + s.Address() + "/push/browser"})
	got := newSender(t, cfg, webpush.Options{}).Send(t.Context(), d)
	check(t, got, pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"})
	if !strings.Contains(fmt.Sprint(got.Cause), "delivery.allow_cidrs") {
		t.Errorf("the cause does not name the way out: %v", got.Cause)
	}
	network := outbound.Config{AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	check(t, newSender(t, cfg, webpush.Options{Network: network}).Send(t.Context(), d), accepted)
	cfg.CAFile = ""
	check(t, newSender(t, cfg, webpush.Options{Network: network}).Send(t.Context(), d), pushers.Outcome{Verdict: pushers.Retry, Reason: "tls"})
}

// TestSendThroughRelay has a relay that speaks TLS at a private address, and stands for all push services.
func TestSendThroughRelay(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{TLS: stack.GoodTLS})
	cfg, _ := app(t)
	cfg.CAFile = authority(t, s)
	_, port, _ := strings.Cut(s.Address(), ":")
	for _, base := range []string{"https://127.0.0.1:" + port, "https://localhost:" + port + "/"} {
		cfg.BaseURL = base
		check(t, newSender(t, cfg, webpush.Options{}).Send(t.Context(), to("browser", nil)), accepted)
	}
	cfg.BaseURL = "https://127.0.0.1:" + port + "/relay/"
	check(t, newSender(t, cfg, webpush.Options{}).Send(t.Context(), to("browser", nil)), pushers.Outcome{Verdict: pushers.Gone, Reason: "http_404", Status: 404})
	var asked []string
	for _, m := range s.messages() {
		asked = append(asked, m.Endpoint)
	}
	if want := "[https://fcm.googleapis.com/push/browser https://fcm.googleapis.com/push/browser https://fcm.googleapis.com/relay/push/browser]"; fmt.Sprint(asked) != want {
		t.Errorf("asked for %v, want %s", asked, want)
	}
	cfg.BaseURL, cfg.CAFile = "https://127.0.0.1:"+port, ""
	check(t, newSender(t, cfg, webpush.Options{}).Send(t.Context(), to("browser", nil)), pushers.Outcome{Verdict: pushers.Retry, Reason: "tls"})
}

// authority is a file with who signs the certificate of a push service.
func authority(t *testing.T, s *service) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Authority().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestKeyIsReplaced has the file of the key replaced while it is in use. A file that is no key leaves the old one in use, and the log says so once.
func TestKeyIsReplaced(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{})
	cfg, first := app(t)
	other, second := app(t)
	replace := func(name string) {
		t.Helper()
		if err := os.Rename(name, cfg.VAPIDKeyFile); err != nil {
			t.Fatal(err)
		}
	}
	until := func(what string, holds func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("not in 10 s: %s", what)
			}
		}
	}
	var said stack.Buffer
	sender := newSender(t, cfg, webpush.Options{Outbound: outbound.Options{Dial: s.Dial}, Log: slog.New(slog.NewTextHandler(&said, nil))})
	complaints := func() int { return strings.Count(said.String(), "can't be used") }
	signedBy := func(key string) {
		t.Helper()
		check(t, sender.Send(t.Context(), to("browser", nil)), accepted)
		if all := s.messages(); all[len(all)-1].Key != key || sender.PublicKey() != key {
			t.Errorf("signed with %s, told %s, want %s", all[len(all)-1].Key, sender.PublicKey(), key)
		}
	}
	signedBy(first)
	nonsense := filepath.Join(t.TempDir(), "nonsense")
	if err := os.WriteFile(nonsense, []byte("geheim"), 0o600); err != nil {
		t.Fatal(err)
	}
	replace(nonsense)
	until("the log complains", func() bool { return complaints() == 1 })
	signedBy(first)
	replace(other.VAPIDKeyFile)
	until("the new key is in use", func() bool { return sender.PublicKey() == second })
	signedBy(second)
	if complaints() != 1 || strings.Contains(said.String(), "geheim") {
		t.Errorf("said\n%s", said.String())
	}
}

// In a replay nobody has the keys of a recorded subscription: messages are encrypted to others, and the push service reads them whatever the endpoint is.
func TestRecipient(t *testing.T) {
	t.Parallel()
	s := start(t, stack.WebPushOptions{Others: stack.ReadOthers})
	cfg, _ := app(t)
	sender := newSender(t, cfg, webpush.Options{
		Network: outbound.Config{Timeout: 5 * time.Second}, Outbound: outbound.Options{Dial: s.Dial}, Recipient: stack.WebPushKeys,
	})
	endpoints := []string{
		"https://updates.push.services.mozilla.com/wpush/v2/gAAAA", "https://fcm.googleapis.com/fcm/send/abc:DEF", "https://wns2-par02p.notify.windows.com/w/?token=a%2fb%3d",
		"https://FCM.googleapis.com:443/wp/x", "https://fcm.googleapis.com", stack.SubscribeWebPush(host, "own").Endpoint,
	}
	for _, endpoint := range endpoints {
		check(t, sender.Send(t.Context(), to("recorded", map[string]any{"endpoint": endpoint})), accepted)
	}
	for i, m := range s.messages() {
		if m.Fault != nil || !strings.Contains(string(m.Text), "I'm floating in a most peculiar way.") {
			t.Errorf("%s: %v, read %s", endpoints[i], m.Fault, m.Text)
		}
	}
	spoiled := to("recorded", map[string]any{"auth": "short"})
	check(t, sender.Send(t.Context(), spoiled), pushers.Outcome{Verdict: pushers.Drop, Reason: "bad_subscription"})
	if got := len(s.messages()); got != len(endpoints) {
		t.Errorf("%d messages", got)
	}
}
