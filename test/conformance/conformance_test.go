// Package conformance holds the evaluators of push rules against test vectors that
// each name their source: a section of the specification, a proposal, or the
// documented behaviour of another implementation. See README.md.
package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"tocsin/rules"
)

// vector is what a vector has beside a question of rules.Answer.
type vector struct {
	Name   string         `json:"name"`
	Source string         `json:"source"`
	Want   map[string]any `json:"want"` // the answer without the name
}

// evaluators are the two ways to decide, which must agree.
var evaluators = map[string]func(*rules.Question) rules.Decision{
	"one recipient": func(q *rules.Question) rules.Decision {
		return q.Recipient.Rules.Evaluate(q.Event, q.Room, &q.Recipient)
	},
	"in bulk": func(q *rules.Question) rules.Decision {
		var e rules.Evaluator
		others := rules.Recipient{UserID: "@other:hs", DisplayName: "Other", Rules: q.Recipient.Rules}
		return e.Evaluate(q.Event, q.Room, []rules.Recipient{others, q.Recipient, others}, nil)[1]
	},
	"explained": func(q *rules.Question) rules.Decision {
		return q.Recipient.Rules.Explain(q.Event, q.Room, &q.Recipient).Decision
	},
}

func TestVectors(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("vectors/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors found: %v", err)
	}
	names := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var lines []jsontext.Value
		if err := json.Unmarshal(raw, &lines); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, line := range lines {
			var v vector
			if err := json.Unmarshal(line, &v); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if v.Source == "" || names[v.Name] {
				t.Errorf("%s: %q: every vector needs a source and a name of its own", file, v.Name)
			}
			names[v.Name] = true
			t.Run(strings.ReplaceAll(v.Name, "/", "|"), func(t *testing.T) { check(t, line, v) })
		}
	}
	if len(names) < 300 {
		t.Errorf("only %d vectors", len(names))
	}
}

// check puts the question to each evaluator.
func check(t *testing.T, line []byte, v vector) {
	t.Helper()
	q, err := rules.ParseQuestion(line)
	if err != nil {
		t.Fatalf("not a question: %v", err)
	}
	v.Want["name"] = v.Name
	for way, decide := range evaluators {
		var got map[string]any
		if err := json.Unmarshal(q.Answer(decide(q)), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v.Want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s\nsource: %s", way, diff, v.Source)
		}
	}
}
