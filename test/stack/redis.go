package stack

// The embedded Redis.

import (
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"
)

// RedisServer is a Redis in this process: in memory, one node, with scripts and expiry.
type RedisServer struct {
	mini *miniredis.Miniredis
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
	return &RedisServer{mini: mini}, nil
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
