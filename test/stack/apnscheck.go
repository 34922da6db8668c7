package stack

// What is wrong with a push, by the rules of Apple.

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"golang.org/x/net/http2/hpack"
)

// userID is the attribute that has an app's bundle id in its certificate (RFC 4519, section 2.39).
var userID = asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 1}

// topicSuffixes are what a topic must end in, by push type.
var topicSuffixes = map[string]string{
	"alert": "", "background": "", "mdm": "", "voip": ".voip", "complication": ".complication", "controls": ".push-type.controls", "fileprovider": ".pushkit.fileprovider",
	"liveactivity": ".push-type.liveactivity", "location": ".location-query", "pushtotalk": ".voip-ptt", "widgets": ".push-type.widgets",
}

var canonicalUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

type tokenKey struct{ team, key string }

// provider is who pushes.
type provider struct {
	tokenKey
	issued time.Time
}

// tokenSeen is the newest provider token of a key, and when it was first used.
type tokenSeen struct {
	token  string
	issued time.Time
	at     time.Time
}

// apnsRefusal is an answer of Apple's table ("Handling notification responses from APNs").
type apnsRefusal struct {
	status int
	reason string
}

// fields are pseudo-headers and headers, by the names that they have on the wire.
type fields []hpack.HeaderField

// get is the value of the first field of that name; "" if there is none.
func (f fields) get(name string) string {
	for i := range f {
		if f[i].Name == name {
			return f[i].Value
		}
	}
	return ""
}

// check says what is wrong with a push; nil if nothing is.
func (a *APNs) check(p *APNsPush, fields fields) *apnsRefusal {
	for i, field := range fields {
		if slices.ContainsFunc(fields[:i], func(f hpack.HeaderField) bool { return f.Name == field.Name }) {
			return &apnsRefusal{400, "DuplicateHeaders"}
		}
		if !p.set(field.Name, field.Value) {
			return &apnsRefusal{400, "UnknownHeader " + field.Name} // Apple ignores it; nobody should send it
		}
	}
	if fields.get(":method") != http.MethodPost {
		return &apnsRefusal{405, "MethodNotAllowed"}
	}
	token, isDevice := strings.CutPrefix(fields.get(":path"), "/3/device/")
	if !isDevice {
		return &apnsRefusal{404, "BadPath"}
	}
	if p.Token = token; token == "" {
		return &apnsRefusal{400, "MissingDeviceToken"}
	}
	if raw, err := hex.DecodeString(token); err != nil || len(raw) < 32 || strings.ToLower(token) != token {
		return &apnsRefusal{400, "BadDeviceToken"}
	}
	if refused := a.authenticate(p, fields.get("authorization")); refused != nil {
		return refused
	}
	if refused := p.checkHeaders(); refused != nil {
		return refused
	}
	if refused := p.checkPayload(); refused != nil {
		return refused
	}
	if strings.Trim(p.Token, "0") == "" { // a token that no device has: Apple looks at all else before
		return &apnsRefusal{400, "BadDeviceToken"}
	}
	return nil
}

// set takes a header in; false if it is one that no client of Apple sends.
func (p *APNsPush) set(name, value string) bool {
	switch name {
	case ":method", ":path", ":authority", "authorization":
		return true
	case ":scheme":
		return value == "https"
	case "apns-id":
		p.ID = value
	case "apns-topic":
		p.Topic = value
	case "apns-push-type":
		p.PushType = value
	case "apns-collapse-id":
		p.CollapseID = value
	case "apns-priority":
		p.Priority = value
	case "apns-expiration":
		p.Expiration = value
	case "content-type", "content-length", "user-agent", "traceparent", "tracestate", "accept-encoding":
	default:
		return false
	}
	p.Header[name] = value
	return true
}

