package pushers_test

import (
	"testing"

	"tocsin/pushers"
)

// TestNames holds the names that logs, metrics and dashboards are built on.
func TestNames(t *testing.T) {
	t.Parallel()
	for v, want := range map[pushers.Verdict]string{
		pushers.Delivered: "delivered", pushers.Retry: "retry", pushers.Drop: "drop", pushers.Gone: "gone",
		pushers.Misconfigured: "misconfigured", pushers.Uncertain: "uncertain", 0: "unknown",
	} {
		if got := v.String(); got != want {
			t.Errorf("verdict %d is %q, want %q", v, got, want)
		}
	}
	for a, want := range map[pushers.Action]string{
		pushers.Settle: "settle", pushers.Again: "retry", pushers.Bury: "dead_letter", pushers.Forget: "drop", pushers.Remove: "remove", 0: "unknown",
	} {
		if got := a.String(); got != want {
			t.Errorf("action %d is %q, want %q", a, got, want)
		}
	}
}

// A cause is of any text, and never a label.
func TestAnswer(t *testing.T) {
	t.Parallel()
	for detail, want := range map[string]string{"": "", "accepted": "accepted", "tls: a certificate of evil.example: expired": "tls"} {
		if got := (pushers.Step{Detail: detail}).Answer(); got != want {
			t.Errorf("%q: %q, want %q", detail, got, want)
		}
	}
}
