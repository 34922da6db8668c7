package replay

import (
	"bytes"
	"testing"

	"tocsin/test/stack"
)

func TestPushLines(t *testing.T) {
	var out bytes.Buffer
	o := &output{w: &out, urls: map[string]string{}}
	o.knows("https://Push.Example.org/notify#here")
	o.knows("http://gateway.example:8080/notify")
	o.knows("https://user:secret@gateway.example/notify")
	for _, r := range []stack.Request{
		{URL: "https://Push.Example.org/notify", Body: []byte(`{"a" : 1.0}`), Status: 200},
		{URL: "http://gateway.example:8080/notify", Body: []byte("{\n}"), Status: 503},
		{URL: "https://gateway.example/notify?a=b", Body: []byte("not \xff JSON"), Status: 0},
	} {
		o.push(r)
	}
	want := `{"kind":"push","url":"https://Push.Example.org/notify#here","body":{"a" : 1.0},"status":200}
{"kind":"push","url":"http://gateway.example:8080/notify","body":{},"status":503}
{"kind":"push","url":"https://gateway.example/notify?a=b","body":"not ` + "\uFFFD" + ` JSON","status":0}
`
	if got := out.String(); got != want || o.Err() != nil {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
