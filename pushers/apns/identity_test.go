package apns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"tocsin/credential"
	"tocsin/pushers"
	"tocsin/test/stack"
)

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// pkcs8 is a private key in PEM.
func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("PRIVATE KEY", der)
}

// certified makes an app with a certificate of the service, in the file that write makes.
func certified(t *testing.T, b *bed, notAfter time.Time, write func(leaf *x509.Certificate, key *ecdsa.PrivateKey)) {
	t.Helper()
	b.cfg.KeyFile, b.cfg.KeyID, b.cfg.TeamID = "", "", ""
	leaf, key, err := b.apns.NewCertificate(bundle, notAfter)
	if err != nil {
		t.Fatal(err)
	}
	write(leaf, key)
}

// An app proves itself with a certificate, in any of the files that they come in.
func TestCertificates(t *testing.T) {
	t.Parallel()
	p12 := func(encoder *pkcs12.Encoder) func(*testing.T, *bed, *x509.Certificate, *ecdsa.PrivateKey) {
		return func(t *testing.T, b *bed, leaf *x509.Certificate, key *ecdsa.PrivateKey) {
			file, err := encoder.Encode(key, leaf, nil, "hunter2")
			if err != nil {
				t.Fatal(err)
			}
			b.cfg.CertFile, b.cfg.CertPassword = b.file(t, "cert.p12", file), credential.NewSecret("hunter2")
		}
	}
	for name, write := range map[string]func(*testing.T, *bed, *x509.Certificate, *ecdsa.PrivateKey){
		"PEM": func(t *testing.T, b *bed, leaf *x509.Certificate, key *ecdsa.PrivateKey) {
			b.cfg.CertFile = b.file(t, "cert.pem", append(pemOf("CERTIFICATE", leaf.Raw), pkcs8(t, key)...))
		},
		"PEM in two files": func(t *testing.T, b *bed, leaf *x509.Certificate, key *ecdsa.PrivateKey) {
			b.cfg.CertFile, b.cfg.CertKeyFile = b.file(t, "cert.pem", pemOf("CERTIFICATE", leaf.Raw)), b.file(t, "cert.key", pkcs8(t, key))
		},
		"p12 of today": p12(pkcs12.Modern),
		"p12 of old":   p12(pkcs12.LegacyDES),
		"p12 of older": p12(pkcs12.LegacyRC2),
		"topic left to it": func(t *testing.T, b *bed, leaf *x509.Certificate, key *ecdsa.PrivateKey) {
			p12(pkcs12.Modern)(t, b, leaf, key)
			b.cfg.Topic = ""
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, stack.APNsOptions{})
			notAfter := time.Now().Add(20*24*time.Hour + time.Minute)
			certified(t, b, notAfter, func(leaf *x509.Certificate, key *ecdsa.PrivateKey) { write(t, b, leaf, key) })
			s := b.sender(t, Options{})
			allDelivered(t, crowd(t, s, 10))
			if got := b.last(t); got.Certificate != bundle || got.TeamID != "" || got.Topic != b.cfg.Topic {
				t.Errorf("got %+v", got)
			}
			if got := s.Expiry(); !got.Equal(notAfter.Truncate(time.Second)) {
				t.Errorf("expiry %v, want %v", got, notAfter)
			}
			if got := s.Warning(time.Now()); !strings.Contains(got, "expires in 20 days") {
				t.Errorf("warning %q", got)
			}
			if got := s.Warning(time.Now().AddDate(0, 0, -11)); got != "" {
				t.Errorf("warning %q", got)
			}
			if got := s.Warning(time.Now().AddDate(0, 0, -31)); !strings.Contains(got, "is not valid before") {
				t.Errorf("warning %q", got)
			}
			if got := s.Warning(time.Now().AddDate(0, 0, 21)); !strings.Contains(got, "has expired") {
				t.Errorf("warning %q", got)
			}
		})
	}
}

