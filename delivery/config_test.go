package delivery_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tocsin/credential"
	"tocsin/delivery"
	"tocsin/pushers/gateway"
)

func TestDefaults(t *testing.T) {
	t.Parallel()
	cfg := delivery.Defaults()
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if cfg.GatewayPath != gateway.StandardPath {
		t.Errorf("gateway_path is %q, the standard one %q", cfg.GatewayPath, gateway.StandardPath)
	}
	if got := cfg.PushFrom.String(); got != "now" {
		t.Errorf("push_from is %q: the first start must be quiet", got)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	with := func(change func(*delivery.Config)) delivery.Config {
		cfg := delivery.Defaults()
		change(&cfg)
		return cfg
	}
	for _, tc := range []struct {
		name string
		cfg  delivery.Config
		want string
	}{
		{"any path", with(func(c *delivery.Config) { c.GatewayPath = gateway.AnyPath }), ""},
		{"own networks", with(func(c *delivery.Config) {
			c.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("10.1.2.3/16"), netip.MustParsePrefix("fd00::/8")}
		}), ""},
		{"call", with(func(c *delivery.Config) { c.Expiry.Call = 0 }), "expiry.call: 0s is not between 1s and 24h0m0s"},
		{"message", with(func(c *delivery.Config) { c.Expiry.Message, c.LedgerTTL = 1000*time.Hour, 200*time.Hour }), "expiry.message: 1000h0m0s is not between 1s and 168h0m0s"},
		{"timeout", with(func(c *delivery.Config) { c.Timeout = -1 }), "timeout: -1ns is not between 100ms and 1m0s"},
		{"path", with(func(c *delivery.Config) { c.GatewayPath = "notify" }), `gateway_path: "notify" is neither * nor a path that begins with a slash`},
		{"no path", with(func(c *delivery.Config) { c.GatewayPath = "" }), `gateway_path: "" is neither * nor a path that begins with a slash`},
		{"mapped network", with(func(c *delivery.Config) { c.AllowCIDRs = []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")} }),
			`allow_cidrs: "::ffff:10.0.0.0/104" is not a network such as 10.1.0.0/16 or fd00::/8`},
		{"empty network", with(func(c *delivery.Config) { c.AllowCIDRs = []netip.Prefix{{}} }), `allow_cidrs: "invalid Prefix" is not a network such as 10.1.0.0/16 or fd00::/8`},
		{"own hosts", with(func(c *delivery.Config) {
			c.AllowHosts = []string{"push.internal", "*.push.internal", "**.example", "gw-[0-9].internal"}
		}), ""},
		{"no hosts", with(func(c *delivery.Config) {
			c.AllowHosts = []string{"https://push.internal", "push.internal:443", "a b", "", "[", "10.0.0.0/8"}
		}), strings.Join([]string{
			notHost("https://push.internal"), notHost("push.internal:443"), notHost("a b"), notHost(""), notHost("["), notHost("10.0.0.0/8")}, "\n")},
		{"proxy", with(proxy("http://proxy.internal:3128", "", "")), ""},
		{"proxy with TLS and a login", with(proxy("https://proxy.internal/", "tocsin", "geheim")), ""},
		{"proxy of another kind", with(proxy("socks5://proxy.internal:1080", "", "")), "proxy.url: it is not a URL such as http://proxy.internal:3128"},
		{"proxy without a host", with(proxy("http://:3128", "", "")), "proxy.url: it is not a URL such as http://proxy.internal:3128"},
		{"proxy without a scheme", with(proxy("proxy.internal:3128", "", "")), "proxy.url: it is not a URL such as http://proxy.internal:3128"},
		{"proxy with a path", with(proxy("http://proxy.internal/geheim", "", "")), "proxy.url: it is not a URL such as http://proxy.internal:3128"},
		{"proxy that is no URL", with(proxy("http://%zz", "", "")), "proxy.url: it is not a URL such as http://proxy.internal:3128"},
		{"proxy with a login in the wrong place", with(proxy("http://tocsin:geheim@proxy.internal", "", "")), "proxy.url: it must not have a user or password: set proxy.username and proxy.password"},
		{"login without a proxy", with(proxy("", "tocsin", "geheim")), "proxy.url: is missing, but a username or password is set"},
		{"password without a name", with(proxy("http://proxy.internal", "", "geheim")), "proxy.username: is missing, but a password is set"},
		{"name with a colon", with(proxy("http://proxy.internal", "a:b", "geheim")), "proxy.username: must not have a colon"},
		{"breaker", with(func(c *delivery.Config) {
			c.Breaker = delivery.Breaker{Failures: 1001, Open: 2 * time.Hour, Probes: 101, Remembered: -1}
		}),
			"breaker.open: 2h0m0s is not between 100ms and 1h0m0s\nbreaker.failures: 1001 is not between 1 and 1000\nbreaker.probes: 101 is not between 1 and 100\nbreaker.remembered: -1 is not between 1 and 1000000"},
		{"bundle", with(func(c *delivery.Config) { c.Bundle = 1001 }), "bundle: 1001 is not between 1 and 1000"},
		{"more for one than for all", with(func(c *delivery.Config) { c.Concurrency = 100 }), "concurrency_per_gateway: 128 is not between 1 and concurrency (100)"},
		{"a ledger that forgets too soon", with(func(c *delivery.Config) { c.LedgerTTL = 24 * time.Hour }), "ledger_ttl: 24h0m0s is not longer than the longest expiry (24h0m0s), or longer than 720h0m0s"},
		{"a ledger for ever", with(func(c *delivery.Config) { c.LedgerTTL = 721 * time.Hour }), "ledger_ttl: 721h0m0s is not longer than the longest expiry (24h0m0s), or longer than 720h0m0s"},
		{"guard off", with(func(c *delivery.Config) { c.Guard.Percent = 100 }), ""},
		{"guard", with(func(c *delivery.Config) { c.Guard = delivery.GuardConfig{Percent: 101, Window: 90 * time.Second} }),
			"guard.rejections: 0 is not between 1 and 1000000\nguard.percent: 101 is not between 0 and 100\nguard.window: 1m30s is not between 1m0s and 1h0m0s, in whole minutes"},
		{"all at once", delivery.Config{}, strings.Join([]string{
			"expiry.call: 0s is not between 1s and 24h0m0s", "expiry.message: 0s is not between 1s and 168h0m0s", "timeout: 0s is not between 100ms and 1m0s",
			"breaker.open: 0s is not between 100ms and 1h0m0s", `mode: "" is neither live nor shadow`, `gateway_path: "" is neither * nor a path that begins with a slash`, "concurrency: 0 is not between 1 and 100000",
			"concurrency_per_gateway: 0 is not between 1 and concurrency (0)", "ledger_ttl: 0s is not longer than the longest expiry (0s), or longer than 720h0m0s",
			"guard.rejections: 0 is not between 1 and 1000000", "guard.window: 0s is not between 1m0s and 1h0m0s, in whole minutes",
			"breaker.failures: 0 is not between 1 and 1000", "breaker.probes: 0 is not between 1 and 100",
			"breaker.remembered: 0 is not between 1 and 1000000", "bundle: 0 is not between 1 and 1000",
		}, "\n")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			got := ""
			if err := tc.cfg.Validate(); err != nil {
				got = err.Error()
			}
			if got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
		})
	}
}

func notHost(name string) string {
	return fmt.Sprintf("allow_hosts: %q is not the name of a host such as push.internal or *.push.internal (networks go to allow_cidrs)", name)
}

func proxy(url, username, password string) func(*delivery.Config) {
	return func(c *delivery.Config) {
		c.Proxy = delivery.Proxy{URL: url, Username: username, Password: credential.NewSecret(password)}
	}
}

func TestPushFrom(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"now":                       start,
		"beginning":                 {},
		"2026-01-31T08:00:00Z":      time.Date(2026, 1, 31, 8, 0, 0, 0, time.UTC),
		"2026-01-31T08:00:00+01:00": time.Date(2026, 1, 31, 7, 0, 0, 0, time.UTC),
	} {
		var p delivery.PushFrom
		if err := p.UnmarshalText([]byte(text)); err != nil {
			t.Error(err)
		}
		if got := p.Time(start); !got.Equal(want) {
			t.Errorf("%s is %v, want %v", text, got, want)
		}
		if got := p.String(); got != text {
			t.Errorf("%s is written %s", text, got)
		}
	}
	for _, text := range []string{"", "Now", "yesterday", "2026-01-31", "1700000000"} {
		var p delivery.PushFrom
		if err := p.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "is neither now, beginning nor a time such as 2026-01-31T08:00:00Z") {
			t.Errorf("%q: got %v and the error %v", text, p, err)
		}
	}
}
