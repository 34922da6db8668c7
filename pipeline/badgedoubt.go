package pipeline

// Badges after Redis may have lost its last writes.

import (
	"context"

	"tocsin/pipeline/stream"
)

// doubtBadges notes that it is not sure what pushers were told whose user is concerned by a record that is read again: counting it once more brings back what is unread, but what was saved of the
// numbers that went out because of it may be lost with it. So the next change of the badge is told, even if it leads to the number that was the last one to be saved.
func (s *Users) doubtBadges(ctx context.Context, notices []*Notice, records []*stream.Record, accounts map[string]*Account) error {
	calls := map[string]bool{} // by user: whether the number of missed calls is concerned, too
	var ids []string
	for i, n := range notices {
		if !records[i].Again || n.Silent || n.since().Before(s.PushFrom) {
			continue // nobody was told because of it
		}
		for _, u := range n.Users {
			if _, before := calls[u.ID]; !before && len(s.alone(accounts[u.ID])) > 0 {
				ids = append(ids, u.ID)
				calls[u.ID] = false
			}
			if n.Call != "" {
				calls[u.ID] = true
			}
		}
	}
	if len(ids) == 0 {
		return nil
	}
	saved, err := s.Counts.Counts(ctx, ids)
	if err != nil {
		return err
	}
	var changes []ToldChange
	for i, id := range ids {
		for _, p := range s.alone(accounts[id]) {
			name := toldName(p.AppID, p.Pushkey)
			t := decodeTold(saved[i].Told[name], p.Version)
			if t == nil {
				continue // whatever changes the badge next is told
			}
			t.unread.doubt = true
			t.calls.doubt = t.calls.doubt || calls[id] || t.calls.n > 0
			if to := t.encode(); to != saved[i].Told[name] {
				changes = append(changes, ToldChange{UserID: id, Pusher: name, From: saved[i].Told[name], To: to})
			}
		}
	}
	if len(changes) > 0 {
		_, err = s.Counts.Tell(ctx, changes) // where something else is saved by now, the pusher has just been told
	}
	return err
}

// alone are the pushers of a user that are told of counts alone.
func (s *Users) alone(a *Account) (alone []*RegisteredPusher) {
	for i := range a.Pushers[:min(len(a.Pushers), maxPushers)] {
		if p := &a.Pushers[i]; s.Badges.Alone(&p.Pusher) {
			alone = append(alone, p)
		}
	}
	return alone
}
