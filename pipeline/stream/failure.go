package stream

// Failures: which of them pass, what an operator can do about the others, how often they are told.

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/segmentio/kafka-go"
)

// ErrMissingTopic is wrapped by the errors that name topics which do not exist.
var ErrMissingTopic = errors.New("topic does not exist")

// ErrTooLarge is wrapped by the error of a message that its topic refuses by its size. Writing it again can't help.
var ErrTooLarge = errors.New("message is too large for its topic")

// explain adds to an error of a connection what an operator can do about it.
func explain(err error) error {
	var authority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	advice := ""
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kafka.SASLAuthenticationFailed):
		advice = "check kafka.sasl.username and kafka.sasl.password"
	case errors.Is(err, kafka.UnsupportedSASLMechanism):
		advice = "the brokers do not offer this kafka.sasl.mechanism"
	case errors.Is(err, kafka.IllegalSASLState):
		advice = "this listener wants no login: unset kafka.sasl.mechanism or use the address of a SASL listener"
	case errors.As(err, &authority):
		advice = "the brokers' certificate is not signed by an authority of kafka.tls.ca_file"
	case errors.As(err, &hostname):
		advice = "the brokers' certificate has another name: check kafka.brokers and kafka.tls.server_name"
	case errors.As(err, &invalid):
		advice = "the brokers' certificate is not valid"
	case strings.Contains(err.Error(), "expecting TLS"):
		advice = "set kafka.tls.enabled"
	case errors.Is(err, kafka.TopicAuthorizationFailed), errors.Is(err, kafka.GroupAuthorizationFailed), errors.Is(err, kafka.ClusterAuthorizationFailed):
		advice = "the user of kafka.sasl.username lacks this permission"
	case isDialError(err):
		advice = "is a broker running at kafka.brokers, and can it be reached from here?"
	default:
		return err
	}
	return fmt.Errorf("%w (%s)", err, advice)
}

// explainFirst is explain for the first request of a connection, when its settings may still be wrong.
func explainFirst(err error) error {
	var network net.Error
	switch explained := explain(err); {
	case explained != err:
		return explained
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w (the broker closed the connection: are kafka.tls.enabled and kafka.sasl right for this listener?)", err)
	case errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("%w (no answer in time: can the addresses that the brokers advertise be reached from here, and is kafka.tls.enabled right for them?)", err)
	default:
		return err
	}
}

func isDialError(err error) bool {
	text := err.Error()
	return strings.Contains(text, "dial tcp") || strings.Contains(text, "connection refused") || strings.Contains(text, "no such host")
}

// hopeless reports whether a write that failed so would fail again however often it is tried. All else passes: brokers restart, leaders move,
// replicas catch up, topics appear, and kafka-go's own idea of what is temporary leaves out half of it.
func hopeless(err error) bool {
	return refused(err) || isOneOf(err,
		kafka.InvalidTopic,             // the name is no topic's name
		kafka.TopicAuthorizationFailed, // an operator must act: let the caller say so
		kafka.ClusterAuthorizationFailed,
		kafka.PolicyViolation,
	)
}

// refused reports whether a broker refused a batch because of something in it.
func refused(err error) bool {
	return tooLarge(err) || isOneOf(err,
		kafka.InvalidRecord,    // for one, a message without a key to a compacted topic
		kafka.InvalidTimestamp, // outside of what the topic takes
	)
}

// tooLarge reports whether a broker refused a batch by its size.
func tooLarge(err error) bool {
	return isOneOf(err, kafka.MessageSizeTooLarge, kafka.RecordListTooLarge)
}

func isOneOf(err error, codes ...kafka.Error) bool {
	return slices.ContainsFunc(codes, func(code kafka.Error) bool { return errors.Is(err, code) })
}

// newPauses paces the repetition of what failed: from 50 ms on, doubling with jitter, at most 5 s.
func newPauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval, b.Multiplier = 50*time.Millisecond, 5*time.Second, 2
	b.Reset()
	return b
}

// sleep waits for d or until ctx ends, and reports whether it waited to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// persist calls f until it succeeds or ctx ends, with pauses, and reports whether it succeeded.
func persist(ctx context.Context, report *complaint, f func() error) bool {
	pauses := newPauses()
	for ctx.Err() == nil {
		err := f()
		if err == nil {
			report.over()
			return true
		}
		if ctx.Err() != nil {
			break // it failed because it was called off
		}
		report.of(err)
		sleep(ctx, pauses.NextBackOff())
	}
	return false
}

// Leaders move, brokers restart and connections break all the time: only what lasts longer is worth a line in the log.
const networkPatience = time.Second

// complaint tells of something that keeps failing: when the error changes, and each minute. It is safe for concurrent use.
type complaint struct {
	log      *slog.Logger
	what     string
	patience time.Duration // what is over so soon is not told

	mu     sync.Mutex
	since  time.Time // zero if it works
	last   string
	told   time.Time
	silent int // failures since it was told
}

// of tells of err, unless that was said lately.
func (c *complaint) of(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, text := time.Now(), err.Error()
	if c.since.IsZero() {
		c.since = now
	}
	ago := now.Sub(c.told)
	if now.Sub(c.since) < c.patience || !c.told.IsZero() && ago < time.Minute && (text == c.last || ago < time.Second) {
		c.silent++
		return
	}
	c.log.Warn(c.what+": trying again", "error", text, "repeated", c.silent)
	c.last, c.told, c.silent = text, now, 0
}

// over tells that it works again, if a failure was told.
func (c *complaint) over() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.told.IsZero() {
		c.log.Info(c.what+": works again", "after", time.Since(c.since).Round(time.Millisecond))
	}
	c.since, c.last, c.told, c.silent = time.Time{}, "", time.Time{}, 0
}
