package apns

import (
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
		want   []string // how its lines begin
	}{
		{"key", func(*Config) {}, nil},
		{"key, named by its file", func(c *Config) { c.KeyID = "" }, nil},
		{"certificate", func(c *Config) { *c = Defaults(); c.CertFile = "c.p12" }, nil},
		{"all push types", func(c *Config) { c.PushType = "liveactivity" }, nil},
		{"a relay", func(c *Config) { c.BaseURL = "https://relay.internal:8443/" }, nil},
		{"nothing", func(c *Config) { *c = Defaults() }, []string{"key_file: is missing"}},
		{"both", func(c *Config) { c.CertFile = "c" }, []string{"cert_file: is set beside key_file"}},
		{"ids", func(c *Config) { c.KeyID, c.TeamID, c.Topic = "short", "", "" }, []string{`key_id: "short" is not ten`, `team_id: is missing`, "topic: is missing"}},
		{"a certificate with ids", func(c *Config) { c.KeyFile, c.CertFile = "", "c" }, []string{"key_id: is set without key_file", "team_id: is set without key_file"}},
		{"parts of a certificate", func(c *Config) { c.CertKeyFile, c.CertPassword = "k", credential.NewSecret("hunter2") },
			[]string{"cert_key_file: is set without cert_file", "cert_password: is set without cert_file"}},
		{"words", func(c *Config) {
			c.Environment, c.TokenFormat, c.Form, c.Collapse, c.PushType = "test", "raw", "all", "x", "loud"
		},
			[]string{`environment: "test" is none of production, sandbox`, `token_format: "raw"`, `form: "all"`, `collapse: "x"`, `push_type: "loud" is none of alert, background, complication, controls, `}},
		{"topic", func(c *Config) { c.Topic = "app\r\nx: y" }, []string{"topic: "}},
		{"no TLS", func(c *Config) { c.BaseURL = "http://relay.internal" }, []string{"base_url: it is not a URL such as"}},
		{"a path", func(c *Config) { c.BaseURL = "https://relay.internal/apns" }, []string{"base_url: "}},
		{"a user", func(c *Config) { c.BaseURL = "https://user:hunter2@relay.internal" }, []string{"base_url: "}},
		{"limits", func(c *Config) { c.Timeout, c.Connections = 2*time.Minute, 0 }, []string{"timeout: 2m0s is not between 1s and 1m0s", "connections: 0 is not between"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := Defaults()
			cfg.KeyFile, cfg.KeyID, cfg.TeamID, cfg.Topic = "key.p8", keyID, teamID, bundle
			tc.change(&cfg)
			var lines []string
			if err := cfg.Validate(); err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(tc.want) {
				t.Fatalf("got %q, want %q", lines, tc.want)
			}
			for i, line := range lines {
				if !strings.HasPrefix(line, tc.want[i]) || strings.Contains(line, "hunter2") {
					t.Errorf("got %q, want %q", line, tc.want[i])
				}
			}
		})
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	for want, c := range map[string]Config{
		"https://api.push.apple.com":         Defaults(),
		"https://api.sandbox.push.apple.com": {Environment: Sandbox},
		"https://relay.internal":             {Environment: Sandbox, BaseURL: "https://relay.internal/"},
	} {
		if got := c.base(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
