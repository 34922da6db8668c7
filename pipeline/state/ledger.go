package state

// The ledger: deliveries that have come to their end.

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"tocsin/pipeline"
)

var _ pipeline.Ledger = (*Store)(nil)

// queueSent queues the question whether a delivery has come to its end: 1 is yes. Its key is of the user's shard, so the question travels with others about the user.
func (s *Store) queueSent(ctx context.Context, pipe redis.Pipeliner, userID, deliveryID string) *redis.IntCmd {
	return pipe.Exists(ctx, s.keys.sent(userID, deliveryID))
}

// Sent implements [pipeline.Ledger].
func (s *Store) Sent(ctx context.Context, userID string, deliveryIDs []string) ([]bool, error) {
	answers, err := s.ask(ctx, "read the ledger", len(deliveryIDs), func(pipe redis.Pipeliner, i int) {
		s.queueSent(ctx, pipe, userID, deliveryIDs[i])
	})
	if err != nil {
		return nil, err
	}
	sent := make([]bool, len(deliveryIDs))
	for i, answer := range answers {
		sent[i] = answer.(*redis.IntCmd).Val() == 1
	}
	return sent, nil
}

// MarkSent implements [pipeline.Ledger].
func (s *Store) MarkSent(ctx context.Context, userID, deliveryID string, end pipeline.End, ttl time.Duration) error {
	_, err := s.ask(ctx, "write the ledger", 1, func(pipe redis.Pipeliner, _ int) {
		pipe.Set(ctx, s.keys.sent(userID, deliveryID), int(end), ttl) // a small number, which Redis keeps without a value of its own
	})
	return err
}
