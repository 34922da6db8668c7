package webpush

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tocsin/clock"
)

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func armour(kind string, der []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func sec1(key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalECPrivateKey(key)
	return armour("EC PRIVATE KEY", der, err)
}

func pkcs8(key any) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return armour("PRIVATE KEY", der, err)
}

func raw(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParseKey(t *testing.T) {
	t.Parallel()
	key, other := newKey(t, elliptic.P256()), newKey(t, elliptic.P384())
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	parameters := pem.EncodeToMemory(&pem.Block{Type: "EC PARAMETERS", Bytes: []byte{6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}})
	for name, text := range map[string][]byte{
		"SEC 1":                 sec1(key),
		"SEC 1 with parameters": append(parameters, sec1(key)...),
		"PKCS 8":                pkcs8(key),
		"base64url":             []byte(base64.RawURLEncoding.EncodeToString(raw(t, key))),
		"base64 with padding":   []byte(base64.StdEncoding.EncodeToString(raw(t, key)) + "\n"),
	} {
		got, err := parseKey(text)
		if err != nil || got.public != base64.RawURLEncoding.EncodeToString(point) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string][]byte{
		"nothing": nil, "words": []byte("geheim geheim"), "another curve": sec1(other), "another curve in PKCS 8": pkcs8(other),
		"the public key": []byte(base64.RawURLEncoding.EncodeToString(point)), "half of it": sec1(key)[:80], "zero": []byte(base64.RawURLEncoding.EncodeToString(make([]byte, 32))),
		"a certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("geheim")}),
	} {
		if _, err := parseKey(text); err == nil || !strings.Contains(err.Error(), "P-256") || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestKeyFileChanges has an operator who puts keys, and things that are none, in the place of a key.
func TestKeyFileChanges(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "key")
	write := func(text []byte) {
		t.Helper()
		// A new file in the place of the old one, as secrets that are mounted change.
		if err := errors.Join(os.WriteFile(name+".new", text, 0o600), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	var said bytes.Buffer
	first, second := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	write(sec1(first))
	f, err := openKey(name, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	holds := func(what string, key *ecdsa.PrivateKey, wantFault string) {
		t.Helper()
		fault := ""
		if err := f.read(); err != nil {
			fault = err.Error()
		}
		if got := f.current.Load(); !got.private.Equal(key) || wantFault == "" && fault != "" || !strings.Contains(fault, wantFault) || strings.Contains(fault, "geheim") {
			t.Errorf("%s: the first key holds: %v, and the error is %q", what, got.private.Equal(first), fault)
		}
	}
	holds("at first", first, "")
	before := f.current.Load()
	write(pkcs8(first))
	if holds("the same key in other words", first, ""); f.current.Load() != before {
		t.Error("a key that is the same is taken for another one")
	}
	write(sec1(second))
	holds("another key", second, "")
	write([]byte("geheim"))
	holds("no key", second, name+": it holds no private key of P-256")
	write(bytes.Repeat([]byte("geheim"), maxKeyFile))
	holds("far too much", second, name+" is too large for a key")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	holds("no file", second, name+": no such file")
	write(pkcs8(first))
	holds("a key again", first, "")
	if strings.Contains(said.String(), "geheim") || strings.Count(said.String(), "has changed") != 2 {
		t.Errorf("said\n%s", &said)
	}
}

func newVAPID(t *testing.T, c clock.Clock) *vapid {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(name, sec1(newKey(t, elliptic.P256())), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openKey(name, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return &vapid{subject: "mailto:push@example.org", clock: c, file: f, services: map[string]*service{}}
}

func TestTokensAreUsedAgain(t *testing.T) {
	t.Parallel()
	c := clock.NewVirtual(now)
	v := newVAPID(t, c)
	authorize := func(audience string) string {
		t.Helper()
		header, _, err := v.authorize(audience)
		if err != nil {
			t.Fatal(err)
		}
		return header
	}
	first, elsewhere := authorize("https://a.example"), authorize("https://b.example")
	if first == elsewhere {
		t.Error("one token for two push services")
	}
	c.Advance(now.Add(tokenUse - time.Second))
	if authorize("https://a.example") != first || authorize("https://b.example") != elsewhere {
		t.Error("a token was not used again")
	}
	c.Advance(now.Add(tokenUse))
	second := authorize("https://a.example")
	if second == first {
		t.Error("a token was used for too long")
	}
	if err := os.WriteFile(v.file.name, sec1(newKey(t, elliptic.P256())), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.file.read(); err != nil {
		t.Fatal(err)
	}
	if third := authorize("https://a.example"); third == second || third[strings.Index(third, ", k="):] == second[strings.Index(second, ", k="):] {
		t.Error("a token of the key before was used")
	}
	for i := range 3 * maxServices {
		authorize(fmt.Sprintf("https://%d.example", i))
	}
	if len(v.services) > maxServices {
		t.Errorf("%d push services are remembered", len(v.services))
	}
}

// TestWhoseFaultARefusedTokenIs tells our fault from that of a subscription which was made with another key.
func TestWhoseFaultARefusedTokenIs(t *testing.T) {
	t.Parallel()
	c := clock.NewVirtual(now)
	v := newVAPID(t, c)
	at := func(endpoint string) *subscription {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		return &subscription{endpoint: u, audience: origin(u)}
	}
	one, two, elsewhere := at("https://a.example/1"), at("https://a.example/2"), at("https://b.example/1")
	header, key, err := v.authorize(one.audience)
	if err != nil {
		t.Fatal(err)
	}
	if v.refuse(one, key) {
		t.Error("nobody was accepted yet")
	}
	if again, _, _ := v.authorize(one.audience); again == header {
		t.Error("the token that was refused is used again")
	}
	v.accept(one, key)
	if v.refuse(one, key) {
		t.Error("it is the one that was accepted")
	}
	if v.refuse(elsewhere, key) {
		t.Error("it is another push service")
	}
	if !v.refuse(two, key) {
		t.Error("another one was accepted")
	}
	c.Advance(now.Add(lately))
	if v.refuse(two, key) {
		t.Error("another one was accepted, but long ago")
	}
}

// TestKeysAreNotMixedUp has answers to requests with the key before arrive after its successor has come.
func TestKeysAreNotMixedUp(t *testing.T) {
	t.Parallel()
	v := newVAPID(t, clock.NewVirtual(now))
	at := func(endpoint string) *subscription {
		u, err := url.Parse(endpoint)
		if err != nil {
			t.Fatal(err)
		}
		return &subscription{endpoint: u, audience: origin(u)}
	}
	one, two := at("https://a.example/1"), at("https://a.example/2")
	authorize := func() *vapidKey {
		t.Helper()
		_, key, err := v.authorize(one.audience)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	before := authorize()
	if err := errors.Join(os.WriteFile(v.file.name, sec1(newKey(t, elliptic.P256())), 0o600), v.file.read()); err != nil {
		t.Fatal(err)
	}
	v.accept(two, before)
	if v.refuse(one, before) {
		t.Error("a refusal of the key before is held against the subscription, though there is another key now")
	}
	after := authorize()
	v.accept(two, before)
	if v.refuse(one, after) {
		t.Error("the new key is refused, and only the one before was accepted: that is no fault of the subscription")
	}
	v.accept(two, after)
	if v.refuse(one, before) {
		t.Error("the key before is refused: the subscription may have been made with the new one")
	}
	if !v.refuse(one, after) {
		t.Error("the new key is refused, and accepted elsewhere")
	}
}