// A certificate that Apple does not take is the operator's to mend, and starts nothing else.
func TestCertificateRefused(t *testing.T) {
	t.Parallel()
	for name, issuer := range map[string]bool{"expired": true, "of another authority": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, stack.APNsOptions{})
			of, notAfter := b.apns, time.Now().Add(-time.Hour)
			if !issuer {
				of, notAfter = stack.APNsServer(t, stack.APNsOptions{}), time.Now().Add(time.Hour)
			}
			leaf, key, err := of.NewCertificate(bundle, notAfter)
			if err != nil {
				t.Fatal(err)
			}
			b.cfg.KeyFile, b.cfg.KeyID, b.cfg.TeamID = "", "", ""
			b.cfg.CertFile = b.file(t, "cert.pem", append(pemOf("CERTIFICATE", leaf.Raw), pkcs8(t, key)...))
			s := b.sender(t, Options{})
			for range 3 {
				if got := s.Send(t.Context(), numbered(1)); got.Verdict != pushers.Misconfigured || got.Reason != "certificate_refused" {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
}

func TestLoadFaults(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	leaf, key, err := b.apns.NewCertificate(bundle, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p12, err := pkcs12.Modern.Encode(key, leaf, nil, "hunter2")
	if err != nil {
		t.Fatal(err)
	}
	cert := pemOf("CERTIFICATE", leaf.Raw)
	text := b.file(t, "text", []byte("hunter2"))
	for _, tc := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no file", Config{KeyFile: "nowhere.p8", KeyID: keyID}, "key_file: open nowhere.p8: no such file"},
		{"no PEM", Config{KeyFile: text, KeyID: keyID}, "key_file: " + text + " is no .p8 key"},
		{"RSA", Config{KeyFile: b.file(t, "rsa.p8", pkcs8(t, rsaKey)), KeyID: keyID}, "key_file: " + b.dir + "/rsa.p8 is no .p8 key"},
		{"another curve", Config{KeyFile: b.file(t, "384.p8", pkcs8(t, other)), KeyID: keyID}, "key_file: " + b.dir + "/384.p8 can't sign provider tokens"},
		{"no key id", Config{KeyFile: b.cfg.KeyFile}, "key_id: is missing, and " + b.cfg.KeyFile + " is not called AuthKey_<key id>.p8"},
		{"no certificate file", Config{CertFile: "nowhere.p12"}, "cert_file: open nowhere.p12: no such file"},
		{"no certificate", Config{CertFile: text}, "cert_file: " + text + ": it is neither PEM nor a .p12 file"},
		{"a wrong password", Config{CertFile: b.file(t, "c.p12", p12), CertPassword: credential.NewSecret("hunter3")}, "cert_password: is not that of " + b.dir + "/c.p12"},
		{"no password", Config{CertFile: b.dir + "/c.p12"}, "cert_password: is missing: " + b.dir + "/c.p12 has a password"},
		{"a key for tokens", Config{CertFile: b.cfg.KeyFile}, "cert_file: " + b.cfg.KeyFile + " has no certificate (a .p8 key for tokens belongs to key_file)"},
		{"no key", Config{CertFile: b.file(t, "c.pem", cert)}, "cert_file: " + b.dir + "/c.pem has no private key: name the file that has it by cert_key_file"},
		{"no key file", Config{CertFile: b.dir + "/c.pem", CertKeyFile: "nowhere.key"}, "cert_key_file: open nowhere.key: no such file"},
		{"another key", Config{CertFile: b.dir + "/c.pem", CertKeyFile: b.file(t, "other.key", pkcs8(t, other))}, "cert_file: " + b.dir + "/c.pem: the key is not that of the certificate"},
		{"a certificate that is none", Config{CertFile: b.file(t, "none.pem", append(pemOf("CERTIFICATE", []byte("hunter2")), pkcs8(t, key)...))}, "cert_file: " + b.dir + "/none.pem: the certificate can't be read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := load(tc.cfg)
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter") {
				t.Errorf("it tells what is in the file: %v", err)
			}
		})
	}
}

