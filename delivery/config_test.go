package delivery_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

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
		{"more for one than for all", with(func(c *delivery.Config) { c.Concurrency = 100 }), "concurrency_per_gateway: 128 is not between 1 and concurrency (100)"},
		{"a ledger that forgets too soon", with(func(c *delivery.Config) { c.LedgerTTL = 24 * time.Hour }), "ledger_ttl: 24h0m0s is not longer than the longest expiry (24h0m0s), or longer than 720h0m0s"},
		{"a ledger for ever", with(func(c *delivery.Config) { c.LedgerTTL = 721 * time.Hour }), "ledger_ttl: 721h0m0s is not longer than the longest expiry (24h0m0s), or longer than 720h0m0s"},
		{"guard off", with(func(c *delivery.Config) { c.Guard.Percent = 100 }), ""},
		{"guard", with(func(c *delivery.Config) { c.Guard = delivery.GuardConfig{Percent: 101, Window: 90 * time.Second} }),
			"guard.rejections: 0 is not between 1 and 1000000\nguard.percent: 101 is not between 0 and 100\nguard.window: 1m30s is not between 1m0s and 1h0m0s, in whole minutes"},
		{"all at once", delivery.Config{}, strings.Join([]string{
			"expiry.call: 0s is not between 1s and 24h0m0s", "expiry.message: 0s is not between 1s and 168h0m0s", "timeout: 0s is not between 100ms and 1m0s",
			`gateway_path: "" is neither * nor a path that begins with a slash`, "concurrency: 0 is not between 1 and 100000",
			"concurrency_per_gateway: 0 is not between 1 and concurrency (0)", "ledger_ttl: 0s is not longer than the longest expiry (0s), or longer than 720h0m0s",
			"guard.rejections: 0 is not between 1 and 1000000", "guard.window: 0s is not between 1m0s and 1h0m0s, in whole minutes",
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
