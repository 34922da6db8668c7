package stack

// The embedded Redis.

import (
	"crypto/rand"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// RedisServer is a Redis in this process: in memory, one node, with scripts and expiry.
type RedisServer struct {
	mini  *miniredis.Miniredis
	runID atomic.Value // string: who it says it is
}

// StartRedis starts a Redis on address; "" is a free port of the loopback interface. Its keys expire by the machine's clock.
func StartRedis(address string) (*RedisServer, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	mini := miniredis.NewMiniRedis()
	mini.ClockTTL(true)
	if err := mini.StartAddr(address); err != nil {
		return nil, fmt.Errorf("embedded Redis: %w", err)
	}
	r := &RedisServer{mini: mini}
	r.begin()
	return r, nil
}

// begin makes the server another process: it has a new name.
func (r *RedisServer) begin() {
	r.runID.Store(strings.ToLower(rand.Text()))
	r.mini.Server().SetPreHook(r.tellRunID)
}

// tellRunID answers what clients ask of INFO that the library does not know.
func (r *RedisServer) tellRunID(c *server.Peer, cmd string, args ...string) bool {
	switch {
	case cmd == "INFO" && len(args) == 1 && strings.EqualFold(args[0], "server"):
		c.WriteBulk("# Server\r\nredis_mode:standalone\r\nrun_id:" + r.runID.Load().(string) + "\r\n")
	case cmd == "INFO" && len(args) == 1 && strings.EqualFold(args[0], "replication"):
		c.WriteBulk("# Replication\r\nrole:master\r\nconnected_slaves:0\r\n")
	default:
		return false
	}
	return true
}

// contents are those of an embedded server.
type contents struct {
	texts  map[string]string
	hashes map[string]map[string]string
	sorted map[string]map[string]float64
	expiry map[string]time.Duration
}

// snapshot copies the contents: texts, hashes and sorted sets, while nobody writes. HyperLogLogs are left out.
func (r *RedisServer) snapshot() contents {
	s := contents{texts: map[string]string{}, hashes: map[string]map[string]string{}, sorted: map[string]map[string]float64{}, expiry: map[string]time.Duration{}}
	must := func(err error) {
		if err != nil {
			panic(fmt.Sprintf("embedded Redis: %v", err)) // the key was there a moment ago
		}
	}
	for _, key := range r.mini.Keys() {
		var err error
		switch kind := r.mini.Type(key); kind {
		case "string":
			s.texts[key], err = r.mini.Get(key)
		case "zset":
			var live map[string]float64
			live, err = r.mini.SortedSet(key)
			s.sorted[key] = maps.Clone(live)
		case "hash":
			fields, err := r.mini.HKeys(key)
			must(err)
			s.hashes[key] = map[string]string{}
			for _, field := range fields {
				s.hashes[key][field] = r.mini.HGet(key, field)
			}
		case "hll":
			continue // what it holds can't be had; it counts as written last, and is lost
		default:
			err = fmt.Errorf("nobody has copied a %s before", kind)
		}
		must(err)
		if ttl := r.mini.TTL(key); ttl > 0 {
			s.expiry[key] = ttl
		}
	}
	return s
}

// failOver does what it looks like when a replica takes over that lags behind: connections end, and another process answers, with older contents.
func (r *RedisServer) failOver(s contents) error {
	r.mini.Close()
	r.mini.SetError("LOADING Redis is loading the dataset in memory")
	r.mini.FlushAll()
	for key, value := range s.texts {
		if err := r.mini.Set(key, value); err != nil {
			return err
		}
	}
	for key, fields := range s.hashes {
		for name, value := range fields {
			r.mini.HSet(key, name, value)
		}
	}
	for key, members := range s.sorted {
		for member, score := range members {
			if _, err := r.mini.ZAdd(key, score, member); err != nil {
				return err
			}
		}
	}
	for key, ttl := range s.expiry {
		r.mini.SetTTL(key, ttl)
	}
	if err := r.mini.Restart(); err != nil {
		return err
	}
	r.begin()
	return nil
}

// Address is where clients connect.
func (r *RedisServer) Address() string { return r.mini.Addr() }

// FreezeTime takes the server's clock away: from now on it reads now, and keys expire only as [RedisServer.Pass] says.
func (r *RedisServer) FreezeTime(now time.Time) {
	r.mini.ClockTTL(false)
	r.mini.SetTime(now)
}

// Pass lets d go by up to now: keys whose time is over expire. It looks at every key, so it is not for each millisecond.
func (r *RedisServer) Pass(d time.Duration, now time.Time) {
	r.mini.FastForward(d)
	r.mini.SetTime(now)
}

// Server is the inside, for tests that break it.
func (r *RedisServer) Server() *miniredis.Miniredis { return r.mini }

// Close stops the server; what it held is gone.
func (r *RedisServer) Close() { r.mini.Close() }
