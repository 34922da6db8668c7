package rules

// Evaluator evaluates one event for many recipients. The zero value is ready. It
// keeps scratch memory from call to call, so each goroutine needs its own.
type Evaluator struct{}

// Evaluate decides for each recipient by their own rules. The decisions are in
// the order of the recipients and take the place of what out held.
func (e *Evaluator) Evaluate(ev *Event, room *Room, recipients []Recipient, out []Decision) []Decision {
	out = out[:0]
	for i := range recipients {
		out = append(out, recipients[i].Rules.Evaluate(ev, room, &recipients[i]))
	}
	return out
}
