package config

// Where traces go.

import (
	"errors"
	"net/url"
)

// Tracing is section `tracing`.
type Tracing struct {
	Endpoint string  `yaml:"endpoint" doc:"base URL of an OpenTelemetry collector that takes traces by OTLP over HTTP, such as http://otel-collector:4318; empty: no traces, and the traceparent of an event goes on as it came"`
	Sample   float64 `yaml:"sample" doc:"share of events that are traced, from 0 to 1, where the homeserver's traceparent does not say it"`
}

// Validate reports what can't be right.
func (t Tracing) Validate() error {
	var errs []error
	if u, err := url.Parse(t.Endpoint); t.Endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "") {
		errs = append(errs, errors.New("endpoint: it is not a URL such as http://otel-collector:4318"))
	}
	if !(t.Sample >= 0 && t.Sample <= 1) {
		errs = append(errs, errors.New("sample: it is not a number from 0 to 1"))
	}
	return errors.Join(errs...)
}
