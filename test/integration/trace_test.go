package integration

// One trace for each event, as a collector receives it and a gateway hears of it.

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/segmentio/kafka-go"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"tocsin/test/stack"
)

// spans are what a collector was sent, by OTLP over HTTP.
type spans struct {
	mu   sync.Mutex
	all  []*otlp.Span
	text strings.Builder // all of it, as it came
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(r.Body)
	var request collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &request)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, fmt.Sprint(r.URL.Path, err), http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(raw)
	for _, resource := range request.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.all = append(s.all, scope.Spans...)
		}
	}
}

// of are the spans of a trace, the first to begin first.
func (s *spans) of(trace string) (found []*otlp.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.all {
		if hex.EncodeToString(span.TraceId) == trace {
			found = append(found, span)
		}
	}
	slices.SortFunc(found, func(a, b *otlp.Span) int { return int(int64(a.StartTimeUnixNano) - int64(b.StartTimeUnixNano)) })
	return found
}

func attribute(span *otlp.Span, key string) string {
	for _, a := range span.Attributes {
		if a.Key == key {
			return strings.Trim(strings.NewReplacer("string_value:", "", "int_value:", "").Replace(a.Value.String()), `"`)
		}
	}
	return ""
}

// TestOneTraceForEachEvent follows an event from the homeserver's traceparent through its evaluation, an attempt that fails and one that succeeds, to the gateway.
func TestOneTraceForEachEvent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	received := &spans{}
	to := httptest.NewServer(received)
	t.Cleanup(to.Close)
	w.cfg.Tracing.Endpoint, w.cfg.Tracing.Sample = to.URL, 0 // the homeserver decides
	w.gateway.Script(stack.Answer{Status: 503})
	w.room("!r:hs")
	r := w.ready(w.start())
	const trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	traced, untraced := w.message("!r:hs", "$traced"), w.message("!r:hs", "$untraced")
	traced.Headers = []kafka.Header{{Key: "traceparent", Value: []byte("00-" + trace + "-" + parent + "-01")}}
	w.write(traced)
	w.until("the second attempt", time.Minute, func() bool { return len(w.gateway.Requests()) == 2 })
	w.write(untraced)
	w.until("the other event", time.Minute, func() bool { return len(w.gateway.Requests()) == 3 })
	r.stop() // the last spans are sent
	found := received.of(trace)
	var got []string
	for _, s := range found {
		got = append(got, strings.Join([]string{s.Name, attribute(s, "matrix.event_id"), attribute(s, "tocsin.provider"), attribute(s, "tocsin.outcome"), attribute(s, "tocsin.answer"), attribute(s, "tocsin.attempt"), attribute(s, "tocsin.rule")}, " "))
	}
	want := []string{"evaluate $traced     ", "push $traced gateway retry http_503 1 .m.rule.message", "push $traced gateway delivered accepted 2 .m.rule.message"}
	if !slices.Equal(got, want) {
		t.Fatalf("the trace has\n%q, want\n%q", got, want)
	}
	if above := hex.EncodeToString(found[0].ParentSpanId); above != parent {
		t.Errorf("the evaluation is below %s, want the homeserver's %s", above, parent)
	}
	for i, push := range found[1:] {
		if string(push.ParentSpanId) != string(found[0].SpanId) {
			t.Errorf("attempt %d is not below the evaluation", i+1)
		}
		if header, want := w.gateway.Requests()[i].Header.Get("traceparent"), fmt.Sprintf("00-%s-%x-01", trace, push.SpanId); header != want {
			t.Errorf("attempt %d told the gateway %q, want %q", i+1, header, want)
		}
	}
	received.mu.Lock()
	defer received.mu.Unlock()
	if len(received.all) != len(found) {
		t.Errorf("%d spans in all: an event that is not sampled was traced", len(received.all))
	}
	for _, secret := range []string{"bobs-key", "hello"} { // the pushkey, and what was said
		if strings.Contains(received.text.String(), secret) {
			t.Errorf("%q is in a trace", secret)
		}
	}
}
