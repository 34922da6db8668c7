package pipeline

// One notice to one pusher: checked again, composed with the counts of now, sent once, and what follows carried out.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"go.opentelemetry.io/otel/trace"

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

	alone       bool  // the counts alone are to be told, not the event
	owes        bool  // the badge changed before this was counted: if it comes to nothing, the counts alone are to be told
	retryNumber int64 // of counts alone: its own number as a retry, or the newest there was when it was made (see told)
	numbered    bool  // it has got the number of a retry

	load        *laneLoad
	spentBefore time.Duration // what the lane had spent when the errand came
	overdue     bool          // others before it took too long: it is not sent now

	// What an attempt came to is carried out once. If that fails, it alone is done again, not the attempt.
	step     *pushers.Step
	delivery pushers.Delivery
	told     *telling
	held     string // the mark of the rejection guard, if it holds the pusher (see guard.go)
	reported bool   // the homeserver has been told that the pusher is rejected
	finished bool
}

func newErrand(n *Notice, u Recipient, p *RegisteredPusher) *errand {
	e := &errand{notice: n, user: u, pusher: p.Pusher, field: p.Field, lane: u.ID + " " + p.AppID + " " + p.Pushkey.Hash(), alone: n.Kind == KindBadge}
	if e.alone {
		e.retryNumber = n.Retry.Badge
	}
	return e
}

// verdict is what the user's rules made of the event for the pusher: those of its profile tag, else the global ones. Of counts alone there is none.
func (e *errand) verdict() *Verdict {
	if e.alone {
		return &Verdict{}
	}
	return e.notice.verdict(&e.user, e.pusher.ProfileTag)
}

// send tells the pusher, once, and carries out what follows.
func (s *Users) send(ctx context.Context, e *errand, rec *stream.Record) error {
	ctx, span := s.Tracing.begin(ctx, rec, "push", trace.SpanKindClient)
	defer span.End()
	accounts, err := s.Accounts.Get(ctx, []string{e.user.ID})
	if err != nil {
		return err
	}
	a := accounts[0]
	p := a.saved(e.field)
	if p == nil && e.step == nil {
		s.logStep(ctx, e, pushers.Step{Action: pushers.Forget, Reason: "pusher_gone"})
		return nil
	}
	if e.step == nil {
		e.pusher = p.Pusher
		if err := s.attempt(ctx, a, p, e); err != nil {
			return err
		}
	}
	if err := e.told.settle(ctx, e, s.LedgerTTL); err != nil {
		return err
	}
	if err := s.carryOut(ctx, e, p, rec); err != nil {
		return err
	}
	s.logStep(ctx, e, *e.step)
	return nil
}

// attempt sends the errand's notification with the counts of now, unless nobody waits for it any more, and notes what follows.
func (s *Users) attempt(ctx context.Context, a *Account, p *RegisteredPusher, e *errand) error {
	saved, ended, err := s.Counts.CountsFor(ctx, a.UserID, e.ledgerID())
	if err != nil {
		return err
	}
	rooms, err := s.decodeRooms(a.UserID, saved.Rooms)
	if err != nil {
		return err
	}
	now := Sum(rooms).Badge(s.Badges.Count(p.AppID))
	e.told, e.numbered = s.readTold(a, p, saved.Told), false
	e.held = saved.Told[HeldField(p.AppID, p.Pushkey)]
	here := rooms[e.notice.RoomID]
	reason, withheld := s.unwanted(a, e, &here, now), s.withheld(p, e)
	if ended {
		reason = "already_sent"
	}
	if reason = cmp.Or(reason, withheld); reason != "" {
		step := pushers.Step{Action: pushers.Forget, Reason: reason}
		if withheld != "" || !e.leaves(reason, now) {
			e.step = &step
			return nil
		}
		s.logStep(ctx, e, step)
		e.turn(s.Clock.Now())
	}
	e.delivery = s.compose(a, e, now)
	if e.step = s.postponed(e); e.step != nil {
		return nil
	}
	step, err := s.deliver(ctx, e)
	if err == nil && step.Untold && !e.alone && e.told.now.differs(now) { // the event was to tell the badge
		s.logStep(ctx, e, step)
		e.turn(s.Clock.Now())
		e.delivery = s.compose(a, e, now)
		step, err = s.deliver(ctx, e)
	}
	if err != nil {
		return err
	}
	if step.Verdict != 0 { // what was not sent, because the service was away or full, must not make a wave of rejections look small
		s.Guard.Tried(p.AppID, p.Pushkey)
	}
	if e.alone && step.Action == pushers.Bury {
		step.Action = pushers.Forget // nobody wants an old number: the next change tells one of its own
	}
	e.step = &step
	return nil
}

