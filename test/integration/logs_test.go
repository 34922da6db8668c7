package integration

// What workers say.

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logs keeps what workers say; a failed test shows it.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

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
