package pushers

// What a push service answered, and what follows.

import (
	"strings"
	"time"
)

// Verdict is the one thing that an attempt came to.
type Verdict uint8

// The verdicts.
const (
	Delivered     Verdict = iota + 1 // the service took it
	Retry                            // not now: try again later
	Drop                             // this notification never works; the pusher may
	Gone                             // the service says that this pushkey is dead
	Misconfigured                    // the operator's fault (credentials, wrong URL): try again later, remove nothing
	Uncertain                        // it left, and no answer came: it may have been delivered
)

// String is the name that logs and metrics use.
func (v Verdict) String() string {
	switch v {
	case Delivered:
		return "delivered"
	case Retry:
		return "retry"
	case Drop:
		return "drop"
	case Gone:
		return "gone"
	case Misconfigured:
		return "misconfigured"
	case Uncertain:
		return "uncertain"
	}
	return "unknown"
}

// Outcome is what a push service did with one attempt.
type Outcome struct {
	Verdict    Verdict
	Reason     string        // why, in a few fixed words that can label a metric, such as "http_503" or "rejected"
	RetryAfter time.Duration // not before: the service's own wish, or what its answer calls for; zero if nothing does
	Pause      bool          // the service asks that nobody sends it anything so long; if RetryAfter is zero, for a while
	Tries      int           // attempts that such an answer is worth, in all; 0: of Drop, this one; else until the notification expires
	Status     int           // of the answer; 0 if there was none
	Connection string        // that broke, or could not be made, under all who shared it: it counts against the service once; "": this request alone
	Unproven   bool          // the pushkey is refused, as all of the app would be if its settings were wrong, and none was taken lately: so it is not believed
	Cause      error         // for the log and the span, never for control flow
}

// Action is what is to be done with a delivery after an attempt.
type Action uint8

// The actions.
const (
	Settle Action = iota + 1 // it is delivered: nothing is left to do
	Again                    // write it to the retry topic of Step.Tier
	Bury                     // write it to the dead-letter topic
	Forget                   // drop it without a record: nobody waits for it
	Remove                   // tell the homeserver, then remove the pusher
)

// String is the name that logs and metrics use.
func (a Action) String() string {
	switch a {
	case Settle:
		return "settle"
	case Again:
		return "retry"
	case Bury:
		return "dead_letter"
	case Forget:
		return "drop"
	case Remove:
		return "remove"
	}
	return "unknown"
}

// Step is what follows an attempt. It is final for this attempt: whoever gets it carries it out and decides nothing more.
type Step struct {
	Action  Action
	Tier    int     // of Again: index of the retry tier
	Reason  string  // of Bury and Forget: the class ("expired", "exhausted", "refused"); of Remove: the reason for the feedback record
	Detail  string  // the service's reason, and after a colon what is known of its cause: for the log and the dead letter's header
	Unsent  bool    // of Again: there was no room for a request, so this was no attempt
	Untold  bool    // of Settle: the app is told nothing of such notifications, so nothing was sent
	Verdict Verdict // what the attempt came to; 0 if nothing was sent
	// Where it was to go: see [Route]. Both are "" of what came to its end before that was asked.
	Provider, App string
}

// Outcome is what the attempt came to, as logs and metrics call it; "none" if nothing was sent.
func (s Step) Outcome() string {
	if s.Verdict == 0 {
		return "none"
	}
	return s.Verdict.String()
}

// Answer is the service's reason alone, or why nothing was sent: one of a few fixed words that can label a metric; "" if there is none.
func (s Step) Answer() string {
	word, _, _ := strings.Cut(s.Detail, ":")
	return word
}