// deliver makes the attempt. What it tells is in doubt from before it on.
func (s *Users) deliver(ctx context.Context, e *errand) (pushers.Step, error) {
	if err := e.told.doubt(ctx, &e.delivery.Notification); err != nil {
		return pushers.Step{}, err
	}
	return s.Delivery.Deliver(ctx, e.delivery), nil
}

// withheld says why nothing is sent to the pusher at all, whoever waits for it, or "".
func (s *Users) withheld(p *RegisteredPusher, e *errand) string {
	if trip, tripped := s.Guard.Tripped(p.AppID); IsHeld(e.held, trip, tripped, p.Version) {
		return "held"
	}
	if !s.Live(e.user.ID) {
		return "shadow"
	}
	return ""
}

// postponed is the step of an errand that is not sent now, whatever the push service would say; nil if it is.
func (s *Users) postponed(e *errand) *pushers.Step {
	switch now := s.Clock.Now(); {
	case e.overdue:
		return &pushers.Step{Action: pushers.Again, Detail: "pusher_slow", Unsent: true}
	case s.Paused(e.pusher.AppID) && now.Before(e.delivery.Expires): // else the delivery itself says that it is too late
		return &pushers.Step{Action: pushers.Again, Tier: s.pausedTier(now.Sub(e.delivery.Since)), Detail: "paused", Unsent: true}
	}
	return nil
}

// longestPause is the longest delay of the retry topics that what is paused waits in before it is looked at again.
const longestPause = 5 * time.Minute

// pausedTier lets what is paused wait for about an eighth of its age, as what a push service has no room for: it comes soon after sending goes on, and not every few seconds until then.
func (s *Users) pausedTier(age time.Duration) int {
	tier := 0
	for tier+1 < len(s.Tiers) && s.Tiers[tier+1] <= min(age/8, longestPause) {
		tier++
	}
	return tier
}

// unwanted says why an errand comes to nothing, or "".
func (s *Users) unwanted(a *Account, e *errand, here *Unread, now pushers.Counts) string {
	if !e.alone {
		return dropped(e.notice, a, here, e.verdict().Rule, e.pusher.ProfileTag, s.PushFrom)
	}
	switch t := e.told.now; {
	case a.Deactivated:
		return "deactivated"
	case !s.Badges.Alone(&e.pusher):
		return "not_wanted"
	case t != nil && e.retryNumber < t.retry:
		return "superseded" // a newer one waits for its retry, or has been told
	case t != nil && !t.differs(now):
		return "superseded"
	}
	return ""
}

// leaves says whether a pusher has to be told the counts alone, now that the errand's notification is dropped: an attempt at it may have been what the
// badge shows, or another was to tell the number.
func (e *errand) leaves(reason string, now pushers.Counts) bool {
	if e.alone || !e.told.kept || reason == "deactivated" || reason == "before_start" {
		return false
	}
	return e.told.now.doubtful() || (e.owes || e.notice.Kind == KindRetry) && e.told.now.differs(now)
}

// turn makes an errand one of counts alone.
func (e *errand) turn(now time.Time) {
	n := *e.notice
	n.Kind, n.RoomID, n.Position, n.Thread, n.Call, n.Event, n.Verdicts, n.Retry, n.Since = KindBadge, "", 0, "", "", nil, nil, nil, now.UnixMilli()
	e.notice, e.alone = &n, true
	if e.told.now != nil {
		e.retryNumber = e.told.now.retry
	}
}

