package stack

// What a push service and a browser do with a message: RFC 8292, RFC 8291 and RFC 8188, by the standard library alone.

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// WebPushSubscription is what a browser subscribes with (Push API, PushSubscription), and what it alone knows.
type WebPushSubscription struct {
	Endpoint string
	P256dh   string // the public key, in base64url: the pushkey of a pusher
	Auth     string // in base64url

	private *ecdh.PrivateKey
	secret  []byte
}

const webPushPath = "/push/"

// SubscribeWebPush is the subscription of a browser of that name at a push service of that host: its endpoint is https://HOST/push/NAME. The same name has the
// same keys at all hosts and times, so that any [WebPush] can read what it is sent.
func SubscribeWebPush(host, name string) WebPushSubscription {
	return subscribeWebPush("https://"+host+webPushPath+url.PathEscape(name), name)
}

// WebPushKeys are the keys that the browser behind any endpoint would have if its push service were a [WebPush]: of one of [SubscribeWebPush] those that it has, of
// another ones that follow from the endpoint. With [ReadOthers] it can read what is encrypted to them.
func WebPushKeys(endpoint *url.URL) (p256dh, auth []byte) {
	s, _ := webPushEndpoint(endpoint.String(), ReadOthers)
	return s.private.PublicKey().Bytes(), s.secret
}

func subscribeWebPush(endpoint, name string) WebPushSubscription {
	s := WebPushSubscription{Endpoint: endpoint}
	for n := 0; s.private == nil; n++ { // hardly any hash is no private key
		scalar := sha256.Sum256(fmt.Appendf(nil, "a browser's key %d %s", n, name))
		s.private, _ = ecdh.P256().NewPrivateKey(scalar[:])
	}
	secret := sha256.Sum256([]byte("a browser's secret " + name))
	s.secret = secret[:16]
	s.P256dh = base64.RawURLEncoding.EncodeToString(s.private.PublicKey().Bytes())
	s.Auth = base64.RawURLEncoding.EncodeToString(s.secret)
	return s
}

// webPushEndpoint is the subscription that an endpoint belongs to. Nobody here knows the keys of one that is taken unread.
func webPushEndpoint(endpoint string, others WebPushOthers) (s WebPushSubscription, known bool) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return s, false
	}
	if name, ours := strings.CutPrefix(u.Path, webPushPath); ours && name != "" {
		return SubscribeWebPush(u.Host, name), true
	}
	if others == ReadOthers { // the same keys, however the host is written
		return subscribeWebPush(endpoint, strings.TrimSuffix(strings.ToLower(u.Host), ":443")+u.RequestURI()), true
	}
	return WebPushSubscription{Endpoint: endpoint}, others == TakeOthers
}

// Decrypt reads a message as the browser does.
func (s WebPushSubscription) Decrypt(body []byte) ([]byte, error) {
	const header = 16 + 4 + 1
	if len(body) < header || len(body) < header+int(body[20]) {
		return nil, errors.New("it is shorter than its header")
	}
	salt, recordSize, id := body[:16], binary.BigEndian.Uint32(body[16:20]), body[header:header+int(body[20])]
	record := body[header+len(id):]
	if len(record) > int(recordSize) || recordSize < 18 {
		return nil, fmt.Errorf("it has %d bytes, and says that it is one record of %d", len(record), recordSize)
	}
	sender, err := ecdh.P256().NewPublicKey(id)
	if err != nil {
		return nil, fmt.Errorf("the sender's key: %w", err)
	}
	shared, err := s.private.ECDH(sender)
	if err != nil {
		return nil, err
	}
	info := "WebPush: info\x00" + string(s.private.PublicKey().Bytes()) + string(id)
	ikm, err := hkdf.Key(sha256.New, shared, s.secret, info, 32)
	if err != nil {
		return nil, err
	}
	key, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	padded, err := gcm.Open(nil, nonce, record, nil)
	if err != nil {
		return nil, err
	}
	text := bytes.TrimRight(padded, "\x00")
	if len(text) == 0 || text[len(text)-1] != 2 { // the delimiter of the last record
		return nil, errors.New("its padding is wrong")
	}
	return text[:len(text)-1], nil
}

