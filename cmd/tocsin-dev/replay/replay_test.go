package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The beginning of each story: Bob and his phone, in a room with Alice and Carol.
const cast = `{"topic":"account","value":{"user_id":"@bob:example.org","type":"pusher","content":{"kind":"http","app_id":"app","pushkey":"BOB","data":{"url":"https://push.example.org/_matrix/push/v1/notify"}}}}
{"topic":"events","value":{"room_id":"!r:example.org","type":"m.room.member","sender":"@alice:example.org","state_key":"@alice:example.org","content":{"membership":"join"}}}
{"topic":"events","value":{"room_id":"!r:example.org","type":"m.room.member","sender":"@bob:example.org","state_key":"@bob:example.org","content":{"membership":"join"}}}
{"topic":"events","value":{"room_id":"!r:example.org","type":"m.room.member","sender":"@carol:example.org","state_key":"@carol:example.org","content":{"membership":"join"}}}
`

// says is a line in which Alice says something at a time, in seconds since 1970.
func says(id, body string, at int64) string {
	return fmt.Sprintf(`{"topic":"events","value":{"event_id":%q,"room_id":"!r:example.org","type":"m.room.message","sender":"@alice:example.org","origin_server_ts":%d,"content":{"msgtype":"m.text","body":%q}}}`+"\n",
		id, at*1000, body)
}

// left is one line of output, as far as these tests look.
type left struct {
	Kind   string  `json:"kind"`
	Status int     `json:"status"`
	Reason string  `json:"reason"`
	Value  *string `json:"value"`
	Body   struct {
		Notification struct {
			EventID string `json:"event_id"`
		} `json:"notification"`
	} `json:"body"`
}

func (l left) String() string {
	if l.Kind == "push" {
		return fmt.Sprintf("%s %d", l.Body.Notification.EventID, l.Status)
	}
	return l.Kind + " " + l.Reason
}

// replayed replays a text.
func replayed(ctx context.Context, t *testing.T, text string) ([]left, string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Run(ctx, Options{File: "-", Stdin: strings.NewReader(text), Output: &out, Log: slog.New(slog.DiscardHandler)})
	var lines []left
	for line := range strings.Lines(out.String()) {
		var l left
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("a line of output that is no JSON: %v\n%.200s", err, line)
		}
		lines = append(lines, l)
	}
	return lines, out.String(), err
}

func story(lines []left) string { return strings.Trim(fmt.Sprint(lines), "[]") }

func TestNothingIsFedOfAWrongFile(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{cast + says("$1", "hi", 1) + `{"wait":"a while"}`, `-, line 6: "wait" must be "idle", not "a while"`},
		{`{"config":{"kafka":{"brokers":["kafka:9092"]}}}`, "-, line 1: config: kafka.brokers can't be set: a replay brings its own servers"},
		{`{"config":{"redis":{"addresses":["redis:6379"],"db":1}}}`, "-, line 1: config: redis.addresses can't be set: a replay brings its own servers"},
		{`{"config":{"admin":{"listen":":80"}}}`, "-, line 1: config: admin.listen can't be set: a replay brings its own servers"},
	} {
		lines, _, err := replayed(t.Context(), t, tc.text)
		var input *InputError
		if len(lines) > 0 || !errors.As(err, &input) || err.Error() != tc.want {
			t.Errorf("got %v, %v\nwant %v", lines, err, tc.want)
		}
	}
	for text, part := range map[string]string{
		`{"config":{"rules":{"dialekt":"2015"}}}`:      "rules.dialekt",
		`{"config":{"badge":{"count":"stars"}}}`:       "badge.count",
		`{"config":{"delivery":17}}`:                   "delivery",
		`{"config":{"badge":{"count":"rooms"},"x":1}}`: "x",
	} {
		_, _, err := replayed(t.Context(), t, text)
		var input *InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEmptyInput(t *testing.T) {
	if lines, _, err := replayed(t.Context(), t, ""); err != nil || len(lines) > 0 {
		t.Errorf("%v, %v", lines, err)
	}
}

// TestTheSameAgain replays one file three times, with a gateway that fails now and then.
func TestTheSameAgain(t *testing.T) {
	text := cast + `{"gateway":{"status":503,"times":3}}` + "\n"
	for i := range int64(20) {
		text += says(fmt.Sprint("$", i), "ding", 1_700_000_000+7*i)
	}
	_, first, err := replayed(t.Context(), t, text)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, again, err := replayed(t.Context(), t, text); err != nil || again != first {
			t.Errorf("%v\n%s\nand before\n%s", err, again, first)
		}
	}
}

