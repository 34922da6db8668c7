package credential

// TLS: whom to trust, and how to reach servers of the operator's own, Kafka and Redis.

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS says how a connection is secured. The zero value is a plain connection. The names of files are relative to the working directory.
type TLS struct {
	Enabled    bool   `yaml:"enabled" doc:"connect with TLS"`
	CAFile     string `yaml:"ca_file" doc:"PEM file of the authorities to trust instead of the system's"`
	CertFile   string `yaml:"cert_file" doc:"PEM file of the client's certificate, if the server asks for one"`
	KeyFile    string `yaml:"key_file" doc:"PEM file of the key of cert_file"`
	ServerName string `yaml:"server_name" doc:"name that the server's certificate must have, if not that of its address"`
}

// Validate reports what can't be right, one error a key. It reads no files.
func (t TLS) Validate() error {
	var errs []error
	if !t.Enabled && t != (TLS{}) {
		errs = append(errs, errors.New("enabled: must be true when other keys of this section are set"))
	}
	if t.CertFile == "" && t.KeyFile != "" {
		errs = append(errs, errors.New("cert_file: is missing; key_file needs it"))
	}
	if t.KeyFile == "" && t.CertFile != "" {
		errs = append(errs, errors.New("key_file: is missing; cert_file needs it"))
	}
	return errors.Join(errs...)
}

// Authorities reads a PEM file of authorities to trust instead of the system's. An error begins with ca_file, as the keys are called that name such files.
func Authorities(caFile string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca_file: %s holds no PEM certificate", caFile)
	}
	return roots, nil
}

// Config reads the files; nil if TLS is not enabled. An error begins with the key whose file can't be used.
func (t TLS) Config() (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		var err error
		if c.RootCAs, err = Authorities(t.CAFile); err != nil {
			return nil, err
		}
	}
	if t.CertFile == "" {
		return c, nil
	}
	cert, err := os.ReadFile(t.CertFile)
	if err != nil {
		return nil, fmt.Errorf("cert_file: %w", err)
	}
	key, err := os.ReadFile(t.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("key_file: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("cert_file: %s with %s: %w", t.CertFile, t.KeyFile, err)
	}
	c.Certificates = []tls.Certificate{pair}
	return c, nil
}
