package outbound

// What it means that no answer came, and what any answer may say.

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"

	"tocsin/pushers"
)

// The reasons of an outcome for which there is no answer. Metrics are labelled with them, so the list is short and fixed.
const (
	BadURL         = "bad_url"          // a rule of ours forbids the URL
	BlockedAddress = "blocked_address"  // a rule of ours forbids the address
	reasonDNS      = "dns"              // the host has no address
	reasonTLS      = "tls"              // no trusted TLS connection could be made
	reasonProxy    = "proxy"            // the configured proxy could not be reached, or would not connect
	reasonConnect  = "connect"          // no connection could be made, or it broke before the request had left
	reasonStale    = "stale_connection" // a connection that had been idle was closed by the server just then
	reasonTimeout  = "timeout"          // the request left, and no answer came in time
	reasonNoAnswer = "no_answer"        // the request left, and the connection broke
)

// LongestWait bounds how long a server may ask to be left alone.
const LongestWait = time.Hour

// Failure says what it means that no answer came.
func (a Answer) Failure() pushers.Outcome {
	o := pushers.Outcome{Verdict: pushers.Retry, Reason: reasonConnect, Cause: a.Err}
	if refused := (*Refusal)(nil); errors.As(a.Err, &refused) {
		o.Verdict, o.Reason = pushers.Drop, refused.Reason
		return o
	}
	if failed := (*proxyError)(nil); errors.As(a.Err, &failed) {
		o.Reason = reasonProxy
		return o
	}
	sent := a.sent && !brokeWriting(a.Err)
	switch {
	case sent && IsTimeout(a.Err):
		o.Verdict, o.Reason = pushers.Uncertain, reasonTimeout
	case sent && a.reused && !a.began:
		// Servers close idle connections whenever they like, also while a request is on its way to them. The request was hardly ever read
		// then, and the server is not working on it any more in any case: no need to wait as long as for an uncertain one.
		o.Reason = reasonStale
	case sent:
		o.Verdict, o.Reason = pushers.Uncertain, reasonNoAnswer
		if a.began {
			o.Cause = errors.New("the answer is not HTTP, or breaks off") // without the bytes: they may be a secret
		}
	case IsDNS(a.Err):
		o.Reason = reasonDNS
	case a.shaking || IsTLS(a.Err):
		o.Reason = reasonTLS
	}
	return o
}

// IsTimeout says that time ended an exchange: ours, that of whoever asked for it, or that of the connection.
func IsTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || errors.As(err, &timeout) && timeout.Timeout()
}

// IsDNS says that the name of the host led to no address.
func IsDNS(err error) bool {
	var dns *net.DNSError
	return errors.As(err, &dns)
}

// IsTLS says that the TLS handshake failed: at the certificate, at the peer's or our alert, or because the peer does not speak TLS.
func IsTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var notTLS tls.RecordHeaderError
	var alert *net.OpError
	return errors.As(err, &certificate) || errors.As(err, &notTLS) ||
		errors.As(err, &alert) && (alert.Op == "remote error" || alert.Op == "local error")
}

// brokeWriting says that the request did not leave in full after all: that shows only when what was buffered is written.
func brokeWriting(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "write" && !op.Timeout()
}

// StatusReason is the reason for a status: itself if it is one that servers and proxies are known to give, else its class, so that a
// server can't make up labels.
func StatusReason(status int) string {
	switch {
	case http.StatusText(status) != "":
		return "http_" + strconv.Itoa(status)
	case status >= 100 && status < 600:
		return "http_" + strconv.Itoa(status/100) + "xx"
	}
	return "http_other"
}

// RetryAfter is the wish in the header of that name, seconds or a date (RFC 9110, section 10.2.3): 0 if it is absent, past or unreadable, an hour at most. now is
// for dates.
func RetryAfter(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if value == "" {
		return 0
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), LongestWait)
	}
	for _, digit := range value {
		if digit < '0' || digit > '9' {
			return 0
		}
	}
	seconds, err := strconv.Atoi(value)
	if err != nil || seconds > int(LongestWait/time.Second) { // out of range is a long time, too
		return LongestWait
	}
	return time.Duration(seconds) * time.Second
}
