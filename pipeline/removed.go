package pipeline

// Pushers that were removed because their pushkeys were rejected, kept so that an operator can bring them back.

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// KeptRemoved is how long removed pushers are kept: those of one user since the last of them was removed.
const KeptRemoved = 30 * 24 * time.Hour

// RemovedPusher is a pusher that was removed.
type RemovedPusher struct {
	UserID  string
	Field   string // of the account
	Version Version
	Reason  string // of the feedback record
	At      time.Time
	Saved   string // as the account held it
}

// Identity is the app and the pushkey; false if the field is not that of a pusher.
func (r *RemovedPusher) Identity() (appID string, key pushers.Pushkey, ok bool) {
	return PusherIdentity(r.Field)
}

// PusherIdentity reads the app and the pushkey off the name of an account's field; false if it is not that of a pusher.
func PusherIdentity(field string) (appID string, key pushers.Pushkey, ok bool) {
	rest, isPusher := strings.CutPrefix(field, pusherField)
	app, pushkey, two := strings.Cut(rest, "|")
	app, err1 := url.PathUnescape(app)
	pushkey, err2 := url.PathUnescape(pushkey)
	return app, pushers.NewPushkey(pushkey), isPusher && two && errors.Join(err1, err2) == nil
}

// Restored says what became of the wish to bring a pusher back.
type Restored uint8

// What can become of it.
const (
	PutBack      Restored = iota + 1 // it is pushed to again
	RemovedSince                     // the homeserver has removed it, too: it can set it again, told by the feedback topic
	SetAnew                          // it was set again meanwhile: nothing is left to do
)

// RemovedStore keeps removed pushers. Every error means that nothing is lost and the call can be made again.
type RemovedStore interface {
	// RemovePusher removes a pusher from an account if that is still its version, and keeps it for [KeptRemoved]. It is true, too, if an earlier call has done so.
	RemovePusher(ctx context.Context, userID, field string, version Version, reason string, at time.Time) (removed bool, err error)
	// RestorePushers puts pushers back where their tombstones still stand. They stay among the removed ones until they are forgotten.
	RestorePushers(ctx context.Context, removed []RemovedPusher) ([]Restored, error)
	// ForgetRemoved drops removed pushers, except those that were removed once more since.
	ForgetRemoved(ctx context.Context, removed []RemovedPusher) error
	// ScanRemoved hands all removed pushers to each, some at a time; with a user id, that user's. A pusher may come twice.
	ScanRemoved(ctx context.Context, userID string, each func([]RemovedPusher) error) error
}

// RemovedFilter chooses among removed pushers.
type RemovedFilter struct {
	Apps  pushers.AppPattern
	Since time.Time // removed then or later
}

// Match says whether a removed pusher is meant.
func (f RemovedFilter) Match(r *RemovedPusher) bool {
	app, _, ok := r.Identity()
	return ok && !r.At.Before(f.Since) && f.Apps.Match(app)
}

// RestoredMessage is the feedback record that tells the homeserver to set a pusher again.
func RestoredMessage(topic string, r *RemovedPusher, at time.Time) (stream.Message, error) {
	app, key, ok := r.Identity()
	if !ok {
		return stream.Message{}, errors.New("what was removed is no pusher")
	}
	value, err := json.Marshal(feedback{r.UserID, app, key.Reveal(), "restored", at.UnixMilli()})
	if err != nil {
		return stream.Message{}, fmt.Errorf("feedback record: %w", err)
	}
	return stream.Message{Topic: topic, Partition: stream.AnyPartition, Key: []byte(r.UserID), Value: value, Time: at}, nil
}

// FeedbackUser is the user that a record of the feedback topic is about: whoever keeps that user's account in memory drops it, for what is saved has changed.
func FeedbackUser(rec *stream.Record) (userID string, ok bool) {
	var w struct {
		UserID string `json:"user_id"`
	}
	if json.Unmarshal(rec.Value, &w) != nil || !strings.HasPrefix(w.UserID, "@") {
		return "", false
	}
	return w.UserID, true
}
