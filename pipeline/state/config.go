package state

// The section redis of the configuration.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"tocsin/credential"
)

// The modes: what kind of Redis stands at the addresses.
const (
	Single   = "single"
	Sentinel = "sentinel"
	Cluster  = "cluster"
)

// Config is the section redis of the configuration file.
type Config struct {
	Mode      string            `yaml:"mode" doc:"what stands at the addresses: single, sentinel or cluster"`
	Addresses []string          `yaml:"addresses" doc:"host:port of the server, of the sentinels, or of some nodes of the cluster"`
	Username  string            `yaml:"username" doc:"ACL user; empty: the default user"`
	Password  credential.Secret `yaml:"password" doc:"password of the user"`
	DB        int               `yaml:"db" doc:"number of the database; 0 in a cluster"`
	TLS       credential.TLS    `yaml:"tls" doc:"TLS to the servers and sentinels"`
	Sentinel  SentinelConfig    `yaml:"sentinel" doc:"for mode sentinel"`
	KeyPrefix string            `yaml:"key_prefix" doc:"what all keys begin with"`
	Shards    int               `yaml:"shards" doc:"parts that users and rooms are spread over; fixed at the first start"`
	PoolSize  int               `yaml:"pool_size" doc:"connections to each server"`
	Timeout   time.Duration     `yaml:"timeout" doc:"longest wait for one answer; half of it for connecting"`
	Rewind    time.Duration     `yaml:"rewind" doc:"what was done in so long before a server restarted or failed over is done again, as it may have lost that: nobody is told twice, and nothing that was kept changes; 0: never"`

	// Dial replaces the plain TCP connection, under TLS; nil: the system's. For virtual networks.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `yaml:"-"`
	// Log gets what an operator may want to know though it is no error; nil: nothing.
	Log *slog.Logger `yaml:"-"`
}

// SentinelConfig says how the sentinels are asked for the master.
type SentinelConfig struct {
	Master   string            `yaml:"master" doc:"name that the sentinels know the master by"`
	Username string            `yaml:"username" doc:"ACL user of the sentinels; empty: the default user"`
	Password credential.Secret `yaml:"password" doc:"password of the user of the sentinels"`
}

// Defaults is a single Redis on this machine.
func Defaults() Config {
	return Config{
		Mode:      Single,
		Addresses: []string{"127.0.0.1:6379"},
		KeyPrefix: "tocsin:",
		Shards:    256,
		PoolSize:  20,
		Timeout:   3 * time.Second,
		Rewind:    30 * time.Second,
	}
}

// maxShards is the number of slots of a Redis Cluster: more shards than that can't be spread any further.
const maxShards = 16384

// Validate reports everything that can't be right, one line a fault, each beginning with the key's path in the section.
func (c Config) Validate() error {
	var errs []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	must(c.Mode == Single || c.Mode == Sentinel || c.Mode == Cluster, "mode: must be single, sentinel or cluster, not %q", c.Mode)
	must(len(c.Addresses) > 0, "addresses: at least one host:port is needed")
	must(c.Mode != Single || len(c.Addresses) < 2, "addresses: a single server has one address, not %d; is the mode cluster or sentinel?", len(c.Addresses))
	for _, address := range c.Addresses {
		must(isHostPort(address), "addresses: %q is not host:port", address)
	}
	must(c.Username == "" || !c.Password.IsZero(), "password: is needed with a username")
	must(c.DB >= 0, "db: must not be negative")
	must(c.Mode != Cluster || c.DB == 0, "db: a cluster has only database 0, not %d", c.DB)
	if err := c.TLS.Validate(); err != nil {
		for line := range strings.Lines(err.Error()) {
			errs = append(errs, errors.New("tls."+strings.TrimSuffix(line, "\n")))
		}
	}
	must(c.Mode != Sentinel || c.Sentinel.Master != "", "sentinel.master: is needed with mode sentinel")
	must(c.Mode == Sentinel || c.Sentinel == SentinelConfig{}, "sentinel: is only for mode sentinel")
	must(c.Sentinel.Username == "" || !c.Sentinel.Password.IsZero(), "sentinel.password: is needed with a username")
	must(c.KeyPrefix != "" && !strings.ContainsAny(c.KeyPrefix, "{}* \t\r\n"), "key_prefix: %q must not be empty and hold no braces, stars or spaces", c.KeyPrefix)
	must(c.Shards >= 1 && c.Shards <= maxShards, "shards: must be 1 to %d, not %d", maxShards, c.Shards)
	must(c.PoolSize >= 1, "pool_size: must be at least 1, not %d", c.PoolSize)
	must(c.Timeout >= 10*time.Millisecond, "timeout: must be at least 10ms, not %s", c.Timeout)
	must(c.Rewind >= 0 && c.Rewind <= maxRewind, "rewind: must be 0 to %s, not %s", maxRewind, c.Rewind)
	return errors.Join(errs...)
}

// maxRewind keeps what is read again to what a stage can do in a moment.
const maxRewind = time.Hour

func isHostPort(address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}
