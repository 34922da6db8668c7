package rules

// This file answers questions about push rules that come as JSON lines, so that
// any test suite, in whatever language, can ask this implementation.

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Batch reads questions from in, one JSON object a line, and writes one answer a
// line to out, in order. It returns only errors of reading and writing; a line
// that is no question is answered with an error. Lines may be of any length.
// [Answer] describes the lines.
func Batch(in io.Reader, out io.Writer) error {
	var a answerer
	lines := bufio.NewReader(in)
	answers := bufio.NewWriter(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			answers.Write(a.answer(bytes.TrimSuffix(line, []byte("\n"))))
			answers.WriteByte('\n')
		}
		if lines.Buffered() == 0 { // nobody waits for an answer while there is more to read
			if err := answers.Flush(); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return answers.Flush()
		case err != nil:
			return err
		}
	}
}

// Answer answers one question. A question is an object with the members
//
//	name       any string, repeated in the answer
//	kind       condition, rule, ruleset or actions: what is asked about, which is
//	           in the member of that name; a rule has its own kind in rule.kind
//	event      the event; {} if absent
//	context    the facts about room, recipient and deployment; all may be absent
//	complete   of a ruleset: it is taken as it is, without filling in defaults
//
// The answer for a condition and a rule is {"name","match"}; for a ruleset and
// actions it is {"name","matched_rule_id","notify","coalesce","highlight",
// "tweaks"}. A line that is no such object is answered {"name","error"}.
//
// A sender's own events are not suppressed here: that is not for rules to decide.
func Answer(line []byte) []byte {
	var a answerer
	return a.answer(line)
}

// answerer answers questions, and keeps the compilers that they need.
type answerer struct {
	compilers map[Options]*Compiler
}

func (a *answerer) compiler(opts Options) *Compiler {
	c := a.compilers[opts]
	if c == nil {
		if a.compilers == nil {
			a.compilers = map[Options]*Compiler{}
		}
		c = NewCompiler(opts)
		a.compilers[opts] = c
	}
	return c
}

// answer is [Answer].
func (a *answerer) answer(line []byte) []byte {
	q, err := a.parse(line)
	if err == nil {
		return q.Answer(q.Recipient.Rules.Evaluate(q.Event, q.Room, &q.Recipient))
	}
	return encode(struct {
		Name  *string `json:"name"`
		Error string  `json:"error"`
	}{nameOf(line), err.Error()})
}

// Question is one question, ready to be decided by any evaluator: what is asked
// about is in Recipient.Rules.
type Question struct {
	Name      string
	Kind      string // condition, rule, ruleset or actions
	Event     *Event
	Room      *Room
	Recipient Recipient
}

// ParseQuestion reads a question as [Answer] describes it.
func ParseQuestion(line []byte) (*Question, error) {
	var a answerer
	return a.parse(line)
}

// Answer encodes what follows from the decision of an evaluator.
func (q *Question) Answer(d Decision) []byte {
	if q.Kind == "condition" || q.Kind == "rule" {
		return encode(struct {
			Name  string `json:"name"`
			Match bool   `json:"match"`
		}{q.Name, d.RuleID != ""})
	}
	var matched *string
	if d.RuleID != "" && q.Kind == "ruleset" {
		matched = &d.RuleID
	}
	return encode(struct {
		Name      string  `json:"name"`
		Matched   *string `json:"matched_rule_id"`
		Notify    bool    `json:"notify"`
		Coalesce  bool    `json:"coalesce"`
		Highlight bool    `json:"highlight"`
		Tweaks    Tweaks  `json:"tweaks"`
	}{q.Name, matched, d.Notify, d.Coalesce, d.Highlight, d.Tweaks})
}

func encode(answer any) []byte {
	line, err := json.Marshal(answer, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(fmt.Sprintf("rules: an answer does not encode: %v", err)) // strings that were decoded, and booleans
	}
	return line
}

