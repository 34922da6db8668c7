package webpush

// The private VAPID key, and its file.

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
)

// vapidKey signs tokens.
type vapidKey struct {
	private *ecdsa.PrivateKey
	public  string // what browsers subscribe with: the point in base64url
}

// maxKeyFile is more than any key takes.
const maxKeyFile = 64 << 10

// parseKey reads a key of P-256: PEM (SEC 1 or PKCS 8), or its 32 bytes in base64. No error repeats any of it.
func parseKey(text []byte) (*vapidKey, error) {
	private, err := parsePrivate(text)
	if err != nil {
		return nil, err
	}
	if private.Curve != elliptic.P256() {
		return nil, errors.New("the key is not one of the curve P-256 (prime256v1)")
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, errors.New("the key is not one of the curve P-256 (prime256v1)")
	}
	return &vapidKey{private, base64.RawURLEncoding.EncodeToString(public)}, nil
}

func parsePrivate(text []byte) (*ecdsa.PrivateKey, error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key, nil
		}
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if key, ok := parsed.(*ecdsa.PrivateKey); err == nil && ok {
			return key, nil
		}
	}
	if raw, err := decodeBase64(string(bytes.TrimSpace(text))); err == nil {
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("it holds no private key of P-256, neither in PEM nor as 32 bytes in base64")
}

// keyFile is the key as its file has it.
type keyFile struct {
	name    string
	log     *slog.Logger
	current atomic.Pointer[vapidKey]
}

// openKey reads the file for the first time.
func openKey(name string, log *slog.Logger) (*keyFile, error) {
	f := &keyFile{name: name, log: log}
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// read takes the key from the file. One that can't be used changes nothing. An error begins with the key of the configuration that names the file.
func (f *keyFile) read() error {
	if err := f.load(); err != nil {
		return fmt.Errorf("vapid_key_file: %w", err)
	}
	return nil
}

func (f *keyFile) load() error {
	info, err := os.Stat(f.name)
	if err != nil {
		return err
	}
	if info.Size() > maxKeyFile {
		return fmt.Errorf("%s is too large for a key", f.name)
	}
	text, err := os.ReadFile(f.name)
	if err != nil {
		return err
	}
	key, err := parseKey(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.name, err)
	}
	before := f.current.Load()
	if before != nil && before.public == key.public {
		return nil
	}
	f.current.Store(key)
	if before != nil {
		f.log.Info("the VAPID key has changed: browsers that subscribed with the one before can't be reached any more", "file", f.name)
	}
	return nil
}
