package state

// Errors for people: which server, what went wrong, what to do.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// Error is why Redis could not do something. It never names a user, a room or a pushkey, but what it wraps may: print Error alone.
type Error struct {
	Op     string // what was to be done
	Server string // whom was asked: address, cluster, or master and sentinels
	Hint   string // what to do; empty if there is nothing to say but to try again
	Err    error  // as the driver returned it
}

// Error is one line for the operator.
func (e *Error) Error() string { return "redis at " + e.Server + ": " + e.Op + ": " + e.why() }

// why is what went wrong and what to do.
func (e *Error) why() string {
	if e.Hint == "" {
		return clean(e.Err)
	}
	return clean(e.Err) + ": " + e.Hint
}

// Unwrap keeps [errors.Is] and [errors.As] working for network, TLS and context errors and the driver's own.
func (e *Error) Unwrap() error { return e.Err }

// fail wraps what the driver said; nil stays nil. Nobody is to blame when the caller's own time is over.
func (s *Store) fail(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	failed := &Error{Op: op, Server: s.server, Err: err}
	if ctx.Err() == nil {
		failed.Hint = s.hint(err)
	}
	return failed
}

// clean is the text of an error without what we sent: a server that does not know a command repeats its arguments, and the driver
// quotes what it can't read. Texts of networks and certificates hold addresses alone.
func clean(err error) string {
	text := err.Error()
	var answer redis.Error
	switch {
	case errors.Is(err, redis.Nil):
		return "not found"
	case errors.As(err, &answer):
		text, _, _ = strings.Cut(answer.Error(), ", with args beginning with")
		return text
	}
	if _, rest, ok := strings.Cut(text, "redis: "); ok && (strings.Contains(rest, "parse") || strings.Contains(rest, "unexpected")) {
		return "an answer that is not of Redis's protocol"
	}
	return text
}

// serverHints says what to do when the server's answer begins with (or, from inside of a script, holds) a word.
var serverHints = [...]struct{ word, hint string }{
	{"WRONGPASS", "check redis.username and redis.password"},
	{"NOAUTH", "the server wants a password: set redis.password"},
	{"AUTH <password> called without any password", "the server has no password: remove redis.password"},
	{"NOPERM", "the ACL of redis.username must allow keys that begin with redis.key_prefix and +@read +@write +@scripting +@connection, in a cluster +cluster, and +info, without which a failover is not noticed"},
	{"ACL failure in script", "the ACL of redis.username must allow keys that begin with redis.key_prefix and +@read +@write"},
	{"CLUSTERDOWN", "the cluster has lost a master or a slot: see CLUSTER INFO; the call is made again until it is back"},
	{"MOVED", "the server is part of a cluster: set redis.mode to cluster"},
	{"CROSSSLOT", "the server is part of a cluster: set redis.mode to cluster"},
	{"ERR This instance has cluster support disabled", "the server is not part of a cluster: set redis.mode to single"},
	{"READONLY", "the server is a replica: name the primary in redis.addresses, or use redis.mode sentinel"},
	{"LOADING", "the server still reads its data: wait"},
	{"MASTERDOWN", "the replica has lost its primary: wait for the failover, or name the primary"},
	{"NOREPLICAS", "too few replicas are in reach (min-replicas-to-write): see INFO replication"},
	{"MISCONF", "the server can't write to its disk: see its log"},
	{"OOM", "the server is full: raise maxmemory"},
	{"BUSY", "a script of somebody else blocks the server: see SCRIPT KILL"},
	{"ERR unknown command", "the server is too old, or the command was renamed or switched off: Redis 6.2 or newer is needed"},
	{"ERR max number of clients", "the server has no connection left: raise its maxclients or lower redis.pool_size"},
	{"ERR DB index is out of range", "the server has fewer databases: lower redis.db"},
	{"WRONGTYPE", "another program writes to our keys: choose another redis.key_prefix"},
}

// hint is what an operator can do.
func (s *Store) hint(err error) string {
	var answer redis.Error
	if errors.As(err, &answer) {
		for _, h := range serverHints {
			if strings.Contains(answer.Error(), h.word) {
				return h.hint
			}
		}
	}
	if hint := tlsHint(err); hint != "" {
		return hint
	}
	if errors.Is(err, redis.Nil) && s.mode == Sentinel {
		return "the sentinels know no such master: check redis.sentinel.master"
	}
	return s.networkHint(err)
}

// tlsHint is for what is wrong with certificates and handshakes.
func tlsHint(err error) string {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		handshake *handshakeError
		header    tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &authority):
		return "set redis.tls.ca_file to the authority that signed the server's certificate"
	case errors.As(err, &name):
		return "set redis.tls.server_name to a name of the server's certificate, or use that name in redis.addresses"
	case errors.As(err, &invalid):
		return "renew the server's certificate, or check this machine's clock"
	case errors.As(err, &header), errors.As(err, &handshake) && (isTimeout(err) || isHangUp(err)):
		return "does this port speak TLS? If not, set redis.tls.enabled to false"
	case errors.As(err, &handshake):
		return "check redis.tls: the server may want cert_file and key_file"
	}
	return ""
}

// networkHint is for servers that can't be reached or don't answer.
func (s *Store) networkHint(err error) string {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return "check the name in redis.addresses"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there: is Redis running, is the address right?"
	case errors.Is(err, redis.ErrPoolTimeout):
		return "all connections are busy: raise redis.pool_size"
	case isTimeout(err):
		return "no answer within " + s.timeout.String() + " (redis.timeout): is the server overloaded, or does a firewall drop packets?"
	case isHangUp(err):
		return "the server closed the connection: it restarts, or wants TLS (redis.tls.enabled)"
	}
	return ""
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func isHangUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