// TestTimersFireOnTheWay: a failure at 0 s is tried again at 5 s and 35 s, and what is said at 20 s comes between them.
func TestTimersFireOnTheWay(t *testing.T) {
	lines, _, err := replayed(t.Context(), t, cast+`{"gateway":{"status":503,"times":2}}`+"\n"+says("$a", "a", 1000)+says("$b", "b", 1020)+says("$c", "c", 1050))
	if want := "$a 503 $a 503 $b 200 $a 200 $c 200"; err != nil || story(lines) != want {
		t.Errorf("%v, %v, want %s", lines, err, want)
	}
}

// TestALineMovesTheClockByADay: the second message claims to be of the year 9999. A day is enough for the first to be given up.
func TestALineMovesTheClockByADay(t *testing.T) {
	text := cast + `{"gateway":{"status":503,"times":27}}` + "\n" + says("$a", "a", 1000) + says("$b", "b", 253_402_300_799) + `{"wait":"idle"}` + "\n" + says("$c", "c", 2000)
	lines, _, err := replayed(t.Context(), t, text)
	if err != nil {
		t.Fatal(err)
	}
	if got := story(lines); strings.Count(got, "$a 503") != 27 || !strings.HasSuffix(got, "dead_letter expired $b 200 $c 200") {
		t.Error(got)
	}
}

// TestRecordsOfAnySize: what is larger than an event may be goes to the dead letter, to the last byte.
func TestRecordsOfAnySize(t *testing.T) {
	text := cast
	sizes := []int{1<<20 + 1, 3 << 20, 20 << 20}
	for _, size := range sizes {
		text += says("$big", strings.Repeat("x", size), 1000)
	}
	lines, _, err := replayed(t.Context(), t, text+says("$after", "still here", 1001))
	if want := "dead_letter too_large dead_letter too_large dead_letter too_large $after 200"; err != nil || story(lines) != want {
		t.Fatalf("%v, %v", lines, err)
	}
	for i, size := range sizes {
		if got := *lines[i].Value; !strings.Contains(got, strings.Repeat("x", size)) || !strings.HasPrefix(got, `{"event_id":"$big"`) || !strings.HasSuffix(got, `"}}`) {
			t.Errorf("%d bytes came back of %d", len(got), size)
		}
	}
}

// TestBytesThatAreNoText: they reach the pipeline as they are; only where they are shown, they are replaced.
func TestBytesThatAreNoText(t *testing.T) {
	lines, _, err := replayed(t.Context(), t, cast+"{\"topic\":\"events\",\"value\":\"{\\\"type\\\":\\\"\xff\\\"}\"}\n")
	if err != nil || len(lines) != 1 || lines[0].Reason != "invalid_json" || *lines[0].Value != "{\"type\":\"\uFFFD\"}" {
		t.Errorf("%v, %v", lines, err)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, _, err := replayed(ctx, t, cast+`{"gateway":{"delay":"8s","times":9}}`+"\n"+says("$a", "a", 1000))
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 5*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestOutputThatCanNotBeWritten(t *testing.T) {
	err := Run(t.Context(), Options{File: "-", Stdin: strings.NewReader(cast + says("$a", "a", 1000)), Output: broken{}, Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
}
