package stack

// The embedded Apple Push Notification service: it checks pushes as strictly as Apple, answers as it is told, and shows what it received.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// APNsPush is one push that the service received, and what became of it. Fields whose header was absent are empty.
type APNsPush struct {
	Token       string // of the device, in hexadecimal digits
	ID          string // apns-id
	Topic       string
	PushType    string
	CollapseID  string
	Priority    string
	Expiration  string
	TeamID      string // of the provider token, once its signature was found good
	KeyID       string
	Issued      time.Time         // what the provider token says
	Certificate string            // common name of the client's certificate
	Header      map[string]string // all but the credential
	Payload     []byte

	Connection int    // the first is 1
	Status     int    // as answered; 0 if it was not
	Reason     string // as answered
	Refused    bool   // because it is wrong in itself, and not by the script
	Taken      bool   // the device hears of it, whether or not the client knows
}

// APNsAnswer is what the service answers to the next Times pushes that are right in themselves. Pushes that are wrong are refused as Apple refuses them, and take nothing
// off the script.
type APNsAnswer struct {
	Status    int               // 0: 200
	Reason    string            // of the answer, or of the GOAWAY
	Timestamp time.Time         // of a 410
	Header    map[string]string // of the answer, such as retry-after
	Body      string            // in place of Apple's JSON
	Delay     time.Duration     // how long it takes to answer
	Fault     APNsFault         // what it does in place of answering
	Topic     string            // only pushes of this topic; "": any
	Times     int               // how many pushes; 0: one
}

// APNsFault is how the service treats a push that it does not answer as it should.
type APNsFault uint8

// The faults.
const (
	APNsNoFault      APNsFault = iota
	APNsSilence                // the push is taken, and no answer comes
	APNsDeaf                   // the push is taken, and nothing comes on this connection any more, not even answers to pings
	APNsGoAway                 // GOAWAY before this push: it is not taken, those before it are answered
	APNsGoAwayTaken            // the push is taken, and in place of an answer come GOAWAY and the end of the connection
	APNsReset                  // the push is taken, and its stream is reset
	APNsRefuseStream           // the stream is refused: the push is not taken
	APNsCut                    // the push is taken, and the connection is reset
)

// APNsOptions say how the service behaves. The zero value takes every push that is right in itself.
type APNsOptions struct {
	Address      string                    // host and port to listen on; "" is a free port of the loopback interface
	Site         Site                      // what stands in for Address, and who signs its certificate and those of its clients
	Streams      uint32                    // pushes under way at once on a connection, once a credential was accepted on it: until then 1; 0: 1000, as Apple has it
	TokenUpdates time.Duration             // how long the newest provider token of a key must be used; 0: 20 minutes, as Apple says; negative: not at all
	Now          func() time.Time          // what the age of tokens is held against; nil: [time.Now]
	Observe      func(APNsPush)            // is told of each push when it is answered, or is not; one after another
	Answer       func(APNsPush) APNsAnswer // decides where the script says nothing; nil: takes everything
}

// APNs is the Apple Push Notification service on a loopback address. It speaks HTTP/2 frame by frame with code of its own, because much of what Apple does (one stream until a
// credential was accepted, GOAWAY with a reason, silence) no server of a library does when it is asked to. It is safe for concurrent use.
type APNs struct {
	listener  net.Listener
	authority *Authority // signs its own certificate
	clients   *Authority // signs those of its clients
	opts      APNsOptions
	serving   sync.WaitGroup
	script    script[APNsAnswer]
	observer  observer[APNsPush]

	mu      sync.Mutex // guards what follows
	closed  bool
	keys    map[tokenKey]*ecdsa.PublicKey
	tokens  map[string]provider    // provider tokens that were found good, by their text
	newest  map[tokenKey]tokenSeen // the newest of each key
	conns   map[*apnsConn]bool
	made    int // connections
	refused int // streams that were one too many
}

