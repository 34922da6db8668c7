package gateway_test

// Several devices in one request.

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"tocsin/pushers"
	"tocsin/pushers/gateway"
	"tocsin/test/stack"
)

// devices are the same message for several devices, which differ in all that a device can.
func devices(url string, pushkeys ...string) []pushers.Notification {
	var ns []pushers.Notification
	for i, pushkey := range pushkeys {
		n := to(url)
		n.Device.Pusher.AppID, n.Device.Pusher.Pushkey, n.Device.Pusher.PushkeyTS = fmt.Sprint("app", i), pushers.NewPushkey(pushkey), int64(i)
		if i > 0 {
			n.Device.Tweaks = nil
		}
		ns = append(ns, n)
	}
	return ns
}

func TestSendBundle(t *testing.T) {
	t.Parallel()
	var got string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got += string(body)
		io.WriteString(w, `{"rejected":["b"]}`)
	})
	outcomes := newSender(t, loopback(), gateway.Options{}).SendBundle(t.Context(), devices(url, "a", "b", "c"))
	rejected := pushers.Outcome{Verdict: pushers.Gone, Reason: "rejected", Status: 200}
	if diff := cmp.Diff([]pushers.Outcome{delivered, rejected, delivered}, outcomes); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	stack.Golden(t, filepath.Join("testdata", "bundle.json"), got, *update)
	got = ""
	check(t, newSender(t, loopback(), gateway.Options{}).SendBundle(t.Context(), devices(url, "a"))[0], pushers.Outcome{Verdict: pushers.Delivered, Reason: "others_rejected", Status: 200})
	alone := devices(url, "a")[0]
	if body, _ := gateway.Body(&alone); string(body) != got {
		t.Errorf("a bundle of one is %s, want %s", got, body)
	}
}

// TestSendBundleTooLarge has a gateway that takes bundles of two at most, and notifications without content only.
func TestSendBundleTooLarge(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name     string
		refuses  string // what a body must not have
		requests int
	}{
		{"too many devices", `"c"`, 4},
		{"too much content", `"content"`, 7},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			requests := 0
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				requests++
				body, _ := io.ReadAll(r.Body)
				if text := string(body); strings.Contains(text, tc.refuses) && (tc.refuses != `"c"` || strings.Contains(text, `"a"`)) {
					w.WriteHeader(http.StatusRequestEntityTooLarge)
				}
				io.WriteString(w, `{}`)
			})
			got := newSender(t, loopback(), gateway.Options{}).SendBundle(t.Context(), devices(url, "a", "b", "c"))
			if diff := cmp.Diff([]pushers.Outcome{delivered, delivered, delivered}, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if requests != tc.requests {
				t.Errorf("%d requests, want %d", requests, tc.requests)
			}
		})
	}
}

func TestSendBundleFails(t *testing.T) {
	t.Parallel()
	s := newSender(t, loopback(), gateway.Options{})
	for url, want := range map[string]pushers.Outcome{
		serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }): {Verdict: pushers.Retry, Reason: "http_503", Status: 503},
		"http://10.0.0.1" + gateway.StandardPath:                                      {Verdict: pushers.Drop, Reason: "blocked_address"},
		"http://10.0.0.1/other":                                                       {Verdict: pushers.Drop, Reason: "bad_url"},
	} {
		got := s.SendBundle(t.Context(), devices(url, "a", "b"))
		if diff := cmp.Diff([]pushers.Outcome{want, want}, got, cmpopts.IgnoreFields(pushers.Outcome{}, "Cause")); diff != "" {
			t.Errorf("%s (-want +got)\n%s", url, diff)
		}
	}
}

// TestBundle holds which notifications may travel together: those that differ in their device alone.
func TestBundle(t *testing.T) {
	t.Parallel()
	s := newSender(t, gateway.Config{}, gateway.Options{})
	one := message()
	for name, change := range map[string]struct {
		do       func(*pushers.Notification)
		together bool
	}{
		"nothing":   {func(*pushers.Notification) {}, true},
		"app":       {func(n *pushers.Notification) { n.Device.Pusher.AppID = "other" }, true},
		"pushkey":   {func(n *pushers.Notification) { n.Device.Pusher.Pushkey = pushers.NewPushkey("other") }, true},
		"timestamp": {func(n *pushers.Notification) { n.Device.Pusher.PushkeyTS++ }, true},
		"data":      {func(n *pushers.Notification) { n.Device.Pusher.Data = nil }, true},
		"tweaks":    {func(n *pushers.Notification) { n.Device.Tweaks = nil }, true},
		"url":       {func(n *pushers.Notification) { n.Device.Pusher.URL += "?" }, false},
		"format":    {func(n *pushers.Notification) { n.Device.Pusher.Format = pushers.FormatEventIDOnly }, false},
		"event":     {func(n *pushers.Notification) { n.EventID += "x" }, false},
		"counts":    {func(n *pushers.Notification) { n.Counts.Unread++ }, false},
		"prio":      {func(n *pushers.Notification) { n.Prio = pushers.PrioLow }, false},
		"target":    {func(n *pushers.Notification) { n.IsMember = true }, false},
		"content":   {func(n *pushers.Notification) { n.Content = nil }, false},
		"no JSON":   {func(n *pushers.Notification) { n.Content = []byte("{") }, false},
	} {
		other := message()
		change.do(&other)
		if together := s.Bundle(&one) == s.Bundle(&other); together != change.together {
			t.Errorf("another %s: together %v, want %v", name, together, change.together)
		}
	}
}
