package pipeline

// One trace for each event, from the record that it came in to every push that follows from it.
//
// The rooms stage makes a span of the event's evaluation, whose parent is the record's traceparent (W3C Trace Context) if it has one; its own goes with the notices, through all retries, and
// each attempt to push is a span below it. Spans tell ids of events, rooms and users, apps, rules and what became of it all: never a pushkey, an account key or content.

import (
	"context"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// Tracing makes the spans of the stages. Nil makes none, and lets traceparents pass as they came.
type Tracing struct{ tracer trace.Tracer }

// NewTracing makes spans with the provider.
func NewTracing(provider trace.TracerProvider) *Tracing {
	return &Tracing{provider.Tracer("tocsin/pipeline")}
}

// begin begins a span of what a record asks for.
func (t *Tracing) begin(ctx context.Context, rec *stream.Record, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	if t == nil {
		return ctx, noop.Span{}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, headerCarrier{&rec.Headers})
	return t.tracer.Start(ctx, name, trace.WithSpanKind(kind))
}

// carry is the headers of records that follow from one, with the span of ctx as their parent.
func (t *Tracing) carry(ctx context.Context, from []stream.Header) []stream.Header {
	headers := stream.CarryHeaders(from)
	if t != nil {
		propagation.TraceContext{}.Inject(ctx, headerCarrier{&headers})
	}
	return headers
}

// headerCarrier reads and writes the headers of a record by W3C Trace Context's names.
type headerCarrier struct{ headers *[]stream.Header }

// Get implements [propagation.TextMapCarrier].
func (c headerCarrier) Get(key string) string {
	for _, h := range *c.headers {
		if strings.EqualFold(h.Key, key) {
			return string(h.Value)
		}
	}
	return ""
}

// Set implements [propagation.TextMapCarrier].
func (c headerCarrier) Set(key, value string) {
	*c.headers = append(slices.DeleteFunc(*c.headers, func(h stream.Header) bool { return strings.EqualFold(h.Key, key) }), stream.Header{Key: key, Value: []byte(value)})
}

// Keys implements [propagation.TextMapCarrier].
func (c headerCarrier) Keys() []string {
	keys := make([]string, len(*c.headers))
	for i, h := range *c.headers {
		keys[i] = h.Key
	}
	return keys
}

// evaluated notes what an event came to.
func evaluated(span trace.Span, e *Event, recipients, notified int) {
	if span.IsRecording() {
		span.SetAttributes(attribute.String("matrix.event_id", e.ID), attribute.String("matrix.room_id", e.RoomID), attribute.String("matrix.event_type", e.Type),
			attribute.Int("tocsin.recipients", recipients), attribute.Int("tocsin.notified", notified))
	}
}

// settledSpan notes what became of an attempt to push.
func settledSpan(span trace.Span, e *errand, step pushers.Step, attempt int) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("matrix.user_id", e.user.ID), attribute.String("tocsin.app_id", e.pusher.AppID), attribute.String("tocsin.provider", step.Provider), attribute.String("tocsin.app", step.App),
		attribute.String("tocsin.outcome", step.Outcome()), attribute.String("tocsin.action", step.Action.String()), attribute.String("tocsin.reason", step.Reason), attribute.String("tocsin.answer", step.Answer()),
		attribute.Int("tocsin.attempt", attempt))
	if !e.alone {
		span.SetAttributes(attribute.String("matrix.event_id", e.notice.Event.ID), attribute.String("matrix.room_id", e.notice.RoomID), attribute.String("tocsin.rule", e.ruleName()))
	}
	switch step.Verdict {
	case pushers.Retry, pushers.Drop, pushers.Misconfigured, pushers.Uncertain:
		span.SetStatus(codes.Error, step.Answer())
	}
}
