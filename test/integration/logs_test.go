package integration

// What workers say.

import (
	"strconv"
	"strings"
	"time"
	"tocsin/test/stack"
)

// logs keeps what workers say; a failed test shows it.
type logs struct{ stack.Buffer }

// logged counts the lines of the workers' log that have all these words.
func (w *world) logged(words ...string) (n int) {
	for line := range strings.Lines(w.logs.String()) {
		all := true
		for _, word := range words {
			all = all && strings.Contains(line, word)
		}
		if all {
			n++
		}
	}
	return n
}

// hears waits until the workers have logged a line with all these words.
func (w *world) hears(words ...string) {
	w.Helper()
	w.until("the log says "+strconv.Quote(strings.Join(words, " … ")), 60*time.Second, func() bool { return w.logged(words...) > 0 })
}
