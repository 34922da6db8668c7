package rules

// This file is what a matching rule does: actions and tweaks.

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Tweak is one modification of a notification, such as sound or highlight.
type Tweak struct {
	Name  string
	Value jsontext.Value // a rule's tweak without value, or with null, has true
}

// Tweaks are the tweaks of a matched rule in the order in which it sets them, at
// most one of each name. They may be shared by many decisions: don't change
// them. In JSON they are an object.
type Tweaks []Tweak

// Lookup returns the value of the named tweak, or nil.
func (t Tweaks) Lookup(name string) jsontext.Value {
	for _, tweak := range t {
		if tweak.Name == name {
			return tweak.Value
		}
	}
	return nil
}

// Sound returns the sound to play, if the rule names one. It may be empty.
func (t Tweaks) Sound() (string, bool) {
	return stringOf(t.Lookup("sound"))
}

// MarshalJSON encodes the tweaks as an object, {} if there are none.
func (t Tweaks) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := jsontext.NewEncoder(&b)
	err := enc.WriteToken(jsontext.BeginObject)
	for _, tweak := range t {
		if err == nil {
			err = enc.WriteToken(jsontext.String(tweak.Name))
		}
		if err == nil {
			err = enc.WriteValue(tweak.Value)
		}
	}
	if err == nil {
		err = enc.WriteToken(jsontext.EndObject)
	}
	return bytes.TrimSpace(b.Bytes()), err
}

// UnmarshalJSON decodes an object of tweaks, keeping its order.
func (t *Tweaks) UnmarshalJSON(raw []byte) error {
	*t = nil
	return eachMember(raw, func(name string, value jsontext.Value) {
		*t = append(*t, Tweak{Name: name, Value: value.Clone()})
	})
}

// outcome is what a list of actions comes down to.
type outcome struct {
	notify, coalesce, highlight bool
	tweaks                      Tweaks
}

// parseActions reads a rule's actions. Their order has no meaning, but of tweaks
// of one name the last wins. What is unknown or malformed is ignored, as is
// dont_notify: it says what having no actions says.
//
// Source: Matrix specification, push rules, "Actions"; coalesce as the text of
// 2015 defines it: notify, and leave it to the server to merge several events.
func parseActions(list []jsontext.Value) outcome {
	var out outcome
	for _, raw := range list {
		switch raw.Kind() {
		case '"':
			switch name, _ := stringOf(raw); name {
			case "notify":
				out.notify = true
			case "coalesce":
				out.notify, out.coalesce = true, true
			}
		case '{':
			var action struct {
				Tweak jsontext.Value `json:"set_tweak"`
				Value jsontext.Value `json:"value"`
			}
			if json.Unmarshal(raw, &action) != nil {
				continue
			}
			if name, ok := stringOf(action.Tweak); ok {
				out.tweaks = out.tweaks.set(name, action.Value)
			}
		}
	}
	out.highlight = truthy(out.tweaks.Lookup("highlight"))
	return out
}

// set adds a tweak, in the place of an earlier one of the same name.
func (t Tweaks) set(name string, value jsontext.Value) Tweaks {
	if value == nil || value.Kind() == 'n' {
		value = jsontext.Value("true")
	}
	if i := slices.IndexFunc(t, func(tweak Tweak) bool { return tweak.Name == name }); i >= 0 {
		t[i].Value = value
		return t
	}
	return append(t, Tweak{Name: name, Value: value})
}

// truthy reports whether a tweak's value means yes. The specification knows only
// booleans; of other values the empty ones and zero mean no, as in Synapse.
func truthy(v jsontext.Value) bool {
	switch v.Kind() {
	case 't':
		return true
	case '"':
		return len(v) > len(`""`)
	case '0':
		f, err := parseFloat(v)
		return err != nil || f != 0 // an error: beyond all floats
	case '[', '{':
		return len(bytes.Trim(v, "[]{} \t\r\n")) > 0
	}
	return false
}
