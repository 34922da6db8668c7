package stack

// The ways in which a gateway can fail to answer, and to prove who it is.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Fault is how the gateway treats a request that it does not answer as it should. [Answer.Delay] comes before it.
type Fault uint8

// The faults. A reset is one of TCP, not an orderly end.
const (
	NoFault         Fault = iota
	Hang                  // it reads the request and never answers, until the client goes
	HangUnread            // it reads nothing of the request's body and never answers, until the client goes
	HangInHeader          // it says nothing more in the header of its answer, until the client goes
	HangInBody            // it says nothing more in the body of its answer, until the client goes
	ResetUnread           // it resets the connection before it has read the body of the request
	Reset                 // it reads the request, and resets the connection in place of an answer
	ResetInHeader         // it resets the connection in the header of its answer
	ResetInBody           // it resets the connection in the body of its answer, when the status has gone out
	CloseUnanswered       // it reads the request, and closes the connection in place of an answer
	EndlessHeader         // its header never ends
	EndlessBody           // its body never ends
	SlowBody              // its body comes a byte at a time, one each tenth of a second
	NotHTTP               // what it answers is no HTTP
)

// maxEndless bounds what endless answers send, for a client that does not know better.
const maxEndless = 64 << 20

// spoil spoils an answer on a connection that is the fault's own.
func (f Fault) spoil(conn net.Conn, status int) int {
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n", status, http.StatusText(status))
	switch f {
	case ResetInHeader, HangInHeader:
		io.WriteString(conn, head)
	case HangInBody:
		io.WriteString(conn, brokenOff(head))
	case ResetInBody:
		io.WriteString(conn, brokenOff(head))
		time.Sleep(settling)
	case EndlessHeader:
		endless(conn, head, strings.Repeat("X-More: and more\r\n", 1000))
	case EndlessBody:
		endless(conn, head+"\r\n", strings.Repeat(`"k",`, 1000))
	case SlowBody:
		drip(conn, head+"\r\n")
	case NotHTTP:
		io.WriteString(conn, "220 mail.example.org ESMTP\r\n")
	}
	switch f {
	case ResetUnread, Reset, ResetInHeader, ResetInBody:
		reset(conn)
	}
	switch f {
	case ResetInBody, HangInBody, EndlessBody, SlowBody:
		return status
	}
	return 0
}

// brokenOff is an answer that breaks off in its body.
func brokenOff(head string) string { return head + "Content-Length: 1000\r\n\r\n" + `{"rejected":[` }

// settling is how long what was written is given to arrive before a reset, which would take it back.
const settling = 20 * time.Millisecond

// reset makes the end of a connection a reset.
func reset(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if c, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		c.SetLinger(0)
		conn.Close()
	}
}

// endless writes begin once and more for ever, until nobody reads it.
func endless(conn net.Conn, begin, more string) {
	io.WriteString(conn, begin)
	for sent := 0; sent < maxEndless; sent += len(more) {
		if _, err := io.WriteString(conn, more); err != nil {
			return
		}
	}
}

// drip writes begin, and then a byte at a time, until nobody reads it.
func drip(conn net.Conn, begin string) {
	io.WriteString(conn, begin)
	for {
		if _, err := io.WriteString(conn, " "); err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TLS is whether a gateway speaks TLS on its own address, and how well. What [Gateway.Dial] hands out has none in any case.
type TLS uint8

// The ways to speak TLS.
const (
	NoTLS         TLS = iota
	GoodTLS           // with a certificate of [Gateway.Authority] for localhost and the loopback addresses
	ExpiredTLS        // that one expired yesterday
	WrongNameTLS      // that one is for somebody else
	SelfSignedTLS     // no authority has signed it
	HangingTLS        // the handshake never goes on after the client's first message
)

// listenTLS puts TLS before a listener. The authority is the one that signs the certificate.
func (s Site) listenTLS(l net.Listener, how TLS) (net.Listener, *x509.Certificate, error) {
	if how == HangingTLS {
		return &hanging{Listener: l}, nil, nil
	}
	config, authority, err := s.serverTLS(how, "http/1.1")
	if err != nil {
		return nil, nil, err
	}
	return tls.NewListener(l, config), authority.certificate, nil
}

// certify makes a certificate of a template, valid from the day before yesterday for ten years unless it says otherwise. Without a parent it signs itself.
func certify(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		return nil, nil, err
	}
	template.NotBefore = time.Now().Add(-30 * 24 * time.Hour)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().AddDate(10, 0, 0)
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, nil, err
	}
	certificate, err := x509.ParseCertificate(raw)
	return certificate, key, err
}

// hanging accepts connections and says nothing on any of them. Close ends them.
type hanging struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

// Accept returns an error only: no connection comes as far as a server.
func (h *hanging) Accept() (net.Conn, error) {
	for {
		conn, err := h.Listener.Accept()
		if err != nil {
			return nil, err
		}
		h.mu.Lock()
		h.conns = append(h.conns, conn)
		h.mu.Unlock()
	}
}

func (h *hanging) Close() error {
	err := h.Listener.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, conn := range h.conns {
		conn.Close()
	}
	return err
}
