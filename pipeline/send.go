package pipeline

// One notice to one pusher: checked again, composed with the counts of now, sent once, and what follows carried out.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// errand is one notice for one user, on the way to the user's pushers.
type errand struct {
	notice *Notice
	user   Recipient

	mu      sync.Mutex
	settled map[string]struct{} // pushers that are done with it: not told again when the lane's work is repeated
}

// isFor says whether the errand has to do with that pusher, still.
func (e *errand) isFor(p *RegisteredPusher) bool {
	if r := e.notice.Retry; r != nil && (r.AppID != p.AppID || r.Pushkey != p.Pushkey.Reveal()) {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	_, settled := e.settled[p.Field]
	return !settled
}

func (e *errand) settle(p *RegisteredPusher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.settled == nil {
		e.settled = map[string]struct{}{}
	}
	e.settled[p.Field] = struct{}{}
}

// verdict is what the user's rules made of the event for that pusher: those of its profile tag, else the global ones.
func (e *errand) verdict(p *RegisteredPusher) *Verdict {
	i := e.user.Verdict
	if t, ok := e.user.Tags[p.ProfileTag]; ok {
		i = t
	}
	return &e.notice.Verdicts[i]
}

// line tells one pusher of the user's errands, one request after another, until there is no more or the pusher is gone.
func (s *Users) line(ctx context.Context, a *Account, p *RegisteredPusher, tasks []stream.Task) error {
	for _, t := range tasks {
		e := t.Work.(*errand)
		if !e.isFor(p) || !e.verdict(p).Notify {
			continue
		}
		step, err := s.send(ctx, a, p, e, t.Record)
		if err != nil {
			return err
		}
		e.settle(p)
		if step.Action == pushers.Remove {
			return nil
		}
	}
	return nil
}

// send tells one pusher of one errand, once.
func (s *Users) send(ctx context.Context, a *Account, p *RegisteredPusher, e *errand, rec *stream.Record) (pushers.Step, error) {
	rooms, err := s.unread(ctx, a.UserID)
	if err != nil {
		return pushers.Step{}, err
	}
	n, here := e.notice, rooms[e.notice.RoomID]
	counts := Badge(rooms, s.Badge.Count)
	if reason := dropped(n, a, &here, s.PushFrom); reason != "" {
		step := pushers.Step{Action: pushers.Forget, Reason: reason}
		s.logStep(ctx, e, &p.Pusher, counts.Unread, step)
		return step, nil
	}
	d := pushers.Delivery{
		ID: deliveryID(n, a.UserID, &p.Pusher), UserID: a.UserID, Notification: Compose(n, a.UserID, e.verdict(p), p.Pusher, counts), Since: n.since(), Expires: s.Expiry.of(n),
	}
	if r := n.Retry; r != nil {
		d.Attempt, d.FirstFailure = r.Attempts, time.UnixMilli(r.FirstFailure)
	}
	step := s.Delivery.Deliver(ctx, d)
	if err := s.carryOut(ctx, step, d, p, e, rec); err != nil {
		return step, err
	}
	s.logStep(ctx, e, &p.Pusher, counts.Unread, step)
	return step, nil
}

// unread is what the user has unread in all rooms, as saved now.
func (s *Users) unread(ctx context.Context, userID string) (map[string]Unread, error) {
	saved, err := s.Counts.Counts(ctx, []string{userID})
	if err != nil {
		return nil, err
	}
	rooms := make(map[string]Unread, len(saved[0]))
	for room, b := range saved[0] {
		if rooms[room], err = DecodeUnread(b); err != nil {
			s.Log.Error("saved counts can't be read: the room does not count", "user_id", userID, "room_id", room, "error", err)
		}
	}
	return rooms, nil
}

// carryOut does what follows an attempt. When it returns nil, the delivery is settled here, or durable elsewhere.
func (s *Users) carryOut(ctx context.Context, step pushers.Step, d pushers.Delivery, p *RegisteredPusher, e *errand, rec *stream.Record) error {
	switch step.Action {
	case pushers.Again:
		err := s.Writer.Write(ctx, stream.Message{
			Topic: s.Topics.Retry(s.Tiers[step.Tier]), Partition: stream.AnyPartition, Key: []byte(d.UserID), Value: s.again(d, p, e), Headers: stream.CarryHeaders(rec.Headers), Time: s.Clock.Now(),
		})
		if errors.Is(err, stream.ErrTooLarge) { // the retry topic takes less than it should: it can't wait there
			return s.giveUp(ctx, pushers.Step{Reason: "exhausted", Detail: "too large for the retry topic: " + step.Detail}, d, p, e, rec)
		}
		return err
	case pushers.Bury:
		return s.giveUp(ctx, step, d, p, e, rec)
	case pushers.Remove:
		return s.remove(ctx, d.UserID, p, step.Reason)
	}
	return nil
}

// giveUp writes a delivery to the dead letter, as what it came from.
func (s *Users) giveUp(ctx context.Context, step pushers.Step, d pushers.Delivery, p *RegisteredPusher, e *errand, rec *stream.Record) error {
	o := e.notice.Origin
	dead := &stream.Record{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, Key: []byte(d.UserID), Value: s.again(d, p, e), Headers: rec.Headers, Time: d.Since}
	return s.DeadLetters.Bury(ctx, dead, stream.Cause{Stage: "users", Reason: step.Reason, Detail: step.Detail, Attempts: d.Attempt + 1})
}

// again is the notice of one delivery that has failed: what a retry topic holds, and the dead letter.
func (s *Users) again(d pushers.Delivery, p *RegisteredPusher, e *errand) []byte {
	n := *e.notice
	n.Kind, n.Verdicts, n.Users = KindRetry, []Verdict{*e.verdict(p)}, []Recipient{{ID: d.UserID}}
	first := d.FirstFailure
	if first.IsZero() {
		first = s.Clock.Now()
	}
	n.Retry = &Attempt{DeliveryID: d.ID, AppID: p.AppID, Pushkey: p.Pushkey.Reveal(), Attempts: d.Attempt + 1, FirstFailure: first.UnixMilli()}
	return n.encode()
}

// feedback is a record of the pusher-feedback topic: the homeserver must delete the pusher.
type feedback struct {
	UserID  string `json:"user_id"`
	AppID   string `json:"app_id"`
	Pushkey string `json:"pushkey"`
	Reason  string `json:"reason"`
	At      int64  `json:"at"` // ms since 1970
}

// remove tells the homeserver that a pusher is dead, and then stops pushing to it. One that was set again meanwhile stays.
func (s *Users) remove(ctx context.Context, userID string, p *RegisteredPusher, reason string) error {
	now := s.Clock.Now()
	value, err := json.Marshal(feedback{userID, p.AppID, p.Pushkey.Reveal(), reason, now.UnixMilli()})
	if err != nil {
		return fmt.Errorf("feedback record: %w", err)
	}
	if err := s.Writer.Write(ctx, stream.Message{Topic: s.Topics.Feedback, Partition: stream.AnyPartition, Key: []byte(userID), Value: value, Time: now}); err != nil {
		return err
	}
	if _, err := s.Store.RemoveField(ctx, userID, p.Field, p.Version); err != nil {
		return err
	}
	s.Accounts.Drop(userID)
	return nil
}

// logStep is the line that says what became of one (event, pusher).
func (s *Users) logStep(ctx context.Context, e *errand, p *pushers.Pusher, unread int, step pushers.Step) {
	rule, attempt := e.notice.Verdicts[e.user.Verdict].Rule, 1
	if e.notice.Retry != nil {
		attempt += e.notice.Retry.Attempts
	}
	s.Log.LogAttrs(ctx, slog.LevelInfo, "push settled", slog.String("event_id", e.notice.Event.ID), slog.String("room_id", e.notice.RoomID), slog.String("user_id", e.user.ID),
		slog.String("app_id", p.AppID), slog.Any("pushkey", p.Pushkey), slog.String("rule", rule), slog.Int("unread", unread), slog.String("action", step.Action.String()),
		slog.String("reason", step.Reason), slog.String("detail", step.Detail), slog.Int("attempt", attempt))
}
