package pipeline_test

// What is sent to nobody, whatever else is due.

import (
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"tocsin/pipeline"
)

// TestNoBadgeFromTheShadow lets a notification come back that is read meanwhile and left the badge in doubt, in shadow mode: its badge must not be sent either.
func TestNoBadgeFromTheShadow(t *testing.T) {
	t.Parallel()
	live := true
	d := newDesk(t, func(u *pipeline.Users) { u.Live = func(string) bool { return live } })
	d.pusher("phone", "")
	d.phones["phone"].steps = append(d.phones["phone"].steps, uncertain)
	d.handle(message(garden, "$1", 1))
	d.got("phone", "$1 1")
	live = false
	d.handle(read(garden, 1))
	d.due()
	d.got("phone")
	live = true
	d.handle(read(garden, 2)) // what it shows is in doubt still
	d.got("phone", "0")
}

// What becomes of a notification is counted by the app's provider also where nothing is asked of it.
func TestProviderOfWhatIsNotSent(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	d := newDesk(t, func(u *pipeline.Users) {
		u.Live = func(string) bool { return false }
		u.Metrics = pipeline.NewMetrics(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
		u.Through = func(appID string) (string, string) { return "apns", "the entry of " + appID }
	})
	d.pusher("phone", "")
	d.handle(message(garden, "$1", 1))
	d.got("phone")
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	var labels []string
	for _, m := range all.ScopeMetrics[0].Metrics {
		if m.Name == "tocsin.push.settled" {
			for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
				labels = append(labels, p.Attributes.Encoded(attribute.DefaultEncoder()))
			}
		}
	}
	if want := []string{"action=drop,answer=,app=the entry of app,outcome=none,provider=apns,reason=shadow"}; !slices.Equal(labels, want) {
		t.Errorf("counted by %q, want %q", labels, want)
	}
}
