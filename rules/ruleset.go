package rules

// This file compiles the rules of a user: it reads them, fills in the defaults
// and puts them into the order in which they are tried.

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxRules is how many rules of their own a user may have; further ones are left
// out. MaxSlowPatterns bounds those among them whose patterns contain a question
// mark, because only such patterns can be made slow on purpose.
const (
	MaxRules        = 20_000
	MaxSlowPatterns = 500
)

// Ruleset is the compiled push rules of a user. It knows nothing of the user, is
// immutable and safe for concurrent use.
type Ruleset struct {
	global   scope
	identity identity
	devices  map[string]scope // by profile tag
	options  Options
	builtin  []*rule // the deployment's default rules, as nobody has changed them
}

// scope is the rules of one scope in the order in which they are tried, and how
// the bulk evaluator sees them.
type scope struct {
	plan  plan
	rules []*rule
}

// Problem is a part of somebody's rules that can't be used and was left out.
type Problem struct {
	Path   string // where it is, such as global.content[3]
	Reason string // what is wrong; free of user-supplied text
}

// String returns the path and the reason.
func (p Problem) String() string { return p.Path + ": " + p.Reason }

// Compile reads the push rules of one user: the content of their m.push_rules
// account data, or what GET /pushrules/ or GET /pushrules/global/ returns. Raw
// that is nil, empty or null stands for the defaults alone.
//
// It never fails: of what is malformed, the part that is right is used, and
// problems tell what was left out. Default rules are taken from this package
// whatever raw says of their conditions; raw decides whether they are enabled
// and what their actions are. Missing ones are added to the global scope, and
// all rules are put into order. A default rule that this package does not know
// keeps its place among those that it knows.
//
// The result depends on raw and the options only, not on the user. Where the
// rules of many users are compiled, use a [Compiler]: equal ones are one object.
func Compile(raw []byte, opts Options) (*Ruleset, []Problem) {
	return NewCompiler(opts).compile(raw, false)
}

// compile reads a user's rules; verbatim ones are taken as they are, without
// filling in or ordering anything.
func (c *Compiler) compile(raw []byte, verbatim bool) (*Ruleset, []Problem) {
	r := reader{compiler: c, parser: conditionParser{options: c.options}, verbatim: verbatim}
	written := r.scopes(raw)
	rs := &Ruleset{options: c.options, builtin: c.all, global: r.arrange(written.global, true)}
	for _, device := range written.devices {
		_, again := rs.devices[device.tag]
		switch {
		case again:
			r.problem("device."+device.tag, "the scope occurs twice; only the first is used")
			continue
		case device.tag == "":
			r.problem("device", "a scope has an empty profile tag, which no pusher is looked up by")
			continue
		}
		if rs.devices == nil {
			rs.devices = map[string]scope{}
		}
		rs.devices[device.tag] = r.arrange(device.rules, false)
	}
	rs.identity = rs.identify()
	rs.global.plan.settle()
	return rs, r.problems
}

// reader reads one user's rules and collects what is wrong with them.
type reader struct {
	compiler *Compiler
	parser   conditionParser
	verbatim bool // take default rules as they are written
	problems []Problem
	rules    int // of the user's own, so far
	slow     int // patterns with a question mark, so far
}

func (r *reader) problem(path, reason string) {
	r.problems = append(r.problems, Problem{path, reason})
}

// written are a user's rules as they are written.
type written struct {
	global  lists
	devices []device
}

type device struct {
	tag   string
	rules lists
}

// lists are the rules of one scope by kind, each in the order as written.
type lists map[Kind][]listed

// listed is a rule in a list, and where it is.
type listed struct {
	raw  rawRule
	path string
}

// scopes reads the outer objects. Rules outside of any scope are global.
func (r *reader) scopes(raw []byte) written {
	s := written{global: lists{}}
	if v := jsontext.Value(raw); len(raw) == 0 || v.Kind() == 'n' && v.IsValid() {
		return s
	}
	bare := true
	err := eachMember(raw, func(name string, value jsontext.Value) {
		switch name {
		case "global":
			bare = false
			r.scope(s.global, value, name)
		case "device":
			bare = false
			if eachMember(value, func(tag string, value jsontext.Value) {
				rules := lists{}
				r.scope(rules, value, "device."+tag)
				s.devices = append(s.devices, device{tag, rules})
			}) != nil {
				r.problem(name, "not an object")
			}
		}
	})
	if err != nil {
		r.problem("rules", "not a JSON object; the defaults are used")
		return written{global: lists{}}
	}
	if bare {
		r.scope(s.global, raw, "global")
	}
	return s
}

// scope reads the lists of one scope into rules. Kinds that are not known are
// ignored.
func (r *reader) scope(rules lists, raw jsontext.Value, path string) {
	err := eachMember(raw, func(name string, value jsontext.Value) {
		kind := Kind(name)
		if !r.knows(kind) {
			return
		}
		path := path + "." + name
		list, ok := elements(value)
		switch {
		case !ok:
			r.problem(path, "not a list")
			return
		case rules[kind] != nil:
			r.problem(path, "the list occurs twice; only the first is used")
			return
		}
		rules[kind] = make([]listed, 0, len(list))
		for i, element := range list {
			path := fmt.Sprintf("%s[%d]", path, i)
			rule, reason := decodeRule(element)
			if reason == "" && rule.id() == "" {
				reason = "rule_id is not a string, or is empty"
			}
			if reason != "" {
				r.problem(path, reason)
				continue
			}
			rules[kind] = append(rules[kind], listed{rule, path})
		}
	})
	if err != nil {
		r.problem(path, "not an object")
	}
}

