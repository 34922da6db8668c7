package stack_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tocsin/test/stack"
)

// client reaches the gateway under any address, http and https alike.
func client(t *testing.T, g *stack.RecordingGateway) *http.Client {
	transport := &http.Transport{DialContext: g.Dial, DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return g.Dial(ctx, "tls", address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func post(t *testing.T, c *http.Client, url string) (status int, body string, header http.Header) {
	t.Helper()
	resp, err := c.Post(url, "application/json", strings.NewReader(`{"n":1}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw), resp.Header
}

func TestGatewayShowsTheURLThatWasAskedFor(t *testing.T) {
	g := stack.Gateways(t)
	c := client(t, g)
	urls := []string{
		"https://push.example.org/_matrix/push/v1/notify",
		"http://push.example.org/_matrix/push/v1/notify?a=b%20c",
		"https://other.example.org:8448/_matrix/push/v1/notify",
		"http://other.example.org:443/_matrix/push/v1/notify",
		"https://push.example.org/_matrix/push/v1/notify", // the first connection again
	}
	for _, url := range urls {
		post(t, c, url)
	}
	post(t, http.DefaultClient, "http://"+g.Address()+"/x")
	http.DefaultClient.CloseIdleConnections()
	var got []string
	for _, r := range g.Requests() {
		got = append(got, r.URL)
	}
	if diff := cmp.Diff(append(urls, "http://"+g.Address()+"/x"), got); diff != "" {
		t.Error(diff)
	}
}

func TestGatewayAnswersByItsScript(t *testing.T) {
	g := stack.Gateways(t)
	c := client(t, g)
	g.Script(stack.Answer{Status: 503, Times: 2, Header: map[string]string{"Retry-After": "7"}}, stack.Answer{Rejected: []string{"k1", "k2"}})
	g.Script(stack.Answer{Status: 400, Rejected: []string{"k3"}})
	type reply struct {
		Status     int
		Body       string
		RetryAfter string
	}
	want := []reply{
		{503, `{"errcode":"M_UNKNOWN","error":"Service Unavailable"}`, "7"},
		{503, `{"errcode":"M_UNKNOWN","error":"Service Unavailable"}`, "7"},
		{200, `{"rejected":["k1","k2"]}`, ""},
		{400, `{"rejected":["k3"]}`, ""},
		{200, `{"rejected":[]}`, ""},
	}
	for i, w := range want {
		status, body, header := post(t, c, "https://push.example.org/")
		if diff := cmp.Diff(w, reply{status, body, header.Get("Retry-After")}); diff != "" {
			t.Errorf("request %d: %s", i+1, diff)
		}
		if got := g.Requests()[i]; got.Status != w.Status || string(got.Body) != `{"n":1}` {
			t.Errorf("request %d was recorded as %d %s", i+1, got.Status, got.Body)
		}
	}
}

func TestGatewayNoticesThatTheClientHasGone(t *testing.T) {
	g := stack.Gateways(t)
	c := client(t, g)
	g.Script(stack.Answer{Delay: time.Hour})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://slow.example.org/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := c.Do(req); err == nil {
		resp.Body.Close()
		t.Fatal("an answer came before its delay")
	}
	for len(g.Requests()) == 0 { // the gateway sees it a moment later
		if t.Context().Err() != nil {
			t.Fatal("the request was never recorded")
		}
		time.Sleep(time.Millisecond)
	}
	if got := g.Requests()[0].Status; got != 0 {
		t.Errorf("recorded as %d, want 0: nobody got an answer", got)
	}
}

func TestDecodeNotification(t *testing.T) {
	n, err := stack.DecodeNotification([]byte(`{"notification":{"event_id":"$a","room_id":"!r:x","counts":{"unread":2},"devices":[{"app_id":"a","pushkey":"k","tweaks":{"sound":"default"}}]}}`))
	if err != nil || n.EventID != "$a" || n.Counts.Unread != 2 || string(n.Devices[0].Tweaks["sound"]) != `"default"` {
		t.Errorf("read %+v, %v", n, err)
	}
	for _, body := range []string{
		``, `null`, `{}`, `{"notification":{}}`, `{"notification":{"devices":[]}}`,
		`{"notification":{"devices":[{"app_id":"a"}],"colour":"red"}}`,
		`{"notification":{"devices":[{"app_id":"a"}],"prio":"low","prio":"high"}}`,
		`{"notification":{"devices":[{"app_id":"a"}],"Prio":"low"}}`,
	} {
		if _, err := stack.DecodeNotification([]byte(body)); err == nil {
			t.Errorf("%s: no error", body)
		}
	}
}
