package app

// Traces: where a worker's spans go, and how push gateways learn of them.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"tocsin/config"
	"tocsin/pipeline"
)

// tracing makes a worker's spans and sends them to a collector. The zero value does neither.
type tracing struct {
	provider *sdktrace.TracerProvider
	stages   *pipeline.Tracing
}

// flushTime bounds how long a worker that stops waits for the collector to take the last spans.
const flushTime = 5 * time.Second

// newTracing connects to nobody: spans are sent in the background, and are lost while the collector is away. Events never wait for it.
func newTracing(ctx context.Context, cfg config.Tracing, log *slog.Logger) (*tracing, error) {
	if cfg.Endpoint == "" {
		return &tracing{}, nil
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(strings.TrimSuffix(cfg.Endpoint, "/")+"/v1/traces"))
	if err != nil {
		return nil, fmt.Errorf("tracing.endpoint: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&quiet{SpanExporter: exporter, log: log}),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "tocsin"))),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.Sample))),
	)
	return &tracing{provider, pipeline.NewTracing(provider)}, nil
}

// close sends what is left.
func (t *tracing) close() error {
	if t.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	return t.provider.Shutdown(ctx)
}

// wrap tells push gateways of the span that a request belongs to (W3C Trace Context). It is nil if there are none.
func (t *tracing) wrap() func(http.RoundTripper) http.RoundTripper {
	if t.provider == nil {
		return nil
	}
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context()) // a RoundTripper changes no request
			propagation.TraceContext{}.Inject(r.Context(), propagation.HeaderCarrier(r.Header))
			return next.RoundTrip(r)
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// quiet tells the worker's log when spans are lost, once until they are taken again, in place of a handler of errors that the process has in common.
type quiet struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	away bool
}

// ExportSpans implements [sdktrace.SpanExporter], which calls it one after another.
func (q *quiet) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := q.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !q.away && !errors.Is(err, context.Canceled):
		q.away = true
		q.log.Warn("the collector of traces does not take them: spans are lost until it does", "error", err)
	case err == nil && q.away:
		q.away = false
		q.log.Info("the collector takes traces again")
	}
	return nil
}
