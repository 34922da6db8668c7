package pipeline

// The users stage: notices become counts, and pushes.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"tocsin/clock"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// deliverer sends one delivery once, and says what follows. It does no more: the stage carries the step out.
type deliverer interface {
	Deliver(ctx context.Context, d pushers.Delivery) pushers.Step
}

// Users is the users stage. Counts are sets and commute, so they are taken in bulk as records come; what is to be sent waits in the lane of its (user, pusher), in order, and no lane waits for
// another.
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

	backlog backlog
}

// maxPushers bounds the pushers of one user that are told of an event, so that nobody takes the room of all.
const maxPushers = 32

// Take implements [stream.Handler]: it counts all users of the records at hand at once, and leaves to the lanes what is to be sent. Whatever is written is written last: what fails before is done
// again as a whole.
func (s *Users) Take(ctx context.Context, batch []*stream.Record) ([]stream.Task, error) {
	notices, records, bad, err := s.decode(batch)
	if err != nil {
		return nil, err
	}
	var out []stream.Message
	for i, n := range notices {
		out = append(out, s.strays(n, records[i])...)
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
		if n.Kind != KindNotify && n.Kind != KindRetry || n.since().Before(s.PushFrom) || records[i].Again {
			continue
		}
		for _, u := range n.Users {
			t, diverted := s.tasks(ctx, n, u, accounts[u.ID], records[i])
			tasks, out = append(tasks, t...), append(out, diverted...)
		}
	}
	if len(out) > 0 {
		if err := s.Writer.Write(ctx, out...); err != nil {
			s.backlog.forget(tasks)
			return nil, err
		}
	}
	if err := bad.bury(ctx, s.DeadLetters, "users", s.Log); err != nil {
		s.backlog.forget(tasks)
		return nil, err
	}
	return tasks, nil
}

// tasks are what a notice means for the pushers of one user; for those whose lane is too slow it comes back from the first retry tier.
func (s *Users) tasks(ctx context.Context, n *Notice, u Recipient, a *Account, rec *stream.Record) (tasks []stream.Task, diverted []stream.Message) {
	told := a.Pushers
	if r := n.Retry; r != nil {
		p := a.Pusher(r.AppID, r.Pushkey)
		if p == nil {
			gone := &errand{notice: n, user: u, pusher: pushers.Pusher{AppID: r.AppID, Pushkey: pushers.NewPushkey(r.Pushkey)}}
			s.logStep(ctx, gone, 0, pushers.Step{Action: pushers.Forget, Reason: "pusher_gone"})
			return nil, nil
		}
		told = []RegisteredPusher{*p}
	}
	for i := range told[:min(len(told), maxPushers)] {
		e := &errand{notice: n, user: u, pusher: told[i].Pusher, field: told[i].Field}
		if !e.verdict().Notify {
			continue
		}
		e.lane = u.ID + " " + e.pusher.AppID + " " + e.pusher.Pushkey.Hash()
		if !s.backlog.admit(rec.Generation, e) {
			step := pushers.Step{Action: pushers.Again, Detail: "pusher_slow", Unsent: true}
			s.logStep(ctx, e, 0, step)
			diverted = append(diverted, s.retry(e, step, rec))
			continue
		}
		tasks = append(tasks, stream.Task{Lane: e.lane, Record: rec, Work: e})
	}
	return tasks, diverted
}

// decode reads the notices.
func (s *Users) decode(batch []*stream.Record) (notices []*Notice, records []*stream.Record, bad unreadables, err error) {
	for _, rec := range batch {
		n, err := decodeNotice(rec)
		switch {
		case errors.Is(err, stream.ErrStop):
			return nil, nil, nil, err
		case err != nil:
			bad.add(rec, err)
		default:
			notices, records = append(notices, n), append(records, rec)
		}
	}
	return notices, records, bad, nil
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
		return func(unread *Unread) { unread.Notify(n.Position, n.Thread, v.Highlight) }
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

// Do implements [stream.Handler]: the waiting errands of one user's pusher.
func (s *Users) Do(ctx context.Context, lane string, tasks []stream.Task) error {
	for _, t := range tasks {
		e := t.Work.(*errand)
		if e.finished {
			continue
		}
		began := s.backlog.begin(e)
		err := s.send(ctx, e, t.Record)
		s.backlog.end(e, began, err == nil)
		if err != nil {
			return err
		}
		e.finished = true
	}
	return nil
}