// A key file that is called as Apple calls it, or a link to one, has its key id in its name.
func TestKeyIDOfFile(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	named := b.newKey(t, "AuthKey_ABCDEFGHIJ.p8")
	link := filepath.Join(b.dir, "current.p8")
	if err := os.Symlink(named, link); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{named, link} {
		if id, err := load(Config{KeyFile: file, TeamID: teamID}); err != nil || id.key.id != "ABCDEFGHIJ" {
			t.Errorf("%s: %+v, %v", file, id, err)
		}
	}
}

// logged is what a sender logs.
type logged struct{ stack.Buffer }

func (l *logged) has(text string) bool { return strings.Contains(l.String(), text) }

// A new key, or the way of mounted secrets to put one there, is used from then on; what can't be read is told, and leaves the old one in use.
func TestKeyIsReloaded(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{TokenUpdates: -1})
	old, err := os.ReadFile(b.cfg.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	mount := func(name string, content []byte) { // as Kubernetes does it
		if err := os.Mkdir(filepath.Join(b.dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		b.file(t, name+"/key.p8", content)
		if err := os.Symlink(name, filepath.Join(b.dir, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(b.dir, "..data_tmp"), filepath.Join(b.dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", old)
	b.cfg.KeyFile = filepath.Join(b.dir, "mounted.p8")
	if err := os.Symlink("..data/key.p8", b.cfg.KeyFile); err != nil {
		t.Fatal(err)
	}
	var log logged
	s := b.sender(t, Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	allDelivered(t, crowd(t, s, 1))

	mount("..2", []byte("not yet"))
	until(t, "the fault is told", func() bool { return log.has("is no .p8 key") })
	allDelivered(t, crowd(t, s, 1))

	p8, err := b.apns.NewKey(teamID, keyID) // the old one is not accepted any more
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Send(t.Context(), numbered(1)); got.Reason != "InvalidProviderToken" {
		t.Fatalf("with the old key: %+v", got)
	}
	mount("..3", p8)
	until(t, "the new key is used", func() bool { return log.has("new credentials for APNs are in use") })
	allDelivered(t, crowd(t, s, 10))
	if log.has("PRIVATE KEY") {
		t.Error("the key is in the log")
	}
}

// A new certificate is used on connections of its own, while what is under way on the old ones goes on.
func TestCertificateIsReloaded(t *testing.T) {
	t.Parallel()
	b := newBed(t, stack.APNsOptions{})
	write := func(leaf *x509.Certificate, key *ecdsa.PrivateKey) {
		b.cfg.CertFile = b.file(t, "cert.pem", append(pemOf("CERTIFICATE", leaf.Raw), pkcs8(t, key)...))
	}
	certified(t, b, time.Now().Add(time.Hour), write)
	s := b.sender(t, Options{})
	allDelivered(t, crowd(t, s, 1))
	b.apns.Script(stack.APNsAnswer{Delay: 600 * time.Millisecond})
	slow := make(chan pushers.Outcome, 1)
	go func() { slow <- s.Send(t.Context(), numbered(7)) }()
	until(t, "a push is under way", func() bool { return b.apns.Waiting() == 0 })

	notAfter := time.Now().Add(48 * time.Hour)
	certified(t, b, notAfter, write)
	until(t, "the new certificate is used", func() bool { return s.Expiry().Equal(notAfter.Truncate(time.Second)) })
	allDelivered(t, crowd(t, s, 5))
	if b.apns.Connections() != 2 || b.last(t).Connection != 2 {
		t.Errorf("%d connections, the last push on %d", b.apns.Connections(), b.last(t).Connection)
	}
	if got := <-slow; got.Verdict != pushers.Delivered {
		t.Errorf("what was under way: %+v", got)
	}
}
