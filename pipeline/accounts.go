package pipeline

// The accounts stage: matrix.account to Redis.

import (
	"context"
	"log/slog"
	"time"

	"tocsin/pipeline/stream"
)

// undertaker buries records that can't be used, or deliveries that were given up.
type undertaker interface {
	Bury(ctx context.Context, rec *stream.Record, cause stream.Cause) error
}

// Accounts is the accounts stage: it writes rulesets, pushers and ignore lists to Redis, each with the version that it came from. It has no lanes: the
// store's version check makes the order of writes irrelevant.
type Accounts struct {
	Store       AccountStore
	DeadLetters undertaker
	Log         *slog.Logger
}

// Take implements [stream.Handler].
func (a *Accounts) Take(ctx context.Context, batch []*stream.Record) ([]stream.Task, error) {
	records := make([]AccountRecord, 0, len(batch))
	sources := make([]*stream.Record, 0, len(batch))
	for _, rec := range batch {
		r, err := DecodeAccount(rec)
		switch {
		case err != nil:
			if err := bury(ctx, a.DeadLetters, rec, "accounts", err, a.Log); err != nil {
				return nil, err
			}
		case r.Field == "":
			a.Log.Debug("account record of another type", "topic", rec.Topic, "partition", rec.Partition, "offset", rec.Offset)
		default:
			records, sources = append(records, r), append(sources, rec)
		}
	}
	fields, err := a.fields(ctx, records, sources)
	if err != nil {
		return nil, err
	}
	if err := a.Store.ApplyAccounts(ctx, fields); err != nil {
		return nil, err
	}
	last := batch[len(batch)-1]
	return nil, a.Store.SetAccountsApplied(ctx, last.Incarnation, last.Partition, last.Offset+1)
}

// Do implements [stream.Handler]; there are no tasks.
func (a *Accounts) Do(context.Context, string, []stream.Task) error { return nil }

// Committed raises the mark of a partition that holds nothing more to read, such as an empty one: nobody must wait for it.
func (a *Accounts) Committed(ctx context.Context, _ string, partition int, offset int64) error {
	return a.Store.SetAccountsApplied(ctx, 0, partition, offset)
}

// fields are the fields to be written. A pusher that came without pushkey_ts is as old as its content: the same content again changes nothing.
func (a *Accounts) fields(ctx context.Context, records []AccountRecord, sources []*stream.Record) ([]AccountField, error) {
	var owners []string
	for _, r := range records {
		if r.Type == typePusher && r.Content != nil {
			owners = append(owners, r.UserID)
		}
	}
	saved := map[string]map[string]VersionedValue{}
	if len(owners) > 0 {
		found, err := a.Store.Accounts(ctx, owners)
		if err != nil {
			return nil, err
		}
		for i, id := range owners {
			saved[id] = found[i]
		}
	}
	fields := make([]AccountField, len(records))
	for i, r := range records {
		rec := sources[i]
		f := AccountField{UserID: r.UserID, Field: r.Field, Version: Version{Epoch: rec.Incarnation, Partition: rec.Partition, Offset: rec.Offset}}
		switch {
		case r.Content == nil:
		case r.Type == typePusher:
			f.Value = pusherValue(r.Content, rec.Time)
			if old := saved[r.UserID][r.Field].Value; sameContent(old, r.Content) {
				f.Value = old
			}
		default:
			f.Value = string(r.Content)
		}
		fields[i] = f
		if r.Type == typePusher { // the next record of this batch compares with this one
			if saved[r.UserID] == nil {
				saved[r.UserID] = map[string]VersionedValue{}
			}
			saved[r.UserID][r.Field] = VersionedValue{Version: f.Version, Value: f.Value}
		}
	}
	return fields, nil
}

// AccountsReady waits until the accounts stage, wherever it runs, has applied every partition up to the end that it had when the wait began: a missing ruleset must
// never be mistaken for the defaults, nor a missing pusher for none.
func AccountsReady(ctx context.Context, store AccountStore, bounds map[int]stream.Bounds, log *slog.Logger) error {
	const poll = 20 * time.Millisecond
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for polls := 0; ; polls++ {
		applied, err := store.AccountsApplied(ctx)
		partition, behind := -1, int64(0)
		for p, b := range bounds {
			if b.First < b.End && applied[p] < b.End {
				partition, behind = p, behind+b.End-max(applied[p], b.First)
			}
		}
		if err == nil && partition < 0 {
			return nil
		}
		if polls%250 == 50 { // after a second, then each five
			log.Info("waiting for the accounts stage to apply matrix.account", "records", behind, "partition", partition, "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
