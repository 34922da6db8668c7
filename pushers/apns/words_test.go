package apns

import (
	"testing"

	"tocsin/pushers"
	"tocsin/test/stack"
)

// Each reason that a push can come to has words: ours and all of Apple's.
func TestWords(t *testing.T) {
	t.Parallel()
	reasons := stack.Constants(t, "reason")
	for k := range table {
		reasons[k.reason] = k.reason
	}
	if len(reasons) < 16+30 {
		t.Fatalf("%d reasons were found", len(reasons))
	}
	stack.Words(t, reasons, words, func(reason string) string { return Words(pushers.Outcome{Reason: reason}) })
	for _, o := range []pushers.Outcome{{Verdict: pushers.Drop, Reason: "http_418"}, {Verdict: pushers.Retry, Reason: "http_502"}} {
		if Words(o) == "" {
			t.Errorf("%+v has no words", o)
		}
	}
}
