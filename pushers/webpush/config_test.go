package webpush_test

import (
	"strings"
	"testing"
	"time"

	"tocsin/pushers/webpush"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name   string
		change func(*webpush.Config)
		want   string // part of the error; "" if there is none
	}{
		{"as it should be", func(*webpush.Config) {}, ""},
		{"mailto", func(c *webpush.Config) { c.Contact = "mailto:push@example.org" }, ""},
		{"a page as contact", func(c *webpush.Config) { c.Contact = "https://example.org/contact" }, ""},
		{"a relay", func(c *webpush.Config) { c.BaseURL = "https://relay.internal:8443/push/" }, ""},
		{"all", func(c *webpush.Config) {
			c.AllowedEndpoints, c.Format, c.TTL = []string{"**"}, "event_id_only", time.Hour
		}, ""},
		{"no key", func(c *webpush.Config) { c.VAPIDKeyFile = "" }, "vapid_key_file: is required"},
		{"no contact", func(c *webpush.Config) { c.Contact = "" }, "contact: is required"},
		{"a name", func(c *webpush.Config) { c.Contact = "Me" }, `contact: "Me" is neither an address`},
		{"a name with an address", func(c *webpush.Config) { c.Contact = "Me <me@example.org>" }, "is neither an address"},
		{"mailto twice", func(c *webpush.Config) { c.Contact = "mailto:mailto:me@example.org" }, "is neither an address"},
		{"localhost", func(c *webpush.Config) { c.Contact = "root@localhost" }, "the host must be one on the internet"},
		{"http", func(c *webpush.Config) { c.Contact = "http://example.org" }, "is neither an address"},
		{"no host", func(c *webpush.Config) { c.Contact = "https:///x" }, "is no URL"},
		{"nobody", func(c *webpush.Config) { c.AllowedEndpoints = nil }, "allowed_endpoints: is empty"},
		{"a URL as host", func(c *webpush.Config) { c.AllowedEndpoints = []string{"a.example", "https://b.example"} }, `allowed_endpoints[1]: "https://b.example" is not the name of a host`},
		{"a format", func(c *webpush.Config) { c.Format = "short" }, `format: "short" is neither`},
		{"less than no time", func(c *webpush.Config) { c.TTL = -time.Second }, "ttl: -1s is not between"},
		{"too long", func(c *webpush.Config) { c.TTL = 29 * 24 * time.Hour }, "ttl: 696h0m0s is not between"},
		{"a relay without TLS", func(c *webpush.Config) { c.BaseURL = "http://relay.internal" }, "base_url: it is not an https URL"},
		{"a relay with a password", func(c *webpush.Config) { c.BaseURL = "https://a:geheim@relay.internal" }, "base_url: it must not have a user"},
	} {
		cfg, _ := app(t)
		tc.change(&cfg)
		err := cfg.Validate()
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "geheim")):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestNewNamesTheFile(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*webpush.Config){
		"vapid_key_file: stat /nowhere/key": func(c *webpush.Config) { c.VAPIDKeyFile = "/nowhere/key" },
		"vapid_key_file: config_test.go":    func(c *webpush.Config) { c.VAPIDKeyFile = "config_test.go" },
		"ca_file: open /nowhere/ca":         func(c *webpush.Config) { c.CAFile = "/nowhere/ca" },
		"ca_file: config_test.go holds no":  func(c *webpush.Config) { c.CAFile = "config_test.go" },
		"contact: is required":              func(c *webpush.Config) { c.Contact = "" },
	} {
		cfg, _ := app(t)
		change(&cfg)
		if _, err := webpush.New(cfg, webpush.Options{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
