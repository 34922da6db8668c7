package rules

// This file is how a deployment evaluates: dialect and proposals.

import "fmt"

// Dialect is the edition of the specification whose push rules apply.
type Dialect string

const (
	// Current is today's specification with the legacy mention rules that
	// deployed homeservers still have. The empty Dialect is the same.
	Current Dialect = "current"
	// Dialect2015 adds what the original text of 2015 asked: a pattern without
	// wildcards matches anywhere in the value (implicit asterisks), and
	// .m.rule.fallback notifies of every event that nothing else matches.
	// Server-default rules keep their exact patterns.
	Dialect2015 Dialect = "2015"
)

// Options say how a deployment evaluates push rules. The zero value is today's
// specification plus the legacy mention rules, without any proposal.
type Options struct {
	Dialect Dialect
	// NoLegacyMentions drops the rules .m.rule.contains_display_name,
	// .m.rule.roomnotif and .m.rule.contains_user_name, which specification 1.17
	// removed (MSC4210).
	NoLegacyMentions bool
	Features         Features
}

// Features switch on what proposals and single clients have added, each off by
// default. A condition whose feature is off never matches; a default rule whose
// feature is off does not exist.
type Features struct {
	RelatedEvents       bool // MSC3664: condition related_event_match, rule for replies
	RoomVersionSupports bool // MSC3931–3933: condition room_version_supports, rules for extensible events
	ThreadSubscriptions bool // MSC4306: condition thread_subscription, kind postcontent
	EncryptedEventRule  bool // MSC4028: notify of every encrypted event
	Polls               bool // MSC3930: rules for polls (MSC3381)
	Jitsi               bool // rule for Jitsi widgets, .im.vector.jitsi
}

// features names the switches, for configuration and batch input.
var features = []struct {
	name   string
	locate func(*Options) *bool
}{
	{"msc3664", func(o *Options) *bool { return &o.Features.RelatedEvents }},
	{"msc3931", func(o *Options) *bool { return &o.Features.RoomVersionSupports }},
	{"msc4306", func(o *Options) *bool { return &o.Features.ThreadSubscriptions }},
	{"msc4028", func(o *Options) *bool { return &o.Features.EncryptedEventRule }},
	{"msc3381", func(o *Options) *bool { return &o.Features.Polls }},
	{"jitsi", func(o *Options) *bool { return &o.Features.Jitsi }},
	{"msc4210", func(o *Options) *bool { return &o.NoLegacyMentions }},
}

// FeatureNames returns the names that [Options.SetFeature] knows: msc3664
// (related events), msc3931 (room_version_supports), msc4306 (thread
// subscriptions), msc4028 (encrypted events), msc3381 (polls), jitsi, and msc4210
// (no legacy mention rules).
func FeatureNames() []string {
	names := make([]string, len(features))
	for i, f := range features {
		names[i] = f.name
	}
	return names
}

// SetFeature switches a feature by its name. The error lists the names that
// there are.
func (o *Options) SetFeature(name string, on bool) error {
	for _, f := range features {
		if f.name == name {
			*f.locate(o) = on
			return nil
		}
	}
	return fmt.Errorf("unknown feature %q: known are %v", name, FeatureNames())
}

// Validate reports a dialect that does not exist.
func (o Options) Validate() error {
	switch o.Dialect {
	case "", Current, Dialect2015:
		return nil
	}
	return fmt.Errorf("unknown dialect %q: known are %q and %q", o.Dialect, Current, Dialect2015)
}

// implicitAsterisks reports whether a pattern without wildcards matches any part
// of a value.
func (o Options) implicitAsterisks() bool { return o.Dialect == Dialect2015 }

// optionsKey is options as one number.
type optionsKey uint32

func (o Options) key() optionsKey {
	var k optionsKey
	for i, f := range features {
		if *f.locate(&o) {
			k |= 1 << i
		}
	}
	if o.Dialect == Dialect2015 {
		k |= 1 << len(features)
	}
	return k
}
