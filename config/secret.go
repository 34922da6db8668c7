package config

// Secrets that stand in files of their own, as container platforms hand them over.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"unicode/utf8"

	"tocsin/credential"
)

// secretFile is the file that a secret is to be read from.
type secretFile struct {
	key  *key // password_file
	name string
}

// maxSecret bounds the file of a secret, in bytes.
const maxSecret = 64 << 10

// readSecrets reads the files of those secrets for which a file was the last word.
func (l *loader) readSecrets() {
	for _, k := range l.keys {
		for _, section := range l.named[k.path] {
			section.readSecrets()
		}
		f, ok := l.files[k.path]
		if !ok {
			continue
		}
		secret, err := readSecret(f.name)
		if err != nil {
			l.report(l.origins[k.path].Place, f.key.path, err.Error())
			continue
		}
		k.value.Set(reflect.ValueOf(secret))
	}
}

// readSecret reads a file that holds a secret and nothing else. One line break at its end is not part of it.
func readSecret(name string) (credential.Secret, error) {
	if name == "" {
		return credential.Secret{}, errors.New("names no file")
	}
	f, err := os.Open(name)
	if err != nil {
		return credential.Secret{}, fmt.Errorf("can't be read: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return credential.Secret{}, fmt.Errorf("can't be read: %w", err)
	}
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case len(data) >= maxSecret:
		return credential.Secret{}, fmt.Errorf("is too large for a secret: %s", name)
	case len(data) == 0:
		return credential.Secret{}, fmt.Errorf("is an empty file: %s", name)
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return credential.Secret{}, fmt.Errorf("is not a file of text: %s", name)
	}
	return credential.NewSecret(string(data)), nil
}
