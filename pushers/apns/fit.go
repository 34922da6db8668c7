package apns

// Fitting a payload into what Apple takes.

import (
	"slices"
	"sort"
)

// fit is the object as JSON of at most limit bytes, with as much in it as possible: first the longest texts are cut, all to the same length; if that is not enough, members of
// the pusher's default_payload are left out, the largest first. No notification is too large: what is left in the end is an alert that says that there is something.
func fit(o object, limit int) []byte {
	for {
		if b := o.encode(whole); len(b) <= limit {
			return b
		}
		if len(o.encode(0)) <= limit {
			return cutTexts(o, limit)
		}
		lighter := o.lighter()
		if lighter == nil {
			return object{{name: "aps", value: bareAPS}}.encode(whole)
		}
		o = lighter
	}
}

// cutTexts cuts no more than it takes: longer texts by a byte would be too long, as a character that would not fit in half.
func cutTexts(o object, limit int) []byte {
	tooLong := sort.Search(limit, func(i int) bool { return len(o.encode(i)) > limit })
	return o.encode(tooLong - 1)
}

// bareAPS stands in for aps that is too large: it shows "Notification", or what the app makes of that.
var bareAPS = object{{name: "alert", value: object{{name: "loc-key", value: raw(`"Notification"`)}, {name: "loc-args", value: texts{}}}}, {name: "mutable-content", value: number(1)}}

// lighter is the object without its largest member, of those that it can do without as long as there are any, nil if it has but aps left. Too large an aps is stripped before
// what tells the event is left out.
func (o object) lighter() object {
	if i := o.largest(func(m member) bool { return m.spare && m.name != "aps" }); i >= 0 {
		return o.without(o[i].name)
	}
	if i := o.find("aps"); i >= 0 && o[i].hasSpare() {
		own, _ := o[i].value.(object)
		if own = own.own(); o[i].spare || len(own) == 0 {
			own = bareAPS
		}
		return o.with("aps", own)
	}
	if i := o.largest(func(m member) bool { return m.name != "aps" }); i >= 0 {
		return o.without(o[i].name)
	}
	return nil
}

// hasSpare says that the notification can do without the member, or a part of it.
func (m member) hasSpare() bool {
	inside, _ := m.value.(object)
	return m.spare || slices.ContainsFunc(inside, member.hasSpare)
}

// own is what did not come from the pusher's data.
func (o object) own() object {
	var own object
	for _, m := range o {
		if inside, ok := m.value.(object); ok {
			m.value = inside.own()
		}
		if !m.spare {
			own = append(own, m)
		}
	}
	return own
}

// largest is the index of the largest of the members that count, however its texts are cut; -1 if there is none.
func (o object) largest(counts func(member) bool) int {
	found, size := -1, 0
	for i, m := range o {
		if !counts(m) {
			continue
		}
		if s := len(m.name) + len(m.value.append(nil, 0)); found < 0 || s > size {
			found, size = i, s
		}
	}
	return found
}
