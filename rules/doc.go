// Package rules decides, for one event and one recipient, whether a Matrix
// push notification follows and with which tweaks. It implements the push
// rules of the client-server API (https://spec.matrix.org/v1.19/client-server-api/#push-rules),
// the legacy mention rules that deployed homeservers still have, and, on
// request, the dialect of the original 2015 text and a few proposals.
//
// The package is pure: it reads no clock, does no I/O of its own, logs nothing, and
// holds no package state but a pool of parsers. Facts go in, a [Decision] comes out:
//
//	ruleset, problems := rules.Compile(raw, rules.Options{}) // once per user's rules
//	event, err := rules.ParseEvent(body)                     // once per event
//	decision := ruleset.Evaluate(event, room, recipient)     // per recipient
//
// # How a decision is made
//
// Rules have a kind. The kinds are tried in the order override, content, room,
// sender, underride; inside a kind the user's own rules come before the
// server's defaults, whose ids begin with a dot. The exception is
// .m.rule.master, which comes before everything. The first enabled rule whose
// conditions all hold decides; its actions alone count, even when there are
// none. If no rule matches, there is no notification.
//
// Rules may also be scoped to a device by its profile tag. All of the rules of
// the scope of the recipient's tag come before all global ones.
//
// # Who decides what
//
// A compiled [Ruleset] knows nothing of the user it belongs to: what depends on
// the user (their id, display name, profile tag) is resolved when it is
// evaluated. So equal rules of different users are one object when they were
// compiled by the same [Compiler].
//
// Whom an event is evaluated for is the caller's affair: that a sender hears
// nothing of their own events, that ignored users are silent, and that a
// membership event concerns its target alone, is decided before this package
// is asked.
//
// # User-supplied data
//
// Rules, events and power levels are written by users and remote servers.
// Nothing in them is an error of evaluation: an unknown condition, a missing
// parameter, a value of the wrong type, a pattern beyond the limits simply does
// not match. [Compile] reports what it left out; [ParseEvent] refuses what is
// not one well-formed JSON object.
//
// Time and memory are bounded whatever users write. The limits are far beyond what
// anybody needs: [MaxEvent] and [MaxDepth] for events; for rules [MaxRules], and
// [MaxPattern] and [MaxSlowPatterns] for patterns, of which beyond that those never
// match whose search takes more than two million steps. What a limit leaves out is
// a [Problem], once for each limit.
//
// # Reading the code
//
// To follow one decision, begin with evaluate.go and go on to rule.go, condition.go
// and, for patterns, glob.go. How rules become a [Ruleset] is in ruleset.go,
// arrange.go and condition_parse.go, with the server's defaults in defaults.go. How
// many recipients are decided for at once is in bulk.go, plan.go and trigger.go.
//
// Two invariants are easy to break. A trigger may fire for a rule that does not
// match, but must never fail to fire for one that does: what adds a condition or
// changes what one matches must look at trigger.go and facts.go. And rules are shared
// between users by their identity: what changes a rule while it is compiled, other
// than its own JSON text and the compiler's options, must change its identity, too.
package rules
