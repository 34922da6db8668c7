package pipeline

// The accounts stage: matrix.account to Redis.

import (
	"context"
	"log/slog"
	"time"

	"tocsin/pipeline/stream"
)

// Accounts is the accounts stage: it writes rulesets, pushers and ignore lists to Redis, each with the version that it came from. It has no lanes: the
// store's version check makes the order of writes irrelevant.
type Accounts struct {
	Store       AccountStore
	DeadLetters undertaker
	Log         *slog.Logger
}

// Take implements [stream.Handler]. Dead letters are written last: whatever fails before is done again as a whole, and they should not come twice.
func (a *Accounts) Take(ctx context.Context, batch []*stream.Record) ([]stream.Task, error) {
	records := make([]AccountRecord, 0, len(batch))
	sources := make([]*stream.Record, 0, len(batch))
	var bad unreadables
	for _, rec := range batch {
		r, err := DecodeAccount(rec)
		switch {
		case err != nil:
			bad.add(rec, err)
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
	if err := a.Store.SetAccountsApplied(ctx, last.Partition, stream.Mark{Incarnation: last.Incarnation, Offset: last.Offset + 1}); err != nil {
		return nil, err
	}
	return nil, bad.bury(ctx, a.DeadLetters, "accounts", a.Log)
}

// Do implements [stream.Handler]; there are no tasks.
func (a *Accounts) Do(context.Context, string, []stream.Task) error { return nil }

// Committed raises the mark of a partition that holds nothing more to read, such as an empty one: nobody must wait for it.
func (a *Accounts) Committed(ctx context.Context, _ string, partition int, mark stream.Mark) error {
	return a.Store.SetAccountsApplied(ctx, partition, mark)
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
		f := AccountField{UserID: r.UserID, Field: r.Field, Version: versionOf(rec)}
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

// AccountsGate is what rooms and users wait for: that the accounts stage, wherever it runs, has applied every partition up to the end that it had when the wait began. A missing ruleset must
// never be mistaken for the defaults, nor a missing pusher for none.
type AccountsGate struct {
	Store     AccountStore
	Bounds    func(ctx context.Context) (map[int]stream.Bounds, error) // of the account topic
	Committed func(ctx context.Context) (map[int]stream.Mark, error)   // by the accounts stage's group
	Memory    func(ctx context.Context) (string, error)                // where this process reads accounts (see [stream.ConsumerConfig]); "" if unknown
	Log       *slog.Logger
}

// Wait returns nil when the gate is open, or ctx's error.
func (g *AccountsGate) Wait(ctx context.Context, ends map[int]stream.Bounds) error {
	const poll = 20 * time.Millisecond
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for polls := 0; ; polls++ {
		behind, err := g.behind(ctx, ends)
		if err == nil && behind == 0 {
			return nil
		}
		if polls%250 == 50 { // after a second, then each five
			g.Log.Info("waiting for the accounts stage to apply matrix.account", "records", behind, "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// behind is how many records are still to be applied. The marks in Redis count only if they are of the log that the accounts stage reads now: not those of a topic that has been made anew since, or of
// a group that begins again. Nor does a commit count that is of what another Redis server was told: this one may have lost it.
func (g *AccountsGate) behind(ctx context.Context, ends map[int]stream.Bounds) (records int64, err error) {
	applied, err := g.Store.AccountsApplied(ctx)
	if err != nil {
		return 0, err
	}
	for p, b := range ends {
		if b.First < b.End && applied[p].Offset < b.End {
			records += b.End - max(applied[p].Offset, b.First)
		}
	}
	if records > 0 {
		return records, nil
	}
	committed, err := g.Committed(ctx)
	if err != nil {
		return 0, err
	}
	now, err := g.Bounds(ctx)
	if err != nil {
		return 0, err
	}
	memory, err := g.Memory(ctx)
	if err != nil {
		return 0, err
	}
	for p, b := range ends {
		mark, ok := committed[p]
		elsewhere := memory != "" && mark.Memory != "" && mark.Memory != memory
		if b.First < b.End && (!ok || mark.Incarnation != applied[p].Incarnation || mark.Offset > now[p].End || elsewhere) {
			records += b.End - b.First
		}
	}
	return records, nil
}
