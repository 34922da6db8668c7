package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tocsin/clock"
	"tocsin/pushers"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	accepted = pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}
	broken   = pushers.Outcome{Verdict: pushers.Retry, Reason: "http_502", Status: 502}
	timeout  = pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout"}
	refused  = pushers.Outcome{Verdict: pushers.Retry, Reason: "connect"}
)

// world is gates as a test wants them.
func world(all, each int) *gates {
	cfg := Defaults()
	cfg.Concurrency, cfg.ConcurrencyPerGateway = all, each
	return newGates(cfg, clock.System{}, slog.New(slog.DiscardHandler))
}

func host(name string) *pushers.Route {
	return &pushers.Route{Provider: pushers.ProviderGateway, Service: name}
}

// fill takes n permissions for a host.
func fill(t *testing.T, g *gates, name string, n int) (passes []*pass) {
	t.Helper()
	for range n {
		p, refused := g.enter(t.Context(), host(name))
		if p == nil {
			t.Fatalf("no way to %s: %s", name, refused.unsent)
		}
		passes = append(passes, p)
	}
	return passes
}

// try makes one attempt that comes to o for that user, and says why there was none.
func try(t *testing.T, g *gates, name, user string, o pushers.Outcome) string {
	t.Helper()
	p, refused := g.enter(t.Context(), host(name))
	if p == nil {
		return refused.unsent
	}
	p.done(o, user, false)
	return ""
}

func done(o pushers.Outcome, passes ...*pass) {
	for _, p := range passes {
		p.done(o, "@u:x", false)
	}
}

// turnedAway holds that there is no way to a host, and that nobody waits to learn it.
func turnedAway(t *testing.T, g *gates, name, reason string) {
	t.Helper()
	start := time.Now()
	if p, refused := g.enter(t.Context(), host(name)); p != nil || refused.unsent != reason || time.Since(start) != 0 {
		t.Errorf("%s: the way is free %v, or closed by %q, after %v; want %s at once", name, p != nil, refused.unsent, time.Since(start), reason)
	}
}

func TestGateOfAHangingService(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(1000, 128)
		hanging := fill(t, g, "sick", startingRoom)
		time.Sleep(patience)
		turnedAway(t, g, "sick", reasonBusy)
		done(accepted, fill(t, g, "healthy", startingRoom)...)
		time.Sleep(9 * time.Second)
		done(timeout, hanging...)
		turnedAway(t, g, "sick", reasonDown)
		done(accepted, fill(t, g, "healthy", startingRoom)...)
		time.Sleep(10*time.Second + 1)
		probe := fill(t, g, "sick", 1)
		turnedAway(t, g, "sick", reasonDown)
		done(timeout, probe...)
		turnedAway(t, g, "sick", reasonDown)
		time.Sleep(10*time.Second + 1)
		done(accepted, fill(t, g, "sick", 1)...)
		done(accepted, fill(t, g, "sick", leastRoom)...) // it is back, with the room of one that failed
	})
}

// TestGateKnownServiceThatHangs has a quick service that stops answering: nobody waits for it for longer than a moment, and it holds little more than it needed before.
func TestGateKnownServiceThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(1000, 128)
		for range 1000 {
			passes := fill(t, g, "quick", 8)
			time.Sleep(5 * time.Millisecond)
			done(accepted, passes...)
		}
		room := g.byKey[key{pushers.ProviderGateway, "quick"}].room.limit
		if room < 8 || room > 16 {
			t.Errorf("room for %d where 8 were needed", room)
		}
		held := fill(t, g, "quick", room)
		start := time.Now()
		if p, why := g.enter(t.Context(), host("quick")); p != nil || why.unsent != reasonBusy || time.Since(start) != impatience {
			t.Errorf("got %v %q after %v, want %s after %v", p, why.unsent, time.Since(start), reasonBusy, impatience)
		}
		turnedAway(t, g, "quick", reasonBusy)
		done(accepted, held...)
	})
}

