package pipeline

// Decisions of the rules, as they travel: each different one once.

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"tocsin/rules"
)

// verdictList collects the verdicts of a notice. Most recipients share a handful.
type verdictList struct {
	list   []Verdict
	index  map[verdictKey]int
	shared map[sharedKey]int // the same for decisions that share their tweaks: most, as rulesets are shared
}

// sharedKey tells decisions apart without encoding their tweaks.
type sharedKey struct {
	rule                        string
	notify, coalesce, highlight bool
	tweaks                      *rules.Tweak // the first of the shared list; nil if it is empty
}

// verdictKey is what makes two decisions the same.
type verdictKey struct {
	rule                        string
	notify, coalesce, highlight bool
	tweaks                      string
}

// add notes the decision for a recipient: for the global rules first, then for each profile tag of the same user.
func (v *verdictList) add(to []Recipient, r *rules.Recipient, d *rules.Decision) []Recipient {
	i := v.of(d)
	if r.ProfileTag == "" {
		return append(to, Recipient{ID: r.UserID, Verdict: i})
	}
	user := &to[len(to)-1]
	if i != user.Verdict {
		if user.Tags == nil {
			user.Tags = map[string]int{}
		}
		user.Tags[r.ProfileTag] = i
	}
	return to
}

// of is the index of the decision's verdict.
func (v *verdictList) of(d *rules.Decision) int {
	key := sharedKey{rule: d.RuleID, notify: d.Notify, coalesce: d.Coalesce, highlight: d.Highlight}
	if len(d.Tweaks) > 0 {
		key.tweaks = &d.Tweaks[0]
	}
	i, ok := v.shared[key]
	if !ok {
		if i = v.ofOwn(d); v.shared == nil {
			v.shared = map[sharedKey]int{}
		}
		v.shared[key] = i
	}
	return i
}

// ofOwn is the same by the value of the tweaks.
func (v *verdictList) ofOwn(d *rules.Decision) int {
	tweaks := tweaksJSON(d.Tweaks)
	key := verdictKey{d.RuleID, d.Notify, d.Coalesce, d.Highlight, string(tweaks)}
	if i, ok := v.index[key]; ok {
		return i
	}
	if v.index == nil {
		v.index = map[verdictKey]int{}
	}
	sound, ok := d.Tweaks.Sound()
	v.list = append(v.list, Verdict{Rule: d.RuleID, Notify: d.Notify, Coalesce: d.Coalesce, Highlight: d.Highlight, Sound: ok && sound != "", Tweaks: tweaks})
	v.index[key] = len(v.list) - 1
	return len(v.list) - 1
}

// tweaksJSON is an object, or nil if there are no tweaks, or too many.
func tweaksJSON(t rules.Tweaks) jsontext.Value {
	if len(t) == 0 {
		return nil
	}
	object, err := t.MarshalJSON()
	if err != nil {
		panic(fmt.Sprintf("tweaks that do not encode: %v", err)) // they are values that were parsed
	}
	if len(object) > noticeTweaks {
		return nil
	}
	return object
}

// drop leaves out the recipients whom no verdict notifies.
func (v *verdictList) drop(from []Recipient) []Recipient {
	kept := from[:0]
	for _, r := range from {
		notify := v.list[r.Verdict].Notify
		for _, i := range r.Tags {
			notify = notify || v.list[i].Notify
		}
		if notify {
			kept = append(kept, r)
		}
	}
	return kept
}