// nameOf returns the name in a line that is no question, if it can be found.
func nameOf(line []byte) *string {
	var name *string
	_ = eachMember(line, func(member string, value jsontext.Value) {
		if s, ok := stringOf(value); ok && member == "name" && name == nil {
			name = &s
		}
	})
	return name
}

// rawQuestion is a question before its members are known to be right.
type rawQuestion struct {
	Name      jsontext.Value `json:"name"`
	Kind      jsontext.Value `json:"kind"`
	Event     jsontext.Value `json:"event"`
	Context   rawContext     `json:"context"`
	Complete  jsontext.Value `json:"complete"`
	Condition jsontext.Value `json:"condition"`
	Rule      jsontext.Value `json:"rule"`
	Ruleset   jsontext.Value `json:"ruleset"`
	Actions   jsontext.Value `json:"actions"`
}

// parse reads a question. Repeated names are left to those who read the parts: in
// an event they are an error, in a ruleset they spoil one rule.
func (a *answerer) parse(line []byte) (*Question, error) {
	var raw rawQuestion
	if err := json.Unmarshal(line, &raw, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, fmt.Errorf("the line is not a well-formed question: %w", err)
	}
	name, ok := stringOf(raw.Name)
	if !ok {
		return nil, errors.New("name: a string is needed")
	}
	q := &Question{Name: name}
	q.Kind, _ = stringOf(raw.Kind)
	if raw.Event == nil || raw.Event.Kind() == 'n' {
		raw.Event = jsontext.Value("{}")
	}
	var err error
	if q.Event, err = ParseEvent(raw.Event); err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	opts, err := raw.Context.options()
	if err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	if q.Room, err = raw.Context.room(); err != nil {
		return nil, fmt.Errorf("context: %w", err)
	}
	q.Recipient = raw.Context.recipient()
	q.Recipient.Rules, err = raw.rules(q.Kind, a.compiler(opts))
	return q, err
}

// rules compiles what is asked about to a ruleset.
func (raw *rawQuestion) rules(kind string, c *Compiler) (*Ruleset, error) {
	subjects := map[string]jsontext.Value{
		"condition": raw.Condition, "rule": raw.Rule, "ruleset": raw.Ruleset, "actions": raw.Actions,
	}
	subject, known := subjects[kind]
	switch {
	case !known:
		return nil, errors.New("kind: condition, rule, ruleset or actions is needed")
	case subject == nil:
		return nil, fmt.Errorf("%s: it is missing, though kind names it", kind)
	}
	switch kind {
	case "ruleset":
		complete, _ := boolOf(raw.Complete)
		rs, _ := c.compile(subject, complete)
		return rs, nil
	case "rule":
		return c.only(c.standalone(subject)), nil
	case "condition":
		parser := conditionParser{options: c.options}
		return c.only(&rule{conditions: []condition{parser.parse(subject)}}), nil
	default:
		actions, ok := elements(subject)
		if !ok {
			return nil, errors.New("actions: a list is needed")
		}
		r := &rule{}
		r.decide(actions)
		return c.only(r), nil
	}
}

// standalone compiles a rule that is in no list. A malformed one never matches.
func (c *Compiler) standalone(subject jsontext.Value) *rule {
	r := reader{compiler: c, parser: conditionParser{options: c.options}, verbatim: true}
	raw, reason := decodeRule(subject)
	kind, _ := stringOf(raw.Kind)
	if reason == "" && r.knows(Kind(kind)) {
		if rule := r.own(Kind(kind), &listed{raw: raw}); rule != nil {
			return rule
		}
	}
	return &rule{conditions: []condition{&never{}}}
}

// only returns a ruleset of one rule, whose decision has some id so that it is
// seen to match. A rule that has none applies in every room.
func (c *Compiler) only(r *rule) *Ruleset {
	r.bit = noBit
	if r.id == "" {
		r.enabled = r.enabled || r.kind == ""
		r.extensible = r.extensible || r.kind == ""
		r.decision.RuleID = "it"
	}
	r.prepare()
	s := scope{rules: []*rule{r}, plan: c.newPlan([]*rule{r})}
	return &Ruleset{options: c.options, builtin: c.all, global: s}
}
