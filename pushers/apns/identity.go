package apns

// What an app proves itself with: a key or a certificate, from files.

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sideshow/apns2/certificate"
	"software.sslmate.com/src/go-pkcs12"
)

// identity is the credentials of an app at one time.
type identity struct {
	key         *signingKey      // for tokens; nil if there is a certificate
	certificate *tls.Certificate // nil if there is a key
	print       [sha256.Size]byte
	account     string // see Sender.Account

	accepted atomic.Int64 // when a device token was last accepted with them, in nanoseconds since 1970; 0: never
}

// provenFor is how long an accepted device token speaks for the app's credentials, topic and environment.
const provenFor = time.Hour

func (i *identity) proven(now time.Time) bool {
	at := i.accepted.Load()
	return at != 0 && now.Sub(time.Unix(0, at)) < provenFor
}

// expiry is when the certificate expires; the zero time if a key is used, which never does.
func (i *identity) expiry() time.Time {
	if i.certificate == nil {
		return time.Time{}
	}
	return i.certificate.Leaf.NotAfter
}

// validFrom is since when the certificate is valid; the zero time if a key is used.
func (i *identity) validFrom() time.Time {
	if i.certificate == nil {
		return time.Time{}
	}
	return i.certificate.Leaf.NotBefore
}

// load reads the app's files. An error begins with the key of the configuration that it is about, and says nothing of what the files hold.
func load(cfg Config) (*identity, error) {
	if cfg.KeyFile != "" {
		return loadKey(cfg)
	}
	return loadCertificate(cfg)
}

func loadKey(cfg Config) (*identity, error) {
	p8, err := os.ReadFile(cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	private, err := parseKey(p8)
	if err != nil {
		return nil, fmt.Errorf("key_file: %s is no .p8 key as Apple gives it out: a PEM file with an elliptic private key", cfg.KeyFile)
	}
	id := cfg.KeyID
	if id == "" {
		if id, err = keyIDOf(cfg.KeyFile); err != nil {
			return nil, err
		}
	}
	key := &signingKey{team: cfg.TeamID, id: id, private: private, print: sha256.Sum256(p8)}
	if _, err := sign(*key, time.Now()); err != nil { // a key of another curve shows only here
		return nil, fmt.Errorf("key_file: %s can't sign provider tokens: %w", cfg.KeyFile, err)
	}
	return &identity{key: key, print: sha256.Sum256(fmt.Appendf(nil, "%q %q %x", key.team, key.id, key.print)), account: key.team + " " + key.id + " " + cfg.base()}, nil
}

// keyIDOf is the key id in the name of a file, as Apple names it, or of the file that it links to: so that a new key can be put there without a new configuration.
func keyIDOf(file string) (string, error) {
	linked, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", fmt.Errorf("key_file: %w", err)
	}
	for _, name := range []string{linked, file} {
		if id, ok := strings.CutPrefix(strings.TrimSuffix(filepath.Base(name), ".p8"), "AuthKey_"); ok && tenCharacters.MatchString(id) {
			return id, nil
		}
	}
	return "", fmt.Errorf("key_id: is missing, and %s is not called AuthKey_<key id>.p8", file)
}

func loadCertificate(cfg Config) (*identity, error) {
	file, err := os.ReadFile(cfg.CertFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file: %w", err)
	}
	all := file
	if cfg.CertKeyFile != "" {
		key, err := os.ReadFile(cfg.CertKeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_key_file: %w", err)
		}
		all = bytes.Join([][]byte{file, key}, []byte("\n"))
	}
	parse := parsePKCS12
	if bytes.Contains(file, []byte("-----BEGIN ")) {
		parse = certificate.FromPemBytes
	}
	found, err := parse(all, cfg.CertPassword.Reveal())
	if err != nil {
		return nil, certificateFault(cfg, err)
	}
	if found.Leaf == nil {
		return nil, fmt.Errorf("cert_file: %s: the certificate can't be read", cfg.CertFile)
	}
	if !belongs(found) {
		return nil, fmt.Errorf("cert_file: %s: the key is not that of the certificate", cfg.CertFile)
	}
	return &identity{certificate: &found, print: sha256.Sum256(all)}, nil
}

// certificateFault says what to do about a certificate that can't be read.
func certificateFault(cfg Config, err error) error {
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && cfg.CertPassword.IsZero():
		return fmt.Errorf("cert_password: is missing: %s has a password", cfg.CertFile)
	case errors.Is(err, pkcs12.ErrIncorrectPassword), errors.Is(err, certificate.ErrFailedToDecryptKey):
		return fmt.Errorf("cert_password: is not that of %s", cfg.CertFile)
	case errors.Is(err, certificate.ErrNoPrivateKey):
		return fmt.Errorf("cert_file: %s has no private key: name the file that has it by cert_key_file, or export both as .p12", cfg.CertFile)
	case errors.Is(err, certificate.ErrNoCertificate):
		return fmt.Errorf("cert_file: %s has no certificate (a .p8 key for tokens belongs to key_file)", cfg.CertFile)
	}
	return fmt.Errorf("cert_file: %s: %w", cfg.CertFile, err)
}

// parsePKCS12 reads .p12 files of old and new exporters; those of the library read old ones alone.
func parsePKCS12(p12 []byte, password string) (tls.Certificate, error) {
	key, leaf, chain, err := pkcs12.DecodeChain(p12, password)
	if errors.Is(err, pkcs12.ErrIncorrectPassword) {
		return tls.Certificate{}, err
	}
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("it is neither PEM nor a .p12 file: %w", err)
	}
	c := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	for _, above := range chain {
		c.Certificate = append(c.Certificate, above.Raw)
	}
	return c, nil
}

// belongs says that the private key is that of the certificate.
func belongs(c tls.Certificate) bool {
	private, ok := c.PrivateKey.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := private.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.Leaf.PublicKey)
}
