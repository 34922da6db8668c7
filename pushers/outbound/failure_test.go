package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"tocsin/pushers"
)

func TestFailure(t *testing.T) {
	t.Parallel()
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	write := &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	for _, tc := range []struct {
		name    string
		in      Answer
		verdict pushers.Verdict
		reason  string
	}{
		// No answer: did it leave?
		{"no such host", Answer{Err: dial(&net.DNSError{Err: "no such host", IsNotFound: true})}, pushers.Retry, "dns"},
		{"name server away", Answer{Err: dial(&net.DNSError{Err: "i/o timeout", IsTimeout: true})}, pushers.Retry, "dns"},
		{"connection refused", Answer{Err: dial(syscall.ECONNREFUSED)}, pushers.Retry, "connect"},
		{"no connection in time", Answer{Err: context.DeadlineExceeded}, pushers.Retry, "connect"},
		{"certificate", Answer{Err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, pushers.Retry, "tls"},
		{"no TLS", Answer{Err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}}, pushers.Retry, "tls"},
		{"no handshake in time", Answer{Err: context.DeadlineExceeded, shaking: true}, pushers.Retry, "tls"},
		{"handshake reset", Answer{Err: reset, shaking: true}, pushers.Retry, "tls"},
		{"proxy away", Answer{Err: &proxyError{dial(&net.DNSError{Err: "no such host"})}}, pushers.Retry, "proxy"},
		{"TLS alert", Answer{Err: &net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}}, pushers.Retry, "tls"},
		{"broke while it was written", Answer{Err: fmt.Errorf("transport: %w", write), sent: true}, pushers.Retry, "connect"},
		{"timeout after it left", Answer{Err: context.DeadlineExceeded, sent: true}, pushers.Uncertain, "timeout"},
		{"timeout of the socket", Answer{Err: os.ErrDeadlineExceeded, sent: true}, pushers.Uncertain, "timeout"},
		{"timeout on a used connection", Answer{Err: context.DeadlineExceeded, sent: true, reused: true}, pushers.Uncertain, "timeout"},
		{"stopped after it left", Answer{Err: context.Canceled, sent: true}, pushers.Uncertain, "timeout"},
		{"reset after it left", Answer{Err: reset, sent: true}, pushers.Uncertain, "no_answer"},
		{"closed after it left", Answer{Err: io.EOF, sent: true}, pushers.Uncertain, "no_answer"},
		{"used connection reset", Answer{Err: reset, sent: true, reused: true}, pushers.Retry, "stale_connection"},
		{"used connection closed", Answer{Err: io.EOF, sent: true, reused: true}, pushers.Retry, "stale_connection"},
		{"answer breaks off", Answer{Err: io.ErrUnexpectedEOF, sent: true, reused: true, began: true}, pushers.Uncertain, "no_answer"},
		// Our own rules.
		{"address", Answer{Err: dial(&Refusal{BlockedAddress, errors.New("10.0.0.1")})}, pushers.Drop, "blocked_address"},
		{"url", Answer{Err: RefuseURL("it names no host")}, pushers.Drop, "bad_url"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := tc.in.Failure()
			if got.Verdict != tc.verdict || got.Reason != tc.reason || got.Cause == nil || got.Status != 0 || got.RetryAfter != 0 || got.Tries != 0 {
				t.Errorf("got %+v, want %v %s", got, tc.verdict, tc.reason)
			}
		})
	}
}

func TestStatusReason(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{101: "http_101", 199: "http_1xx", 299: "http_2xx", 307: "http_307", 399: "http_3xx", 404: "http_404", 499: "http_4xx", 503: "http_503", 599: "http_5xx", 600: "http_other", 999: "http_other", 0: "http_other"} {
		if got := StatusReason(status); got != want {
			t.Errorf("%d: got %s, want %s", status, got, want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-1": 0, "+1": 0, "1.5": 0, " 1": 0, "0": 0, "7": 7 * time.Second, "007": 7 * time.Second, "3600": time.Hour, "3601": time.Hour, "4294967296": time.Hour,
		"99999999999999999999": time.Hour, "Sun, 22 Nov 2026 12:00:30 GMT": 30 * time.Second, "Sun, 22 Nov 2020 12:00:30 GMT": 0, "Sun, 22 Nov 2099 12:00:30 GMT": time.Hour,
	} {
		if got := RetryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: got %v, want %v", value, got, want)
		}
	}
	if got := RetryAfter(nil, now); got != 0 {
		t.Errorf("without the header: got %v", got)
	}
}
