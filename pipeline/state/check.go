package state

// What must be true of a Redis that tocsin can rely on.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Level says what a [Finding] means.
type Level int

// The levels.
const (
	Good   Level = iota // as it must be
	Unread              // could not be read, as on many managed servers: for the operator to look up
	Bad                 // tocsin can lose data, or can't work
)

func (l Level) String() string {
	switch l {
	case Good:
		return "ok"
	case Unread:
		return "could not be read"
	default:
		return "wrong"
	}
}

// Finding is the result of one check of one server.
type Finding struct {
	Server  string // address of the master; that of the configuration for what concerns all
	Subject string // what was looked at
	Level   Level
	Text    string // what was found, and what to do if it is not good
}

// String is a line for people.
func (f Finding) String() string {
	return fmt.Sprintf("redis %s: %s: %s: %s", f.Server, f.Subject, f.Level, f.Text)
}

// findings collects what is found, from several servers at once.
type findings struct {
	mu  sync.Mutex
	all []Finding
}

func (f *findings) add(server, subject string, level Level, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = append(f.all, Finding{server, subject, level, fmt.Sprintf(format, args...)})
}

// Check looks at every master: is it reachable, new enough, does it keep what is written (append-only file, no eviction), may we run our scripts, is the
// cluster whole? What a server does not tell is a finding of its own, and no failure. It changes nothing but keys of its own that it removes.
func (s *Store) Check(ctx context.Context) []Finding {
	var found findings
	err := s.client().eachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		ctx, cancel := context.WithTimeout(ctx, s.timeout)
		defer cancel()
		s.checkMaster(ctx, master, &found)
		return nil
	})
	if err != nil {
		found.add(s.server, "reachable", Bad, "%s", s.why(ctx, err))
	} else {
		s.checkScripts(ctx, &found)
	}
	slices.SortStableFunc(found.all, func(a, b Finding) int { return cmp.Compare(a.Server, b.Server) })
	return found.all
}

// why is what went wrong and what to do, without the server, which the finding names.
func (s *Store) why(ctx context.Context, err error) string {
	var failed *Error
	if !errors.As(err, &failed) {
		errors.As(s.fail(ctx, "", err), &failed)
	}
	return failed.why()
}

// checkScripts runs what the scripts do, where the keys lead.
func (s *Store) checkScripts(ctx context.Context, found *findings) {
	if _, err := s.runOne(ctx, "run scripts", probeScript, []string{s.keys.probe("hash"), s.keys.probe("zset"), s.keys.probe("count"), s.keys.probe("sum")}); err != nil {
		found.add(s.server, "scripts", Bad, "%s", s.why(ctx, err))
		return
	}
	found.add(s.server, "scripts", Good, "allowed on keys that begin with %q", s.keys.prefix)
}

func (s *Store) checkMaster(ctx context.Context, master *redis.Client, found *findings) {
	server := s.server
	if s.mode != Sentinel { // there the driver knows the address only while it dials
		server = master.Options().Addr
	}
	if err := master.Ping(ctx).Err(); err != nil {
		found.add(server, "reachable", Bad, "%s", s.why(ctx, err))
		return
	}
	found.add(server, "reachable", Good, "answers")

	text, err := master.Info(ctx).Result()
	if err != nil {
		found.add(server, "settings", Unread, "look up that the version is %d.%d or newer, appendonly yes, maxmemory-policy noeviction; a restart or failover is not noticed without INFO: %s", minMajor, minMinor, s.why(ctx, err))
	} else {
		info := parseInfo(text)
		checkVersion(server, info, found)
		if info["run_id"] == "" {
			found.add(server, "run id", Unread, "INFO does not tell it, so a restart or failover is not noticed, and what the server lost with it stays lost")
		}
		checkPersistence(server, info, found)
		checkEviction(server, info, found)
	}
	if s.mode == Cluster {
		s.checkCluster(ctx, server, master, found)
	}
}

// minMajor and minMinor are the oldest Redis that has all that we use.
const minMajor, minMinor = 6, 2

func checkVersion(server string, info map[string]string, found *findings) {
	const subject = "version"
	version := info["redis_version"]
	parts := strings.SplitN(version, ".", 3)
	if len(parts) < 2 {
		found.add(server, subject, Unread, "INFO does not tell redis_version; it must be %d.%d or newer", minMajor, minMinor)
		return
	}
	major, err1 := strconv.Atoi(parts[0])
	minor, err2 := strconv.Atoi(parts[1])
	switch {
	case errors.Join(err1, err2) != nil:
		found.add(server, subject, Unread, "%q is no version that we know; it must be %d.%d or newer", version, minMajor, minMinor)
	case major < minMajor || major == minMajor && minor < minMinor:
		found.add(server, subject, Bad, "%s is too old: %d.%d or newer is needed", version, minMajor, minMinor)
	default:
		found.add(server, subject, Good, "%s", version)
	}
}

func checkPersistence(server string, info map[string]string, found *findings) {
	const subject = "append-only file"
	switch {
	case info["aof_enabled"] == "":
		found.add(server, subject, Unread, "INFO does not tell aof_enabled; set appendonly yes, or a restart loses what was written")
	case info["aof_enabled"] != "1":
		found.add(server, subject, Bad, "off: a restart loses what was written; set appendonly yes")
	case info["aof_last_write_status"] != "" && info["aof_last_write_status"] != "ok":
		found.add(server, subject, Bad, "the last write to it failed (%s): is the disk full? See the server's log", info["aof_last_write_status"])
	default:
		found.add(server, subject, Good, "on")
	}
}

func checkEviction(server string, info map[string]string, found *findings) {
	const subject = "eviction"
	switch policy := info["maxmemory_policy"]; policy {
	case "":
		found.add(server, subject, Unread, "INFO does not tell maxmemory_policy; it must be noeviction, or rulesets and pushers vanish when memory is short")
	case "noeviction":
		found.add(server, subject, Good, "none")
	default:
		found.add(server, subject, Bad, "maxmemory-policy is %s: rulesets and pushers vanish when memory is short; set noeviction", policy)
	}
}

func (s *Store) checkCluster(ctx context.Context, server string, master *redis.Client, found *findings) {
	const subject = "cluster"
	text, err := master.ClusterInfo(ctx).Result()
	state := parseInfo(text)["cluster_state"]
	switch {
	case err != nil:
		found.add(server, subject, Unread, "%s", s.why(ctx, err))
	case state == "ok":
		found.add(server, subject, Good, "whole")
	default:
		found.add(server, subject, Bad, "its state is %q: a master or a slot is missing, see CLUSTER INFO", state)
	}
}