func (p *APNsPush) checkHeaders() *apnsRefusal {
	bad := func(reason string) *apnsRefusal { return &apnsRefusal{400, reason} }
	suffix, known := topicSuffixes[p.PushType]
	seconds, err := strconv.ParseInt(p.Expiration, 10, 64)
	switch {
	case !known:
		return bad("InvalidPushType")
	case p.ID != "" && !canonicalUUID.MatchString(p.ID):
		return bad("BadMessageId")
	case p.Topic == "" && p.Certificate == "":
		return bad("MissingTopic")
	case !strings.HasSuffix(p.Topic, suffix):
		return bad("BadTopic")
	case p.Certificate != "" && p.Topic != "" && strings.TrimSuffix(p.Topic, suffix) != p.Certificate:
		return bad("TopicDisallowed")
	case p.Priority != "" && p.Priority != "10" && p.Priority != "5" && p.Priority != "1", p.PushType == "background" && p.Priority != "5":
		return bad("BadPriority")
	case p.Expiration != "" && (err != nil || seconds < 0):
		return bad("BadExpirationDate")
	case len(p.CollapseID) > 64:
		return bad("BadCollapseId")
	}
	return nil
}

func (p *APNsPush) checkPayload() *apnsRefusal {
	limit := 4096
	if p.PushType == "voip" {
		limit = 5120
	}
	switch {
	case len(p.Payload) == 0:
		return &apnsRefusal{400, "PayloadEmpty"}
	case len(p.Payload) > limit:
		return &apnsRefusal{413, "PayloadTooLarge"}
	}
	if _, err := DecodeAPNs(p.Payload); err != nil {
		return &apnsRefusal{400, "BadPayload " + err.Error()} // Apple says nothing; the device would not understand it
	}
	return nil
}

// authenticate finds out who pushes: by certificate, or by a provider token ("Establishing a token-based connection to APNs").
func (a *APNs) authenticate(p *APNsPush, authorization string) *apnsRefusal {
	if p.Certificate != "" {
		if authorization != "" {
			return &apnsRefusal{403, "Forbidden"}
		}
		return nil
	}
	token, ok := strings.CutPrefix(authorization, "bearer ")
	if !ok {
		return &apnsRefusal{403, "MissingProviderToken"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	who, known := a.tokens[token]
	if !known {
		if who, ok = a.verify(token); !ok {
			return &apnsRefusal{403, "InvalidProviderToken"}
		}
		a.tokens[token] = who
	}
	now := a.opts.Now()
	if age := now.Sub(who.issued); age > time.Hour {
		return &apnsRefusal{403, "ExpiredProviderToken"}
	} else if age < -time.Minute {
		return &apnsRefusal{403, "InvalidProviderToken"}
	}
	p.TeamID, p.KeyID, p.Issued = who.team, who.key, who.issued
	newest := a.newest[who.tokenKey]
	if newest.token != token && !who.issued.Before(newest.issued) {
		if newest.token != "" && a.opts.TokenUpdates > 0 && now.Sub(newest.at) < a.opts.TokenUpdates {
			return &apnsRefusal{429, "TooManyProviderTokenUpdates"}
		}
		a.newest[who.tokenKey] = tokenSeen{token, who.issued, now}
	}
	return nil
}

// verify checks form and signature of a provider token: a JSON Web Token signed by ES256 (RFC 7515, appendix A.3; RFC 7518, section 3.4).
func (a *APNs) verify(token string) (provider, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return provider{}, false
	}
	var header struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}
	var claims struct {
		Issuer string `json:"iss"`
		Issued int64  `json:"iat"`
	}
	if !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) || header.Algorithm != "ES256" {
		return provider{}, false
	}
	who := provider{tokenKey{claims.Issuer, header.KeyID}, time.Unix(claims.Issued, 0)}
	key := a.keys[who.tokenKey]
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if key == nil || err != nil || len(signature) != 64 {
		return provider{}, false
	}
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return who, ecdsa.Verify(key, hash[:], r, s)
}

func decodePart(part string, into any) bool {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(raw, into, json.RejectUnknownMembers(true)) == nil
}
