package pipeline

// Badges that change without a notification: who must be told of the counts alone.

import (
	"context"

	"tocsin/pipeline/stream"
)

// changedBadges are pushers whose badge is to be told, by the notice that is the last in its batch to concern them.
type changedBadges map[badgeOf][]*changedBadge

type badgeOf struct {
	notice int
	userID string
}

type badgePusher struct {
	userID string
	pusher *RegisteredPusher
}

type changedBadge struct {
	pusher *RegisteredPusher
	retry  int64 // see told
	owed   bool  // the notice notifies the pusher, and so tells the number: unless that comes to nothing
}

// changedBadges finds the pushers that will show another number than they were told once the changes are counted, though no notification tells them. It is to be called before they are counted: the
// first time that a pusher's badge changes, what it shows until then is saved as told. So it is known after a crash in between, too, that the pusher is still to be told.
func (s *Users) changedBadges(ctx context.Context, notices []*Notice, records []*stream.Record, accounts map[string]*Account, c *counting) (changedBadges, error) {
	concerned := map[string]map[*RegisteredPusher]int{} // pushers by user, with the last notice
	owed := map[badgePusher]int{}                       // those who are notified after it, with that notice
	var ids []string
	for i, n := range notices {
		if !s.pushes(n, records[i]) {
			continue
		}
		for _, u := range n.Users {
			if n.Kind == KindNotify && concerned[u.ID] != nil {
				for _, p := range notified(n, &u, accounts[u.ID]) {
					owed[badgePusher{u.ID, p}] = i // what follows tells the number
				}
			}
			for _, p := range s.untold(n, u, accounts[u.ID]) {
				delete(owed, badgePusher{u.ID, p})
				if concerned[u.ID] == nil {
					concerned[u.ID] = map[*RegisteredPusher]int{}
					ids = append(ids, u.ID)
				}
				concerned[u.ID][p] = i
			}
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	saved, err := s.Counts.Counts(ctx, ids)
	if err != nil {
		return nil, err
	}
	changes := map[string][]CountChange{}
	for _, change := range c.changes {
		if concerned[change.UserID] != nil {
			changes[change.UserID] = append(changes[change.UserID], change)
		}
	}
	found := changedBadges{}
	var first []ToldChange
	for i, id := range ids {
		rooms, err := s.decodeRooms(id, saved[i].Rooms)
		if err != nil {
			return nil, err
		}
		before := Sum(rooms)
		for _, change := range changes[id] {
			saved[i].Rooms[change.RoomID] = change.Apply(saved[i].Rooms[change.RoomID])
			rooms[change.RoomID], _ = DecodeUnread(saved[i].Rooms[change.RoomID])
		}
		after := Sum(rooms)
		for k := range accounts[id].Pushers { // in their order, so that the same records always lead to the same requests
			p := &accounts[id].Pushers[k]
			notice, is := concerned[id][p]
			if !is {
				continue
			}
			name, count := toldName(p.AppID, p.Pushkey), s.Badges.Count(p.AppID)
			t := decodeTold(saved[i].Told[name], p.Version)
			if was := before.Badge(count); t == nil && was != after.Badge(count) {
				t = &told{version: p.Version, unread: toldCount{n: was.Unread}, calls: toldCount{n: was.MissedCalls}}
				first = append(first, ToldChange{UserID: id, Pusher: name, From: saved[i].Told[name], To: t.encode()})
			}
			now := after.Badge(count)
			if !t.differs(now) {
				continue
			}
			later, isOwed := owed[badgePusher{id, p}]
			if isOwed = isOwed && t.toldBy(now); isOwed {
				notice = later
			}
			found[badgeOf{notice, id}] = append(found[badgeOf{notice, id}], &changedBadge{p, t.retry, isOwed})
		}
	}
	if len(first) > 0 {
		_, err = s.Counts.Tell(ctx, first) // where something else is saved by now, that is right: the pusher has just been told
	}
	return found, err
}

// untold are the pushers of a user whose badge the notice may change, and that get no notification of it. An invite is left out, because a notification of it follows; that of
// a user who wants none shows with the next one.
func (s *Users) untold(n *Notice, u Recipient, a *Account) (untold []*RegisteredPusher) {
	if a.Deactivated {
		return nil
	}
	for i := range a.Pushers[:min(len(a.Pushers), maxPushers)] {
		p := &a.Pushers[i]
		switch n.Kind {
		case KindRead, KindRedact, KindJoin, KindLeave, KindCall:
		case KindNotify: // the global rules count it, those of the pusher's profile tag say nothing
			if !n.Verdicts[u.Verdict].Notify || n.verdict(&u, p.ProfileTag).Notify {
				continue
			}
		default:
			continue
		}
		if s.Badges.Alone(&p.Pusher) {
			untold = append(untold, p)
		}
	}
	return untold
}

// join adds those of a notice for one of its users to the errands of that notice.
func (c changedBadges) join(notice int, n *Notice, u Recipient, es []*errand) []*errand {
	for _, b := range c[badgeOf{notice, u.ID}] {
		if b.owed {
			for _, e := range es {
				e.owes = e.owes || e.field == b.pusher.Field
			}
			continue
		}
		e := newErrand(n, u, b.pusher)
		e.alone, e.retryNumber = true, b.retry
		es = append(es, e)
	}
	return es
}
