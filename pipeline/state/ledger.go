package state

// The ledger: deliveries that have come to their end, read and written with the counts of their user.

import (
	"context"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

// CountsFor implements [pipeline.CountStore] in one round trip.
func (s *Store) CountsFor(ctx context.Context, userID, deliveryID string) (saved pipeline.SavedCounts, ended bool, err error) {
	questions := 1
	if deliveryID != "" {
		questions = 2
	}
	answers, err := s.ask(ctx, "read counts", questions, func(pipe redis.Pipeliner, i int) {
		if i == 0 {
			pipe.HGetAll(ctx, s.keys.counts(userID))
		} else {
			pipe.Exists(ctx, s.keys.sent(userID, deliveryID)) // its key is of the user's shard
		}
	})
	if err != nil {
		return saved, false, err
	}
	return savedCounts(answers[0]), questions == 2 && answers[1].(*redis.IntCmd).Val() == 1, nil
}

// Settle implements [pipeline.CountStore] in one round trip.
func (s *Store) Settle(ctx context.Context, settled pipeline.Settlement) ([]string, error) {
	const op = "settle a delivery"
	args := []any{int(settled.End), settled.TTL.Milliseconds()}
	for _, c := range settled.Told {
		args = append(args, toldMark+c.Pusher, c.From, c.To)
	}
	keys := []string{s.keys.sent(settled.UserID, settled.DeliveryID), s.keys.counts(settled.UserID)}
	answer, err := s.runOne(ctx, op, settleScript, keys, args...)
	if err != nil {
		return nil, err
	}
	saved, err := answer.StringSlice()
	if err != nil || len(saved) != len(settled.Told) {
		return nil, s.fail(ctx, op, errUnreadable)
	}
	return saved, nil
}
