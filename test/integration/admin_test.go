package integration

// What a worker says of itself over HTTP.

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ask asks a worker over HTTP for what it tells operators.
func (w *world) ask(r *running, path string) (status int, text string) {
	w.Helper()
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + r.AdminAddress() + path)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	return res.StatusCode, string(body)
}

// metrics are the lines of the worker's metrics that hold a word.
func (w *world) metrics(r *running, word string) string {
	w.Helper()
	status, all := w.ask(r, "/metrics")
	if status != http.StatusOK {
		w.Fatalf("scrape: %d, %s", status, all)
	}
	var found strings.Builder
	for line := range strings.Lines(all) {
		if strings.Contains(line, word) && !strings.HasPrefix(line, "#") {
			found.WriteString(line)
		}
	}
	return found.String()
}

// metric adds up the samples of a name that have a label.
func (w *world) metric(r *running, name, label string) (sum float64) {
	w.Helper()
	for line := range strings.Lines(w.metrics(r, name+"{")) {
		sample, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if !ok || !strings.HasPrefix(sample, name+"{") || !strings.Contains(sample, label) {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			w.Fatalf("%s: %v", line, err)
		}
		sum += n
	}
	return sum
}
