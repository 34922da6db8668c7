package delivery

// What follows an attempt.

import (
	"time"

	"tocsin/pushers"
)

// Tiers are the delays of the retry topics, shortest first: [pushers.Step.Tier] is an index into them. Each topic has one delay, so that its first
// record is always the next that is due. Nothing changes them at run time.
var Tiers = []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute, time.Hour}

// The classes of what is given up ([pushers.Step.Reason]).
const (
	classExpired   = "expired"   // too old
	classExhausted = "exhausted" // as many attempts as such an answer is worth
	classRefused   = "refused"   // this notification never works
)

// Next says what follows a first attempt that came to o, of a delivery that expires after left. It is pure.
func Next(o pushers.Outcome, left time.Duration) pushers.Step { return next(o, 0, left) }

// next says what follows an attempt that came to o. attempt is the number of attempts made before it, left the time until the delivery expires. It
// is pure.
//
// What can be tried again is: attempt n from tier n, and from the last tier on then; later if the service wishes so, or its answer calls for that. A retry that could only run when the
// delivery has expired is not worth its wait.
func next(o pushers.Outcome, attempt int, left time.Duration) pushers.Step {
	step := follow(o, attempt, left)
	step.Verdict = o.Verdict
	return step
}

func follow(o pushers.Outcome, attempt int, left time.Duration) pushers.Step {
	tries, wait := attempt+1, o.RetryAfter
	switch o.Verdict {
	case pushers.Delivered:
		return pushers.Step{Action: pushers.Settle, Detail: detail(o)}
	case pushers.Gone:
		return pushers.Step{Action: pushers.Remove, Reason: o.Reason, Detail: detail(o)}
	case pushers.Drop:
		if tries >= o.Tries { // always, if it names none
			return bury(classRefused, o)
		}
	}
	if o.Tries > 0 && tries >= o.Tries {
		return bury(classExhausted, o)
	}
	tier := tierFor(attempt, wait)
	if Tiers[tier] >= left {
		return bury(classExpired, o)
	}
	return pushers.Step{Action: pushers.Again, Tier: tier, Detail: detail(o)}
}

// tierFor is the tier of the attempt, or the first one after it that waits long enough, if there is one.
func tierFor(attempt int, wait time.Duration) int {
	last := len(Tiers) - 1
	tier := min(attempt, last)
	for tier < last && Tiers[tier] < wait {
		tier++
	}
	return tier
}

// unsent says what follows when there was no attempt, because the service is full, away or paused: the delivery waits and comes back as it is. Attempts count for nothing here.
//
// It waits for about an eighth of its age, from the first tier up: a service that was away for an hour is sent to within minutes of its return, and what is
// there for it does not come back every five seconds meanwhile. It waits longer if the service wishes so, and never past the last chance before it expires.
func unsent(why result, attempt int, age, left time.Duration) pushers.Step {
	tier := tierFor(0, why.wait)
	for tier < len(Tiers)-1 && Tiers[tier+1] <= age/8 {
		tier++
	}
	for tier > 0 && Tiers[tier] >= left {
		tier--
	}
	if Tiers[tier] >= left {
		step := expired(attempt)
		step.Detail = why.unsent
		return step
	}
	return pushers.Step{Action: pushers.Again, Tier: tier, Detail: why.unsent, Unsent: true}
}

// age is how long ago since was; 0 if it is not known.
func age(since, now time.Time) time.Duration {
	if since.IsZero() {
		return 0
	}
	return max(now.Sub(since), 0)
}

// expired says what follows when the delivery's time was over before an attempt was made. One that never failed leaves no trace: nobody waits for it.
func expired(attempt int) pushers.Step {
	if attempt == 0 {
		return pushers.Step{Action: pushers.Forget, Reason: classExpired}
	}
	return pushers.Step{Action: pushers.Bury, Reason: classExpired}
}

func bury(class string, o pushers.Outcome) pushers.Step {
	return pushers.Step{Action: pushers.Bury, Reason: class, Detail: detail(o)}
}

// detail is the reason, and what is known of its cause.
func detail(o pushers.Outcome) string {
	if o.Cause == nil {
		return o.Reason
	}
	return o.Reason + ": " + o.Cause.Error()
}
