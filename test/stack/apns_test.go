package stack_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tocsin/test/stack"
)

// appleClient is a client of the standard library, with tokens that are made here.
type appleClient struct {
	t      *testing.T
	apns   *stack.APNs
	http   *http.Client
	key    *ecdsa.PrivateKey
	bearer string
}

func newAppleClient(t *testing.T, opts stack.APNsOptions) *appleClient {
	t.Helper()
	c := &appleClient{t: t, apns: stack.APNsServer(t, opts)}
	p8, err := c.apns.NewKey("TEAM", "KEY")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(p8)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	c.key = key.(*ecdsa.PrivateKey)
	c.bearer = c.token(`{"alg":"ES256","kid":"KEY"}`, fmt.Sprintf(`{"iss":"TEAM","iat":%d}`, time.Now().Unix()))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.apns.Authority())
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	c.http = &http.Client{Transport: transport, Timeout: 5 * time.Second}
	return c
}

func (c *appleClient) token(header, claims string) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	hash := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, hash[:])
	if err != nil {
		c.t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// apple is a request that is right in itself.
type apple struct {
	method, path, payload string
	header                http.Header
}

func (c *appleClient) right() *apple {
	header := http.Header{"Authorization": {"bearer " + c.bearer}, "Apns-Topic": {"app"}, "Apns-Push-Type": {"alert"}, "Apns-Priority": {"10"}, "User-Agent": {"test"}}
	return &apple{"POST", "/3/device/" + strings.Repeat("ab", 32), `{"aps":{"badge":1}}`, header}
}

func (c *appleClient) do(a *apple) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(c.t.Context(), a.method, c.apns.URL()+a.path, bytes.NewReader([]byte(a.payload)))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = a.header
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// The service refuses what Apple refuses, in its words.
func TestAPNsRefusals(t *testing.T) {
	t.Parallel()
	c := newAppleClient(t, stack.APNsOptions{})
	now := time.Now().Unix()
	bearer := func(header string, claims string, args ...any) func(*apple) {
		return func(a *apple) {
			a.header.Set("Authorization", "bearer "+c.token(header, fmt.Sprintf(claims, args...)))
		}
	}
	set := func(name, value string) func(*apple) { return func(a *apple) { a.header.Set(name, value) } }
	const es256 = `{"alg":"ES256","kid":"KEY"}`
	for _, tc := range []struct {
		name   string
		change func(*apple)
		want   string
	}{
		{"right", func(*apple) {}, "200 "},
		{"GET", func(a *apple) { a.method = "GET" }, "405 MethodNotAllowed"},
		{"another path", func(a *apple) { a.path = "/2/device/ab" }, "404 BadPath"},
		{"no device", func(a *apple) { a.path = "/3/device/" }, "400 MissingDeviceToken"},
		{"no device token", func(a *apple) { a.path = "/3/device/xyz" }, "400 BadDeviceToken"},
		{"no provider token", func(a *apple) { a.header.Del("Authorization") }, "403 MissingProviderToken"},
		{"no token at all", set("Authorization", "bearer x"), "403 InvalidProviderToken"},
		{"a signature of something else", func(a *apple) {
			a.header.Set("Authorization", "bearer "+c.bearer[:len(c.bearer)-8]+"AAAAAAAA")
		}, "403 InvalidProviderToken"},
		{"another algorithm", bearer(`{"alg":"none","kid":"KEY"}`, `{"iss":"TEAM","iat":%d}`, now), "403 InvalidProviderToken"},
		{"an unknown key", bearer(`{"alg":"ES256","kid":"OTHER"}`, `{"iss":"TEAM","iat":%d}`, now), "403 InvalidProviderToken"},
		{"another team", bearer(es256, `{"iss":"OTHER","iat":%d}`, now), "403 InvalidProviderToken"},
		{"an old token", bearer(es256, `{"iss":"TEAM","iat":%d}`, now-3700), "403 ExpiredProviderToken"},
		{"a token of tomorrow", bearer(es256, `{"iss":"TEAM","iat":%d}`, now+3700), "403 InvalidProviderToken"},
		{"a second token", bearer(es256, `{"iss":"TEAM","iat":%d}`, now+2), "429 TooManyProviderTokenUpdates"},
		{"no topic", func(a *apple) { a.header.Del("Apns-Topic") }, "400 MissingTopic"},
		{"voip with a topic of alerts", set("Apns-Push-Type", "voip"), "400 BadTopic"},
		{"no push type", func(a *apple) { a.header.Del("Apns-Push-Type") }, "400 InvalidPushType"},
		{"background at once", set("Apns-Push-Type", "background"), "400 BadPriority"},
		{"priority", set("Apns-Priority", "7"), "400 BadPriority"},
		{"expiration", set("Apns-Expiration", "soon"), "400 BadExpirationDate"},
		{"collapse id", set("Apns-Collapse-Id", strings.Repeat("x", 65)), "400 BadCollapseId"},
		{"id", set("Apns-Id", "00112233445566778899AABBCCDDEEFF"), "400 BadMessageId"},
		{"header twice", func(a *apple) { a.header.Add("Apns-Topic", "app") }, "400 DuplicateHeaders"},
		{"a header of nobody's", set("Apns-Colour", "red"), "400 UnknownHeader apns-colour"},
		{"no payload", func(a *apple) { a.payload = "" }, "400 PayloadEmpty"},
		{"too large", func(a *apple) { a.payload = `{"a":"` + strings.Repeat("x", 4096-8) + `"}` }, "200 "},
		{"too large by one", func(a *apple) { a.payload = `{"a":"` + strings.Repeat("x", 4096-7) + `"}` }, "413 PayloadTooLarge"},
		{"voip may have more", func(a *apple) {
			set("Apns-Push-Type", "voip")(a)
			set("Apns-Topic", "app.voip")(a)
			a.payload = `{"a":"` + strings.Repeat("x", 5120-8) + `"}`
		}, "200 "},
		{"no JSON", func(a *apple) { a.payload = `{"aps":` }, "400 BadPayload"},
		{"a member twice", func(a *apple) { a.payload = `{"a":1,"a":2}` }, "400 BadPayload"},
		{"an unknown member of aps", func(a *apple) { a.payload = `{"aps":{"bagde":1}}` }, "400 BadPayload"},
		{"arguments that are no texts", func(a *apple) { a.payload = `{"aps":{"alert":{"loc-args":[1]}}}` }, "400 BadPayload"},
	} {
		a := c.right()
		tc.change(a)
		status, body, err := c.do(a)
		reason, _ := strings.CutPrefix(body, `{"reason":"`)
		if got := fmt.Sprintf("%d %s", status, reason); err != nil || !strings.HasPrefix(got, tc.want) || tc.want == "200 " && body != "" {
			t.Errorf("%s: got %d %s, %v; want %s", tc.name, status, body, err, tc.want)
		}
	}
}

// Scripts answer pushes that are right, by topic, once or often; and faults look like what they are called.
func TestAPNsScript(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var taken []bool
	c := newAppleClient(t, stack.APNsOptions{Observe: func(p stack.APNsPush) {
		mu.Lock()
		defer mu.Unlock()
		taken = append(taken, p.Taken)
	}})
	ask := func() string {
		status, body, err := c.do(c.right())
		if err != nil {
			return "error"
		}
		return fmt.Sprint(status, " ", body)
	}
	c.apns.Script(
		stack.APNsAnswer{Topic: "another", Status: 500, Reason: "InternalServerError"},
		stack.APNsAnswer{Status: 410, Reason: "Unregistered", Timestamp: time.UnixMilli(1454948015990)},
		stack.APNsAnswer{Status: 503, Reason: "Shutdown", Times: 2},
		stack.APNsAnswer{Fault: stack.APNsReset},
		stack.APNsAnswer{Fault: stack.APNsCut},
		stack.APNsAnswer{Fault: stack.APNsGoAwayTaken},
	)
	want := []string{`410 {"reason":"Unregistered","timestamp":1454948015990}`, `503 {"reason":"Shutdown"}`, `503 {"reason":"Shutdown"}`, "error", "error", "error", "200 "}
	for i, w := range want {
		if got := ask(); got != w {
			t.Errorf("answer %d: got %s, want %s", i, got, w)
		}
	}
	if c.apns.Waiting() != 1 {
		t.Errorf("%d answers wait, of another topic", c.apns.Waiting())
	}
	if got := fmt.Sprint(taken); got != "[false false false true true true true]" {
		t.Errorf("taken: %s", got)
	}
	c.apns.Script(stack.APNsAnswer{Fault: stack.APNsSilence})
	c.http.Timeout = 50 * time.Millisecond
	var timeout interface{ Timeout() bool }
	if _, _, err := c.do(c.right()); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("silence: %v", err)
	}
}
