package stack_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tocsin/test/stack"
)

// TestGatewayFaults has an ordinary client meet each fault: how far it comes, and what ends it.
func TestGatewayFaults(t *testing.T) {
	for _, tc := range []struct {
		fault  stack.Fault
		status int    // that the client sees; 0: none
		want   string // part of the error; "reset" is one of TCP
		shown  int    // status that the gateway shows
	}{
		{stack.Hang, 0, "Client.Timeout", 0},
		{stack.HangUnread, 0, "Client.Timeout", 0},
		{stack.HangInHeader, 0, "Client.Timeout", 0},
		{stack.HangInBody, 200, "Client.Timeout", 200},
		{stack.ResetUnread, 0, "Post", 0}, // while it is written, or after
		{stack.Reset, 0, "reset", 0},
		{stack.ResetInHeader, 0, "connection", 0},
		{stack.ResetInBody, 200, "reset", 200},
		{stack.CloseUnanswered, 0, "EOF", 0},
		{stack.EndlessHeader, 0, "server response headers exceeded", 0},
		{stack.EndlessBody, 200, "", 200},
		{stack.SlowBody, 200, "Client.Timeout", 200},
		{stack.NotHTTP, 0, "malformed HTTP", 0},
	} {
		g := stack.Gateways(t)
		g.Script(stack.Answer{Fault: tc.fault})
		c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		if tc.want == "Client.Timeout" {
			c.Timeout = 300 * time.Millisecond
		}
		status, err := exchange(c, "http://"+g.Address()+"/")
		isReset := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
		if status != tc.status || tc.want == "reset" && !isReset || tc.want != "reset" && tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) || tc.want == "" && err != nil {
			t.Errorf("fault %d: status %d and the error %v; want %d and %q", tc.fault, status, err, tc.status, tc.want)
		}
		for len(g.Requests()) == 0 { // some faults are over later than the client
			if t.Context().Err() != nil {
				t.Fatal("the request was never recorded")
			}
			time.Sleep(time.Millisecond)
		}
		r := g.Requests()[0]
		if r.Status != tc.shown || (tc.fault == stack.ResetUnread || tc.fault == stack.HangUnread) != (r.Body == nil) {
			t.Errorf("fault %d: shown as %d with %d bytes of body, want %d", tc.fault, r.Status, len(r.Body), tc.shown)
		}
		c.Timeout = 30 * time.Second
		if status, err := exchange(c, "http://"+g.Address()+"/"); status != 200 || err != nil {
			t.Errorf("after fault %d: status %d and the error %v", tc.fault, status, err)
		}
	}
}

// exchange makes a request and reads the first part of the answer.
func exchange(c *http.Client, url string) (int, error) {
	resp, err := c.Post(url, "application/json", strings.NewReader(`{"n":1}`+strings.Repeat(" ", 1<<20)))
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 100_000))
	return resp.StatusCode, err
}

// TestGatewayTLS has a client that trusts the gateway's authority.
func TestGatewayTLS(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for how, want := range map[stack.TLS]string{
		stack.GoodTLS: "", stack.ExpiredTLS: "expired", stack.WrongNameTLS: "cannot validate", stack.SelfSignedTLS: "unknown authority", stack.HangingTLS: "Client.Timeout",
	} {
		g, err := stack.StartGateway(stack.GatewayOptions{TLS: how})
		if err != nil {
			t.Fatal(err)
		}
		trusted := x509.NewCertPool()
		if g.Authority() != nil {
			trusted.AddCert(g.Authority())
		}
		c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted}}}
		if how == stack.HangingTLS {
			c.Timeout = 300 * time.Millisecond
		}
		status, err := exchange(c, "https://"+g.Address()+"/")
		if want == "" && (status != 200 || err != nil) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%d: status %d and the error %v, want %q", how, status, err, want)
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestGatewayEndsItsFaults holds that a gateway that is closed leaves nothing behind, whatever it was at.
func TestGatewayEndsItsFaults(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	g, err := stack.StartGateway(stack.GatewayOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g.Script(stack.Answer{Fault: stack.SlowBody}, stack.Answer{Fault: stack.Hang})
	ended := make(chan error)
	for range 2 {
		go func() {
			_, err := exchange(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+g.Address()+"/")
			ended <- err
		}()
	}
	for g.Waiting() > 0 {
		time.Sleep(time.Millisecond)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		<-ended
	}
}
