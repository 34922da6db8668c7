package fcm

import (
	"testing"

	"tocsin/test/stack"
)

// Each reason has words of its own.
func TestWordsOfReasons(t *testing.T) {
	t.Parallel()
	reasons := stack.Constants(t, "reason")
	if len(reasons) < 15 {
		t.Fatalf("%d reasons were found", len(reasons))
	}
	for name, reason := range reasons {
		if words[reason] == "" {
			t.Errorf("%s (%q) has no words", name, reason)
		}
	}
}
