package pipeline

// The ledger: which deliveries have come to their end, so that none is made twice.
//
// It holds final outcomes alone, written after the push service's answer and whatever follows from it (the pusher removed) and before the record counts as done; never a claim
// beforehand. So what is found in it needs nothing more, and what is not found may be sent: a crash between answer and ledger repeats one delivery, and loses none. It costs no round trip: the question
// travels with the reading of the user's counts ([CountStore.CountsFor]), and the entry with what the pusher was told ([CountStore.Settle]).

// End is the final outcome of a delivery. What is tried again, dropped, held or buried has none: a retry or a replay of it must pass.
type End uint8

// The ends.
const (
	EndDelivered End = iota + 1 // the push service took it
	EndRejected                 // the push service says that the pushkey is dead
)
