package stack_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"tocsin/test/stack"
)

// fcmClient trusts an FCM.
func fcmClient(t *testing.T, f *stack.FCM) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.Authorities()}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// assertion signs claims with the key of a service account.
func assertion(t *testing.T, account []byte, header, claims string) string {
	t.Helper()
	var file struct {
		Key string `json:"private_key"`
	}
	if err := json.Unmarshal(account, &file); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(file.Key))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// askFCM posts and returns status and body.
func askFCM(t *testing.T, c *http.Client, to, kind, token, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(raw)
}

func fcmTokenBody(assertion string) string {
	return url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {assertion}}.Encode()
}

// TestFCMTrustsNobodyElse holds that only the service account gets a token, and that only as Google documents it.
func TestFCMTrustsNobodyElse(t *testing.T) {
	t.Parallel()
	f, other := stack.FCMServer(t, stack.FCMOptions{}), stack.FCMServer(t, stack.FCMOptions{})
	c := fcmClient(t, f)
	const header = `{"alg":"RS256","typ":"JWT","kid":"key1"}`
	now := time.Now().Unix()
	claims := func(change ...string) string {
		text := fmt.Sprintf(`{"iss":"firebase-adminsdk@project.iam.gserviceaccount.com","scope":"https://www.googleapis.com/auth/firebase.messaging","aud":"%s/token","iat":%d,"exp":%d}`, f.URL(), now, now+3600)
		return strings.NewReplacer(change...).Replace(text)
	}
	for _, tc := range []struct {
		name, body string
		status     int
	}{
		{"good", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims())), 200},
		{"another key", fcmTokenBody(assertion(t, other.ServiceAccount(), header, claims())), 400},
		{"unsigned", fcmTokenBody(base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims())) + "."), 400},
		{"another algorithm", fcmTokenBody(assertion(t, f.ServiceAccount(), strings.Replace(header, "RS256", "RS512", 1), claims())), 400},
		{"another key id", fcmTokenBody(assertion(t, f.ServiceAccount(), strings.Replace(header, "key1", "key2", 1), claims())), 400},
		{"another issuer", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims("firebase-adminsdk", "somebody"))), 400},
		{"another scope", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims("firebase.messaging", "cloud-platform"))), 400},
		{"another audience", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims("/token", "/other"))), 400},
		{"expired", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims(fmt.Sprint(now), fmt.Sprint(now-7200), fmt.Sprint(now+3600), fmt.Sprint(now-3600)))), 400},
		{"too long", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims(fmt.Sprint(now+3600), fmt.Sprint(now+3700)))), 400},
		{"a claim that nobody knows", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims(`{"iss"`, `{"x":1,"iss"`))), 400},
		{"another grant", "grant_type=password", 400},
	} {
		status, body := askFCM(t, c, f.URL()+"/token", "application/x-www-form-urlencoded", "", tc.body)
		if status != tc.status || (status == 200) != strings.Contains(body, "access_token") || (status == 400) != strings.Contains(body, "invalid_grant") {
			t.Errorf("%s: %d %s", tc.name, status, body)
		}
	}
	send := f.URL() + "/v1/projects/project/messages:send"
	if status, body := askFCM(t, c, send, "application/json", "ya29.none", `{}`); status != 401 || !strings.Contains(body, "ACCESS_TOKEN_EXPIRED") {
		t.Errorf("an unknown token: %d %s", status, body)
	}
	_, body := askFCM(t, c, f.URL()+"/token", "application/x-www-form-urlencoded", "", fcmTokenBody(assertion(t, f.ServiceAccount(), header, claims())))
	var granted struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &granted); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, to, kind, body, want string
		status                     int
	}{
		{"good", send, "application/json", `{"message":{"token":"t","data":{"a":"1"}}}`, `{"name":"projects/project/messages/0:1"}`, 200},
		{"a number", send, "application/json", `{"message":{"token":"t","data":{"a":1}}}`, "INVALID_ARGUMENT", 400},
		{"a form", send, "text/plain", `{"message":{"token":"t"}}`, "Content-Type", 400},
		{"another project", f.URL() + "/v1/projects/other/messages:send", "application/json", `{"message":{"token":"t"}}`, "PERMISSION_DENIED", 403},
		{"another path", f.URL() + "/v2", "application/json", `{}`, "<title>", 404},
	} {
		if status, body := askFCM(t, c, tc.to, tc.kind, granted.Token, tc.body); status != tc.status || !strings.Contains(body, tc.want) {
			t.Errorf("%s: %d %s", tc.name, status, body)
		}
	}
}

// TestDecodeFCM holds what FCM does not take.
func TestDecodeFCM(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 4092)
	for _, tc := range []struct{ name, in, want string }{
		{"small", `{"message":{"token":"t"}}`, ""},
		{"everything", `{"validate_only":true,"message":{"topic":"t","data":{"a":"1"},"notification":{"title":"t"},"android":{"ttl":"3.5s","priority":"HIGH","collapse_key":"c","notification":{"channel_id":"c"}},
			"webpush":{"headers":{"TTL":"1"}},"apns":{"headers":{"apns-priority":"5"},"payload":{"aps":{}}},"fcm_options":{"analytics_label":"l"}}}`, ""},
		{"as large as can be", `{"message":{"token":"t","data":{"data":"` + big + `"}}}`, ""},
		{"larger", `{"message":{"token":"t","data":{"data":"` + big + `x"}}}`, "Android message is too big: 4097 bytes"},
		{"too large for a topic", `{"message":{"topic":"t","data":{"data":"` + big[:2045] + `"}}}`, "Android message is too big: 2049 bytes"},
		{"too much beside the data", `{"message":{"token":"t","apns":{"payload":{"a":"` + big + `"}}}}`, "Android message is too big"},
		{"no target", `{"message":{"data":{"a":"1"}}}`, "Recipient of the message is not set."},
		{"two targets", `{"message":{"token":"t","topic":"t"}}`, "oneof field 'target' is already set."},
		{"a token that is none", `{"message":{"token":"a b"}}`, "not a valid FCM registration token"},
		{"a value that is no text", `{"message":{"token":"t","data":{"a":true}}}`, "message.data.a: Invalid JSON payload"},
		{"a name that nobody knows", `{"message":{"token":"t","android":{"colour":"red"}}}`, `message.android.colour: Invalid JSON payload`},
		{"a name twice", `{"message":{"token":"t","token":"t"}}`, `duplicate`},
		{"a reserved key", `{"message":{"token":"t","data":{"google.a":"1"}}}`, "message.data: Invalid data payload key"},
		{"a priority that is none", `{"message":{"token":"t","android":{"priority":"urgent"}}}`, "message.android.priority"},
		{"a ttl without unit", `{"message":{"token":"t","android":{"ttl":"60"}}}`, "message.android.ttl"},
		{"a ttl that is too long", `{"message":{"token":"t","android":{"ttl":"2419201s"}}}`, "message.android.ttl: Invalid TTL"},
		{"no JSON", `message`, "Invalid JSON payload"},
	} {
		_, _, fault := stack.DecodeFCM([]byte(tc.in))
		if fault == nil && tc.want == "" {
			continue
		}
		if fault == nil || tc.want == "" || !strings.Contains(fault.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, fault)
		}
	}
	if m, only, _ := stack.DecodeFCM([]byte(`{"validate_only":true,"message":{"token":"t","data":{"a":"1"}}}`)); !only || m.Data["a"] != "1" || m.Token != "t" {
		t.Errorf("read %+v", m)
	}
}