// knows reports whether there can be rules of the kind. Those of postcontent are
// never the user's own.
func (r *reader) knows(kind Kind) bool {
	switch kind {
	case KindOverride, KindContent, KindRoom, KindSender, KindUnderride:
		return true
	case KindPostContent:
		return r.compiler.options.Features.ThreadSubscriptions
	}
	return false
}

// arrange compiles the rules of one scope and puts them into order: the master
// rule, then by kind the user's own rules and after them the defaults. The
// global scope has all of the defaults, others only those written. Verbatim rules
// are all as written, and in the order as written.
func (r *reader) arrange(rules lists, complete bool) scope {
	var master, ordered []*rule
	for _, kind := range kinds {
		if r.verbatim {
			for _, l := range rules[kind] {
				if rule := r.own(kind, &l); rule != nil {
					ordered = append(ordered, rule)
				}
			}
			continue
		}
		own, defaults := r.arrangeKind(kind, rules[kind], complete)
		if kind != KindPostContent {
			ordered = append(ordered, own...)
		}
		for _, rule := range defaults {
			if rule.id == ruleMaster && kind == KindOverride {
				master = append(master, rule)
			} else {
				ordered = append(ordered, rule)
			}
		}
	}
	return r.compiler.scope(append(master, ordered...))
}

// arrangeKind compiles the rules of one kind: the user's own as listed, and the
// default ones in our order. A default rule that we don't know comes after the
// known one that it follows in the list; before all of them if it precedes them;
// and last if the list has none that we know.
func (r *reader) arrangeKind(kind Kind, list []listed, complete bool) (own, defaults []*rule) {
	known := r.compiler.defaults[kind]
	written := make([]*rule, len(known))     // the known default rules of the list
	unknown := make([][]*rule, len(known)+1) // at i: those that come before known[i]
	place, anyKnown := 0, false
	var seen int
	for _, l := range list {
		id := l.raw.id()
		if !strings.HasPrefix(id, ".") {
			if rule := r.own(kind, &l); rule != nil {
				own = append(own, rule)
			}
			continue
		}
		i := r.compiler.position(kind, id)
		switch {
		case i >= 0:
			anyKnown = true
			if id != ruleMaster {
				place = i + 1
			}
			if written[i] == nil {
				written[i] = r.edited(known[i], &l)
			} else {
				r.problem(l.path, "the rule occurs twice; only the first is used")
			}
		case r.compiler.off(kind, id):
			// It belongs to a feature that is off.
		default:
			if rule := r.own(kind, &l); rule != nil {
				unknown[place] = append(unknown[place], rule)
				seen++
			}
		}
	}
	if !anyKnown && seen > 0 {
		unknown[0], unknown[len(known)] = nil, unknown[0]
	}
	for i, rule := range known {
		defaults = append(defaults, unknown[i]...)
		switch {
		case written[i] != nil:
			defaults = append(defaults, written[i])
		case complete:
			defaults = append(defaults, rule)
		}
	}
	return own, append(defaults, unknown[len(known)]...)
}

// own compiles a rule with conditions of its own, or returns nil.
func (r *reader) own(kind Kind, l *listed) *rule {
	if r.rules++; r.rules > MaxRules {
		if r.rules == MaxRules+1 {
			r.problem(l.path, fmt.Sprintf("there are more than %d rules; this and those after it are left out", MaxRules))
		}
		return nil
	}
	if r.compiler.options.NoLegacyMentions && isLegacyMention(l.raw.id()) {
		return nil
	}
	rule, reason := r.parser.compile(kind, &l.raw)
	if reason != "" {
		r.problem(l.path, reason)
		return nil
	}
	r.check(rule, l.path)
	return rule
}

// check reports conditions that can't hold because they are malformed, and turns
// slow patterns beyond the limit into such.
func (r *reader) check(rule *rule, path string) {
	for i, c := range rule.conditions {
		path := fmt.Sprintf("%s.conditions[%d]", path, i)
		switch c := c.(type) {
		case *eventMatch:
			if c.pattern.wild && strings.Contains(c.pattern.lower, "?") {
				if r.slow++; r.slow > MaxSlowPatterns {
					rule.conditions[i] = &never{"too many patterns with a question mark"}
					rule.identity = sha256.Sum256(rule.identity[:]) // not the same rule as where it is within the limit
				}
				if r.slow == MaxSlowPatterns+1 {
					r.problem(path, fmt.Sprintf("there are more than %d patterns with a question mark; this and those after it never match", MaxSlowPatterns))
				}
			}
		case *never:
			if c.why != unknownKind {
				r.problem(path, c.why)
			}
		}
	}
}

// edited returns a default rule with what the user may change of it: whether it
// is enabled, and its actions. It is the original if nothing is changed.
func (r *reader) edited(original *rule, l *listed) *rule {
	edited := *original
	if l.raw.Enabled != nil {
		if on, ok := boolOf(l.raw.Enabled); ok {
			edited.enabled = on
		} else {
			r.problem(l.path, "enabled is not a boolean; the default is used")
		}
	}
	if l.raw.Actions != nil {
		if actions, ok := elements(l.raw.Actions); ok {
			edited.decide(actions)
		} else {
			r.problem(l.path, "actions is not a list; the default is used")
		}
	}
	if edited.enabled == original.enabled && edited.decision.equal(&original.decision) {
		return original
	}
	// Conditions often name the user, and are ignored: they make no difference.
	written := rawRule{ID: l.raw.ID, Enabled: l.raw.Enabled, Actions: l.raw.Actions}
	edited.identity = written.identify(original.kind)
	return &edited
}
