package rules

// This file is the compiler of a deployment: the default rules under its
// options, and the rulesets that users share.

import (
	"crypto/sha256"
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// Compiler compiles rulesets under the same options. Equal ones are one object
// as long as anybody holds it: most users have the same rules, and the bulk
// evaluator decides once for all recipients that share a ruleset. It is safe for
// concurrent use.
type Compiler struct {
	options  Options
	defaults map[Kind][]*rule
	absent   map[Kind][]string // the ids of default rules whose feature is off

	all   []*rule  // the default rules by their bit
	plain *Ruleset // the defaults alone

	rulesets     sharing[Ruleset]
	rules        sharing[rule]
	defaultLists sharing[defaultList]
}

// NewCompiler returns a compiler for a deployment with these options.
func NewCompiler(opts Options) *Compiler {
	c := &Compiler{
		options:  opts,
		defaults: map[Kind][]*rule{},
		absent:   map[Kind][]string{},
	}
	parser := conditionParser{options: opts, builtin: true}
	parser.options.Features = Features{RelatedEvents: true, RoomVersionSupports: true, ThreadSubscriptions: true}
	for _, d := range defaultRules() {
		raw, reason := decodeRule(jsontext.Value(d.json))
		if reason != "" {
			panic("rules: a default rule is malformed: " + d.json)
		}
		if d.when != nil && !d.when(opts) {
			c.absent[d.kind] = append(c.absent[d.kind], raw.id())
			continue
		}
		r, reason := parser.compile(d.kind, &raw)
		if reason != "" {
			panic("rules: default rule " + raw.id() + ": " + reason)
		}
		r.bit = len(c.all)
		c.all = append(c.all, r)
		c.defaults[d.kind] = append(c.defaults[d.kind], r)
	}
	c.plain, _ = c.compile(nil, false)
	c.rulesets.share(c.plain.identity, c.plain)
	return c
}

// Compile is as the function [Compile], under the compiler's options and sharing
// equal rulesets.
func (c *Compiler) Compile(raw []byte) (*Ruleset, []Problem) {
	if len(raw) == 0 {
		return c.plain, nil
	}
	rs, problems := c.compile(raw, false)
	return c.rulesets.share(rs.identity, rs), problems
}

// scope completes the rules of a scope, in their order.
func (c *Compiler) scope(ordered []*rule) scope {
	for i, r := range ordered {
		ordered[i] = c.rules.share(r.identity, r)
	}
	return scope{rules: ordered, plan: c.newPlan(ordered)}
}

// identify returns what tells rulesets of one compiler with different content
// apart.
func (rs *Ruleset) identify() identity {
	h := sha256.New()
	scope := func(s scope) {
		for _, rule := range s.rules {
			h.Write(rule.identity[:])
		}
	}
	scope(rs.global)
	for _, tag := range slices.Sorted(maps.Keys(rs.devices)) {
		sum := sha256.Sum256([]byte(tag))
		h.Write(make([]byte, len(sum))) // no rule's identity: a scope begins
		h.Write(sum[:])
		scope(rs.devices[tag])
	}
	return identity(h.Sum(nil))
}

// position returns the place of a default rule among those of its kind, or -1.
func (c *Compiler) position(kind Kind, id string) int {
	return slices.IndexFunc(c.defaults[kind], func(r *rule) bool { return r.id == id })
}

// off reports whether the id is that of a default rule whose feature is off.
func (c *Compiler) off(kind Kind, id string) bool {
	return slices.Contains(c.absent[kind], id)
}
