package gateway_test

// Gateways that do not answer as they should.

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/gateway"
)

// serveRaw starts a gateway that speaks for itself, on each connection once: talk has what is needed to read requests.
func serveRaw(t testing.TB, talk func(net.Conn, *bufio.Reader)) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var talks sync.WaitGroup
	talks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			talks.Go(func() {
				defer conn.Close()
				talk(conn, bufio.NewReader(conn))
			})
		}
	})
	t.Cleanup(func() { listener.Close(); talks.Wait() })
	return "http://" + listener.Addr().String() + gateway.StandardPath
}

// readRequest reads one request to its end.
func readRequest(r *bufio.Reader) error {
	req, err := http.ReadRequest(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, req.Body)
	return err
}

// TestSendToSickGateways has the ways in which a gateway can fail to answer.
func TestSendToSickGateways(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for _, tc := range []struct {
		name string
		talk func(net.Conn, *bufio.Reader)
		want pushers.Outcome
	}{
		{"hangs", func(_ net.Conn, r *bufio.Reader) { readRequest(r); r.ReadByte() },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout", RetryAfter: 5 * time.Minute}},
		{"hangs without reading", func(_ net.Conn, r *bufio.Reader) { http.ReadRequest(r); r.ReadByte(); io.Copy(io.Discard, r) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout", RetryAfter: 5 * time.Minute}},
		{"closes", func(_ net.Conn, r *bufio.Reader) { readRequest(r) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", RetryAfter: 5 * time.Minute}},
		{"resets", func(c net.Conn, r *bufio.Reader) { readRequest(r); c.(*net.TCPConn).SetLinger(0) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", RetryAfter: 5 * time.Minute}},
		{"drips a reply", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head+"\r\n"); drip(c, " ") },
			pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"drips headers", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head); drip(c, "X: y\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout", RetryAfter: 5 * time.Minute}},
		{"breaks off in the reply", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, head+"Content-Length: 15\r\n\r\n{")
		},
			pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"breaks off in an error page", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 15\r\n\r\n<")
		}, pushers.Outcome{Verdict: pushers.Retry, Reason: "http_503", Status: 503, RetryAfter: 7 * time.Second, Pause: true}},
		{"breaks off in the headers", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head) },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", RetryAfter: 5 * time.Minute}},
		{"sends headers for ever", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, head); flood(c, "X: y\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", RetryAfter: 5 * time.Minute}},
		{"sends a reply for ever", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, head+"\r\n")
			flood(c, `{"rejected":[`)
		},
			pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"sends a zip bomb", func(c net.Conn, r *bufio.Reader) {
			readRequest(r)
			io.WriteString(c, head+"Content-Encoding: gzip\r\n\r\n")
			z := gzip.NewWriter(c)
			defer z.Close()
			z.Write(bytes.Repeat([]byte{' '}, 10<<20))
		}, pushers.Outcome{Verdict: pushers.Delivered, Reason: "unreadable_reply", Status: 200}},
		{"does not speak HTTP", func(c net.Conn, r *bufio.Reader) { readRequest(r); io.WriteString(c, "220 secret.example ESMTP\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", RetryAfter: 5 * time.Minute}},
		{"interrupts for ever", func(c net.Conn, r *bufio.Reader) { readRequest(r); flood(c, "HTTP/1.1 102 Processing\r\n\r\n") },
			pushers.Outcome{Verdict: pushers.Uncertain, Reason: "no_answer", RetryAfter: 5 * time.Minute}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := loopback()
			if timesOut := strings.HasPrefix(tc.name, "hangs") || strings.HasPrefix(tc.name, "drips"); timesOut {
				cfg.Timeout = time.Second
			}
			start := time.Now()
			got := newSender(t, cfg, gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to(serveRaw(t, tc.talk))})
			check(t, got, tc.want)
			if took := time.Since(start); took > cfg.Timeout+5*time.Second { // generous: the machine may be busy
				t.Errorf("took %v", took)
			}
			if cause := fmt.Sprint(got.Cause); strings.Contains(cause, "secret") {
				t.Errorf("the cause shows what the gateway sent: %s", cause)
			}
		})
	}
}

func drip(c net.Conn, s string) {
	for {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
		time.Sleep(10 * time.Millisecond) // it is what is being tested: a reply that never ends, slowly
	}
}

func flood(c net.Conn, s string) {
	s = strings.Repeat(s, 1000)
	for {
		if _, err := io.WriteString(c, s); err != nil {
			return
		}
	}
}

// TestSendOnStaleConnection has a gateway that closes a connection when the second request comes on it.
func TestSendOnStaleConnection(t *testing.T) {
	t.Parallel()
	url := serveRaw(t, func(c net.Conn, r *bufio.Reader) {
		readRequest(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
		readRequest(r)
	})
	s := newSender(t, loopback(), gateway.Options{})
	check(t, s.Send(t.Context(), pushers.Delivery{Notification: to(url)}), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
	check(t, s.Send(t.Context(), pushers.Delivery{Notification: to(url)}), pushers.Outcome{Verdict: pushers.Retry, Reason: "stale_connection"})
	check(t, s.Send(t.Context(), pushers.Delivery{Notification: to(url)}), pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200})
}

func TestSendNoConnection(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	check(t, newSender(t, loopback(), gateway.Options{}).Send(t.Context(), pushers.Delivery{Notification: to("http://" + listener.Addr().String() + gateway.StandardPath)}),
		pushers.Outcome{Verdict: pushers.Retry, Reason: "connect"})
}

func TestSendStopped(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	url := serveRaw(t, func(_ net.Conn, r *bufio.Reader) { readRequest(r); stop(); r.ReadByte() })
	check(t, newSender(t, loopback(), gateway.Options{}).Send(ctx, pushers.Delivery{Notification: to(url)}), pushers.Outcome{Verdict: pushers.Uncertain, Reason: "timeout", RetryAfter: 5 * time.Minute})
}
