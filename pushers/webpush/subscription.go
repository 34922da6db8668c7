package webpush

// Whom a pusher names, and whether we may.

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tocsin/pushers"
	"tocsin/pushers/outbound"
)

// maxEndpoint is longer than any endpoint that a push service hands out.
const maxEndpoint = 2048

// subscription is a browser at its push service (Push API, PushSubscription).
type subscription struct {
	endpoint *url.URL
	audience string // the origin of endpoint, as a VAPID token names it (RFC 8292, section 2)
	key      []byte // p256dh: the browser's public key, a point of P-256 that is not compressed
	secret   []byte // auth: 16 bytes
	onlyLast bool   // of a room, only the last notification is wanted
}

// options are what the data of a pusher says.
type options struct {
	Endpoint       string
	Auth           string
	OnlyLast       bool
	DefaultPayload jsontext.Value // nil if there is none
}

// readOptions takes a member of a wrong type for absent.
func readOptions(data jsontext.Value) options {
	var members map[string]jsontext.Value
	var o options
	if json.Unmarshal(data, &members) != nil {
		return o
	}
	for name, to := range map[string]any{"endpoint": &o.Endpoint, "auth": &o.Auth, "only_last_per_room": &o.OnlyLast} {
		_ = json.Unmarshal(members[name], to)
	}
	o.DefaultPayload = members["default_payload"]
	return o
}

// subscribe reads the subscription of a pusher. The error is a [outbound.Refusal]: trying again changes nothing. It names the rule and the host, and nothing of what
// may be a secret: the path of an endpoint is one.
func subscribe(p *pushers.Pusher, allowed outbound.Hosts) (*subscription, error) {
	o := readOptions(p.Data)
	s := &subscription{onlyLast: o.OnlyLast}
	var err error
	if s.endpoint, err = parseEndpoint(o.Endpoint, allowed); err != nil {
		return nil, err
	}
	s.audience = origin(s.endpoint)
	if s.key, err = decodeBase64(p.Pushkey.Reveal()); err != nil {
		return nil, badSubscription("the pushkey is not base64; it must be the p256dh key of the subscription")
	}
	if _, err := ecdh.P256().NewPublicKey(s.key); err != nil {
		return nil, badSubscription("the pushkey is not a public key of P-256; it must be the p256dh key of the subscription")
	}
	if s.secret, err = decodeBase64(o.Auth); err != nil || len(s.secret) != 16 {
		return nil, badSubscription("data.auth is not 16 bytes in base64; it must be the auth key of the subscription")
	}
	return s, nil
}

func parseEndpoint(raw string, allowed outbound.Hosts) (*url.URL, error) {
	if raw == "" || len(raw) > maxEndpoint {
		return nil, badSubscription("data.endpoint is missing, or longer than any endpoint is")
	}
	u, err := outbound.ParseURL(raw)
	switch {
	case err != nil:
		return nil, err
	case u.Scheme != "https":
		return nil, outbound.RefuseURL("http://%s: an endpoint must be https", u.Host)
	case strings.ContainsFunc(u.Host, func(r rune) bool { return r > '~' }):
		return nil, outbound.RefuseURL("%s: the host of an endpoint must be ASCII", u.Host)
	case climbs(u.Path):
		return nil, outbound.RefuseURL("%s: the path of an endpoint must have no dots as steps", u.Host)
	case !allowed.Match(u.Hostname()):
		return nil, &outbound.Refusal{Reason: reasonNotAllowed, Err: fmt.Errorf("endpoint refused: %s is not in allowed_endpoints of the app", u.Hostname())}
	}
	u.Fragment = ""
	return u, nil
}

// climbs says that a path has steps that lead elsewhere: out of the path of a relay, for one.
func climbs(path string) bool {
	return slices.ContainsFunc(strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }), func(step string) bool { return step == "." || step == ".." })
}

// origin is the scheme, host and port of a URL as RFC 6454 (section 6.2) writes them: in small letters, without the port that goes without saying.
func origin(u *url.URL) string {
	host := strings.ToLower(u.Hostname())
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port := u.Port(); port != "" && port != "443" {
		host += ":" + port
	}
	return "https://" + host
}

// decodeBase64 reads base64 of either alphabet, with or without padding: browsers' libraries differ.
func decodeBase64(text string) ([]byte, error) {
	if text == "" {
		return nil, errors.New("empty")
	}
	text = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(text, "="))
	return base64.RawURLEncoding.DecodeString(text)
}

func badSubscription(rule string) error {
	return &outbound.Refusal{Reason: reasonBadSubscription, Err: errors.New("pusher refused: " + rule)}
}
