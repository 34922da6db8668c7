package fcm

import (
	"testing"

	"tocsin/pushers"
	"tocsin/test/stack"
)

// Each reason has words of its own.
func TestWordsOfReasons(t *testing.T) {
	t.Parallel()
	reasons := stack.Constants(t, "reason")
	if len(reasons) < 15 {
		t.Fatalf("%d reasons were found", len(reasons))
	}
	stack.Words(t, reasons, words, func(reason string) string { return Words(pushers.Outcome{Reason: reason}) })
}
