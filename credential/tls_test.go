package credential

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTLSValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		tls  TLS
		want string
	}{
		{"nothing", TLS{}, ""},
		{"enabled", TLS{Enabled: true}, ""},
		{"all", TLS{true, "ca", "cert", "key", "name"}, ""},
		{"forgot to enable", TLS{CAFile: "ca"}, "enabled: must be true when other keys of this section are set"},
		{"no key", TLS{Enabled: true, CertFile: "cert"}, "key_file: is missing; cert_file needs it"},
		{"no certificate", TLS{KeyFile: "key"}, "enabled: must be true when other keys of this section are set\ncert_file: is missing; key_file needs it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := tc.tls.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// pki is an authority with a certificate for localhost that serves and asks, in files.
type pki struct{ ca, cert, key string }

func newPKI(t *testing.T) pki {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"broker.example"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	authorityKey, leafKey := newKey(t), newKey(t)
	sign := func(c *x509.Certificate, key *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, authorityKey)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	return pki{
		ca:   write("ca.pem", "CERTIFICATE", sign(authority, authorityKey)),
		cert: write("cert.pem", "CERTIFICATE", sign(leaf, leafKey)),
		key:  write("key.pem", "PRIVATE KEY", keyDER),
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// A server that demands a certificate of its clients is reached with the one of the files, and not without it.
func TestTLSConfig(t *testing.T) {
	t.Parallel()
	files := newPKI(t)
	side, err := TLS{Enabled: true, CAFile: files.ca, CertFile: files.cert, KeyFile: files.key}.Config()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.TLS = &tls.Config{Certificates: side.Certificates, ClientCAs: side.RootCAs, ClientAuth: tls.RequireAndVerifyClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	for _, tc := range []struct {
		name string
		tls  TLS
		ok   bool
	}{
		{"all", TLS{true, files.ca, files.cert, files.key, "broker.example"}, true},
		{"another name", TLS{true, files.ca, files.cert, files.key, ""}, false},
		{"no certificate", TLS{true, files.ca, "", "", "broker.example"}, false},
		{"the system's authorities", TLS{true, "", files.cert, files.key, "broker.example"}, false},
	} {
		c, err := tc.tls.Config()
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(server.Listener.Addr().String(), c); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if c, err := (TLS{}).Config(); c != nil || err != nil {
		t.Errorf("a plain connection: %v, %v", c, err)
	}
}

func handshake(address string, c *tls.Config) error {
	c.NextProtos = []string{"http/1.1"}
	transport := &http.Transport{TLSClientConfig: c, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport, Timeout: 5 * time.Second}).Get("https://" + address)
	if err == nil {
		err = resp.Body.Close()
	}
	return err
}

func TestTLSFiles(t *testing.T) {
	t.Parallel()
	files, other := newPKI(t), newPKI(t)
	for _, tc := range []struct {
		name string
		tls  TLS
		want string // how the message begins
	}{
		{"no authority", TLS{Enabled: true, CAFile: "nowhere"}, "ca_file: open nowhere: no such file"},
		{"an authority that is none", TLS{Enabled: true, CAFile: files.key}, "ca_file: " + files.key + " holds no PEM certificate"},
		{"no certificate", TLS{Enabled: true, CertFile: "nowhere", KeyFile: files.key}, "cert_file: open nowhere: no such file"},
		{"no key", TLS{Enabled: true, CertFile: files.cert, KeyFile: "nowhere"}, "key_file: open nowhere: no such file"},
		{"another key", TLS{Enabled: true, CertFile: files.cert, KeyFile: other.key}, "cert_file: " + files.cert + " with " + other.key + ": tls: private key does not match"},
		{"swapped", TLS{Enabled: true, CertFile: files.key, KeyFile: files.cert}, "cert_file: " + files.key + " with "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, err := tc.tls.Config()
			if c != nil || err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("got %v, %v; want %s", c, err, tc.want)
			}
		})
	}
}
