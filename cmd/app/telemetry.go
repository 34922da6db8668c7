package app

// What a worker counts, and how operators read it.
//
// The instruments are OpenTelemetry's, so that the packages that count do not know who reads. They are read by Prometheus's exporter, at /metrics of the admin address: a scraped
// endpoint needs no address of a collector to be configured, opens no connection of its own and loses nothing while nobody listens, and OpenTelemetry's collector scrapes it as well as
// Prometheus does. Names are in Prometheus's classic form: tocsin.consumer.lag is tocsin_consumer_lag there, and counters end in _total.
//
// Labels are fixed words and names from the configuration: never a user, a room or a pushkey.

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"tocsin/delivery"
	"tocsin/pipeline"
	"tocsin/pushers/apps"
)

// telemetry is one worker's metrics, served as an [http.Handler]. Each worker of a process has its own.
type telemetry struct {
	http.Handler
	provider metric.MeterProvider
	pipeline *pipeline.Metrics
}

// newTelemetry makes the instruments of a worker, those of the Go runtime and of the process.
func newTelemetry(w *Worker) (*telemetry, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewBuildInfoCollector())
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
		otelprometheus.WithoutScopeInfo(), otelprometheus.WithoutTargetInfo())
	if err != nil {
		return nil, err
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)) // reads when it is scraped: there is nothing to shut down
	if err := w.observe(provider.Meter("tocsin/app")); err != nil {
		return nil, err
	}
	counters := pipeline.NewMetrics(provider)
	for _, t := range w.keyedTopics() {
		counters.Misplaced.Add(context.Background(), 0, metric.WithAttributes(attribute.String("topic", t.name))) // an alarm on its increase needs the zero before it
	}
	return &telemetry{Handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}), provider: provider, pipeline: counters}, nil
}

// observe makes the instruments that are read off the worker when somebody asks.
func (w *Worker) observe(meter metric.Meter) error {
	_, err := meter.Int64ObservableGauge("tocsin.consumer.lag", metric.WithUnit("{record}"),
		metric.WithDescription("Records of the partitions that are assigned to this worker that are not done, by consumer group and topic"), metric.WithInt64Callback(w.observeLag))
	if err != nil {
		return fmt.Errorf("lag: %w", err)
	}
	_, err = meter.Int64ObservableGauge("tocsin.topic.partitions", metric.WithUnit("{partition}"),
		metric.WithDescription("Partitions of a topic as this worker knows them: after a change, producers may go on when all workers say the new number"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for _, t := range w.keyedTopics() {
				if n := t.partitions.Load(); n > 0 {
					o.Observe(n, metric.WithAttributes(attribute.String("topic", t.name)))
				}
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("partitions: %w", err)
	}
	return nil
}

// observeLag adds up what each consumer has not done. A partition of which it is not known where to begin counts nothing.
func (w *Worker) observeLag(_ context.Context, o metric.Int64Observer) error {
	type reader struct{ group, topic string }
	lag := map[reader]int64{}
	for _, p := range w.Progress() {
		if p.Group != "" { // the tail of the account topic has none
			lag[reader{p.Group, p.Topic}] += max(0, p.End-p.Watermark)
		}
	}
	for r, records := range lag {
		o.Observe(records, metric.WithAttributes(attribute.String("group", r.group), attribute.String("topic", r.topic)))
	}
	return nil
}

// observeDelivery makes the instruments of what lies between the users stage and the push services.
func (t *telemetry) observeDelivery(d *delivery.Dispatcher, guard *pipeline.Guard) error {
	if _, err := guard.Instrument(t.provider); err != nil {
		return fmt.Errorf("guards: %w", err)
	}
	_, err := t.provider.Meter("tocsin/delivery").Int64ObservableGauge("tocsin.delivery.services", metric.WithUnit("{service}"),
		metric.WithDescription("Push services that this worker has lately sent to, by provider and state: open ones are left alone for a while, half_open ones are being probed, paused ones asked for it"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for provider, counts := range d.Breakers() {
				for state, n := range map[string]int{"known": counts.Known, "open": counts.Open, "half_open": counts.HalfOpen, "paused": counts.Paused} {
					o.Observe(int64(n), metric.WithAttributes(attribute.String("provider", provider), attribute.String("state", state)))
				}
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("push services: %w", err)
	}
	return nil
}

// observeApps makes the instruments of the apps that are told directly.
func (t *telemetry) observeApps(direct *apps.Apps) error {
	_, err := t.provider.Meter("tocsin/apps").Int64ObservableGauge("tocsin.app.credential.expiry.timestamp", metric.WithUnit("s"),
		metric.WithDescription("When the certificate of an app that is told directly expires, in seconds since 1970, by provider and app. Keys do not expire, and are not there"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for _, e := range direct.All() {
				if at := e.Expiry(); !at.IsZero() {
					o.Observe(at.Unix(), metric.WithAttributes(attribute.String("provider", e.Provider), attribute.String("app", e.Name)))
				}
			}
			return nil
		}))
	if err != nil {
		return fmt.Errorf("credentials of apps: %w", err)
	}
	return nil
}
