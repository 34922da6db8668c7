package pipeline

// What notices do to the counts of their users.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tocsin/pipeline/stream"
)

// counting is what a batch of notices does to counts.
type counting struct {
	changes []CountChange
	newer   error // something that is saved was written by a newer tocsin
}

// changes are what the notices do to what their users have unread.
func (s *Users) changes(notices []*Notice, accounts map[string]*Account) *counting {
	c := &counting{}
	for _, n := range notices {
		for _, u := range n.Users {
			a := accounts[u.ID]
			apply := effect(n, u, a)
			counted := s.Counting.Users != CountPushers || len(a.Pushers) > 0
			if apply == nil || !counted && begins(n.Kind) {
				continue
			}
			c.changes = append(c.changes, CountChange{UserID: u.ID, RoomID: n.RoomID, Apply: func(saved []byte) []byte {
				if len(saved) == 0 && !counted {
					return saved
				}
				unread, err := DecodeUnread(saved)
				if errors.Is(err, errUnreadNewer) {
					c.newer = err
					return saved
				} else if err != nil {
					s.Log.Error("saved counts can't be read: they start again", "user_id", u.ID, "room_id", n.RoomID, "error", err)
				}
				apply(&unread)
				unread.Trim(s.most(&unread, a))
				return unread.Encode()
			}})
		}
	}
	return c
}

// begins says whether such a notice may be the first thing that is counted in a room. The others change what is counted already.
func begins(k Kind) bool { return k == KindNotify || k == KindInvite }

// effect is what a notice does to the counts of one of its users; nil if nothing. It does the same when it is done again.
func effect(n *Notice, u Recipient, a *Account) func(*Unread) {
	today := day(n.since())
	switch n.Kind {
	case KindNotify:
		v := &n.Verdicts[u.Verdict]
		if !v.Notify || n.invites() {
			return nil // an invite counts as an invite
		}
		return func(unread *Unread) {
			unread.Notify(n.Position, n.Thread, v.Highlight)
			if n.Event.Type == "m.call.invite" && n.Call != "" {
				unread.Call(n.Position, n.Call)
			}
			begin(unread, today)
		}
	case KindRead:
		return func(unread *Unread) {
			if u.ThreadID == "" {
				unread.Read(u.Position)
			} else {
				unread.ReadThread(u.ThreadID, u.Position)
			}
			unread.Seen(today)
		}
	case KindRedact:
		return func(unread *Unread) { unread.Redact(n.Position) }
	case KindInvite:
		ignored := n.Sender != "" && a.Ignores(n.Sender)
		return func(unread *Unread) {
			unread.Read(n.Position) // who is invited is not in the room: a state reset can make an invite of a join
			if !ignored {
				unread.Invite(n.Position)
				begin(unread, today)
			}
		}
	case KindJoin:
		return func(unread *Unread) { unread.Join(n.Position) }
	case KindLeave:
		return func(unread *Unread) { unread.Leave(n.Position) }
	case KindCall:
		return func(unread *Unread) { unread.AnswerCall(n.Position, n.Call) }
	}
	return nil
}

// invites says whether the notice is of an invite.
func (n *Notice) invites() bool {
	return n.Event.Type == "m.room.member" && contentText(n.Event.Content, "membership") == string(Invite)
}

// begin notes when counting began, so that it is known how long nobody has read.
func begin(u *Unread, today int64) {
	if u.LastSeen() == 0 {
		u.Seen(today)
	}
}

// day is the number of days since 1970.
func day(t time.Time) int64 { return t.Unix() / (24 * 60 * 60) }

// most is how much is kept of a room: little, where nobody looks and no device is told.
func (s *Users) most(u *Unread, a *Account) int {
	if len(a.Pushers) == 0 && u.LastSeen() != 0 && day(s.Clock.Now())-u.LastSeen() > int64(s.Counting.IdleAfter/(24*time.Hour)) {
		return s.Counting.IdleMaxUnread
	}
	return s.Counting.MaxUnread
}

// count saves the changes.
func (s *Users) count(ctx context.Context, c *counting) error {
	if len(c.changes) > 0 {
		if err := s.Counts.ChangeCounts(ctx, c.changes); err != nil {
			return err
		}
	}
	if c.newer != nil {
		return stopped(c.newer)
	}
	return nil
}

// stopped is the error of a stage that has met what a newer tocsin saved.
func stopped(newer error) error {
	return fmt.Errorf("%w: upgrade this worker: %w", newer, stream.ErrStop)
}

// decodeRooms is what a user has unread in each room. One that can't be read does not count; one that a newer tocsin can read stops the stage: without it every number would be wrong.
func (s *Users) decodeRooms(userID string, saved map[string][]byte) (map[string]Unread, error) {
	rooms := make(map[string]Unread, len(saved))
	for room, b := range saved {
		u, err := DecodeUnread(b)
		if errors.Is(err, errUnreadNewer) {
			return nil, stopped(err)
		} else if err != nil {
			s.Log.Error("saved counts can't be read: the room does not count", "user_id", userID, "room_id", room, "error", err)
		}
		rooms[room] = u
	}
	return rooms, nil
}
