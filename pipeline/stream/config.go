package stream

// The `kafka:` section of the configuration.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"strconv"
	"time"

	"tocsin/clock"
	"tocsin/credential"
)

// Config says how Kafka is reached and how its partitions are worked on. Start from [Defaults].
type Config struct {
	Brokers  []string       `yaml:"brokers" doc:"addresses (host:port) to ask first; the rest of the cluster is learned from them"`
	ClientID string         `yaml:"client_id" doc:"name that the brokers see in their logs and quotas"`
	TLS      credential.TLS `yaml:"tls" doc:"TLS to the brokers"`
	SASL     SASL           `yaml:"sasl" doc:"login at the brokers"`

	GroupPrefix       string        `yaml:"group_prefix" doc:"consumer groups are named PREFIX.STAGE and PREFIX.retry.TIER; replays of dead letters remember in PREFIX.replay.* how far they are"`
	SessionTimeout    time.Duration `yaml:"session_timeout" doc:"a worker that is silent for so long loses its partitions to the others"`
	HeartbeatInterval time.Duration `yaml:"heartbeat_interval" doc:"how often a worker says that it is alive; at most a third of session_timeout"`
	DrainTimeout      time.Duration `yaml:"drain_timeout" doc:"how long work that has begun may go on when partitions are given up"`
	StuckAfter        time.Duration `yaml:"stuck_after" doc:"a record that a stage has worked on for so long is named in the log, and the worker is not ready until it goes on; must be longer than drain_timeout"`
	CommitInterval    time.Duration `yaml:"commit_interval" doc:"how often finished work is committed; a crash repeats about so much"`

	FetchWait        time.Duration `yaml:"fetch_wait" doc:"how long a broker may hold a fetch that has nothing to bring"`
	FetchBytes       int           `yaml:"fetch_bytes" doc:"bytes to ask for in one fetch of a partition; a larger record still comes"`
	MaxInFlight      int           `yaml:"max_in_flight" doc:"records of a partition that may be worked on at once"`
	MaxInFlightBytes int           `yaml:"max_in_flight_bytes" doc:"bytes of a partition's records that may be worked on at once"`
	Compression      string        `yaml:"compression" doc:"of what is written: none, gzip, snappy, lz4 or zstd"`

	// Dial opens connections; nil is the real network. It is the one seam for virtual networks.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `yaml:"-"`
	// Clock decides when a record is due and what time a record has that came without one; nil is [clock.System].
	Clock clock.Clock `yaml:"-"`
	// Log is where problems are told; nil is [slog.Default].
	Log *slog.Logger `yaml:"-"`
}

// SASL is a login at the brokers. The zero value is none.
type SASL struct {
	Mechanism string            `yaml:"mechanism" doc:"plain, scram-sha-256 or scram-sha-512; empty: no login"`
	Username  string            `yaml:"username" doc:"user to log in as"`
	Password  credential.Secret `yaml:"password" doc:"password of that user"`
}

// The mechanisms of [SASL].
const (
	mechanismPlain    = "plain"
	mechanismScram256 = "scram-sha-256"
	mechanismScram512 = "scram-sha-512"
)

// Defaults is a configuration for a broker on this machine. How the numbers were found: sessions survive the stall that the loss of a broker
// causes (its own session of 9 s), a drain outlasts a push request of 10 s, and 1 ms of work a record still fills a partition's budget within a second.
// A minute is longer than all waits that are in order together: a request (10 s), and a write whose broker was lost.
func Defaults() Config {
	return Config{
		Brokers:           []string{"localhost:9092"},
		ClientID:          "tocsin",
		GroupPrefix:       "tocsin",
		SessionTimeout:    30 * time.Second,
		HeartbeatInterval: time.Second,
		DrainTimeout:      15 * time.Second,
		StuckAfter:        time.Minute,
		CommitInterval:    time.Second,
		FetchWait:         500 * time.Millisecond,
		FetchBytes:        1 << 20,
		MaxInFlight:       1000,
		MaxInFlightBytes:  16 << 20,
		Compression:       "lz4",
	}
}

// Kafka's rule for names of topics; groups have none, but follow it so that they can be named on a command line.
var legalName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,200}$`)

// Validate reports everything that can't be right, each fault with the path of its key.
func (c Config) Validate() error {
	var errs []error
	fault := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", key, fmt.Sprintf(format, args...)))
	}
	if len(c.Brokers) == 0 {
		fault("brokers", "at least one address is needed")
	}
	for i, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || !isPort(port) {
			fault(fmt.Sprintf("brokers[%d]", i), "%q is not host:port", b)
		}
	}
	for _, err := range flatten(c.TLS.Validate()) {
		errs = append(errs, fmt.Errorf("tls.%w", err))
	}
	for _, err := range flatten(c.SASL.Validate()) {
		errs = append(errs, fmt.Errorf("sasl.%w", err))
	}
	if !legalName.MatchString(c.GroupPrefix) {
		fault("group_prefix", "%q must be 1 to 200 letters, digits, dots, underscores and hyphens", c.GroupPrefix)
	}
	positive := func(key string, d, most time.Duration) {
		if d <= 0 || d > most {
			fault(key, "%v must be more than 0 and at most %v", d, most)
		}
	}
	positive("session_timeout", c.SessionTimeout, 5*time.Minute)
	positive("heartbeat_interval", c.HeartbeatInterval, time.Minute)
	positive("drain_timeout", c.DrainTimeout, 5*time.Minute)
	positive("stuck_after", c.StuckAfter, time.Hour)
	if c.StuckAfter > 0 && c.StuckAfter <= c.DrainTimeout {
		fault("stuck_after", "%v must be longer than drain_timeout (%v), which work that is in order may take", c.StuckAfter, c.DrainTimeout)
	}
	positive("commit_interval", c.CommitInterval, time.Minute)
	positive("fetch_wait", c.FetchWait, 10*time.Second)
	if c.SessionTimeout > 0 && c.HeartbeatInterval > c.SessionTimeout/3 {
		fault("heartbeat_interval", "%v must be at most a third of session_timeout (%v)", c.HeartbeatInterval, c.SessionTimeout)
	}
	atLeast := func(key string, n, least, most int) {
		if n < least || n > most {
			fault(key, "%d must be from %d to %d", n, least, most)
		}
	}
	atLeast("fetch_bytes", c.FetchBytes, 1<<10, 1<<28)
	atLeast("max_in_flight", c.MaxInFlight, 1, 1_000_000)
	atLeast("max_in_flight_bytes", c.MaxInFlightBytes, 1<<10, 1<<32)
	if _, ok := codecs[c.Compression]; !ok {
		fault("compression", "%q is none of none, gzip, snappy, lz4, zstd", c.Compression)
	}
	return errors.Join(errs...)
}

// Validate reports what can't be right, one error a key.
func (s SASL) Validate() error {
	var errs []error
	switch s.Mechanism {
	case "":
		if s.Username != "" || !s.Password.IsZero() {
			errs = append(errs, errors.New("mechanism: must be plain, scram-sha-256 or scram-sha-512 when other keys of this section are set"))
		}
		return errors.Join(errs...)
	case mechanismPlain, mechanismScram256, mechanismScram512:
	default:
		errs = append(errs, fmt.Errorf("mechanism: %q is none of plain, scram-sha-256, scram-sha-512", s.Mechanism))
	}
	if s.Username == "" {
		errs = append(errs, errors.New("username: is needed to log in"))
	}
	if s.Password.IsZero() {
		errs = append(errs, errors.New("password: is needed to log in"))
	}
	return errors.Join(errs...)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// flatten undoes errors.Join.
func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}
