package fcm_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/fcm"
	"tocsin/test/stack"
)

var delivered = pushers.Outcome{Verdict: pushers.Delivered, Reason: "accepted", Status: 200}

// crowd sends n messages at once, and says what came of them.
func crowd(s *fcm.Sender, n int) map[string]int {
	var mu sync.Mutex
	var group sync.WaitGroup
	reasons := map[string]int{}
	for range n {
		group.Go(func() {
			o := s.Send(context.Background(), message())
			mu.Lock()
			defer mu.Unlock()
			reasons[o.Reason]++
		})
	}
	group.Wait()
	return reasons
}

// TestTokenIsFetchedOnce holds that all who wait for a token wait for the same one.
func TestTokenIsFetchedOnce(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	w.ScriptToken(stack.FCMAnswer{Delay: 50 * time.Millisecond})
	for range 3 {
		if got := crowd(w.sender, 100); got["accepted"] != 100 {
			t.Errorf("%v", got)
		}
	}
	if got := w.TokenRequests(); got != 1 {
		t.Errorf("asked for %d tokens, want 1", got)
	}
}

// TestTokenIsRefusedOnce has a token go bad before its time: one new one serves all whose requests were refused, within the same attempt.
func TestTokenIsRefusedOnce(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	w.prove(t)
	w.Revoke()
	if got := crowd(w.sender, 100); got["accepted"] != 100 {
		t.Errorf("%v", got)
	}
	if got := w.TokenRequests(); got != 2 {
		t.Errorf("asked for %d tokens, want 2", got)
	}
}

// TestTokenIsRefusedForGood has no token do: it is tried once with a new one, and then it is the operator's fault.
func TestTokenIsRefusedForGood(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	w.Script(stack.FCMAnswer{Status: 401, Times: 2})
	check(t, w.sender.Send(t.Context(), message()), pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "unauthenticated", Status: 401})
	if got := len(w.seen()); got != 2 {
		t.Errorf("%d requests, want 2", got)
	}
	w.prove(t)
}

// TestTokenEndpointFails holds what each failure comes to, that no message goes out, and that the endpoint is left alone for a while afterwards.
func TestTokenEndpointFails(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		answer stack.FCMAnswer
		want   pushers.Outcome
	}{
		{"deleted key", stack.FCMAnswer{Status: 400, ErrorCode: "invalid_grant"}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "token_invalid_grant", Status: 400}},
		{"trouble", stack.FCMAnswer{Status: 503, Header: map[string]string{"Retry-After": "20"}}, pushers.Outcome{Verdict: pushers.Retry, Reason: "token_http_503", Status: 503, RetryAfter: 20 * time.Second}},
		{"a page", stack.FCMAnswer{Status: 200, Body: "<html>"}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "token_unreadable", Status: 200}},
		{"a redirect", stack.FCMAnswer{Status: 302, Header: map[string]string{"Location": "/v1"}, Body: "x"}, pushers.Outcome{Verdict: pushers.Misconfigured, Reason: "token_http_302", Status: 302}},
		{"silence", stack.FCMAnswer{Fault: stack.Hang}, pushers.Outcome{Verdict: pushers.Retry, Reason: "token_timeout"}},
		{"reset", stack.FCMAnswer{Fault: stack.Reset, Times: 2}, pushers.Outcome{Verdict: pushers.Retry, Reason: "token_connect"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, stack.FCMOptions{}, func(c *fcm.Config, _ *fcm.Options) {
				if tc.answer.Fault == stack.Hang {
					c.Timeout = 400 * time.Millisecond
				}
			})
			w.ScriptToken(tc.answer)
			check(t, w.sender.Send(t.Context(), message()), tc.want)
			if got := crowd(w.sender, 50); got[tc.want.Reason] != 50 {
				t.Errorf("%v", got)
			}
			if got := w.TokenRequests(); got != max(tc.answer.Times, 1) || len(w.seen()) != 0 {
				t.Errorf("asked for %d tokens, sent %d messages", got, len(w.seen()))
			}
		})
	}
}

