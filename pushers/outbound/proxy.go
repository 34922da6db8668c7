package outbound

// The way out through an HTTP proxy.

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"tocsin/credential"
)

// Proxy is an HTTP proxy that all servers are reached through, with CONNECT (RFC 9110, section 9.3.6). It is told addresses, never names, but by [Proxy.Dial].
type Proxy struct {
	URL      *url.URL          // http:// or https://, with a host; nil: no proxy
	Username string            // "": none is given
	Password credential.Secret // with Username
}

// proxy is a Proxy that is ready for use.
type proxy struct {
	address string // host and port
	tls     *tls.Config
	header  http.Header // of each CONNECT
}

// proxyError says that the proxy, and not the server behind it, is what failed.
type proxyError struct{ err error }

func (e *proxyError) Error() string { return "proxy (delivery.proxy): " + e.err.Error() }
func (e *proxyError) Unwrap() error { return e.err }

// newProxy is nil if there is no proxy.
func newProxy(cfg Config) *proxy {
	to := cfg.Proxy.URL
	if to == nil {
		return nil
	}
	p := &proxy{header: http.Header{"User-Agent": {UserAgent}}}
	port := to.Port()
	if to.Scheme == "https" {
		p.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.RootCAs, ServerName: to.Hostname()}
	}
	switch {
	case port != "":
	case p.tls != nil:
		port = "443"
	default:
		port = "80"
	}
	p.address = net.JoinHostPort(to.Hostname(), port)
	if cfg.Proxy.Username != "" {
		login := cfg.Proxy.Username + ":" + cfg.Proxy.Password.Reveal()
		p.header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(login)))
	}
	return p
}

// Dial connects to a server of the operator's choice, whose name the proxy may resolve: nothing about it is hostile. Without a proxy it dials the network.
func (p Proxy) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: defaultTimeout}
	if p.URL == nil {
		return d.DialContext(ctx, network, address)
	}
	return newProxy(Config{Proxy: p}).connect(ctx, d, address)
}

// connect is a connection to that address, as the proxy makes it.
func (p *proxy) connect(ctx context.Context, d *net.Dialer, to string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, &proxyError{err}
	}
	if p.tls != nil {
		conn = tls.Client(conn, p.tls)
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) // long ago
	err = p.ask(conn, to)
	if !stop() && err == nil { // the deadline was set, or is being set just now
		err = &proxyError{ctx.Err()}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// ask sends CONNECT and reads the answer.
func (p *proxy) ask(conn net.Conn, to string) error {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: to}, Host: to, Header: p.header}
	if err := request.Write(conn); err != nil {
		return &proxyError{err}
	}
	reader := bufio.NewReader(io.LimitReader(conn, maxReply))
	resp, err := http.ReadResponse(reader, request)
	switch {
	case err != nil:
		if socket := (net.Error)(nil); !errors.As(err, &socket) {
			err = errors.New("what came is not HTTP, or breaks off") // without the bytes: they may be a secret
		}
		return &proxyError{fmt.Errorf("no answer to CONNECT: %w", err)}
	case resp.StatusCode == http.StatusBadGateway || resp.StatusCode == http.StatusGatewayTimeout:
		return fmt.Errorf("the proxy could not connect to %s: status %d", to, resp.StatusCode)
	case resp.StatusCode < 200 || resp.StatusCode > 299:
		return &proxyError{fmt.Errorf("it answered CONNECT %s with status %d", to, resp.StatusCode)}
	case reader.Buffered() > 0: // neither TLS nor HTTP let the server speak first
		return &proxyError{errors.New("it sent more than an answer to CONNECT")}
	}
	return nil
}

// Login is the URL with the name and password in it, as libraries want it; nil if there is no proxy. It must not be printed.
func (p Proxy) Login() *url.URL {
	if p.URL == nil || p.Username == "" {
		return p.URL
	}
	u := *p.URL
	u.User = url.UserPassword(p.Username, p.Password.Reveal())
	return &u
}
