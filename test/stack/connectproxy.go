package stack

// A proxy on the way out, as companies have them.

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
)

// ConnectProxy is a handler that connects wherever CONNECT tells it to, and remembers that. The zero value is ready for use.
type ConnectProxy struct {
	Reach string // connect here instead, if not empty

	mu    sync.Mutex
	asked []string
}

// ConnectProxyServer gives a test a proxy of its own, and its URL.
func ConnectProxyServer(t TB) (p *ConnectProxy, url string) {
	t.Helper()
	p = &ConnectProxy{}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return p, server.URL
}

// Asked is what it was told each time: method, target twice (as requested, and as the Host header has it), and the credentials.
func (p *ConnectProxy) Asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.asked...)
}

// ServeHTTP implements [http.Handler].
func (p *ConnectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+r.Host+" "+r.Header.Get("Proxy-Authorization")))
	p.mu.Unlock()
	target := r.Host
	if p.Reach != "" {
		target = p.Reach
	}
	there, err := net.Dial("tcp", target)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close()
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer here.Close()
	io.WriteString(here, "HTTP/1.1 200 Connected\r\n\r\n")
	var copying sync.WaitGroup
	copying.Go(func() { io.Copy(there, here); there.(*net.TCPConn).CloseWrite() })
	io.Copy(here, there)
	here.Close()
	copying.Wait()
}
