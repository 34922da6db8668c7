package e2e_test

// The scenarios of testdata, by the very code of `tocsin-dev replay`.

import (
	"bytes"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"tocsin/cmd/tocsin-dev/replay"
	"tocsin/test/stack"
)

var update = flag.Bool("update", false, "write the golden files anew: read each difference before you believe it")

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := replayed(t, replay.Options{File: file})
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(strings.Join(got, "")), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(slices.Collect(strings.Lines(string(want))), got); diff != "" {
				t.Errorf("left the pipeline (-want +got):\n%s", diff)
			}
		})
	}
}

// TestScenariosAreTold holds the table of testdata/README.md against the files.
func TestScenariosAreTold(t *testing.T) {
	table, err := os.ReadFile("testdata/README.md")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for row := range strings.Lines(string(table)) {
		if name, ok := strings.CutPrefix(row, "| `"); ok {
			told = append(told, name[:strings.IndexByte(name, '`')])
		}
	}
	files, err := filepath.Glob("testdata/*.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".jsonl"))
	}
	slices.Sort(names) // '-' comes before '.'
	if diff := cmp.Diff(names, told); diff != "" {
		t.Errorf("scenarios and rows of the table (-files +rows):\n%s", diff)
	}
}

// replayed is the output of a replay, on real servers if the environment names both.
func replayed(t *testing.T, opts replay.Options) []string {
	t.Helper()
	prefix := "(none)"
	if os.Getenv(stack.KafkaVariable) != "" && os.Getenv(stack.RedisVariable) != "" {
		kafka := stack.Kafka(t)
		opts.Servers = &replay.Servers{Kafka: kafka.Brokers, Redis: stack.Redis(t).Addresses, Prefix: kafka.Prefix}
		t.Cleanup(func() { kafka.DeleteTopics(t) })
		prefix = kafka.Prefix
	}
	var out, log bytes.Buffer
	opts.Output, opts.Log = &out, slog.New(slog.NewTextHandler(&log, nil))
	if err := replay.Run(t.Context(), opts); err != nil {
		t.Fatalf("%v\n%s\nThe worker's log:\n%s", err, &out, &log)
	}
	if t.Failed() {
		t.Log(log.String())
	}
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(out.String(), prefix, "")) {
		lines = append(lines, delivery(t, line))
	}
	return inOrder(lines)
}

// delivery tells of a dead delivery only what must be true of it: the rest of its value is the worker's own form, which may change. Other lines stay.
func delivery(t *testing.T, line string) string {
	t.Helper()
	var dead struct {
		Kind   string `json:"kind"`
		Topic  string `json:"topic"`
		Reason string `json:"reason"`
		Value  string `json:"value"`
	}
	var value struct {
		Event struct {
			EventID string `json:"event_id"`
		} `json:"event"`
		Users []struct {
			ID string `json:"id"`
		} `json:"users"`
		Retry *struct {
			AppID    string `json:"app_id"`
			Pushkey  string `json:"pushkey"`
			Attempts int    `json:"attempts"`
		} `json:"retry"`
	}
	if json.Unmarshal([]byte(line), &dead) != nil || json.Unmarshal([]byte(dead.Value), &value) != nil || value.Retry == nil || len(value.Users) != 1 {
		return line
	}
	raw, err := json.Marshal(map[string]any{
		"kind": dead.Kind, "topic": dead.Topic, "reason": dead.Reason, "delivery": map[string]any{
			"event_id": value.Event.EventID, "user_id": value.Users[0].ID, "app_id": value.Retry.AppID, "pushkey": value.Retry.Pushkey, "attempts": value.Retry.Attempts,
		},
	}, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw) + "\n"
}

// inOrder sorts what has no order: the pushes of one event to several pushers, which don't wait for one another. Those to one pusher stay in their order.
func inOrder(lines []string) []string {
	for begin := 0; begin < len(lines); {
		end := begin + 1
		for event, _ := about(lines[begin]); event != "" && end < len(lines); end++ {
			if next, _ := about(lines[end]); next != event {
				break
			}
		}
		slices.SortStableFunc(lines[begin:end], func(a, b string) int {
			_, to := about(a)
			_, other := about(b)
			return strings.Compare(to, other)
		})
		begin = end
	}
	return lines
}

// about is the event of a push, or that it is of none, and the device that it went to; "" for another line.
func about(line string) (event, device string) {
	var push struct {
		URL  string `json:"url"`
		Body struct {
			Notification stack.Notification `json:"notification"`
		} `json:"body"`
	}
	if json.Unmarshal([]byte(line), &push) != nil || len(push.Body.Notification.Devices) == 0 {
		return "", ""
	}
	n := push.Body.Notification
	event = n.RoomID + n.EventID
	if n.EventID == "" {
		event = "counts alone"
	}
	return event, push.URL + n.Devices[0].AppID + n.Devices[0].Pushkey
}
