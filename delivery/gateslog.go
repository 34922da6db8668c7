package delivery

// What the log is told of push services: that they go away and come back, and that they refuse what the operator has set.

import (
	"time"

	"tocsin/pushers"
)

// refusedAgain is how long after the log was told that an operator's settings are refused it is told again.
const refusedAgain = time.Hour

// blamesOperator says whether the log is to be told that a push service refuses what the operator has set of an app, or may do so. That may concern one user, or a quiet app, for which no breaker would
// open; so it is told at the first refusal, and not again for a while. Gateways that users choose are not the operator's.
func (g *gates) blamesOperator(o pushers.Outcome, route *pushers.Route, now time.Time) bool {
	if route.App == "" || o.Verdict != pushers.Misconfigured && !o.Unproven {
		return false
	}
	app := key{route.Provider, route.App}
	if last, ok := g.refused[app]; ok && now.Sub(last) < refusedAgain {
		return false
	}
	g.refused[app] = now
	return true
}

// reportRefusal tells of it.
func (g *gates) reportRefusal(key key, o pushers.Outcome, app string) {
	what := "a push service refuses the credentials or settings of an app"
	if o.Unproven {
		what = "a push service refuses a pushkey, and has lately taken none of the app: its settings may be wrong"
	}
	g.log.Warn(what+"; nothing is removed, and it is tried again; `tocsin check` and `tocsin pushers test` say what to do", "provider", key.provider, "app", app, "name", key.name, "reason", o.Reason)
}

// report tells what has changed. Hosts stand in the log alone, never in metrics, because users choose them.
func (g *gates) report(key key, o pushers.Outcome, paused, opened bool) {
	log := g.log.With("provider", key.provider, "name", key.name)
	switch {
	case paused:
		log.Info("a push service asks to be left alone", "reason", o.Reason, "for", pauseOf(o, g.cfg.Breaker.Open))
	case opened:
		log.Warn("a push service is away: its notifications wait in the retry topics until a probe succeeds", "reason", o.Reason, "probe_in", g.cfg.Breaker.Open)
	default:
		log.Info("a push service is back")
	}
}