func TestGateInABurst(t *testing.T) {
	t.Parallel()
	for _, answer := range []time.Duration{10 * time.Millisecond, 300 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			g := world(1000, 128)
			for range 5 { // it is known
				p := fill(t, g, "healthy", 1)
				time.Sleep(answer)
				done(accepted, p...)
			}
			var workers sync.WaitGroup
			for range 100 { // which all come at once, again and again
				workers.Go(func() {
					for range 5 {
						p, refused := g.enter(t.Context(), host("healthy"))
						if p == nil {
							t.Errorf("turned away from a service that answers in %v: %s", answer, refused.unsent)
							return
						}
						time.Sleep(answer)
						done(accepted, p)
					}
				})
			}
			workers.Wait()
		})
	}
}

func TestGateWaitEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(100, 1)
		held := fill(t, g, "hangs", 1)
		start := time.Now()
		if p, _ := g.enter(t.Context(), host("hangs")); p != nil || time.Since(start) != patience {
			t.Errorf("got %v after %v, want none after %v", p, time.Since(start), patience)
		}
		done(accepted, held...)
		held = fill(t, g, "hangs", 1)
		ctx, cancel := context.WithTimeout(t.Context(), impatience/2)
		defer cancel()
		start = time.Now()
		if p, _ := g.enter(ctx, host("hangs")); p != nil || time.Since(start) != impatience/2 {
			t.Errorf("got %v after %v, want none after %v", p, time.Since(start), impatience/2)
		}
		done(accepted, held...)
		done(accepted, fill(t, g, "hangs", 1)...) // those who gave up hold nothing
	})
}

func TestGateOfAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(3, 2)
		passes := append(fill(t, g, "a", 2), fill(t, g, "b", 1)...)
		turnedAway(t, g, "c", reasonBusy)
		done(accepted, passes[0])
		passes[0] = fill(t, g, "c", 1)[0]
		done(accepted, passes...)
	})
}

// TestGatesForget holds that what is remembered of services is bounded, whatever becomes of requests to them: users make up their names.
func TestGatesForget(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(1000, 1)
		g.cfg.Breaker.Remembered = 10
		var workers sync.WaitGroup
		for i := range 1000 {
			workers.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				if p, _ := g.enter(t.Context(), host(fmt.Sprint(i%200))); p != nil {
					time.Sleep(time.Duration(i%7) * time.Millisecond)
					done([]pushers.Outcome{accepted, timeout, broken}[i%3], p)
				}
			})
		}
		workers.Wait()
		if len(g.byKey) != 10 || g.unused.Len() != 10 || g.inFlight != 0 {
			t.Errorf("%d gates, %d of them unused, and %d requests are left; want 10, 10 and 0", len(g.byKey), g.unused.Len(), g.inFlight)
		}
		for range 5 {
			try(t, g, "sick", "@u:x", timeout)
		}
		for i := range 9 {
			try(t, g, fmt.Sprint("other", i), "@u:x", accepted)
			turnedAway(t, g, "sick", reasonDown) // and so it is used
		}
	})
}

func TestBreaker(t *testing.T) {
	t.Parallel()
	users := func(o pushers.Outcome, names ...string) (steps []string) {
		for _, n := range names {
			steps = append(steps, n+" "+o.Reason)
		}
		return steps
	}
	outcomes := map[string]pushers.Outcome{"accepted": accepted, "http_502": broken, "timeout": timeout, "connect": refused,
		"http_400": {Verdict: pushers.Drop, Reason: "http_400", Status: 400}, "blocked_address": {Verdict: pushers.Drop, Reason: "blocked_address"}}
	for _, tc := range []struct {
		name  string
		steps []string
		open  bool
	}{
		{"no connection", users(refused, "a", "a", "a", "a", "a"), true},
		{"no connection, but too few", users(refused, "a", "a", "a", "a"), false},
		{"no answer", users(timeout, "a", "a", "a", "a", "a"), true},
		{"no answer, and one between", append(append(users(timeout, "a", "a", "a", "a"), "b accepted"), users(timeout, "a", "a", "a", "a")...), false},
		{"errors for several users", users(broken, "a", "b", "c", "d", "e"), true},
		{"errors for one user, who may have made them up", users(broken, "a", "a", "a", "a", "a", "a", "a", "a", "a", "a"), false},
		{"errors for two users, and others are well", append(append(users(broken, "a", "b", "a", "b"), "c accepted"), users(broken, "a", "b", "a", "b")...), false},
		{"both", append(users(broken, "a", "a", "a"), users(refused, "a", "a", "a", "a")...), true},
		{"refusals are answers", append(append(users(refused, "a", "a", "a", "a"), "b http_400"), users(refused, "a")...), false},
		{"what was not sent says nothing", append(append(users(refused, "a", "a", "a", "a"), "b blocked_address"), users(refused, "a")...), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := world(100, 100)
			for _, step := range tc.steps {
				user, reason, _ := strings.Cut(step, " ")
				if why := try(t, g, "h", user, outcomes[reason]); why != "" {
					t.Fatalf("closed before %s: %s", step, why)
				}
			}
			if got := g.refuses(host("h")).unsent == reasonDown; got != tc.open {
				t.Errorf("open %v, want %v", got, tc.open)
			}
			if try(t, g, "other", "a", accepted) != "" {
				t.Error("another service is closed, too")
			}
		})
	}
}

