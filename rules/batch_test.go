package rules

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestBatch(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"condition", `{"name":"a","kind":"condition","condition":{"kind":"event_match","key":"type","pattern":"x"},"event":{"type":"x"}}`, `{"name":"a","match":true}`},
		{"rule", `{"name":"a","kind":"rule","rule":{"kind":"room","rule_id":"!r"},"event":{"room_id":"!s"}}`, `{"name":"a","match":false}`},
		{"ruleset", `{"name":"a","kind":"ruleset","ruleset":{},"event":{"type":"m.call.invite"}}`,
			`{"name":"a","matched_rule_id":".m.rule.call","notify":true,"coalesce":false,"highlight":false,"tweaks":{"sound":"ring"}}`},
		{"ruleset without a match", `{"name":"a","kind":"ruleset","ruleset":{},"event":{}}`,
			`{"name":"a","matched_rule_id":null,"notify":false,"coalesce":false,"highlight":false,"tweaks":{}}`},
		{"actions", `{"name":"a","kind":"actions","actions":["notify",{"set_tweak":"x","value":"\u00e9"}]}`,
			`{"name":"a","matched_rule_id":null,"notify":true,"coalesce":false,"highlight":false,"tweaks":{"x":"é"}}`},
		{"a name of any text", `{"name":"\"ü\n","kind":"condition","condition":{}}`, `{"name":"\"ü\n","match":false}`},
		{"unknown members are ignored", `{"name":"a","kind":"condition","condition":{},"new":{"a":[1]},"context":{"new":1}}`, `{"name":"a","match":false}`},
		{"null for what is absent", `{"name":"a","kind":"condition","condition":{},"event":null,"context":null,"complete":null}`, `{"name":"a","match":false}`},
		{"white space around", " \t{\"name\":\"a\",\"kind\":\"condition\",\"condition\":{}} \r", `{"name":"a","match":false}`},
		{"a repeated key in a rule spoils the rule", `{"name":"a","kind":"rule","rule":{"kind":"override","rule_id":"x","rule_id":"y"}}`, `{"name":"a","match":false}`},

		{"no JSON", `hello`, `{"name":null,"error":"the line is not a well-formed question: `},
		{"an empty line", ``, `{"name":null,"error":"the line is not a well-formed question: `},
		{"a list", `[]`, `{"name":null,"error":"the line is not a well-formed question: `},
		{"no name", `{"kind":"rule","rule":{}}`, `{"name":null,"error":"name: a string is needed"}`},
		{"a number as name", `{"name":1,"kind":"rule","rule":{}}`, `{"name":null,"error":"name: a string is needed"}`},
		{"no kind", `{"name":"a","rule":{}}`, `{"name":"a","error":"kind: condition, rule, ruleset or actions is needed"}`},
		{"an unknown kind", `{"name":"a","kind":"x"}`, `{"name":"a","error":"kind: condition, rule, ruleset or actions is needed"}`},
		{"the subject is missing", `{"name":"a","kind":"rule","condition":{}}`, `{"name":"a","error":"rule: it is missing, though kind names it"}`},
		{"actions that are no list", `{"name":"a","kind":"actions","actions":"notify"}`, `{"name":"a","error":"actions: a list is needed"}`},
		{"an event that is no object", `{"name":"a","kind":"rule","rule":{},"event":[]}`, `{"name":"a","error":"event: not a JSON object"}`},
		{"an event with a repeated key", `{"name":"a","kind":"rule","rule":{},"event":{"a":1,"a":1}}`, `{"name":"a","error":"event: duplicate key in a JSON object (at byte 6)"}`},
		{"a related event that is none", `{"name":"a","kind":"rule","rule":{},"context":{"related_events":{"x":{"event":1}}}}`, `{"name":"a","error":"context: related_events: not a JSON object"}`},
		{"an unknown dialect", `{"name":"a","kind":"rule","rule":{},"context":{"dialect":"x"}}`, `{"name":"a","error":"context: unknown dialect \"x\": known are \"current\" and \"2015\""}`},
		{"a context that is no object", `{"name":"a","kind":"rule","rule":{},"context":1}`, `{"name":"a","error":"the line is not a well-formed question: `},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := string(Answer([]byte(tc.in)))
			if got != tc.want && (strings.HasSuffix(tc.want, "}") || !strings.HasPrefix(got, tc.want)) {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			var out bytes.Buffer
			if err := Batch(iotest.OneByteReader(strings.NewReader(tc.in+"\n"+tc.in+"\n")), &out); err != nil || out.String() != got+"\n"+got+"\n" {
				t.Errorf("in a batch: %v, %s", err, out.String())
			}
		})
	}
}

func TestBatchOfLongLines(t *testing.T) {
	t.Parallel()
	long := `{"name":"` + strings.Repeat("x", 3<<20) + `","kind":"condition","condition":{}}`
	var out bytes.Buffer
	if err := Batch(strings.NewReader(long+"\n"+long), &out); err != nil || strings.Count(out.String(), "\n") != 2 || len(out.String()) < 6<<20 {
		t.Errorf("%v, %d bytes", err, out.Len())
	}
	if err := Batch(strings.NewReader(""), &out); err != nil {
		t.Error(err)
	}
}

func TestBatchFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	if err := Batch(iotest.ErrReader(broken), io.Discard); !errors.Is(err, broken) {
		t.Errorf("reading: got %v", err)
	}
	_, w := io.Pipe()
	w.CloseWithError(broken)
	if err := Batch(strings.NewReader("x\n"), w); err == nil {
		t.Error("writing: no error")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"name":"a","kind":"ruleset","ruleset":{"override":[{"rule_id":"x"}]},"event":{"type":"x"},"context":{"features":{"msc3664":true},"related_events":{"m.in_reply_to":{"event":{}}}}}`))
	f.Add([]byte(`{"name":"a","kind":"actions","actions":["notify",{"set_tweak":"x","value":1e5}]}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		answer := Answer(line)
		if bytes.ContainsAny(answer, "\n\r") || !bytes.HasPrefix(answer, []byte(`{"name":`)) {
			t.Errorf("%q is answered %q", line, answer)
		}
	})
}
