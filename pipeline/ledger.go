package pipeline

// The ledger: which deliveries have come to their end, so that none is made twice.

import (
	"context"
	"time"
)

// End is the final outcome of a delivery. What is tried again, dropped or buried has none: a retry or a replay of it must pass.
type End uint8

// The ends.
const (
	EndDelivered End = iota + 1 // the push service took it
	EndRejected                 // the push service says that the pushkey is dead
)

// Ledger remembers deliveries that have ended. It holds final outcomes alone, written after the push service's answer and whatever follows from it (the pusher
// removed, or held) and before the record counts as done; never a claim beforehand. So what is found in it needs nothing more, and what is not found may be sent: a
// crash between answer and ledger repeats one delivery, and loses none.
//
// The users stage does not ask it: there the question travels with the reading of the user's counts, and the entry with what the user was told. Every error means that nothing is
// lost and the call can be made again.
type Ledger interface {
	// Sent tells of each delivery of a user, in their order, whether it has come to its end.
	Sent(ctx context.Context, userID string, deliveryIDs []string) ([]bool, error)
	// MarkSent notes that a delivery has come to its end; the note is kept for ttl.
	MarkSent(ctx context.Context, userID, deliveryID string, end End, ttl time.Duration) error
}
