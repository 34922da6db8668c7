package stream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tocsin/credential"
)

func secret(s string) credential.Secret { return credential.NewSecret(s) }

func TestValidate(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, tc := range []struct {
		change func(*Config)
		want   []string // keys, in order
	}{
		{func(c *Config) { c.Brokers = nil }, []string{"brokers"}},
		{func(c *Config) { c.Brokers = []string{"a:1", "b", ":9092", "c:0", "[::1]:9092"} }, []string{"brokers[1]", "brokers[2]", "brokers[3]"}},
		{func(c *Config) { c.SASL.Mechanism = "oauth" }, []string{"sasl.mechanism", "sasl.username", "sasl.password"}},
		{func(c *Config) { c.SASL.Username = "u" }, []string{"sasl.mechanism"}},
		{func(c *Config) { c.TLS.CAFile = "x" }, []string{"tls.enabled"}},
		{func(c *Config) { c.GroupPrefix = "a b" }, []string{"group_prefix"}},
		{func(c *Config) { c.HeartbeatInterval = 11 * time.Second }, []string{"heartbeat_interval"}},
		{func(c *Config) { c.DrainTimeout, c.FetchWait, c.CommitInterval = 0, time.Minute, -1 }, []string{"drain_timeout", "commit_interval", "fetch_wait"}},
		{func(c *Config) { c.StuckAfter = c.DrainTimeout }, []string{"stuck_after"}},
		{func(c *Config) { c.StuckAfter = 2 * time.Hour }, []string{"stuck_after"}},
		{func(c *Config) { c.FetchBytes, c.MaxInFlight, c.MaxInFlightBytes = 1, 0, -1 }, []string{"fetch_bytes", "max_in_flight", "max_in_flight_bytes"}},
		{func(c *Config) { c.Compression = "brotli" }, []string{"compression"}},
		{func(c *Config) { *c = Config{} }, []string{"brokers", "group_prefix", "session_timeout", "heartbeat_interval", "drain_timeout", "stuck_after", "commit_interval", "fetch_wait", "fetch_bytes", "max_in_flight", "max_in_flight_bytes"}},
	} {
		c := Defaults()
		tc.change(&c)
		var keys []string
		for _, err := range flatten(c.Validate()) {
			key, _, _ := strings.Cut(err.Error(), ":")
			keys = append(keys, key)
		}
		if fmt.Sprint(keys) != fmt.Sprint(tc.want) {
			t.Errorf("faults at %v, want %v (%v)", keys, tc.want, c.Validate())
		}
		if _, err := Connect(c); err == nil {
			t.Errorf("Connect took a configuration with faults at %v", keys)
		}
	}
}
