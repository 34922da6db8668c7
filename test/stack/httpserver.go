package stack

// The HTTP server of a fake.

import (
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// httpServer serves a fake on an address of its own and, for clients that dial it in place of the world, on one without TLS.
type httpServer struct {
	server    *http.Server
	listener  net.Listener
	plain     net.Listener      // listener itself, if there is no other
	authority *x509.Certificate // signs the certificate; nil without TLS
	served    chan error
	handling  sync.WaitGroup // requests

	ending sync.Mutex
	ended  bool // no request is begun any more

	spoiling sync.Mutex
	spoiled  map[net.Conn]bool // connections that faults have taken from the server
}

// listen takes an address of the site; "" is a free port of the loopback interface.
func (s *httpServer) listen(site Site, address string, how TLS) error {
	listener, err := site.listen(address)
	if err != nil {
		return err
	}
	s.listener, s.plain = listener, listener
	if how == NoTLS {
		return nil
	}
	if s.listener, s.authority, err = site.listenTLS(listener, how); err != nil {
		return errors.Join(err, listener.Close())
	}
	if s.plain, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return errors.Join(err, listener.Close())
	}
	return nil
}

// serve serves on what listen has taken, until Close. It fills in what a server has alike with the others.
func (s *httpServer) serve(server *http.Server) {
	handler := server.Handler
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.begin() {
			defer s.handling.Done()
			handler.ServeHTTP(w, r)
		}
	})
	server.ReadHeaderTimeout = 10 * time.Second
	server.ErrorLog = log.New(io.Discard, "", 0) // failed handshakes are wanted
	listeners := []net.Listener{s.listener}
	if s.plain != s.listener {
		listeners = append(listeners, s.plain)
	}
	s.server, s.served, s.spoiled = server, make(chan error, len(listeners)), map[net.Conn]bool{}
	for _, l := range listeners {
		go func() { s.served <- server.Serve(l) }()
	}
}

// Authority is who signs its certificate: a client that trusts it takes good ones. It is nil without TLS, and if the handshake hangs.
func (s *httpServer) Authority() *x509.Certificate { return s.authority }

// Address is the host and port that it listens on.
func (s *httpServer) Address() string { return s.listener.Addr().String() }

// Close stops it: at once, whatever it is still answering.
func (s *httpServer) Close() error {
	err := s.server.Close()
	s.spoiling.Lock()
	for conn := range s.spoiled {
		conn.Close()
	}
	s.spoiling.Unlock()
	s.ending.Lock()
	s.ended = true
	s.ending.Unlock()
	s.handling.Wait()
	for range cap(s.served) {
		if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
	}
	return err
}

// begin begins a request, for which handling counts until it is done; false if Close does not wait for it any more: HTTP/2 may have one that came before the connection was closed.
func (s *httpServer) begin() bool {
	s.ending.Lock()
	defer s.ending.Unlock()
	if !s.ended {
		s.handling.Add(1)
	}
	return !s.ended
}

// hold keeps a connection for Close to end, which the server does not know any more. What it returns ends the connection.
func (s *httpServer) hold(conn net.Conn) (release func()) {
	s.spoiling.Lock()
	defer s.spoiling.Unlock()
	s.spoiled[conn] = true
	return func() {
		conn.Close()
		s.spoiling.Lock()
		defer s.spoiling.Unlock()
		delete(s.spoiled, conn)
	}
}

// fail treats a request by a fault. It says the status that the client has seen; 0 if it has seen none.
func (s *httpServer) fail(fault Fault, w http.ResponseWriter, r *http.Request, status int) int {
	if fault == Hang {
		<-r.Context().Done()
		return 0
	}
	conn, read, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return 0
	}
	defer s.hold(conn)()
	status = fault.spoil(conn, status)
	switch fault {
	case HangUnread, HangInHeader, HangInBody:
		io.Copy(io.Discard, read) // nobody sends more, so it is the client's end that ends it
	}
	return status
}
