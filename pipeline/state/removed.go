package state

// Removed pushers: kept for a while, so that they can be put back.

import (
	"context"
	_ "embed"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

var (
	//go:embed lua/remove_pusher.lua
	removePusherLua string
	//go:embed lua/restore_pushers.lua
	restorePushersLua string
	//go:embed lua/forget_removed.lua
	forgetRemovedLua string

	removePusherScript   = newScript(removePusherLua)
	restorePushersScript = newScript(restorePushersLua)
	forgetRemovedScript  = newScript(forgetRemovedLua)
)

var _ pipeline.RemovedStore = (*Store)(nil)

const (
	maxRemoved = 64  // pushers kept of one user
	scanCount  = 500 // keys that a server looks at in one step of a scan
)

// RemovePusher implements [pipeline.RemovedStore]: the field becomes a tombstone of the same version, so a replay of the record that it came from can't bring it back, and a newer one can.
func (s *Store) RemovePusher(ctx context.Context, userID, field string, version pipeline.Version, reason string, at time.Time) (removed bool, err error) {
	const op = "remove a pusher"
	answer, err := s.runOne(ctx, op, removePusherScript, []string{s.keys.account(userID), s.keys.removed(userID)},
		field, formatVersion(version), formatRemoval(at, reason), pipeline.KeptRemoved.Milliseconds(), maxRemoved)
	if err != nil {
		return false, err
	}
	n, err := answer.Int()
	return n == 1, s.fail(ctx, op, err)
}

// formatRemoval is what stands before a kept pusher: "ms reason ".
func formatRemoval(at time.Time, reason string) string {
	return strconv.FormatInt(at.UnixMilli(), 10) + " " + url.PathEscape(reason) + " "
}

// parseRemoved reads "ms reason " and what the account had.
func parseRemoved(userID, field, text string) (pipeline.RemovedPusher, bool) {
	ms, rest, ok1 := strings.Cut(text, " ")
	reason, saved, ok2 := strings.Cut(rest, " ")
	at, err1 := strconv.ParseInt(ms, 10, 64)
	reason, err2 := url.PathUnescape(reason)
	value, ok3 := parseVersioned(saved)
	r := pipeline.RemovedPusher{UserID: userID, Field: field, Version: value.Version, Reason: reason, At: time.UnixMilli(at).UTC(), Saved: saved}
	return r, ok1 && ok2 && ok3 && err1 == nil && err2 == nil
}

// RestorePushers implements [pipeline.RemovedStore].
func (s *Store) RestorePushers(ctx context.Context, removed []pipeline.RemovedPusher) ([]pipeline.Restored, error) {
	const op = "put back removed pushers"
	batches := s.newBatches()
	for i := range removed {
		r := &removed[i]
		value, ok := parseVersioned(r.Saved)
		if !ok {
			return nil, s.fail(ctx, op, errUnreadable)
		}
		tombstone := strings.TrimSuffix(r.Saved, value.Value)
		batches.add(i, r.UserID, s.keys.account(r.UserID), len(r.Saved)+len(r.Field)+len(r.UserID), r.Field, tombstone, r.Saved)
	}
	all := batches.all()
	answers, err := s.run(ctx, op, restorePushersScript, calls(all))
	if err != nil {
		return nil, err
	}
	outcomes := make([]pipeline.Restored, len(removed))
	for i, answer := range answers {
		found, err := answer.Int64Slice()
		if err != nil || len(found) != len(all[i].items) {
			return nil, s.fail(ctx, op, errUnreadable)
		}
		for n, item := range all[i].items {
			outcomes[item] = pipeline.Restored(found[n])
		}
	}
	return outcomes, nil
}

// ForgetRemoved implements [pipeline.RemovedStore].
func (s *Store) ForgetRemoved(ctx context.Context, removed []pipeline.RemovedPusher) error {
	batches := s.newBatches()
	for i := range removed {
		r := &removed[i]
		kept := formatRemoval(r.At, r.Reason) + r.Saved
		batches.add(i, r.UserID, s.keys.removed(r.UserID), len(kept)+len(r.Field)+len(r.UserID), r.Field, kept)
	}
	_, err := s.run(ctx, "forget removed pushers", forgetRemovedScript, calls(batches.all()))
	return err
}

// ScanRemoved implements [pipeline.RemovedStore]. In a cluster all masters are asked at once; each is called by one at a time.
func (s *Store) ScanRemoved(ctx context.Context, userID string, each func([]pipeline.RemovedPusher) error) error {
	if userID != "" {
		return s.handRemoved(ctx, []string{userID}, each)
	}
	var one sync.Mutex
	var stopped error // each's own error, which is not the server's
	err := s.client().eachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		for cursor := uint64(0); ; {
			users, next, err := s.scanStep(ctx, master, cursor)
			if err != nil {
				return err
			}
			one.Lock()
			if stopped == nil && len(users) > 0 {
				stopped = s.handRemoved(ctx, users, each)
			}
			over := stopped != nil
			one.Unlock()
			if cursor = next; cursor == 0 || over {
				return nil
			}
		}
	})
	if stopped != nil {
		return stopped
	}
	return s.fail(ctx, "look for removed pushers", err)
}

// scanStep is one step of a scan for users with removed pushers.
func (s *Store) scanStep(ctx context.Context, master *redis.Client, cursor uint64) (users []string, next uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	found, next, err := master.Scan(ctx, cursor, patternEscaper.Replace(s.keys.prefix)+"{s*}:"+kindRemoved+":*", scanCount).Result()
	for _, key := range found {
		if _, userID, ok := strings.Cut(key, "}:"+kindRemoved+":"); ok && s.keys.removed(userID) == key {
			users = append(users, userID)
		}
	}
	return users, next, err
}

// patternEscaper makes a pattern of a text.
var patternEscaper = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`)

// handRemoved hands on the removed pushers of users.
func (s *Store) handRemoved(ctx context.Context, userIDs []string, each func([]pipeline.RemovedPusher) error) error {
	const op = "read removed pushers"
	answers, err := s.ask(ctx, op, len(userIDs), func(pipe redis.Pipeliner, i int) { pipe.HGetAll(ctx, s.keys.removed(userIDs[i])) })
	if err != nil {
		return err
	}
	var all []pipeline.RemovedPusher
	for i, answer := range answers {
		for field, text := range answer.(*redis.MapStringStringCmd).Val() {
			r, ok := parseRemoved(userIDs[i], field, text)
			if !ok {
				return s.fail(ctx, op, errUnreadable)
			}
			all = append(all, r)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return each(all)
}
