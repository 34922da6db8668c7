package pipeline

// What the stages count for operators. Labels are fixed words: never a user, a room or a pushkey.

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"tocsin/pushers"
)

// Metrics are the instruments of the stages. Nil counts nothing.
type Metrics struct {
	ReceiptsUnresolved metric.Int64Counter // receipts that were given up, because their event did not come
	Misplaced          metric.Int64Counter // records found in a partition where they must not be: a topic was repartitioned without a drain
	Settled            metric.Int64Counter // what attempts to push came to, by action, reason and answer
}

// NewMetrics makes the instruments. No instrument fails to be made: a name that the provider refuses does nothing.
func NewMetrics(provider metric.MeterProvider) *Metrics {
	meter := provider.Meter("tocsin/pipeline")
	counter := func(name, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithDescription(description))
		if err != nil {
			return noop.Int64Counter{}
		}
		return c
	}
	return &Metrics{
		ReceiptsUnresolved: counter("tocsin.receipts.unresolved", "Receipts that were given up, because the event that they name is not known"),
		Misplaced:          counter("tocsin.records.misplaced", "Records found in a partition where they must not be: a topic was repartitioned without a drain"),
		Settled:            counter("tocsin.push.settled", "Attempts to tell a pusher of an event, or of the counts alone, by provider and app as the configuration names it (empty: not listed), and by what became of them: outcome of the request (none: nothing was sent), action and reason, and answer, which is what the push service said or why nothing was sent"),
	}
}

// settled counts what an attempt came to.
func (m *Metrics) settled(ctx context.Context, step pushers.Step) {
	if m != nil {
		m.Settled.Add(ctx, 1, metric.WithAttributes(attribute.String("provider", step.Provider), attribute.String("app", step.App), attribute.String("outcome", step.Outcome()),
			attribute.String("action", step.Action.String()), attribute.String("reason", step.Reason), attribute.String("answer", step.Answer())))
	}
}

// misplaced counts the records of a topic that were found where they must not be.
func (m *Metrics) misplaced(ctx context.Context, topic string, records int64) {
	if m != nil {
		m.Misplaced.Add(ctx, records, metric.WithAttributes(attribute.String("topic", topic)))
	}
}

// unresolved counts receipts that were given up.
func (m *Metrics) unresolved(ctx context.Context, receipts int64) {
	if m != nil {
		m.ReceiptsUnresolved.Add(ctx, receipts)
	}
}
