package gateway

import (
	"testing"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
	"tocsin/test/stack"
)

// Each reason has words, and so has each status whatever it came to.
func TestWords(t *testing.T) {
	t.Parallel()
	reasons := stack.Constants(t, "reason")
	if len(reasons) < 5 {
		t.Fatalf("%d reasons were found", len(reasons))
	}
	stack.Words(t, reasons, words, func(reason string) string { return Words(pushers.Outcome{Reason: reason}) })
	for status := 300; status < 600; status++ {
		for v := pushers.Delivered; v <= pushers.Uncertain; v++ {
			if o := (pushers.Outcome{Verdict: v, Status: status, Reason: outbound.StatusReason(status)}); Words(o) == "" {
				t.Errorf("%+v has no words", o)
			}
		}
	}
	if got := Words(pushers.Outcome{Verdict: pushers.Retry, Reason: "dns"}); got != outbound.Words("dns") {
		t.Errorf("without an answer: %q", got)
	}
}