// compose is the delivery that an errand asks for now.
func (s *Users) compose(a *Account, e *errand, now pushers.Counts) pushers.Delivery {
	n := e.notice
	d := pushers.Delivery{UserID: a.UserID, Since: n.since(), Expires: s.Expiry.of(n), ID: e.deliveryID()}
	if e.alone {
		d.Notification = pushers.Notification{Counts: now, NoMissedCalls: e.told.now.callsToo(), Device: pushers.Device{Pusher: e.pusher}}
	} else {
		d.Notification = Compose(n, a.UserID, e.verdict(), e.pusher, now)
	}
	if r := n.Retry; r != nil {
		d.Attempt = r.Attempts
		if r.Attempts > 0 {
			d.FirstFailure = time.UnixMilli(r.FirstFailure)
		}
	}
	return d
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
	attempt := Attempt{DeliveryID: e.deliveryID(), AppID: e.pusher.AppID, Pushkey: e.pusher.Pushkey.Reveal(), Badge: e.retryNumber}
	if before := e.notice.Retry; before != nil {
		attempt.Attempts, attempt.FirstFailure = before.Attempts, before.FirstFailure
	}
	if !step.Unsent {
		if attempt.Attempts == 0 {
			attempt.FirstFailure = s.Clock.Now().UnixMilli()
		}
		attempt.Attempts++
	}
	if e.alone {
		n := Notice{Kind: KindBadge, Since: e.notice.Since, Origin: e.notice.Origin, Users: []Recipient{{ID: e.user.ID}}, Retry: &attempt}
		return n.encode()
	}
	n := *e.notice
	n.Kind, n.Verdicts, n.Users, n.Retry = KindRetry, []Verdict{*e.verdict()}, []Recipient{{ID: e.user.ID}}, &attempt
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

// remove tells the homeserver that a pusher is dead, and then stops pushing to it. One that was set again meanwhile stays, and is told again; and if the guard of its app has tripped, the pusher is
// held, not removed, and nobody is told: the fault is the app's.
func (s *Users) remove(ctx context.Context, e *errand, p *RegisteredPusher) error {
	if p == nil {
		return nil // removed by another errand, or by the user
	}
	version := e.told.version // that was rejected: if an earlier call has failed, p may be a newer one
	saved, err := s.Store.Accounts(ctx, []string{e.user.ID})
	if err != nil {
		return err
	}
	if now, ok := saved[0][p.Field]; !ok || !now.Version.SameRecord(version) {
		s.Accounts.Drop(e.user.ID)
		if e.reported || !ok {
			return nil
		}
		e.step = nil
		return errPusherChanged
	}
	if !e.reported {
		ruling, err := s.Guard.Rejected(ctx, p.AppID, p.Pushkey)
		if err != nil {
			return err
		}
		if ruling.Hold {
			return s.hold(ctx, e, p, ruling)
		}
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
	if _, err := s.Removed.RemovePusher(ctx, e.user.ID, p.Field, version, e.step.Reason, s.Clock.Now()); err != nil {
		return err
	}
	s.Accounts.Drop(e.user.ID)
	return s.ended(ctx, e)
}

// hold marks a pusher as held because of a trip of its app's guard. Its notification is dropped with that reason.
func (s *Users) hold(ctx context.Context, e *errand, p *RegisteredPusher, ruling Ruling) error {
	if mark := HeldMark(ruling.Trip.ID, e.told.version); ruling.Trip.ID != "" && mark != e.held {
		saved, err := s.Counts.Tell(ctx, []ToldChange{{UserID: e.user.ID, Pusher: HeldField(p.AppID, p.Pushkey), From: e.held, To: mark}})
		if err != nil {
			return err
		}
		e.held = saved[0]
	}
	held := *e.step
	held.Action, held.Reason = pushers.Forget, "held" // no end for the ledger: a replay after the reset may send it
	e.step = &held
	return nil
}

// ended notes in the ledger that the pusher's service has rejected it.
func (s *Users) ended(ctx context.Context, e *errand) error {
	if e.alone {
		return nil
	}
	_, err := s.Counts.Settle(ctx, Settlement{UserID: e.user.ID, DeliveryID: e.delivery.ID, End: EndRejected, TTL: s.LedgerTTL})
	return err
}

// ruleName is the rule that notified, for logs and spans: a user's own are named after what they match, which is nobody's business.
func (e *errand) ruleName() string {
	if rule := e.verdict().Rule; strings.HasPrefix(rule, ".") {
		return rule
	}
	return "own"
}

// logStep is the line that says what became of one (event, pusher), or of the counts alone for one pusher. A user's own rules are named after what they match, so their ids are for debugging only.
func (s *Users) logStep(ctx context.Context, e *errand, step pushers.Step) {
	attempt := 1
	if e.notice.Retry != nil {
		attempt += e.notice.Retry.Attempts
	}
	if step.Provider == "" && s.Through != nil { // it did not come so far
		step.Provider, step.App = s.Through(e.pusher.AppID)
	}
	s.Metrics.settled(ctx, step)
	settledSpan(trace.SpanFromContext(ctx), e, step, attempt)
	line, about := "badge settled", []slog.Attr(nil)
	if !e.alone {
		rule := e.ruleName()
		if s.Log.Enabled(ctx, slog.LevelDebug) {
			rule = e.verdict().Rule
		}
		line = "push settled"
		about = append(about, slog.String("event_id", e.notice.Event.ID), slog.String("room_id", e.notice.RoomID), slog.String("rule", rule))
	}
	if step.Provider != "" {
		about = append(about, slog.String("provider", step.Provider))
	}
	if step.App != "" {
		about = append(about, slog.String("app", step.App))
	}
	s.Log.LogAttrs(ctx, slog.LevelInfo, line, append(about, slog.String("user_id", e.user.ID), slog.String("app_id", e.pusher.AppID), slog.Any("pushkey", e.pusher.Pushkey),
		slog.String("outcome", step.Outcome()), slog.Int("unread", e.delivery.Notification.Counts.Unread), slog.String("action", step.Action.String()), slog.String("reason", step.Reason), slog.String("detail", step.Detail), slog.Int("attempt", attempt))...)
}
