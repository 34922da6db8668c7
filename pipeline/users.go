package pipeline

// The users stage: notices become counts, and pushes.

import (
	"context"
	"errors"
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

// rejectionGuard tells a dead pushkey from an app whose pushkeys are all rejected. See [Guard].
type rejectionGuard interface {
	Tried(appID string, key pushers.Pushkey)
	Rejected(ctx context.Context, appID string, key pushers.Pushkey) (Ruling, error)
	Tripped(appID string) (tripID string, ok bool)
}

// remover removes rejected pushers, and keeps them for a while. See [RemovedStore].
type remover interface {
	RemovePusher(ctx context.Context, userID, field string, version Version, reason string, at time.Time) (removed bool, err error)
}

// Users is the users stage. Counts are sets and commute, so they are taken in bulk as records come; what is to be sent waits in the lane of its (user, pusher), in order, and no lane waits for
// another.
type Users struct {
	Counts      CountStore
	Store       AccountStore
	Accounts    *AccountCache
	Delivery    deliverer
	Guard       rejectionGuard
	Removed     remover
	Writer      writer
	DeadLetters undertaker
	Topics      Topics
	Tiers       []time.Duration // delays of the retry topics
	Partitions  func() int      // of the notifications topic
	Badges      *Badges
	Counting    CountsConfig
	Expiry      Expiry
	PushFrom    time.Time // what is older is counted, not pushed
	LedgerTTL   time.Duration
	Paused      func(appID string) bool                   // nothing is to be sent to the app now
	Live        func(userID string) bool                  // false: everything is done for the user but the request
	Through     func(appID string) (provider, app string) // by whom an app's pushers are told, for logs, spans and metrics; nil: not known
	Clock       clock.Clock
	Log         *slog.Logger
	Metrics     *Metrics // nil: none
	Tracing     *Tracing // nil: none

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
	moved := int64(0)
	for i, n := range notices {
		if strays := s.strays(n, records[i]); len(strays) > 0 {
			out, moved = append(out, strays...), moved+1
		}
	}
	if moved > 0 {
		s.Metrics.misplaced(ctx, s.Topics.Notifications, moved)
		s.Log.Warn("notices lie in partitions that their users have left: they are sent on", "topic", s.Topics.Notifications, "partition", batch[0].Partition, "records", moved)
	}
	accounts, err := s.accounts(ctx, notices)
	if err != nil {
		return nil, err
	}
	if err := s.doubtBadges(ctx, notices, records, accounts); err != nil {
		return nil, err
	}
	c := s.changes(notices, accounts)
	badges, err := s.changedBadges(ctx, notices, records, accounts, c) // before anything is counted: see there
	if err != nil {
		return nil, err
	}
	if err := s.count(ctx, c); err != nil {
		return nil, err
	}
	var tasks []stream.Task
	for i, n := range notices {
		if !s.pushes(n, records[i]) {
			continue
		}
		for _, u := range n.Users {
			t, diverted := s.admit(ctx, badges.join(i, n, u, s.errands(ctx, n, u, accounts[u.ID])), records[i])
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

// pushes says whether anybody is to be told of the notice, or of what it counts: it is no news if the record was done before, or came before this deployment's start.
func (s *Users) pushes(n *Notice, rec *stream.Record) bool {
	return !n.Silent && !rec.Again && !n.since().Before(s.PushFrom)
}

// errands are the deliveries that a notice asks for, one for each pusher of a user that is to be told.
func (s *Users) errands(ctx context.Context, n *Notice, u Recipient, a *Account) (es []*errand) {
	switch n.Kind {
	case KindNotify:
		for _, p := range notified(n, &u, a) {
			es = append(es, newErrand(n, u, p))
		}
	case KindRetry, KindBadge:
		p := a.Pusher(n.Retry.AppID, n.Retry.Pushkey)
		if p == nil {
			gone := newErrand(n, u, &RegisteredPusher{Pusher: pushers.Pusher{AppID: n.Retry.AppID, Pushkey: pushers.NewPushkey(n.Retry.Pushkey)}})
			s.logStep(ctx, gone, pushers.Step{Action: pushers.Forget, Reason: "pusher_gone"})
			return nil
		}
		return []*errand{newErrand(n, u, p)}
	}
	return es
}

// notified are the pushers of a user that the notice of an event notifies.
func notified(n *Notice, u *Recipient, a *Account) (told []*RegisteredPusher) {
	for i := range a.Pushers[:min(len(a.Pushers), maxPushers)] {
		if p := &a.Pushers[i]; n.verdict(u, p.ProfileTag).Notify {
			told = append(told, p)
		}
	}
	return told
}

// admit lets errands wait in the lanes of their pushers; those for a lane that is too slow come back from the first retry tier.
func (s *Users) admit(ctx context.Context, es []*errand, rec *stream.Record) (tasks []stream.Task, diverted []stream.Message) {
	for _, e := range es {
		if !s.backlog.admit(rec.Generation, e) {
			step := pushers.Step{Action: pushers.Again, Detail: "pusher_slow", Unsent: true}
			s.logStep(ctx, e, step)
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
	on := *n
	on.Silent = n.Silent || rec.Again // there it is a record like any other: nobody must be told again
	return spread(on, away, s.Topics.Notifications, partitions, rec.Headers, s.Clock.Now())
}

// accounts are those of all users: whether they are told of anything, and what is kept of their counts, depends on their pushers.
func (s *Users) accounts(ctx context.Context, notices []*Notice) (map[string]*Account, error) {
	found := map[string]*Account{}
	var ids []string
	for _, n := range notices {
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
