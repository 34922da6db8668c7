package stack

// Where access tokens of the embedded FCM come from (RFC 7523: a signed assertion for a token).

import (
	"cmp"
	"crypto"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	fcmGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	fcmScope = "https://www.googleapis.com/auth/firebase.messaging"
	// fcmSkew is how wrong the clock of a client may be.
	fcmSkew = 5 * time.Minute
)

// handleToken answers one request for an access token.
func (f *FCM) handleToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	f.mu.Lock()
	f.asked++
	f.mu.Unlock()
	answer, _ := f.tokenScript.next()
	if wait(r.Context(), answer.Delay) != nil {
		return
	}
	if answer.Fault != NoFault {
		f.finish(w, r, answer)
		return
	}
	if answer.Body == "" {
		answer.Body = f.grant(r, &answer)
	}
	fcmReply(w, answer)
}

// grant is the body of an answer, and sets its status: a token, or why there is none.
func (f *FCM) grant(r *http.Request, answer *FCMAnswer) string {
	if answer.Status == 0 && answer.ErrorCode == "" {
		err := f.examine(r)
		if err == nil {
			return fmt.Sprintf(`{"access_token":%q,"expires_in":%d,"token_type":"Bearer"}`, f.newToken(), int(f.opts.TokenLife/time.Second))
		}
		answer.ErrorCode, answer.Message = "invalid_grant", err.Error()
	}
	answer.Status = cmp.Or(answer.Status, http.StatusBadRequest)
	return fmt.Sprintf(`{"error":%q,"error_description":%q}`, cmp.Or(answer.ErrorCode, "internal_failure"), answer.Message)
}

// newToken makes an access token.
func (f *FCM) newToken() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	token := "ya29." + crand.Text()
	f.tokens[token] = time.Now().Add(f.opts.TokenLife)
	return token
}

// knows says that a token is good.
func (f *FCM) knows(token string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return time.Now().Before(f.tokens[token])
}

// examine says why a request for a token is not to be trusted.
func (f *FCM) examine(r *http.Request) error {
	if err := r.ParseForm(); err != nil {
		return err
	}
	if grant := r.PostForm.Get("grant_type"); grant != fcmGrant {
		return fmt.Errorf("grant_type is %q", grant)
	}
	parts := strings.Split(r.PostForm.Get("assertion"), ".")
	if len(parts) != 3 {
		return errors.New("the assertion is not a JSON Web Token")
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return fmt.Errorf("signature of the assertion: %w", err)
	}
	f.mu.Lock()
	key, id := f.key.PublicKey, f.keyID()
	f.mu.Unlock()
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&key, crypto.SHA256, sum[:], signature); err != nil {
		return errors.New("the service account has not signed the assertion")
	}
	var header struct {
		Alg string `json:"alg"`
		Typ string `json:"typ"`
		Kid string `json:"kid"`
	}
	if err := fcmPart(parts[0], &header); err != nil {
		return fmt.Errorf("header of the assertion: %w", err)
	}
	if header.Alg != "RS256" || header.Typ != "JWT" || header.Kid != id {
		return fmt.Errorf("header of the assertion is %+v", header)
	}
	return f.claims(parts[1])
}

// claims says what is wrong with the claims of an assertion.
func (f *FCM) claims(part string) error {
	var claims struct {
		Iss   string `json:"iss"`
		Scope string `json:"scope"`
		Aud   string `json:"aud"`
		Iat   int64  `json:"iat"`
		Exp   int64  `json:"exp"`
	}
	if err := fcmPart(part, &claims); err != nil {
		return fmt.Errorf("claims of the assertion: %w", err)
	}
	now, issued, expires := time.Now(), time.Unix(claims.Iat, 0), time.Unix(claims.Exp, 0)
	switch {
	case claims.Iss != fcmEmail:
		return fmt.Errorf("iss is %q", claims.Iss)
	case claims.Scope != fcmScope:
		return fmt.Errorf("scope is %q", claims.Scope)
	case claims.Aud != f.tokenURL():
		return fmt.Errorf("aud is %q", claims.Aud)
	case issued.After(now.Add(fcmSkew)) || issued.Before(now.Add(-fcmSkew)):
		return fmt.Errorf("iat is %v, and it is %v", issued, now)
	case !expires.After(now) || expires.Sub(issued) > time.Hour:
		return fmt.Errorf("exp is %v, and iat is %v", expires, issued)
	}
	return nil
}

func fcmPart(part string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, into, json.RejectUnknownMembers(true))
}
