package state

// Accounts: rulesets, pushers and ignore lists, each with the record that it came from.

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
)

// errUnreadable says that Redis holds what we did not write. A ruleset or pusher that can't be read must not be taken for none.
var errUnreadable = errors.New("a value is not of the form that this program writes; does another program use redis.key_prefix?")

// ApplyAccounts writes the fields that are newer than what is saved, those of one user in the order given.
func (s *Store) ApplyAccounts(ctx context.Context, fields []pipeline.AccountField) error {
	batches := s.newBatches()
	for i, f := range fields {
		batches.add(i, f.UserID, s.keys.account(f.UserID), len(f.Field)+len(f.Value)+len(f.UserID),
			f.Field, f.Version.Epoch, f.Version.Partition, f.Version.Offset, f.Version.Time, f.Value)
	}
	_, err := s.run(ctx, "apply accounts", applyAccountsScript, calls(batches.all()))
	return err
}

// Accounts reads all fields of the users, in their order. Tombstones are left out.
func (s *Store) Accounts(ctx context.Context, userIDs []string) ([]map[string]pipeline.VersionedValue, error) {
	accounts := make([]map[string]pipeline.VersionedValue, len(userIDs))
	err := s.accountFields(ctx, userIDs, func(i, fields int) {
		accounts[i] = make(map[string]pipeline.VersionedValue, fields)
	}, func(i int, field string, value pipeline.VersionedValue) {
		if value.Value != "" {
			accounts[i][field] = value
		}
	})
	if err != nil {
		return nil, err
	}
	return accounts, nil
}

// AccountVersions reads the versions of all fields of the users, in their order, those of tombstones too.
func (s *Store) AccountVersions(ctx context.Context, userIDs []string) ([]map[string]pipeline.Version, error) {
	versions := make([]map[string]pipeline.Version, len(userIDs))
	err := s.accountFields(ctx, userIDs, func(i, fields int) {
		versions[i] = make(map[string]pipeline.Version, fields)
	}, func(i int, field string, value pipeline.VersionedValue) {
		versions[i][field] = value.Version
	})
	if err != nil {
		return nil, err
	}
	return versions, nil
}

// accountFields reads the fields of users: begin hears how many the i-th user has, each of each of them.
func (s *Store) accountFields(ctx context.Context, userIDs []string, begin func(i, fields int), each func(i int, field string, value pipeline.VersionedValue)) error {
	const op = "read accounts"
	answers, err := s.ask(ctx, op, len(userIDs), func(pipe redis.Pipeliner, i int) {
		pipe.HGetAll(ctx, s.keys.account(userIDs[i]))
	})
	if err != nil {
		return err
	}
	for i, answer := range answers {
		saved := answer.(*redis.MapStringStringCmd).Val()
		begin(i, len(saved))
		for field, text := range saved {
			value, ok := parseVersioned(text)
			if !ok {
				return s.fail(ctx, op, errUnreadable)
			}
			each(i, field, value)
		}
	}
	return nil
}

// AccountsApplied reads the mark below which each partition of the account topic has been applied.
func (s *Store) AccountsApplied(ctx context.Context) (map[int]stream.Mark, error) {
	const op = "read how far accounts are applied"
	answers, err := s.ask(ctx, op, 1, func(pipe redis.Pipeliner, _ int) { pipe.HGetAll(ctx, s.keys.accountsApplied()) })
	if err != nil {
		return nil, err
	}
	applied := map[int]stream.Mark{}
	for partition, saved := range answers[0].(*redis.MapStringStringCmd).Val() {
		epoch, offset, _ := strings.Cut(saved, " ")
		p, err1 := strconv.Atoi(partition)
		e, err2 := strconv.ParseInt(epoch, 10, 64)
		o, err3 := strconv.ParseInt(offset, 10, 64)
		if err1 != nil || err2 != nil || err3 != nil {
			return nil, s.fail(ctx, op, errUnreadable)
		}
		applied[p] = stream.Mark{Incarnation: e, Offset: o}
	}
	return applied, nil
}

// SetAccountsApplied raises that mark of a partition. Within an incarnation its offset never falls; a newer one begins anew, an older one is ignored.
func (s *Store) SetAccountsApplied(ctx context.Context, partition int, mark stream.Mark) error {
	_, err := s.runOne(ctx, "save how far accounts are applied", raiseAppliedScript, []string{s.keys.accountsApplied()}, partition, mark.Incarnation, mark.Offset)
	return err
}

// formatVersion is what stands before a saved value: "epoch partition offset time ".
func formatVersion(v pipeline.Version) string {
	buf := strconv.AppendInt(nil, v.Epoch, 10)
	buf = append(buf, ' ')
	buf = strconv.AppendInt(buf, int64(v.Partition), 10)
	buf = append(buf, ' ')
	buf = strconv.AppendInt(buf, v.Offset, 10)
	buf = append(buf, ' ')
	buf = strconv.AppendInt(buf, v.Time, 10)
	return string(append(buf, ' '))
}

// parseVersioned reads "epoch partition offset time value".
func parseVersioned(text string) (pipeline.VersionedValue, bool) {
	epoch, rest, ok1 := strings.Cut(text, " ")
	partition, rest, ok2 := strings.Cut(rest, " ")
	offset, rest, ok3 := strings.Cut(rest, " ")
	ms, value, ok4 := strings.Cut(rest, " ")
	e, err1 := strconv.ParseInt(epoch, 10, 64)
	p, err2 := strconv.Atoi(partition)
	o, err3 := strconv.ParseInt(offset, 10, 64)
	t, err4 := strconv.ParseInt(ms, 10, 64)
	ok := ok1 && ok2 && ok3 && ok4 && errors.Join(err1, err2, err3, err4) == nil
	return pipeline.VersionedValue{Version: pipeline.Version{Epoch: e, Partition: p, Offset: o, Time: t}, Value: value}, ok
}
