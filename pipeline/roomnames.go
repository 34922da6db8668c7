package pipeline

// What a room is called in a notification.

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// RoomNames is all that is needed to name a room for any of its members.
type RoomNames struct {
	Name    string   `json:"name,omitzero"`
	Alias   string   `json:"alias,omitzero"`
	Heroes  []Hero   `json:"heroes,omitzero"`  // the first members by the time of their member event; none if the room has a name
	Members int      `json:"members,omitzero"` // joined and invited
	Invited []string `json:"invited,omitzero"` // of the recipients, those that are invited
}

// Hero is a member whose name stands for the room's.
type Hero struct {
	ID   string `json:"id"`
	Name string `json:"name,omitzero"`
}

// heroCount is enough to name two others to anybody, whoever is left out.
const heroCount = 3

// names gathers what the room is called.
func (r *Room) names() RoomNames {
	n := RoomNames{Name: r.Name, Alias: r.Alias}
	if n.Name != "" || aliasName(n.Alias) != "" {
		return n
	}
	n.Members = r.heroes.count
	for _, s := range r.heroes.oldest(r.Members) {
		n.Heroes = append(n.Heroes, Hero{s.user, r.Members[s.user].DisplayName})
	}
	return n
}

// heroes knows the oldest members, joined and invited, without going through all of them for each event. The zero value is a room without any.
type heroes struct {
	first []seniority // the oldest, in order: whoever is not among them is younger than the last of them, or they are all
	count int         // joined and invited
}

// seniority is how long a user's member event has been there.
type seniority struct {
	user  string
	since int64
}

// heroReserve is how many are known: when those who left have brought it down to heroCount, all members are gone through once.
const heroReserve = 64

func older(a, b seniority) int {
	return cmp.Or(cmp.Compare(a.since, b.since), cmp.Compare(a.user, b.user))
}

func isPresent(m Member) bool { return m.Membership == Join || m.Membership == Invite }

// change takes in what became of a user.
func (h *heroes) change(user string, before, now Member) {
	if isPresent(before) {
		h.count--
		if i, found := slices.BinarySearchFunc(h.first, seniority{user, before.Since}, older); found {
			h.first = slices.Delete(h.first, i, i+1)
		}
	}
	if isPresent(now) {
		all := len(h.first) == h.count
		h.count++
		h.add(seniority{user, now.Since}, all)
	}
}

// add puts a member into its place, if it belongs among the oldest. all says that these are all members.
func (h *heroes) add(s seniority, all bool) {
	last := len(h.first) - 1
	if !all && (last < 0 || older(s, h.first[last]) > 0) {
		return
	}
	i, _ := slices.BinarySearchFunc(h.first, s, older)
	h.first = slices.Insert(h.first, i, s)
	h.first = h.first[:min(len(h.first), heroReserve)]
}

// oldest are the heroCount oldest of the members.
func (h *heroes) oldest(members map[string]Member) []seniority {
	if len(h.first) < min(heroCount, h.count) {
		h.first = h.first[:0]
		seen := 0
		for user, m := range members {
			if isPresent(m) {
				h.add(seniority{user, m.Since}, len(h.first) == seen)
				seen++
			}
		}
	}
	return h.first[:min(heroCount, len(h.first))]
}

// For is the room's name as the user sees it, or "" if it has none: its own name, else its alias, else its other members (as Synapse names rooms in pushes: one other
// member gives no name, because the sender's name stands beside it).
func (n *RoomNames) For(userID string, invited, inviterKnown bool) string {
	if n.Name != "" {
		return n.Name
	}
	if alias := aliasName(n.Alias); alias != "" {
		return alias
	}
	if invited {
		if inviterKnown {
			return ""
		}
		return "Room Invite"
	}
	others := n.Members
	var names []string
	for _, h := range n.Heroes {
		if h.ID != userID {
			names = append(names, cmp.Or(h.Name, h.ID))
		}
	}
	if len(names) < len(n.Heroes) || n.Members > len(n.Heroes) {
		others-- // the user is a member, among the heroes or behind them
	}
	switch {
	case others <= 0 || len(names) == 0:
		return "Empty Room"
	case others == 1:
		return ""
	case others == 2 && len(names) >= 2:
		return names[0] + " and " + names[1]
	}
	return fmt.Sprintf("%s and %d others", names[0], others-1)
}

// aliasName is an alias that looks like one: #local:server.
func aliasName(alias string) string {
	if strings.HasPrefix(alias, "#") && strings.IndexByte(alias, ':') > 1 {
		return alias
	}
	return ""
}
