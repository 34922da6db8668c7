package stack

// Where a fake is, and who says so.

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"
)

// Site is where a fake listens, if not on an address of its own, and who signs its certificate. The zero value is what the fake would do without it.
type Site struct {
	Listener  net.Listener // what to serve on, without TLS; nil: a listener of the fake's own. The fake closes it
	Authority *Authority   // signs the certificate; nil: one that is made for this fake
	Names     []string     // that the certificate has besides localhost and the loopback addresses: names and addresses
}

// listen is the site's listener, or one of an address; "" is a free port of the loopback interface.
func (s Site) listen(address string) (net.Listener, error) {
	if s.Listener != nil {
		return s.Listener, nil
	}
	return net.Listen("tcp", cmp.Or(address, "127.0.0.1:0"))
}

// Authority signs certificates. It is safe for concurrent use.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewAuthority makes an authority.
func NewAuthority() (*Authority, error) {
	certificate, key, err := certify(&x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, nil)
	return &Authority{certificate, key}, err
}

// ParseAuthority reads what [Authority.Private] has written.
func ParseAuthority(text []byte) (*Authority, error) {
	first, rest := pem.Decode(text)
	second, _ := pem.Decode(rest)
	if first == nil || second == nil {
		return nil, errors.New("it is not a certificate and its key in PEM")
	}
	certificate, err := x509.ParseCertificate(first.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := parseECKey(second.Bytes)
	return &Authority{certificate, key}, err
}

// Certificate is what clients are to trust, in PEM.
func (a *Authority) Certificate() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

// Private is certificate and key, in PEM.
func (a *Authority) Private() ([]byte, error) {
	key, err := encodeKey(a.key)
	return append(a.Certificate(), key...), err
}

// encodeKey writes a private key in PEM.
func encodeKey(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseECKey(der []byte) (*ecdsa.PrivateKey, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T, and no elliptic key", parsed)
	}
	return key, nil
}

// serverTLS has a certificate for the site, as good as it is to be. The authority is the one that signs good ones.
func (s Site) serverTLS(how TLS, protocols ...string) (*tls.Config, *Authority, error) {
	authority := s.Authority
	if authority == nil {
		var err error
		if authority, err = NewAuthority(); err != nil {
			return nil, nil, err
		}
	}
	leaf := &x509.Certificate{
		Subject: pkix.Name{CommonName: "push service"}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, name := range s.Names {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, name)
		}
	}
	signer := authority
	switch how {
	case ExpiredTLS:
		leaf.NotAfter = time.Now().Add(-24 * time.Hour)
	case WrongNameTLS:
		leaf.DNSNames, leaf.IPAddresses = []string{"elsewhere.example.org"}, nil
	case SelfSignedTLS:
		signer = &Authority{}
	}
	certificate, key, err := certify(leaf, signer.certificate, signer.key)
	if err != nil {
		return nil, nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate.Raw}, PrivateKey: key}}, NextProtos: protocols}, authority, nil
}
