package pipeline

// One notice to one pusher: checked again, composed with the counts of now, sent once, and what follows carried out.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// errand is one notice for one pusher of a user.
type errand struct {
	notice *Notice
	user   Recipient
	pusher pushers.Pusher // as it was when the notice came
	field  string         // where it is saved
	lane   string

	load        *laneLoad
	spentBefore time.Duration // what the lane had spent when the errand came
	overdue     bool          // others before it took too long: it is not sent now

	// What an attempt came to is carried out once. If that fails, it alone is done again, not the attempt.
	step     *pushers.Step
	delivery pushers.Delivery
	reported bool // the homeserver has been told that the pusher is rejected
	finished bool
}

// verdict is what the user's rules made of the event for the pusher: those of its profile tag, else the global ones.
func (e *errand) verdict() *Verdict {
	i := e.user.Verdict
	if t, ok := e.user.Tags[e.pusher.ProfileTag]; ok {
		i = t
	}
	return &e.notice.Verdicts[i]
}

// send tells the pusher, once, and carries out what follows.
func (s *Users) send(ctx context.Context, e *errand, rec *stream.Record) error {
	accounts, err := s.Accounts.Get(ctx, []string{e.user.ID})
	if err != nil {
		return err
	}
	a := accounts[0]
	p := a.saved(e.field)
	if p == nil && e.step == nil {
		s.logStep(ctx, e, 0, pushers.Step{Action: pushers.Forget, Reason: "pusher_gone"})
		return nil
	}
	if e.step == nil {
		e.pusher = p.Pusher
		if err := s.attempt(ctx, a, e); err != nil {
			return err
		}
	}
	if err := s.carryOut(ctx, e, p, rec); err != nil {
		return err
	}
	s.logStep(ctx, e, e.delivery.Notification.Counts.Unread, *e.step)
	return nil
}