// StartAPNs starts a service. Make keys and certificates for its clients with [APNs.NewKey] and [APNs.NewCertificate].
func StartAPNs(opts APNsOptions) (*APNs, error) {
	if opts.Streams == 0 {
		opts.Streams = 1000
	}
	if opts.TokenUpdates == 0 {
		opts.TokenUpdates = 20 * time.Minute
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	a := &APNs{
		opts: opts, observer: observer[APNsPush]{observe: opts.Observe},
		keys: map[tokenKey]*ecdsa.PublicKey{}, tokens: map[string]provider{}, newest: map[tokenKey]tokenSeen{}, conns: map[*apnsConn]bool{},
	}
	if err := a.listen(); err != nil {
		return nil, fmt.Errorf("embedded APNs: %w", err)
	}
	a.serving.Go(a.accept)
	return a, nil
}

func (a *APNs) listen() error {
	if a.clients = a.opts.Site.Authority; a.clients == nil {
		var err error
		if a.clients, err = NewAuthority(); err != nil {
			return err
		}
	}
	trusted := x509.NewCertPool()
	trusted.AddCert(a.clients.certificate)
	plain, err := a.opts.Site.listen(a.opts.Address)
	if err != nil {
		return err
	}
	config, authority, err := a.opts.Site.serverTLS(GoodTLS, "h2")
	if err != nil {
		return errors.Join(err, plain.Close())
	}
	config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, trusted
	a.listener, a.authority = tls.NewListener(plain, config), authority
	return nil
}

// URL is where to push to.
func (a *APNs) URL() string { return "https://" + a.listener.Addr().String() }

// Authority is who signs the service's certificate, in PEM.
func (a *APNs) Authority() []byte { return a.authority.Certificate() }

// NewKey makes a key for provider tokens and registers it, in place of an older one of that name. It is a .p8 file as Apple gives it out.
func (a *APNs) NewKey(teamID, keyID string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	p8, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return p8, a.AddKey(teamID, keyID, p8)
}

// AddKey registers a key that was made before, in place of an older one of that name.
func (a *APNs) AddKey(teamID, keyID string, p8 []byte) error {
	block, _ := pem.Decode(p8)
	if block == nil {
		return errors.New("the key is not in PEM")
	}
	key, err := parseECKey(block.Bytes)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys[tokenKey{teamID, keyID}] = &key.PublicKey
	clear(a.tokens)
	return nil
}

// NewCertificate makes a client's certificate for an app, and its key.
func (a *APNs) NewCertificate(bundleID string, notAfter time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	return certify(&x509.Certificate{
		Subject:  pkix.Name{CommonName: "Apple Push Services: " + bundleID, ExtraNames: []pkix.AttributeTypeAndValue{{Type: userID, Value: bundleID}}},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, NotAfter: notAfter,
	}, a.clients.certificate, a.clients.key)
}

// Script queues answers behind those that are waiting already.
func (a *APNs) Script(answers ...APNsAnswer) {
	a.script.add(answers, func(answer APNsAnswer) int { return answer.Times })
}

// Waiting is how many answers of the script have not been given yet.
func (a *APNs) Waiting() int { return a.script.waiting() }

// Connections is how many connections were made so far.
func (a *APNs) Connections() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.made
}

// RefusedStreams is how many streams were opened beyond what the service had announced.
func (a *APNs) RefusedStreams() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

// GoAway ends all connections in the orderly way: what was received is answered, and nothing more is taken.
func (a *APNs) GoAway() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.conns {
		c.goAwayLater()
	}
}

// Close stops the service at once, whatever it is still answering.
func (a *APNs) Close() error {
	err := a.listener.Close()
	a.mu.Lock()
	a.closed = true
	for c := range a.conns {
		c.net.Close()
	}
	a.mu.Unlock()
	a.serving.Wait()
	return err
}

func (a *APNs) accept() {
	for {
		conn, err := a.listener.Accept()
		if err != nil {
			return
		}
		a.mu.Lock()
		if a.closed {
			conn.Close()
		} else {
			a.made++
			c := newAPNsConn(a, conn.(*tls.Conn), a.made)
			a.conns[c] = true
			a.serving.Go(c.serve)
		}
		a.mu.Unlock()
	}
}

func (a *APNs) forget(c *apnsConn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.conns, c)
}

// next is the answer to a push that is right in itself.
func (a *APNs) next(p *APNsPush) APNsAnswer {
	answer, scripted := a.script.nextFor(func(answer APNsAnswer) bool { return answer.Topic == "" || answer.Topic == p.Topic })
	if !scripted && a.opts.Answer != nil {
		answer = a.opts.Answer(*p)
	}
	return answer
}

// APNsServer gives a test an embedded service of its own.
func APNsServer(t TB, opts APNsOptions) *APNs {
	t.Helper()
	return started(t, StartAPNs, opts)
}
