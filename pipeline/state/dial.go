package state

// Connecting: the seam for virtual networks, and TLS above it.

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dialer connects as the configuration says. The driver uses it for servers and sentinels alike.
func dialer(cfg Config) (dialFunc, error) {
	dial := cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3,
		}}).DialContext
	}
	secure, err := cfg.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, cfg.Timeout/2) // else the caller's time is over, and he never hears what was wrong
		defer cancel()
		conn, err := dial(ctx, network, address)
		if err != nil || secure == nil {
			return conn, err
		}
		return handshake(ctx, conn, secure, address)
	}, nil
}

// handshake puts TLS on a connection. The certificate must be for the address, unless the configuration names another server.
func handshake(ctx context.Context, conn net.Conn, secure *tls.Config, address string) (net.Conn, error) {
	if secure.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address
		}
		secure = secure.Clone()
		secure.ServerName = host
	}
	client := tls.Client(conn, secure)
	if err := client.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &handshakeError{address, err}
	}
	return client, nil
}

// handshakeError tells a failed handshake from a failed connection: their cures differ.
type handshakeError struct {
	address string
	err     error
}

func (e *handshakeError) Error() string {
	return "TLS handshake with " + e.address + ": " + e.err.Error()
}
func (e *handshakeError) Unwrap() error { return e.err }
