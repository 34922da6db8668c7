package rules

// This file reads the rules of a user as they are written, and makes a ruleset of
// them.

import (
	"fmt"

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

// problem notes that a part of the rules is left out; of very many only the first.
func (r *reader) problem(path, reason string) {
	switch n := len(r.problems); {
	case n < maxProblems:
		r.problems = append(r.problems, Problem{path, reason})
	case n == maxProblems:
		r.problems = append(r.problems, Problem{path, "and more from here on"})
	}
}

// maxProblems is how many problems of one user's rules are told apart.
const maxProblems = 100

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
