package state

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"tocsin/credential"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // lines
	}{
		{"defaults", func(*Config) {}, ""},
		{"cluster", func(c *Config) { c.Mode, c.Addresses = Cluster, []string{"a:1", "[::1]:2", "c.example.org:65535"} }, ""},
		{"sentinel", func(c *Config) { c.Mode, c.Sentinel.Master = Sentinel, "tocsin" }, ""},
		{"login", func(c *Config) { c.Username, c.Password = "u", credential.NewSecret("p") }, ""},
		{"mode", func(c *Config) { c.Mode = "ring" }, `mode: must be single, sentinel or cluster, not "ring"`},
		{"no address", func(c *Config) { c.Addresses = nil }, "addresses: at least one host:port is needed"},
		{"two single", func(c *Config) { c.Addresses = []string{"a:1", "b:1"} }, "addresses: a single server has one address, not 2; is the mode cluster or sentinel?"},
		{"addresses", func(c *Config) {
			c.Mode, c.Addresses = Cluster, []string{"a", ":1", "b:0", "b:70000", "redis://h:1", "ok:1", ""}
		}, `addresses: "a" is not host:port
addresses: ":1" is not host:port
addresses: "b:0" is not host:port
addresses: "b:70000" is not host:port
addresses: "redis://h:1" is not host:port
addresses: "" is not host:port`},
		{"user", func(c *Config) { c.Username = "u" }, "password: is needed with a username"},
		{"db", func(c *Config) { c.DB = -1 }, "db: must not be negative"},
		{"db of a cluster", func(c *Config) { c.Mode, c.DB = Cluster, 2 }, "db: a cluster has only database 0, not 2"},
		{"tls", func(c *Config) { c.TLS = credential.TLS{CertFile: "c.pem"} }, `tls.enabled: must be true when other keys of this section are set
tls.key_file: is missing; cert_file needs it`},
		{"no master", func(c *Config) { c.Mode = Sentinel }, "sentinel.master: is needed with mode sentinel"},
		{"no sentinel", func(c *Config) { c.Sentinel.Master = "m" }, "sentinel: is only for mode sentinel"},
		{"user of sentinels", func(c *Config) { c.Mode, c.Sentinel = Sentinel, SentinelConfig{Master: "m", Username: "u"} }, "sentinel.password: is needed with a username"},
		{"prefix", func(c *Config) { c.KeyPrefix = "" }, `key_prefix: "" must not be empty and hold no braces, stars or spaces`},
		{"braces", func(c *Config) { c.KeyPrefix = "{a}" }, `key_prefix: "{a}" must not be empty and hold no braces, stars or spaces`},
		{"all numbers", func(c *Config) { c.Shards, c.PoolSize, c.Timeout = 0, 0, 0 }, `shards: must be 1 to 16384, not 0
pool_size: must be at least 1, not 0
timeout: must be at least 10ms, not 0s`},
		{"rewind", func(c *Config) { c.Rewind = -time.Second }, "rewind: must be 0 to 1h0m0s, not -1s"},
		{"never rewind", func(c *Config) { c.Rewind = 0 }, ""},
		{"many shards", func(c *Config) { c.Shards = 16385 }, "shards: must be 1 to 16384, not 16385"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := Defaults()
			tc.change(&cfg)
			got := ""
			if err := cfg.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if s, err := Open(cfg); (err == nil) != (tc.want == "") {
				t.Errorf("Open: %v", err)
			} else if err == nil {
				s.Close()
			}
		})
	}
}

// TestConfigIsDescribed holds that every key of the file has a name and a meaning for the table in the manual.
func TestConfigIsDescribed(t *testing.T) {
	t.Parallel()
	for _, section := range []any{Config{}, SentinelConfig{}} {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(section)) {
			if f.Tag.Get("yaml") == "" || f.Tag.Get("yaml") != "-" && f.Tag.Get("doc") == "" {
				t.Errorf("%T.%s has no yaml or doc tag", section, f.Name)
			}
		}
	}
}

func TestPasswordsAreNotShown(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.Mode = Sentinel
	cfg.Password = credential.NewSecret("hunter2")
	cfg.Sentinel = SentinelConfig{Master: "m", Password: credential.NewSecret("hunter2")}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if text := fmt.Sprintf("%v %+v %#v %s", cfg, cfg, cfg, s.server); strings.Contains(text, "hunter2") {
		t.Errorf("the password stands in %s", text)
	}
}

func TestOpenReadsFiles(t *testing.T) {
	t.Parallel()
	cfg := Defaults()
	cfg.TLS = credential.TLS{Enabled: true, CAFile: "/nowhere/ca.pem"}
	cfg.Timeout = time.Second
	if _, err := Open(cfg); err == nil || !strings.HasPrefix(err.Error(), "tls.ca_file: ") {
		t.Errorf("Open without its file: %v", err)
	}
}
