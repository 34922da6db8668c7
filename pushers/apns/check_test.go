package apns

import (
	"crypto/ecdsa"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"tocsin/test/stack"
)

// Apple is asked with the credentials and the topic of the app, and no device hears of it.
func TestCheck(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, b *bed)
		want   string // a part of the error; "" if there is none
	}{
		{"a key", func(*testing.T, *bed) {}, ""},
		{"a certificate", func(t *testing.T, b *bed) {
			certified(t, b, time.Now().Add(time.Hour), func(leaf *x509.Certificate, key *ecdsa.PrivateKey) {
				b.cfg.CertFile = b.file(t, "cert.pem", append(pemOf("CERTIFICATE", leaf.Raw), pkcs8(t, key)...))
			})
		}, ""},
		{"hex tokens, and full", func(_ *testing.T, b *bed) { b.cfg.TokenFormat, b.cfg.Form, b.cfg.Badge = TokenHex, FormFull, false }, ""},
		{"calls alone", func(_ *testing.T, b *bed) { b.cfg.PushType = PushVoIP }, ""},
		{"in the background", func(_ *testing.T, b *bed) { b.cfg.PushType = PushBackground }, ""},
		{"some events", func(_ *testing.T, b *bed) { b.cfg.Events = []string{"org.example.event"} }, ""},
		{"another key of that name", func(t *testing.T, b *bed) { b.newKey(t, "other.p8") },
			"Apple does not take the key: look at key_id and team_id, whether the key was revoked, and at the clock of this machine (InvalidProviderToken)"},
		{"another team", func(_ *testing.T, b *bed) { b.cfg.TeamID = "TEAM999999" }, "look at key_id and team_id"},
		{"an expired certificate", func(t *testing.T, b *bed) {
			certified(t, b, time.Now().Add(-time.Hour), func(leaf *x509.Certificate, key *ecdsa.PrivateKey) {
				b.cfg.CertFile = b.file(t, "cert.pem", append(pemOf("CERTIFICATE", leaf.Raw), pkcs8(t, key)...))
			})
		}, "Apple does not take the certificate: it has expired, was revoked, or is not one of Apple: make a new one in Apple's developer account (certificate_refused): "},
		{"the certificate of another app", func(t *testing.T, b *bed) {
			certified(t, b, time.Now().Add(time.Hour), func(leaf *x509.Certificate, key *ecdsa.PrivateKey) {
				b.cfg.CertFile, b.cfg.Topic = b.file(t, "cert.pem", append(pemOf("CERTIFICATE", leaf.Raw), pkcs8(t, key)...)), "org.example"
			})
		}, "(TopicDisallowed)"},
		{"nobody there", func(_ *testing.T, b *bed) { b.cfg.BaseURL = "https://127.0.0.1:1" }, "no connection: look at firewalls"},
		{"a server that is not trusted", func(_ *testing.T, b *bed) { b.cfg.CAFile = "" }, "no trusted TLS connection with HTTP/2: look at ca_file, and at proxies before Apple (tls): "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, stack.APNsOptions{TokenUpdates: -1})
			tc.change(t, b)
			s := b.sender(t, Options{})
			err := s.Check(t.Context())
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			for _, p := range b.received() {
				if p.Taken {
					t.Errorf("a device hears of it: %+v", p)
				}
			}
		})
	}
}

func TestProof(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	if got := b.sender(t, Options{}).Proof(); got != "key KEY0123456 of team TEAM012345" {
		t.Error(got)
	}
	certified(t, b, time.Date(2100, 1, 2, 3, 4, 5, 0, time.UTC), func(leaf *x509.Certificate, key *ecdsa.PrivateKey) {
		b.cfg.CertFile = b.file(t, "cert.pem", append(pemOf("CERTIFICATE", leaf.Raw), pkcs8(t, key)...))
	})
	if got := b.sender(t, Options{}).Proof(); got != "certificate that expires at 2100-01-02 03:04:05 UTC" {
		t.Error(got)
	}
}