// TestKeyIsReplaced replaces the key file as people and Kubernetes do.
func TestKeyIsReplaced(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name    string
		replace func(t *testing.T, w *world, key []byte)
	}{
		{"written over", func(t *testing.T, w *world, key []byte) { write(t, w.file, key) }},
		{"renamed over", func(t *testing.T, w *world, key []byte) {
			write(t, w.file+".new", key)
			if err := os.Rename(w.file+".new", w.file); err != nil {
				t.Fatal(err)
			}
		}},
		{"a symbolic link beside it", func(t *testing.T, w *world, key []byte) {
			dir := filepath.Dir(w.file)
			if err := os.Mkdir(filepath.Join(dir, "..new"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(dir, "..new", "account.json"), key)
			for _, step := range []error{os.Symlink("..new/account.json", w.file+".link"), os.Rename(w.file+".link", w.file)} {
				if step != nil {
					t.Fatal(step)
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := start(t, stack.FCMOptions{}, nil)
			w.prove(t)
			key, err := w.RotateKey()
			if err != nil {
				t.Fatal(err)
			}
			tc.replace(t, w, key)
			until(t, "the new key is in use", func() bool { return strings.Contains(w.log.String(), "the new key is in use") })
			check(t, w.sender.Send(t.Context(), message()), delivered)
			if got := w.TokenRequests(); got != 2 {
				t.Errorf("asked for %d tokens, want 2: one for each key", got)
			}
		})
	}
}

// TestKeyIsReplacedByNonsense holds that the old key stays in use, and that the log says so once.
func TestKeyIsReplacedByNonsense(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	good := w.ServiceAccount()
	const complaint = "can't be used"
	write(t, w.file, good[:len(good)/2])
	until(t, "the log complains", func() bool { return strings.Contains(w.log.String(), complaint) })
	check(t, w.sender.Send(t.Context(), message()), delivered)
	write(t, w.file, good[:len(good)/3]) // no better
	key, err := w.RotateKey()
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // for the log to complain again, if it would
	write(t, w.file, key)
	until(t, "the new key is in use", func() bool { return strings.Contains(w.log.String(), "the new key is in use") })
	w.Revoke()
	check(t, w.sender.Send(t.Context(), message()), delivered)
	if got := strings.Count(w.log.String(), complaint); got != 1 {
		t.Errorf("complained %d times:\n%s", got, w.log)
	}
	if strings.Contains(w.log.String(), "PRIVATE") {
		t.Error("the log shows the key")
	}
}

// TestCheck has FCM asked whether it would take a message.
func TestCheck(t *testing.T) {
	t.Parallel()
	w := start(t, stack.FCMOptions{}, nil)
	if err := w.sender.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if got := w.seen()[0]; !got.ValidateOnly || got.Problem != "" {
		t.Errorf("%+v", got)
	}
	for _, tc := range []struct {
		name, want string
		change     func(*fcm.Config, *fcm.Options)
		answer     stack.FCMAnswer
	}{
		{"an override that FCM does not know", `look at fcm_options (invalid_argument): it says "Invalid JSON payload received.`,
			func(c *fcm.Config, _ *fcm.Options) { c.Overrides = overrides(t, `{"android":{"colour":"red"}}`) }, stack.FCMAnswer{}},
		{"another project", "FCM, project other: the service account may not send: enable the Firebase Cloud Messaging API in its project",
			func(c *fcm.Config, _ *fcm.Options) { c.ProjectID = "other" }, stack.FCMAnswer{}},
		{"not FCM", "there is no such project, or what answers is not FCM: look at project_id and base_url (not_found)",
			func(c *fcm.Config, _ *fcm.Options) { c.BaseURL += "/elsewhere" }, stack.FCMAnswer{}},
		{"a page", "look at base_url (unreadable_reply)", nil, stack.FCMAnswer{Body: "<html>"}},
		{"disabled", `it says "Firebase Cloud Messaging API has not been used in project 1 before or it is disabled."`, nil,
			stack.FCMAnswer{Status: 403, Message: "Firebase Cloud Messaging API has not been used in project 1 before or it is disabled."}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.answer.Status != 0 || tc.answer.Body != "" {
				w.Script(tc.answer)
			}
			err := w.another(t, tc.change).Check(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
	w.ScriptToken(stack.FCMAnswer{Status: 400, ErrorCode: "invalid_grant"})
	err := w.another(t, nil).Check(t.Context())
	if want := "FCM, project project: Google does not take the key of the service account: it was deleted, or the clock of this machine is wrong (token_invalid_grant)"; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
