package stack

// How long the tests go on that look for what happens seldom.

import (
	"os"
	"strconv"
)

// SoakSize is how many notifications a soak has: TOCSIN_TEST_SOAK of them, or few enough for every day.
func SoakSize(t TB) int {
	t.Helper()
	text := os.Getenv("TOCSIN_TEST_SOAK")
	if text == "" {
		return 3000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("TOCSIN_TEST_SOAK: %v", err)
	}
	return n
}
