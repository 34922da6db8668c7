package fcm

// The connections to FCM.

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	idleTimeout = 90 * time.Second
	// quiet is how long a connection may say nothing until it is asked whether it is alive, answering how long it may take to say so.
	quiet, answering = 15 * time.Second, 5 * time.Second
	// dialling bounds the connections that are made at once. FCM takes a hundred requests at once on each, so few are needed; but a transport makes one for each request that
	// finds none, and after a start that is hundreds. Full connections don't count.
	dialling = 4
	// maxIdle bounds the idle connections of HTTP/1.1: as many as there are requests at once
	maxIdle = 512
)

// carrier makes exchanges: by HTTP/2, on as many connections as it takes, and by HTTP/1.1 with relays and proxies that know nothing newer. It follows no redirect.
type carrier struct {
	modern *http.Transport
	plain  *http.Transport // for HTTP/1.1, where each request needs a connection of its own
	old    sync.Map        // hosts that have answered by HTTP/1.1
}

func newCarrier(cfg Config, opts Options) *carrier {
	c := &carrier{modern: newTransport(cfg, opts), plain: newTransport(cfg, opts)}
	c.modern.Protocols.SetHTTP2(true)
	c.modern.MaxConnsPerHost = dialling
	return c
}

// newTransport speaks HTTP/1.1.
func newTransport(cfg Config, opts Options) *http.Transport {
	connecting := cfg.Timeout / 2
	t := &http.Transport{
		DialContext:            (&net.Dialer{Timeout: connecting}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: opts.RootCAs},
		TLSHandshakeTimeout:    connecting,
		Protocols:              &http.Protocols{},
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: quiet, PingTimeout: answering},
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxReply,
		DisableCompression:     true, // a small reply may unpack to a huge one
	}
	t.Protocols.SetHTTP1(true)
	if opts.Proxy != nil {
		t.Proxy = http.ProxyURL(opts.Proxy)
	}
	return t
}

// RoundTrip implements [http.RoundTripper].
func (c *carrier) RoundTrip(r *http.Request) (*http.Response, error) {
	if _, isOld := c.old.Load(r.URL.Host); isOld {
		return c.plain.RoundTrip(r)
	}
	resp, err := c.modern.RoundTrip(r)
	if err == nil && resp.ProtoMajor == 1 {
		c.old.Store(r.URL.Host, true)
	}
	return resp, err
}

// close closes the idle connections.
func (c *carrier) close() {
	c.modern.CloseIdleConnections()
	c.plain.CloseIdleConnections()
}
