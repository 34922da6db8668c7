package state

// Which server processes a connection leads to.
//
// A server that restarts, or a replica that takes over, answers before it is safe: it may lack the last second of what was acknowledged. So nothing is read or written there until somebody who
// knows what to do about it says so (see [Store.Accept]). Each new connection asks its server for its run id, a random name that each process of Redis gives itself,
// and is refused if that is another one than before. Servers that don't tell it, because they are no Redis of that kind or because INFO is not allowed, are never noticed to change.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/redis/go-redis/v9"
)

// ErrOtherServer says that another process answers than before. It does not wrap anything: the driver would unwrap it.
var ErrOtherServer = errors.New("another process answers than before, a server that restarted or took over, and may lack the last writes: what was done lately has to be done again first")

// errReplica refuses a cluster's replica. The driver asks it, too, for the cluster's layout, and would go on using the connection when the replica has been promoted.
var errReplica = errors.New("the server is a replica")

// link is a client and the servers that it may lead to.
type link struct {
	redis.UniversalClient
	cluster bool
	runIDs  map[string]bool // nil: any
	name    string          // of that set; "" if it is empty
	met     chan struct{}   // closed when another server was met
	meet    func()          // closes it
}

// newLink makes a client that leads to servers with these run ids; nil: to any.
func newLink(options *redis.UniversalOptions, runIDs map[string]bool) *link {
	l := &link{cluster: options.IsClusterMode, runIDs: runIDs, name: nameOf(runIDs), met: make(chan struct{})}
	l.meet = sync.OnceFunc(func() { close(l.met) })
	if runIDs != nil {
		options.OnConnect = func(ctx context.Context, conn *redis.Conn) error { return l.admit(ctx, conn) }
	}
	l.UniversalClient = redis.NewUniversalClient(options)
	return l
}

// nameOf names a set of servers, whoever asks and in whatever order.
func nameOf(runIDs map[string]bool) string {
	if len(runIDs) == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", xxhash.Sum64String(strings.Join(slices.Sorted(maps.Keys(runIDs)), " ")))
}

// admit refuses a new connection to a server that is not expected.
func (l *link) admit(ctx context.Context, conn *redis.Conn) error {
	who, err := identify(ctx, conn)
	switch {
	case err != nil:
		return err
	case who.isSentinel || who.runID == "":
		return nil
	case l.cluster && who.isReplica:
		return errReplica
	case l.runIDs[who.runID]:
		return nil
	}
	l.meet()
	return ErrOtherServer
}

// otherMet reports whether the link has met another server.
func (l *link) otherMet() bool {
	select {
	case <-l.met:
		return true
	default:
		return false
	}
}

// identity is what a server process says of itself.
type identity struct {
	runID      string // "" if it doesn't tell
	isSentinel bool
	isReplica  bool
}

// identify asks a server who it is. A server that has not read its data yet is an error.
func identify(ctx context.Context, server interface {
	Pipelined(ctx context.Context, fn func(redis.Pipeliner) error) ([]redis.Cmder, error)
}) (identity, error) {
	answers, err := server.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Info(ctx, "server")
		pipe.Info(ctx, "replication")
		return nil
	})
	if len(answers) == 0 {
		return identity{}, err
	}
	info := map[string]string{}
	for _, answer := range answers {
		if err := answer.Err(); err != nil && !tellsNothing(err) {
			return identity{}, err
		}
		maps.Copy(info, parseInfo(answer.(*redis.StringCmd).Val()))
	}
	return identity{runID: info["run_id"], isSentinel: info["redis_mode"] == "sentinel", isReplica: info["role"] == "slave"}, nil
}

// tellsNothing reports whether an answer to INFO says that the server has it not, or not for us.
func tellsNothing(err error) bool {
	var answer redis.Error
	text := err.Error()
	return errors.As(err, &answer) &&
		(strings.HasPrefix(text, "NOPERM ") || strings.HasPrefix(text, "ERR ") || strings.HasPrefix(text, "section (")) // the last are the embedded server's words
}

// parseInfo reads the lines name:value of INFO.
func parseInfo(text string) map[string]string {
	info := map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// client is the connection that is in use now.
func (s *Store) client() *link { return s.link.Load() }

// Accept makes the servers that answer now those that are read and written, all connections to others are closed, and calls that still run fail. The caller has made sure that nobody goes on
// from what was read of the servers before. It fails while a server is away or still reads its data. It must not be called twice at once.
func (s *Store) Accept(ctx context.Context) error {
	const op = "accept the servers"
	within, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	anyone := newLink(s.options(nil), nil)
	defer anyone.Close()
	var mu sync.Mutex
	runIDs, masters := map[string]bool{}, []string(nil)
	err := anyone.eachMaster(within, func(ctx context.Context, master *redis.Client) error {
		if err := master.Ping(ctx).Err(); err != nil {
			return err
		}
		who, err := identify(ctx, master)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if who.runID != "" {
			runIDs[who.runID] = true
		}
		masters = append(masters, master.Options().Addr)
		return nil
	})
	if err != nil {
		return s.fail(ctx, op, err)
	}
	if !anyone.cluster {
		masters = nil // the configured addresses lead there
	}
	before := s.link.Swap(newLink(s.options(masters), runIDs))
	before.Close()
	return nil
}

// Changed is closed when a connection has met another server than those accepted: from then on [Store.Identity] is an error, until [Store.Accept].
func (s *Store) Changed() <-chan struct{} { return s.client().met }

// Identity names the server processes that were accepted, in a word, after each of them has answered; so as long as the name stays the same, nothing that was written before can have been lost.
// It is "" if none was accepted, or if they don't tell who they are.
func (s *Store) Identity(ctx context.Context) (string, error) {
	l := s.client()
	if err := s.pingThrough(ctx, l); err != nil {
		return "", err
	}
	return l.name, nil
}