// TestBreakerIsNotHeldOpen has a user whose notifications a gateway always fails at: the probes of others decide.
func TestBreakerIsNotHeldOpen(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(100, 100)
		for _, user := range []string{"evil", "a", "b", "c", "d"} {
			try(t, g, "h", user, broken)
		}
		turnedAway(t, g, "h", reasonDown)
		time.Sleep(10*time.Second + 1)
		for range 100 {
			if why := try(t, g, "h", "evil", broken); why != "" {
				t.Fatalf("its probe decided: %s", why)
			}
		}
		if why := try(t, g, "h", "a", accepted); why != "" {
			t.Fatal(why)
		}
		done(accepted, fill(t, g, "h", 3)...)
	})
}

// TestBrokenConnection has many requests on connections that they share: each connection counts once, however many were lost with it, and leaves the service the room that it had.
func TestBrokenConnection(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(100, 100)
		lost := func(connection string) pushers.Outcome {
			return pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", Connection: connection}
		}
		for range 40 { // room grows
			done(accepted, fill(t, g, "h", g.roomOf("h"))...)
		}
		had := g.roomOf("h")
		for _, connection := range []string{"a", "b", "c", "d"} {
			before := g.roomOf("h")
			done(lost(connection), fill(t, g, "h", before)...)
			if now := g.roomOf("h"); now != max(before/2, leastRoom) {
				t.Fatalf("connection %s: room for %d of %d is left", connection, now, before)
			}
			if why := g.refuses(host("h")).unsent; why != "" {
				t.Fatalf("connection %s of five: %s", connection, why)
			}
		}
		if had < 16 {
			t.Fatalf("there was room for %d requests only", had)
		}
		done(lost("e"), fill(t, g, "h", 1)...)
		turnedAway(t, g, "h", reasonDown)
	})
}

// TestBrokenConnections has several connections break at the same time, so that their requests end in turns.
func TestBrokenConnections(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := world(100, 100)
		for range 40 {
			done(accepted, fill(t, g, "h", g.roomOf("h"))...)
		}
		shared := fill(t, g, "h", 40)
		for i, p := range shared {
			p.done(pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", Connection: []string{"a", "b", "c", "d"}[i%4]}, "@u:x", false)
		}
		if why := g.refuses(host("h")).unsent; why != "" {
			t.Fatalf("four connections of five: %s", why)
		}
		time.Sleep(lossMemory + time.Second) // what is called so now is another one
		done(pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", Connection: "a"}, fill(t, g, "h", 1)...)
		turnedAway(t, g, "h", reasonDown)
		if n := len(g.byKey[key{pushers.ProviderGateway, "h"}].lost); n != 1 {
			t.Errorf("%d connections are remembered", n)
		}
	})
}

// roomOf is the room for requests to a service.
func (g *gates) roomOf(name string) int {
	if at := g.byKey[key{pushers.ProviderGateway, name}]; at != nil {
		return at.room.limit
	}
	return startingRoom
}