// attempt sends the errand's notification with the counts of now, unless nobody waits for it any more, and notes what follows.
func (s *Users) attempt(ctx context.Context, a *Account, e *errand) error {
	rooms, err := s.unread(ctx, a.UserID)
	if err != nil {
		return err
	}
	n, here := e.notice, rooms[e.notice.RoomID]
	e.delivery = pushers.Delivery{
		ID: deliveryID(n, a.UserID, &e.pusher), UserID: a.UserID, Notification: Compose(n, a.UserID, e.verdict(), e.pusher, Badge(rooms, s.Badge.Count)),
		Since: n.since(), Expires: s.Expiry.of(n),
	}
	if r := n.Retry; r != nil {
		e.delivery.Attempt = r.Attempts
		if r.Attempts > 0 {
			e.delivery.FirstFailure = time.UnixMilli(r.FirstFailure)
		}
	}
	var step pushers.Step
	switch reason := dropped(n, a, &here, s.PushFrom); {
	case reason != "":
		step = pushers.Step{Action: pushers.Forget, Reason: reason}
	case e.overdue:
		step = pushers.Step{Action: pushers.Again, Detail: "pusher_slow", Unsent: true}
	default:
		step = s.Delivery.Deliver(ctx, e.delivery)
	}
	e.step = &step
	return nil
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
func (s *Users) carryOut(ctx context.Context, e *errand, p *RegisteredPusher, rec *stream.Record) error {
	switch e.step.Action {
	case pushers.Again:
		err := s.Writer.Write(ctx, s.retry(e, *e.step, rec))
		if errors.Is(err, stream.ErrTooLarge) { // the retry topic takes less than it should: it can't wait there
			return s.giveUp(ctx, e, pushers.Step{Reason: "exhausted", Detail: "too large for the retry topic: " + e.step.Detail}, rec)
		}
		return err
	case pushers.Bury:
		return s.giveUp(ctx, e, *e.step, rec)
	case pushers.Remove:
		return s.remove(ctx, e, p)
	}
	return nil
}

// retry is the record that lets an errand come back from a retry topic.
func (s *Users) retry(e *errand, step pushers.Step, rec *stream.Record) stream.Message {
	return stream.Message{
		Topic: s.Topics.Retry(s.Tiers[step.Tier]), Partition: stream.AnyPartition, Key: []byte(e.user.ID), Value: s.again(e, step), Headers: stream.CarryHeaders(rec.Headers), Time: s.Clock.Now(),
	}
}

// giveUp writes a delivery to the dead letter, as what it came from.
func (s *Users) giveUp(ctx context.Context, e *errand, step pushers.Step, rec *stream.Record) error {
	o := e.notice.Origin
	dead := &stream.Record{Topic: o.Topic, Partition: o.Partition, Offset: o.Offset, Key: []byte(e.user.ID), Value: s.again(e, step), Headers: rec.Headers, Time: e.notice.since()}
	return s.DeadLetters.Bury(ctx, dead, stream.Cause{Stage: "users", Reason: step.Reason, Detail: step.Detail, Attempts: e.delivery.Attempt + 1})
}

// again is the notice of one delivery: what a retry topic holds, and the dead letter.
func (s *Users) again(e *errand, step pushers.Step) []byte {
	n := *e.notice
	n.Kind, n.Verdicts, n.Users = KindRetry, []Verdict{*e.verdict()}, []Recipient{{ID: e.user.ID}}
	attempt := Attempt{DeliveryID: deliveryID(e.notice, e.user.ID, &e.pusher), AppID: e.pusher.AppID, Pushkey: e.pusher.Pushkey.Reveal()}
	if before := e.notice.Retry; before != nil {
		attempt.Attempts, attempt.FirstFailure = before.Attempts, before.FirstFailure
	}
	if !step.Unsent {
		if attempt.Attempts == 0 {
			attempt.FirstFailure = s.Clock.Now().UnixMilli()
		}
		attempt.Attempts++
	}
	n.Retry = &attempt
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

// errPusherChanged says that a rejected pusher was set anew meanwhile: the rejection was of the old one.
var errPusherChanged = errors.New("the pusher was set again while it was being rejected: it is told again")

// remove tells the homeserver that a pusher is dead, and then stops pushing to it. One that was set again meanwhile stays, and is told again.
func (s *Users) remove(ctx context.Context, e *errand, p *RegisteredPusher) error {
	if p == nil {
		return nil // removed by another errand, or by the user
	}
	saved, err := s.Store.Accounts(ctx, []string{e.user.ID})
	if err != nil {
		return err
	}
	if now, ok := saved[0][p.Field]; !ok || now.Version != p.Version {
		s.Accounts.Drop(e.user.ID)
		if e.reported || !ok {
			return nil
		}
		e.step = nil
		return errPusherChanged
	}
	if !e.reported {
		now := s.Clock.Now()
		value, err := json.Marshal(feedback{e.user.ID, p.AppID, p.Pushkey.Reveal(), e.step.Reason, now.UnixMilli()})
		if err != nil {
			return fmt.Errorf("feedback record: %w", err)
		}
		if err := s.Writer.Write(ctx, stream.Message{Topic: s.Topics.Feedback, Partition: stream.AnyPartition, Key: []byte(e.user.ID), Value: value, Time: now}); err != nil {
			return err
		}
		e.reported = true
	}
	if _, err := s.Store.RemoveField(ctx, e.user.ID, p.Field, p.Version); err != nil {
		return err
	}
	s.Accounts.Drop(e.user.ID)
	return nil
}

// logStep is the line that says what became of one (event, pusher). A user's own rules are named after what they match, so their ids are for debugging only.
func (s *Users) logStep(ctx context.Context, e *errand, unread int, step pushers.Step) {
	rule, attempt := e.verdict().Rule, 1
	if !strings.HasPrefix(rule, ".") && !s.Log.Enabled(ctx, slog.LevelDebug) {
		rule = "own"
	}
	if e.notice.Retry != nil {
		attempt += e.notice.Retry.Attempts
	}
	s.Metrics.settled(ctx, step.Action.String(), step.Reason)
	s.Log.LogAttrs(ctx, slog.LevelInfo, "push settled", slog.String("event_id", e.notice.Event.ID), slog.String("room_id", e.notice.RoomID), slog.String("user_id", e.user.ID),
		slog.String("app_id", e.pusher.AppID), slog.Any("pushkey", e.pusher.Pushkey), slog.String("rule", rule), slog.Int("unread", unread), slog.String("action", step.Action.String()),
		slog.String("reason", step.Reason), slog.String("detail", step.Detail), slog.Int("attempt", attempt))
}
