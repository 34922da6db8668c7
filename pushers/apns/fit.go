package apns

// Fitting a payload into what Apple takes.

import (
	"cmp"
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
		lighter := o.lighter(limit)
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

// lighter is the object without its largest members, as many as are too much, of those that it can do without as long as there are any; nil if it has but aps left. Too large an aps is
// stripped before what tells the event is left out.
func (o object) lighter(limit int) object {
	if left := o.withoutLargest(limit, func(m member) bool { return m.spare && m.name != "aps" }); left != nil {
		return left
	}
	if i := o.find("aps"); i >= 0 && o[i].hasSpare() {
		own, _ := o[i].value.(object)
		if own = own.own(); o[i].spare || len(own) == 0 {
			own = bareAPS
		}
		return o.with("aps", own)
	}
	return o.withoutLargest(limit, func(m member) bool { return m.name != "aps" })
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

// withoutLargest leaves out the largest of the members that count, however their texts are cut: one, and more until the object has limit bytes at most. It is nil if none counts. Users make up members by
// the thousand, so each is measured once.
func (o object) withoutLargest(limit int, counts func(member) bool) object {
	type measured struct{ index, size int }
	var all []measured
	for i, m := range o {
		if counts(m) {
			all = append(all, measured{i, len(object{m}.encode(0)) - len("{}")})
		}
	}
	if all == nil {
		return nil
	}
	slices.SortStableFunc(all, func(x, y measured) int { return cmp.Compare(y.size, x.size) })
	left := slices.Clone(o)
	size := len(o.encode(0))
	for i, m := range all {
		if i > 0 && size <= limit {
			break
		}
		left[m.index].value = nil
		size -= m.size + len(",")
	}
	return slices.DeleteFunc(left, func(m member) bool { return m.value == nil })
}