// webPushTokens are the VAPID tokens that were found to be signed, so that each is verified once, as push services do it. The zero value has none.
type webPushTokens struct {
	mu     sync.Mutex
	signed map[string]webPushClaims // by Authorization
}

type webPushClaims struct {
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
	Subject  string `json:"sub"`
	key      string
}

// check checks the token of a request as RFC 8292 wants it. An error comes with the status that push services answer then.
func (t *webPushTokens) check(r *http.Request, m *WebPushMessage, opts WebPushOptions) (status int, err error) {
	authorization := r.Header.Get("Authorization")
	if authorization == "" {
		return http.StatusUnauthorized, errors.New("there is no token")
	}
	claims, err := t.claims(authorization)
	if err != nil {
		return http.StatusUnauthorized, err
	}
	m.Subject, m.Key = claims.Subject, claims.key
	now := opts.Now()
	switch expires := time.Unix(claims.Expires, 0); {
	case claims.Audience != "https://"+strings.TrimSuffix(strings.ToLower(r.Host), ":443"):
		return http.StatusForbidden, fmt.Errorf("the audience is %q, and not https://%s", claims.Audience, r.Host)
	case !expires.After(now):
		return http.StatusForbidden, errors.New("the token has expired")
	case expires.Sub(now) > 24*time.Hour:
		return http.StatusForbidden, errors.New("the token expires in more than a day")
	case !strings.HasPrefix(claims.Subject, "mailto:") && !strings.HasPrefix(claims.Subject, "https:"):
		return http.StatusForbidden, fmt.Errorf("the subject is %q", claims.Subject)
	case strings.Count(claims.Subject, "mailto:") > 1:
		return http.StatusForbidden, fmt.Errorf("the subject is %q", claims.Subject)
	case opts.Key != "" && opts.Key != claims.key:
		return http.StatusForbidden, errors.New("the VAPID credentials in the authorization header do not correspond to the credentials used to create the subscriptions")
	}
	return 0, nil
}

// claims verifies the signature, unless it has done so before.
func (t *webPushTokens) claims(authorization string) (webPushClaims, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c, ok := t.signed[authorization]; ok {
		return c, nil
	}
	c, err := verifyWebPushToken(authorization)
	if err != nil {
		return c, err
	}
	if t.signed == nil {
		t.signed = map[string]webPushClaims{}
	}
	t.signed[authorization] = c
	return c, nil
}

// verifyWebPushToken reads "vapid t=TOKEN, k=KEY" (RFC 8292, section 3).
func verifyWebPushToken(authorization string) (webPushClaims, error) {
	var c webPushClaims
	parameters, ok := strings.CutPrefix(authorization, "vapid ")
	token, key, both := strings.Cut(parameters, ", k=")
	token, named := strings.CutPrefix(token, "t=")
	parts := strings.Split(token, ".")
	if !ok || !both || !named || len(parts) != 3 {
		return c, errors.New("the authorization is not: vapid t=…, k=…")
	}
	var decoded [4][]byte
	for i, part := range append(parts, key) {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return c, errors.New("what should be base64url is not")
		}
	}
	var header struct {
		Type      string `json:"typ"`
		Algorithm string `json:"alg"`
	}
	if json.Unmarshal(decoded[0], &header, json.RejectUnknownMembers(true)) != nil || header.Algorithm != "ES256" || header.Type != "JWT" {
		return c, fmt.Errorf("the header of the token is %s", decoded[0])
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), decoded[3])
	if err != nil {
		return c, errors.New("the key is not a point of P-256")
	}
	signature, digest := decoded[2], sha256.Sum256([]byte(parts[0]+"."+parts[1]))
	if len(signature) != 64 || !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		return c, errors.New("the signature is wrong")
	}
	if err := json.Unmarshal(decoded[1], &c, json.RejectUnknownMembers(true)); err != nil {
		return c, fmt.Errorf("the claims are %s", decoded[1])
	}
	c.key = key
	return c, nil
}
