package rehearse_test

import (
	"testing"
)

func TestPrint(t *testing.T) {
	b := run(t, t.TempDir())
	d := b.devices(t)
	for name, s := range b.senders(t) {
		id := name
		if id == "org.example.ios.beta.*" {
			id = "org.example.ios.beta.rehearsal"
		}
		t.Log(name, s.Send(t.Context(), delivery(d[id])))
	}
	for _, l := range b.lines() {
		t.Log(l)
	}
	b.say(t, `{"outage":{"how":"silent"}}`, "outage: ")
	for name, s := range b.senders(t) {
		id := name
		t.Log(name, s.Send(t.Context(), delivery(d[id])))
	}
}