// TestBreakerCutOff holds that a worker that stops says nothing of the services that it cuts off.
func TestBreakerCutOff(t *testing.T) {
	t.Parallel()
	g := world(100, 100)
	for range 20 {
		p, _ := g.enter(t.Context(), host("h"))
		p.done(timeout, "@u:x", true)
	}
	if why := try(t, g, "h", "a", accepted); why != "" {
		t.Error(why)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	now := clock.NewVirtual(start)
	g := world(100, 100)
	g.clock = now
	asks := func(status int, wait time.Duration) pushers.Outcome {
		return pushers.Outcome{Verdict: pushers.Retry, Reason: "asks", Status: status, RetryAfter: wait, Pause: true}
	}
	waits := func(status int, wait time.Duration) pushers.Outcome { // this notification alone
		return pushers.Outcome{Verdict: pushers.Retry, Reason: "waits", Status: status, RetryAfter: wait}
	}
	for _, step := range []struct {
		at    time.Duration
		o     pushers.Outcome
		want  string
		waits time.Duration
	}{
		{0, asks(429, time.Minute), "", 0},
		{0, accepted, reasonPaused, time.Minute},
		{time.Minute - 1, accepted, reasonPaused, 1},
		{time.Minute, accepted, "", 0},
		{time.Minute, asks(503, 30*time.Second), "", 0},
		{80 * time.Second, accepted, reasonPaused, 10 * time.Second},
		{90 * time.Second, asks(429, 0), "", 0}, // a moment then
		{91 * time.Second, accepted, reasonPaused, 9 * time.Second},
		{100 * time.Second, waits(503, time.Hour), "", 0},
		{100 * time.Second, waits(429, time.Hour), "", 0},
		{100 * time.Second, accepted, "", 0},
	} {
		now.Advance(start.Add(step.at))
		p, refused := g.enter(t.Context(), host("h"))
		if refused.unsent != step.want || refused.wait != step.waits {
			t.Fatalf("at %v: got %+v, want %q for %v", step.at, refused, step.want, step.waits)
		}
		if p != nil {
			p.done(step.o, "@u:x", false)
		}
	}
}

// TestPauseOfAnAccount has two apps of one project at a provider, and one of another: the project asks to be left alone.
func TestPauseOfAnAccount(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	now := clock.NewVirtual(start)
	g := world(100, 100)
	g.clock = now
	app := func(name, project string) *pushers.Route {
		return &pushers.Route{Provider: pushers.ProviderFCM, App: name, Service: name, Account: project}
	}
	p, _ := g.enter(t.Context(), app("a", "one"))
	p.done(pushers.Outcome{Verdict: pushers.Retry, Reason: "quota", Status: 429, RetryAfter: time.Minute, Pause: true}, "@u:x", false)
	for _, tc := range []struct {
		at    time.Duration
		route *pushers.Route
		want  string
	}{
		{0, app("a", "one"), reasonPaused},
		{0, app("b", "one"), reasonPaused},
		{0, app("c", "two"), ""},
		{0, &pushers.Route{Provider: pushers.ProviderAPNs, Service: "a", Account: "one"}, ""},
		{time.Minute - 1, app("b", "one"), reasonPaused},
		{time.Minute, app("a", "one"), ""},
		{time.Minute, app("b", "one"), ""},
	} {
		now.Advance(start.Add(tc.at))
		early := g.refuses(tc.route)
		p, refused := g.enter(t.Context(), tc.route)
		if refused.unsent != tc.want || early.unsent != tc.want || (p != nil) != (tc.want == "") {
			t.Errorf("%s of %s at %v: %+v, and asked before %+v; want %q", tc.route.Service, tc.route.Account, tc.at, refused, early, tc.want)
		}
		if p != nil {
			p.done(accepted, "@u:x", false)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	status := func(v pushers.Verdict, s int) pushers.Outcome { return pushers.Outcome{Verdict: v, Status: s} }
	for want, outcomes := range map[health][]pushers.Outcome{
		healthy: {accepted, status(pushers.Gone, 200), status(pushers.Drop, 400), status(pushers.Drop, 413), status(pushers.Drop, 422), status(pushers.Retry, 408), status(pushers.Retry, 425), status(pushers.Retry, 507)},
		failing: {status(pushers.Retry, 500), status(pushers.Retry, 502), status(pushers.Retry, 503), status(pushers.Retry, 504), status(pushers.Misconfigured, 302), status(pushers.Misconfigured, 401),
			status(pushers.Misconfigured, 404), status(pushers.Misconfigured, 410), status(pushers.Misconfigured, 0)},
		away:   {timeout, refused, status(pushers.Retry, 0)},
		silent: {status(pushers.Drop, 0), status(pushers.Delivered, 0), status(pushers.Retry, 429)},
	} {
		for _, o := range outcomes {
			if got := healthOf(o); got != want {
				t.Errorf("%+v: %d, want %d", o, got, want)
			}
		}
	}
}
