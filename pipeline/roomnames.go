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
	type since struct {
		Hero
		at int64
	}
	var first []since // the oldest heroCount, in order
	older := func(a, b since) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.ID, b.ID)) }
	for id, m := range r.Members {
		if m.Membership != Join && m.Membership != Invite {
			continue
		}
		n.Members++
		s := since{Hero{id, m.DisplayName}, m.Since}
		if len(first) < heroCount || older(s, first[heroCount-1]) < 0 {
			i, _ := slices.BinarySearchFunc(first, s, older)
			first = slices.Insert(first, i, s)
			first = first[:min(len(first), heroCount)]
		}
	}
	for _, s := range first {
		n.Heroes = append(n.Heroes, s.Hero)
	}
	return n
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
