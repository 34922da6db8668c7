package rules

// This file is the compiler of a deployment: the default rules under its
// options, and the rulesets that users share.

import (
	"crypto/sha256"
	"maps"
	"runtime"
	"slices"
	"sync"
	"weak"

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

	mu     sync.Mutex
	shared map[identity]weak.Pointer[Ruleset]
}

// NewCompiler returns a compiler for a deployment with these options.
func NewCompiler(opts Options) *Compiler {
	c := &Compiler{
		options:  opts,
		defaults: map[Kind][]*rule{},
		absent:   map[Kind][]string{},
		shared:   map[identity]weak.Pointer[Ruleset]{},
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
		c.defaults[d.kind] = append(c.defaults[d.kind], r)
	}
	return c
}

// Compile is as the function [Compile], under the compiler's options and sharing
// equal rulesets.
func (c *Compiler) Compile(raw []byte) (*Ruleset, []Problem) {
	rs, problems := c.compile(raw)
	return c.share(rs), problems
}

// share returns the ruleset equal to rs that others hold already, or makes rs
// that one.
func (c *Compiler) share(rs *Ruleset) *Ruleset {
	id := rs.identity()
	c.mu.Lock()
	defer c.mu.Unlock()
	if held := c.shared[id].Value(); held != nil {
		return held
	}
	c.shared[id] = weak.Make(rs)
	runtime.AddCleanup(rs, c.forget, id)
	return rs
}

// forget drops the entry of a ruleset that nobody holds any more.
func (c *Compiler) forget(id identity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared[id].Value() == nil { // else an equal one has taken its place
		delete(c.shared, id)
	}
}

// identity tells rulesets of one compiler with different content apart.
func (rs *Ruleset) identity() identity {
	h := sha256.New()
	scope := func(rules []*rule) {
		for _, rule := range rules {
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
