package stream

// A connection to the brokers, shared by all that read and write.

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"

	"tocsin/clock"
)

const (
	// A transport's view of the cluster is at most so old: after a change of leaders, writers and readers stall no longer than this. kafka-go's
	// default is 6 s.
	metadataTTL = time.Second
	dialTimeout = 5 * time.Second
	// What a request may take that a broker answers at once. A frozen broker is noticed only by this.
	requestTimeout = 5 * time.Second
)

// Cluster is a Kafka cluster. It is safe for concurrent use.
type Cluster struct {
	cfg       Config
	clock     clock.Clock
	log       *slog.Logger
	conns     *connections // of transport
	transport *kafka.Transport
	client    *kafka.Client // for requests that are answered at once
	fetcher   *kafka.Client // for those that wait for records
	tls       *tls.Config
	sasl      sasl.Mechanism
}

// Connect prepares a cluster for use. It reads the files of the TLS section and does no I/O on the network: [Cluster.Topics] is the first thing to ask
// of a cluster, because it names what is wrong with a connection.
func Connect(cfg Config) (*Cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &Cluster{cfg: cfg, clock: cfg.Clock, log: cfg.Log}
	if c.clock == nil {
		c.clock = clock.System{}
	}
	if c.log == nil {
		c.log = slog.Default()
	}
	var err error
	if c.tls, err = cfg.TLS.Config(); err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	if c.sasl, err = cfg.SASL.mechanism(); err != nil {
		return nil, fmt.Errorf("sasl: %w", err)
	}
	c.conns = &connections{dial: c.dial}
	c.transport = &kafka.Transport{
		Dial:        c.conns.open,
		DialTimeout: dialTimeout,
		MetadataTTL: metadataTTL,
		ClientID:    cfg.ClientID,
		TLS:         c.tls,
		SASL:        c.sasl,
	}
	client := func(timeout time.Duration) *kafka.Client {
		return &kafka.Client{Addr: kafka.TCP(cfg.Brokers...), Timeout: timeout, Transport: c.transport}
	}
	c.client = client(requestTimeout)
	c.fetcher = client(cfg.FetchWait + requestTimeout)
	return c, nil
}

// Close closes the connections. Everything that uses the cluster must have ended.
func (c *Cluster) Close() {
	c.transport.CloseIdleConnections()
	c.conns.cut() // those too that wait for an answer nobody wants any more
}

// dialer opens the connections of a group, which kafka-go keeps apart from the transport's.
func (c *Cluster) dialer(dial func(ctx context.Context, network, address string) (net.Conn, error)) *kafka.Dialer {
	return &kafka.Dialer{ClientID: c.cfg.ClientID, DialFunc: dial, Timeout: dialTimeout, TLS: c.tls, SASLMechanism: c.sasl}
}

// dial opens one connection by the configured seam.
func (c *Cluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if c.cfg.Dial != nil {
		return c.cfg.Dial(ctx, network, address)
	}
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

// mechanism is the login as kafka-go wants it; nil for none.
func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case mechanismPlain:
		return plain.Mechanism{Username: s.Username, Password: s.Password.Reveal()}, nil
	case mechanismScram256:
		return scram.Mechanism(scram.SHA256, s.Username, s.Password.Reveal())
	case mechanismScram512:
		return scram.Mechanism(scram.SHA512, s.Username, s.Password.Reveal())
	}
	return nil, nil
}
