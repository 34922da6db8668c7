package delivery

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tocsin/pushers"
)

const day = 24 * time.Hour

func TestNext(t *testing.T) {
	t.Parallel()
	settle := pushers.Step{Action: pushers.Settle}
	again := func(tier int) pushers.Step { return pushers.Step{Action: pushers.Again, Tier: tier} }
	buried := func(class string) pushers.Step { return pushers.Step{Action: pushers.Bury, Reason: class} }
	busy := pushers.Outcome{Verdict: pushers.Retry}
	asks := func(wait time.Duration) pushers.Outcome {
		return pushers.Outcome{Verdict: pushers.Retry, RetryAfter: wait}
	}
	fault := pushers.Outcome{Verdict: pushers.Misconfigured}
	locked := pushers.Outcome{Verdict: pushers.Misconfigured, RetryAfter: time.Hour, Tries: 3} // 401, 403, 404, 405, 410
	moved := pushers.Outcome{Verdict: pushers.Misconfigured, RetryAfter: time.Hour}            // 3xx
	refused := pushers.Outcome{Verdict: pushers.Drop, Tries: 3}                                // 400, 422
	never := pushers.Outcome{Verdict: pushers.Drop}
	uncertain := pushers.Outcome{Verdict: pushers.Uncertain, RetryAfter: 5 * time.Minute}
	for _, tc := range []struct {
		name    string
		in      pushers.Outcome
		attempt int
		left    time.Duration
		want    pushers.Step
	}{
		{"delivered", pushers.Outcome{Verdict: pushers.Delivered}, 0, day, settle},
		{"delivered late", pushers.Outcome{Verdict: pushers.Delivered}, 30, -time.Second, settle},
		{"rejected", pushers.Outcome{Verdict: pushers.Gone, Reason: "rejected"}, 0, day, pushers.Step{Action: pushers.Remove, Reason: "rejected", Detail: "rejected"}},

		{"passing trouble", busy, 0, day, again(0)},
		{"second time", busy, 1, day, again(1)},
		{"third time", busy, 2, day, again(2)},
		{"fourth time", busy, 3, day, again(3)},
		{"from then on", busy, 26, day, again(3)},
		{"room for one more", busy, 0, 5*time.Second + 1, again(0)},
		{"no room for one more", busy, 0, 5 * time.Second, buried("expired")},
		{"no room for the tier", busy, 3, 59 * time.Minute, buried("expired")},
		{"expired while it was tried", busy, 0, -time.Second, buried("expired")},

		{"the service asks for less", asks(time.Second), 1, day, again(1)},
		{"the service asks for as much", asks(30 * time.Second), 1, day, again(1)},
		{"the service asks for more", asks(31 * time.Second), 1, day, again(2)},
		{"the service asks for much more", asks(6 * time.Minute), 0, day, again(3)},
		{"the service asks for more than there is", asks(day), 0, 2 * day, again(3)},
		{"the service asks for too much", asks(10 * time.Minute), 0, 30 * time.Minute, buried("expired")},

		{"operator's fault", fault, 0, day, again(0)},
		{"operator's fault for long", fault, 20, day, again(3)},
		{"operator's fault for too long", fault, 20, time.Minute, buried("expired")},
		{"locked", locked, 0, day, again(3)},
		{"locked the second time", locked, 1, day, again(3)},
		{"locked the third time", locked, 2, day, buried("exhausted")},
		{"locked after other trouble", locked, 7, day, buried("exhausted")},
		{"locked, and no time", locked, 0, time.Hour, buried("expired")},
		{"moved", moved, 0, day, again(3)},
		{"moved for long", moved, 20, day, again(3)},

		{"refused", refused, 0, day, again(0)},
		{"refused again", refused, 1, day, again(1)},
		{"refused the third time", refused, 2, day, buried("refused")},
		{"refused, and no time", refused, 0, time.Second, buried("expired")},
		{"never works", never, 0, day, buried("refused")},
		{"never works, after other trouble", never, 5, day, buried("refused")},
		{"never works, and late", never, 0, -time.Second, buried("refused")},

		{"uncertain", uncertain, 0, day, again(2)},
		{"uncertain the third time", uncertain, 2, day, again(2)},
		{"uncertain for long", uncertain, 9, day, again(3)},
		{"uncertain call", uncertain, 0, time.Minute, buried("expired")},

		{"a verdict that there is not", pushers.Outcome{}, 0, day, again(0)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			tc.want.Verdict = tc.in.Verdict
			if diff := cmp.Diff(tc.want, next(tc.in, tc.attempt, tc.left)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestUnsent(t *testing.T) {
	t.Parallel()
	again := func(tier int) pushers.Step {
		return pushers.Step{Action: pushers.Again, Tier: tier, Detail: "service_down", Unsent: true}
	}
	for _, tc := range []struct {
		name            string
		wait, age, left time.Duration
		attempt         int
		want            pushers.Step
	}{
		{"fresh", 0, 0, day, 0, again(0)},
		{"a minute old", 0, time.Minute, day, 0, again(0)},
		{"four minutes old", 0, 4 * time.Minute, day, 0, again(1)},
		{"attempts count for nothing", 0, 0, day, 7, again(0)},
		{"forty minutes old", 0, 40 * time.Minute, day, 0, again(2)},
		{"a working day old", 0, 8 * time.Hour, day, 0, again(3)},
		{"asked to wait", 20 * time.Second, 0, day, 0, again(1)},
		{"asked to wait longer than its age", time.Hour, 4 * time.Minute, day, 0, again(3)},
		{"asked to wait less than its age", time.Second, 40 * time.Minute, day, 0, again(2)},
		{"a last chance before it expires", 0, 23*time.Hour + 45*time.Minute, 15 * time.Minute, 0, again(2)},
		{"a last chance although asked to wait", time.Hour, 0, time.Minute, 0, again(1)},
		{"no chance, never tried", 0, 0, 5 * time.Second, 0, pushers.Step{Action: pushers.Forget, Reason: "expired", Detail: "service_down"}},
		{"no chance, tried before", 0, 0, 5 * time.Second, 1, pushers.Step{Action: pushers.Bury, Reason: "expired", Detail: "service_down"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tc.want, unsent(result{unsent: "service_down", wait: tc.wait}, tc.attempt, tc.age, tc.left)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if got := age(time.Time{}, time.Now()); got != 0 {
		t.Errorf("an unknown age is %v", got)
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	if got, want := expired(0), (pushers.Step{Action: pushers.Forget, Reason: "expired"}); got != want {
		t.Errorf("never tried: got %v, want %v", got, want)
	}
	if got, want := expired(1), (pushers.Step{Action: pushers.Bury, Reason: "expired"}); got != want {
		t.Errorf("tried: got %v, want %v", got, want)
	}
}

func TestDetail(t *testing.T) {
	t.Parallel()
	o := pushers.Outcome{Verdict: pushers.Drop, Reason: "blocked_address"}
	if got := next(o, 0, day).Detail; got != "blocked_address" {
		t.Errorf("got %q", got)
	}
	o.Cause = errors.New("10.0.0.1 is private")
	if got := next(o, 0, day).Detail; got != "blocked_address: 10.0.0.1 is private" {
		t.Errorf("got %q", got)
	}
}

// TestTiers holds what the rest relies on: tiers that grow, to the longest wait that a gateway may ask for.
func TestTiers(t *testing.T) {
	t.Parallel()
	for i, delay := range Tiers[1:] {
		if delay <= Tiers[i] {
			t.Errorf("tier %v comes after %v", delay, Tiers[i])
		}
	}
	if last := Tiers[len(Tiers)-1]; last != time.Hour {
		t.Errorf("the last tier is %v: a Retry-After of up to an hour does not fit", last)
	}
}

// TestNextLosesNothing follows a delivery through any sequence of outcomes: it ends in exactly one of the final actions, each retry runs before the delivery
// expires, after at least what was asked for (as far as tiers reach), and a pusher is removed for nothing but its rejection.
func TestNextLosesNothing(t *testing.T) {
	t.Parallel()
	outcome := rapid.Custom(func(t *rapid.T) pushers.Outcome {
		return pushers.Outcome{
			Verdict: rapid.SampledFrom([]pushers.Verdict{
				pushers.Retry, pushers.Retry, pushers.Retry, pushers.Uncertain, pushers.Misconfigured, pushers.Drop, pushers.Delivered, pushers.Gone, 0,
			}).Draw(t, "verdict"),
			Reason:     "reason",
			RetryAfter: time.Duration(rapid.Int64Range(0, int64(2*time.Hour)).Draw(t, "retry after")),
			Tries:      rapid.IntRange(0, 5).Draw(t, "tries"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		left := time.Duration(rapid.Int64Range(int64(time.Second), int64(3*day)).Draw(t, "left"))
		longest := int(left/Tiers[0]) + 1 // attempts that there is time for
		for attempt := 0; ; attempt++ {
			if attempt > longest {
				t.Fatal("no end")
			}
			o := outcome.Draw(t, "outcome")
			step := next(o, attempt, left)
			switch step.Action {
			case pushers.Settle:
				if o.Verdict != pushers.Delivered {
					t.Fatalf("%v is settled", o.Verdict)
				}
			case pushers.Remove:
				if o.Verdict != pushers.Gone || step.Reason == "" {
					t.Fatalf("%v removes the pusher for %q", o.Verdict, step.Reason)
				}
			case pushers.Bury:
				if o.Verdict == pushers.Delivered || o.Verdict == pushers.Gone || step.Reason == "" {
					t.Fatalf("%v is buried for %q", o.Verdict, step.Reason)
				}
			case pushers.Again:
				wait := Tiers[step.Tier]
				if wait < min(o.RetryAfter, Tiers[len(Tiers)-1]) || wait < Tiers[min(attempt, len(Tiers)-1)] {
					t.Fatalf("attempt %d waits %v after %+v", attempt, wait, o)
				}
				if left -= wait; left <= 0 {
					t.Fatalf("the retry comes %v after the end", -left)
				}
				continue
			default:
				t.Fatalf("%v: whoever gets it can't carry it out", step.Action)
			}
			return
		}
	})
}
