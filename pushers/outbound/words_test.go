package outbound

import (
	"testing"

	"tocsin/test/stack"
)

// Each reason has words, and what is no reason has none.
func TestWords(t *testing.T) {
	t.Parallel()
	reasons := stack.Constants(t, "reason")
	reasons["BadURL"], reasons["BlockedAddress"] = BadURL, BlockedAddress
	if len(reasons) != len(words) {
		t.Errorf("%d reasons, %d words", len(reasons), len(words))
	}
	for name, reason := range reasons {
		if Words(reason) == "" {
			t.Errorf("%s (%q) has no words", name, reason)
		}
	}
	if got := Words("accepted"); got != "" {
		t.Error(got)
	}
}
