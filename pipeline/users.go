package pipeline

// The users stage: notices become counts, and pushes.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tocsin/clock"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// deliverer sends one delivery once, and says what follows. It does no more: the stage carries the step out.
type deliverer interface {
	Deliver(ctx context.Context, d pushers.Delivery) pushers.Step
}

// Users is the users stage. Counts are sets and commute, so they are taken in bulk as records come; what is to be sent waits in its user's lane, in order.
type Users struct {
	Counts      CountStore
	Store       AccountStore
	Accounts    *AccountCache
	Delivery    deliverer
	Writer      writer
	DeadLetters undertaker
	Topics      Topics
	Tiers       []time.Duration // delays of the retry topics
	Partitions  func() int      // of the notifications topic
	Badge       BadgeConfig
	MaxUnread   int
	Expiry      Expiry
	PushFrom    time.Time // what is older is counted, not pushed
	Clock       clock.Clock
	Log         *slog.Logger
}

// Take implements [stream.Handler]: it counts all users of the records at hand at once, and leaves to the lanes what is to be sent.
func (s *Users) Take(ctx context.Context, batch []*stream.Record) ([]stream.Task, error) {
	notices, records, err := s.decode(ctx, batch)
	if err != nil {
		return nil, err
	}
	var strays []stream.Message
	for i, n := range notices {
		strays = append(strays, s.strays(n, records[i])...)
	}
	if len(strays) > 0 {
		if err := s.Writer.Write(ctx, strays...); err != nil {
			return nil, err
		}
	}
	accounts, err := s.accounts(ctx, notices)
	if err != nil {
		return nil, err
	}
	if err := s.count(ctx, notices, accounts); err != nil {
		return nil, err
	}
	var tasks []stream.Task
	for i, n := range notices {
		if n.Kind != KindNotify && n.Kind != KindRetry {
			continue
		}
		for _, u := range n.Users {
			if len(accounts[u.ID].Pushers) > 0 {
				tasks = append(tasks, stream.Task{Lane: u.ID, Record: records[i], Work: &errand{notice: n, user: u}})
			}
		}
	}
	return tasks, nil
}

// decode reads the notices; a record that nobody can read goes to the dead letter.
func (s *Users) decode(ctx context.Context, batch []*stream.Record) (notices []*Notice, records []*stream.Record, err error) {
	for _, rec := range batch {
		n, err := decodeNotice(rec)
		if err == nil {
			notices, records = append(notices, n), append(records, rec)
			continue
		}
		if err := bury(ctx, s.DeadLetters, rec, "users", err, s.Log); err != nil {
			return nil, nil, err
		}
	}
	return notices, records, nil
}

// strays takes out the users who belong to another partition (the topic has more now than when this was written) and returns the records that send them on: a user must never have two lanes.
func (s *Users) strays(n *Notice, rec *stream.Record) []stream.Message {
	partitions := s.Partitions()
	var away []Recipient
	kept := n.Users[:0:0]
	for _, u := range n.Users {
		if stream.PartitionOf(u.ID, partitions) == rec.Partition {
			kept = append(kept, u)
		} else {
			away = append(away, u)
		}
	}
	n.Users = kept
	if len(away) == 0 {
		return nil
	}
	return spread(*n, away, s.Topics.Notifications, partitions, rec.Headers, s.Clock.Now())
}

// accounts are those of all users of whom something may be sent or who are invited.
func (s *Users) accounts(ctx context.Context, notices []*Notice) (map[string]*Account, error) {
	found := map[string]*Account{}
	var ids []string
	for _, n := range notices {
		if n.Kind != KindNotify && n.Kind != KindRetry && n.Kind != KindInvite {
			continue
		}
		for _, u := range n.Users {
			if _, twice := found[u.ID]; !twice {
				found[u.ID] = nil
				ids = append(ids, u.ID)
			}
		}
	}
	accounts, err := s.Accounts.Get(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, a := range accounts {
		found[a.UserID] = a
	}
	return found, nil
}

// count makes the notices part of what their users have unread.
func (s *Users) count(ctx context.Context, notices []*Notice, accounts map[string]*Account) error {
	var changes []CountChange
	var newer error
	for _, n := range notices {
		for _, u := range n.Users {
			apply := counting(n, u, accounts[u.ID])
			if apply == nil {
				continue
			}
			changes = append(changes, CountChange{UserID: u.ID, RoomID: n.RoomID, Apply: func(saved []byte) []byte {
				unread, err := DecodeUnread(saved)
				if errors.Is(err, errUnreadNewer) {
					newer = err
					return saved
				} else if err != nil {
					s.Log.Error("saved counts can't be read: they start again", "user_id", u.ID, "room_id", n.RoomID, "error", err)
				}
				apply(&unread)
				unread.Trim(s.MaxUnread)
				return unread.Encode()
			}})
		}
	}
	if len(changes) == 0 {
		return nil
	}
	if err := s.Counts.ChangeCounts(ctx, changes); err != nil {
		return err
	}
	if newer != nil {
		return fmt.Errorf("%w: upgrade this worker: %w", newer, stream.ErrStop)
	}
	return nil
}

// counting is what a notice does to the counts of one of its users; nil if nothing.
func counting(n *Notice, u Recipient, a *Account) func(*Unread) {
	switch n.Kind {
	case KindNotify:
		v := &n.Verdicts[u.Verdict]
		if !v.Notify || n.Event.Type == "m.room.member" && contentText(n.Event.Content, "membership") == string(Invite) {
			return nil // an invite counts as an invite
		}
		return func(unread *Unread) { unread.Notify(n.Position, v.Highlight) }
	case KindRead:
		if u.ThreadID != "" && u.ThreadID != "main" {
			return nil // counts are kept by room: a receipt of one thread must not clear what others wait for in the room
		}
		return func(unread *Unread) { unread.Read(u.Position) }
	case KindRedact:
		return func(unread *Unread) { unread.Redact(n.Position) }
	case KindInvite:
		if n.Sender != "" && a.Ignores(n.Sender) {
			return nil
		}
		return func(unread *Unread) { unread.Invite(n.Position) }
	case KindJoin:
		return func(unread *Unread) { unread.Join(n.Position) }
	case KindLeave:
		return func(unread *Unread) { unread.Leave(n.Position) }
	}
	return nil
}

// Do implements [stream.Handler]: the waiting errands of one user. Each pusher hears of them in order; pushers don't wait for one another.
func (s *Users) Do(ctx context.Context, userID string, tasks []stream.Task) error {
	accounts, err := s.Accounts.Get(ctx, []string{userID})
	if err != nil {
		return err
	}
	account := accounts[0]
	var lines sync.WaitGroup
	errs := make([]error, len(account.Pushers))
	for i := range account.Pushers {
		lines.Go(func() { errs[i] = s.line(ctx, account, &account.Pushers[i], tasks) })
	}
	lines.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, t := range tasks {
		e := t.Work.(*errand)
		if r := e.notice.Retry; r != nil && account.Pusher(r.AppID, r.Pushkey) == nil {
			s.logStep(ctx, e, &pushers.Pusher{AppID: r.AppID, Pushkey: pushers.NewPushkey(r.Pushkey)}, 0, pushers.Step{Action: pushers.Forget, Reason: "pusher_gone"})
		}
	}
	return nil
}
