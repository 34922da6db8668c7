package pipeline

// Accounts in memory, dropped when matrix.account says that they changed.

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"github.com/maypok86/otter/v2"

	"tocsin/pipeline/stream"
	"tocsin/rules"
)

// AccountCache keeps the accounts that stages ask for again and again. Safe for concurrent use.
//
// A cached account is dropped when its record is seen on matrix.account. The record may be seen before the accounts stage (in another process, perhaps) has written it to
// Redis; what is read from Redis until then is used, but not kept. So three orders of events matter, and each is covered by awaited:
//
//   - seen, applied, loaded: the versions in Redis, read before the account, say that it is there: kept.
//   - seen, loaded, applied: not kept; the next load finds out.
//   - loaded (from Redis, not yet in the cache), seen, kept: the load began before the record was seen: not kept.
//
// Whether the last record seen has been applied is told by its version alone, and offsets are not compared: when the topic is made anew they begin again.
type AccountCache struct {
	store    AccountStore
	whole    Whole
	compile  compileRules
	accounts *otter.Cache[string, *Account]

	mu      sync.Mutex
	awaited map[string]awaited // users whose records were seen
	loads   map[int64]struct{} // loads under way, by the clock's reading at their start
	clock   int64              // counts what happens here
}

// awaited is what must be in Redis before a user's account may be kept.
type awaited struct {
	records map[string][]Version // by field: the last record seen of each partition; their epochs are not known
	seen    int64                // the clock's reading when the last of them was
}

// NewAccountCache returns an empty cache of at most size accounts in front of store.
func NewAccountCache(store AccountStore, whole Whole, size int, options rules.Options, log *slog.Logger) *AccountCache {
	return &AccountCache{
		store: store, whole: whole, compile: internRules(options, log),
		accounts: otter.Must(&otter.Options[string, *Account]{MaximumSize: size}),
		awaited:  map[string]awaited{}, loads: map[int64]struct{}{},
	}
}

// Get returns the accounts of the users, in their order. A user of whom nothing is known has the default rules and no pusher.
func (c *AccountCache) Get(ctx context.Context, userIDs []string) ([]*Account, error) {
	found := make([]*Account, len(userIDs))
	var missing []string
	for i, id := range userIDs {
		if a, ok := c.accounts.GetIfPresent(id); ok {
			found[i] = a
		} else {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	loaded, err := c.load(ctx, missing)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i] == nil {
			found[i], loaded = loaded[0], loaded[1:]
		}
	}
	return found, nil
}

// load reads accounts from the store, and keeps those that can't be outdated.
func (c *AccountCache) load(ctx context.Context, userIDs []string) ([]*Account, error) {
	began, waiting := c.begin(userIDs)
	defer c.end(began)
	behind, err := c.behind(ctx, waiting)
	if err != nil {
		return nil, err
	}
	fields, err := c.store.Accounts(ctx, userIDs)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(fields, func(f map[string]VersionedValue) bool { return len(f) == 0 }) {
		if err := c.whole(ctx); err != nil { // or everybody would have the default rules, and no pusher
			return nil, err
		}
	}
	accounts := make([]*Account, len(userIDs))
	for i, id := range userIDs {
		accounts[i] = decodeAccount(id, fields[i], c.compile)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, id := range userIDs {
		if !behind[id] && c.awaited[id].seen <= began {
			c.accounts.Set(id, accounts[i]) // the note stays, for loads that began even earlier; Prune drops it
		}
	}
	return accounts, nil
}

// begin notes that a load begins, and returns those of the users whose records were seen lately.
func (c *AccountCache) begin(userIDs []string) (began int64, waiting []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	c.loads[c.clock] = struct{}{}
	for _, id := range userIDs {
		if _, ok := c.awaited[id]; ok {
			waiting = append(waiting, id)
		}
	}
	return c.clock, waiting
}

// behind says of which users Redis does not have what was seen. What is read of the others from now on is new enough.
func (c *AccountCache) behind(ctx context.Context, userIDs []string) (map[string]bool, error) {
	versions, err := c.versions(ctx, userIDs)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	behind := map[string]bool{}
	for id, v := range versions {
		behind[id] = !c.awaited[id].in(v) // if the note is gone, Prune has found all of it in Redis
	}
	return behind, nil
}

// versions reads the versions of users' fields.
func (c *AccountCache) versions(ctx context.Context, userIDs []string) (map[string]map[string]Version, error) {
	if len(userIDs) == 0 {
		return nil, nil
	}
	found, err := c.store.AccountVersions(ctx, userIDs)
	if err != nil {
		return nil, err
	}
	byUser := make(map[string]map[string]Version, len(userIDs))
	for i, id := range userIDs {
		byUser[id] = found[i]
	}
	return byUser, nil
}

func (c *AccountCache) end(began int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.loads, began)
}

// Saw drops the account that a record of matrix.account changes.
func (c *AccountCache) Saw(rec *stream.Record) {
	r, err := DecodeAccount(rec)
	if err != nil || r.Field == "" {
		return // it changes nothing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	w := c.awaited[r.UserID]
	if w.records == nil {
		w.records = map[string][]Version{}
	}
	w.seen = c.clock
	before := slices.DeleteFunc(w.records[r.Field], func(v Version) bool { return v.Partition == rec.Partition })
	w.records[r.Field] = append(before, versionOf(rec))
	c.awaited[r.UserID] = w
	c.accounts.Invalidate(r.UserID)
}

// in says whether the fields with these versions are as new as the last records seen: each field comes from the last record of its partition, and that from no other partition is newer.
func (w awaited) in(versions map[string]Version) bool {
	for field, records := range w.records {
		v, ok := versions[field]
		for _, seen := range records {
			if !ok || v.Partition == seen.Partition && (v.Offset != seen.Offset || v.Time != seen.Time) || v.Partition != seen.Partition && !v.NewerThan(seen) {
				return false
			}
		}
	}
	return true
}

// Drop forgets one account, after this process has changed it itself.
func (c *AccountCache) Drop(userID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clock++
	w := c.awaited[userID]
	w.seen = c.clock // a load that began before must not keep what it read
	c.awaited[userID] = w
	c.accounts.Invalidate(userID)
}

// pruned bounds the users that one call of Prune asks for.
const pruned = 5000

// Prune forgets which records were seen once Redis has them: from then on whatever is loaded is new enough. It is to be called now and then.
func (c *AccountCache) Prune(ctx context.Context) error {
	c.mu.Lock()
	var ids []string
	for id := range c.awaited { // in no order, so that none is left out for ever
		if ids = append(ids, id); len(ids) == pruned {
			break
		}
	}
	c.mu.Unlock()
	versions, err := c.versions(ctx, ids)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	oldest := c.clock + 1
	for began := range c.loads {
		oldest = min(oldest, began)
	}
	for id, v := range versions {
		if w := c.awaited[id]; w.seen < oldest && w.in(v) {
			delete(c.awaited, id)
		}
	}
	return nil
}

// internRules returns a compiler that gives users with equal rules the same object, and says once of each kind of mistake in them that it was met. Safe for concurrent use.
func internRules(options rules.Options, log *slog.Logger) compileRules {
	compiler := rules.NewCompiler(options)
	var told sync.Map // reasons, of a few fixed words each
	return func(content []byte) *rules.Ruleset {
		rs, problems := compiler.Compile(content)
		for _, p := range problems {
			if _, again := told.LoadOrStore(p.Reason, true); !again {
				log.Warn("a user's push rules are right only in part: that part is used; further ones with this mistake are not told", "mistake", p.Reason)
			}
		}
		return rs
	}
}
