package delivery

// What an operator can set of deliveries.

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/glob"

	"tocsin/credential"
)

// Config is section `delivery`.
type Config struct {
	Mode                  Mode           `yaml:"mode" doc:"live: notifications are sent; shadow: everything is done but the request, and the log and the metrics say what would have been sent"`
	Users                 []string       `yaml:"users" doc:"patterns of user ids, such as @alice:example.org or @*-test:example.org: for others everything is done but the request, as in mode shadow; empty: all users are sent to"`
	PushFrom              PushFrom       `yaml:"push_from" doc:"what is pushed at the first start: events from now on, from the beginning of what Kafka has, or from a time such as 2026-01-31T08:00:00Z; older ones change state and counts only"`
	Expiry                Expiry         `yaml:"expiry"`
	Timeout               time.Duration  `yaml:"timeout" doc:"longest time that one request to a push gateway may take, from resolving its name to the last byte of the reply"`
	GatewayPath           string         `yaml:"gateway_path" doc:"path that the URL of a push gateway must have; * allows any"`
	AllowHTTP             bool           `yaml:"allow_http" doc:"push to http:// URLs, too: for closed networks and tests only, because everything is readable on the way"`
	AllowCIDRs            []netip.Prefix `yaml:"allow_cidrs" doc:"networks with push gateways of your own, such as 10.1.0.0/16; other private and special addresses are never connected to, because users choose the URLs"`
	AllowHosts            []string       `yaml:"allow_hosts" doc:"push gateways of your own by name, wherever they are, such as push.internal or *.push.internal: * stands for one label or a part of it, ** for any number"`
	Proxy                 Proxy          `yaml:"proxy"`
	Concurrency           int            `yaml:"concurrency" doc:"requests under way at once, in this process"`
	ConcurrencyPerGateway int            `yaml:"concurrency_per_gateway" doc:"of these, to the same push service (a gateway, or an app of section apps): a slow one holds up so many workers at most, so keep it well below pipeline.user_workers. One has so much room only while it answers and needs it"`
	Breaker               Breaker        `yaml:"breaker"`
	Bundle                int            `yaml:"bundle" doc:"devices in one request at most, for devices of one gateway that are told the same; a notification waits up to 3ms for company then. 1 sends each alone"`
	LedgerTTL             time.Duration  `yaml:"ledger_ttl" doc:"how long it is remembered that a notification was delivered, so that neither a crash nor a replay of a dead letter sends it again; longer than the longest expiry"`
	Guard                 GuardConfig    `yaml:"guard"`
}

// Proxy is the way out to all push services.
type Proxy struct {
	URL      string            `yaml:"url" doc:"HTTP proxy that all push services are reached through, by CONNECT, such as http://proxy.internal:3128; empty: none, whatever the environment says. Names that users choose are resolved and their addresses checked here all the same"`
	Username string            `yaml:"username" doc:"name for the proxy; empty: none"`
	Password credential.Secret `yaml:"password" doc:"password for the proxy"`
}

// Address is the URL, nil if there is no proxy.
func (p Proxy) Address() *url.URL {
	u, err := url.Parse(p.URL)
	if p.URL == "" || err != nil {
		return nil
	}
	return u
}

// Breaker is when a push service is left alone, each by itself.
type Breaker struct {
	Failures   int           `yaml:"failures" doc:"failures without a success between them after which nothing is sent to a push service for a while; what it answers counts once for each user"`
	Open       time.Duration `yaml:"open" doc:"how long that while is, until probes are sent"`
	Probes     int           `yaml:"probes" doc:"probes that must succeed before everything is sent again"`
	Remembered int           `yaml:"remembered" doc:"push services that are remembered at once, those that were used last; users make up hosts, so it bounds the memory that they take"`
}

// Expiry is how long a notification is worth delivering, by the class of its event. It counts from the Kafka time of the event's record.
type Expiry struct {
	Call    time.Duration `yaml:"call" doc:"how long a call is worth ringing for"`
	Message time.Duration `yaml:"message" doc:"how long any other notification is worth delivering: what fails that long goes to the dead letter"`
}

// Defaults are quiet at the first start, strict about addresses, and patient for a day.
func Defaults() Config {
	return Config{
		Mode:                  Live,
		PushFrom:              PushFrom{mode: fromNow},
		Expiry:                Expiry{Call: time.Minute, Message: 24 * time.Hour},
		Timeout:               10 * time.Second,
		GatewayPath:           "/_matrix/push/v1/notify",
		Concurrency:           512,
		ConcurrencyPerGateway: 128,
		LedgerTTL:             26 * time.Hour,
		Guard:                 GuardConfig{Rejections: 10, Percent: 10, Window: 10 * time.Minute},
		Breaker:               Breaker{Failures: 5, Open: 10 * time.Second, Probes: 1, Remembered: 10_000},
		Bundle:                1,
	}
}

// maxExpiry is how long the retry topics keep what waits in them.
const maxExpiry = 7 * 24 * time.Hour

// Validate reports what can't be right, one error a key.
func (c Config) Validate() error {
	var errs []error
	report := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, d := range []struct {
		key             string
		value, min, max time.Duration
	}{
		{"expiry.call", c.Expiry.Call, time.Second, 24 * time.Hour},
		{"expiry.message", c.Expiry.Message, time.Second, maxExpiry},
		{"timeout", c.Timeout, 100 * time.Millisecond, time.Minute},
		{"breaker.open", c.Breaker.Open, 100 * time.Millisecond, time.Hour},
	} {
		report(d.value >= d.min && d.value <= d.max, "%s: %v is not between %v and %v", d.key, d.value, d.min, d.max)
	}
	report(c.Mode == Live || c.Mode == Shadow, "mode: %q is neither %s nor %s", c.Mode, Live, Shadow)
	for i, pattern := range c.Users {
		_, err := glob.Compile(pattern)
		report(err == nil && pattern != "", "users[%d]: %q is no pattern of user ids, such as @*-test:example.org", i, pattern)
	}
	report(c.GatewayPath == "*" || strings.HasPrefix(c.GatewayPath, "/"), "gateway_path: %q is neither * nor a path that begins with a slash", c.GatewayPath)
	for _, network := range c.AllowCIDRs {
		report(network.IsValid() && !network.Addr().Is4In6(), "allow_cidrs: %q is not a network such as 10.1.0.0/16 or fd00::/8", network)
	}
	for _, host := range c.AllowHosts {
		_, err := glob.Compile(host, '.')
		report(err == nil && host != "" && !strings.ContainsAny(host, "/:@ "), "allow_hosts: %q is not the name of a host such as push.internal or *.push.internal (networks go to allow_cidrs)", host)
	}
	if err := c.Proxy.validate(); err != nil {
		errs = append(errs, err)
	}
	report(c.Concurrency >= 1 && c.Concurrency <= 100_000, "concurrency: %d is not between 1 and 100000", c.Concurrency)
	report(c.ConcurrencyPerGateway >= 1 && c.ConcurrencyPerGateway <= c.Concurrency,
		"concurrency_per_gateway: %d is not between 1 and concurrency (%d)", c.ConcurrencyPerGateway, c.Concurrency)
	longest := min(max(c.Expiry.Call, c.Expiry.Message), maxExpiry)
	report(c.LedgerTTL > longest && c.LedgerTTL <= 30*24*time.Hour, "ledger_ttl: %v is not longer than the longest expiry (%v), or longer than %v", c.LedgerTTL, longest, 30*24*time.Hour)
	c.Guard.validate(report)
	for _, n := range []struct {
		key             string
		value, min, max int
	}{
		{"breaker.failures", c.Breaker.Failures, 1, 1000},
		{"breaker.probes", c.Breaker.Probes, 1, 100},
		{"breaker.remembered", c.Breaker.Remembered, 1, 1_000_000},
		{"bundle", c.Bundle, 1, 1000},
	} {
		report(n.value >= n.min && n.value <= n.max, "%s: %d is not between %d and %d", n.key, n.value, n.min, n.max)
	}
	return errors.Join(errs...)
}

// validate says nothing of what the URL holds: it may have a password in the wrong place.
func (p Proxy) validate() error {
	if p.URL == "" {
		if p.Username != "" || !p.Password.IsZero() {
			return errors.New("proxy.url: is missing, but a username or password is set")
		}
		return nil
	}
	u := p.Address()
	switch {
	case u == nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
		return errors.New("proxy.url: it is not a URL such as http://proxy.internal:3128")
	case u.User != nil:
		return errors.New("proxy.url: it must not have a user or password: set proxy.username and proxy.password")
	case p.Username == "" && !p.Password.IsZero():
		return errors.New("proxy.username: is missing, but a password is set")
	case strings.Contains(p.Username, ":"):
		return errors.New("proxy.username: must not have a colon")
	}
	return nil
}

// PushFrom says from when on events are pushed: "now", "beginning" or a time as RFC 3339 writes it. The zero value is the beginning.
type PushFrom struct {
	mode string // fromNow; "" for a time
	at   time.Time
}

const (
	fromNow       = "now"
	fromBeginning = "beginning"
)

// Time is the time before which nothing is pushed, for a first start at start: the zero time for the beginning.
func (p PushFrom) Time(start time.Time) time.Time {
	if p.mode == fromNow {
		return start
	}
	return p.at
}

// String is the text that UnmarshalText reads.
func (p PushFrom) String() string {
	switch {
	case p.mode == fromNow:
		return fromNow
	case p.at.IsZero():
		return fromBeginning
	}
	return p.at.Format(time.RFC3339Nano)
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *PushFrom) UnmarshalText(text []byte) error {
	switch string(text) {
	case fromNow:
		*p = PushFrom{mode: fromNow}
	case fromBeginning:
		*p = PushFrom{}
	default:
		at, err := time.Parse(time.RFC3339, string(text))
		if err != nil {
			return fmt.Errorf("%q is neither now, beginning nor a time such as 2026-01-31T08:00:00Z", text)
		}
		*p = PushFrom{at: at}
	}
	return nil
}

// Mode says whether notifications are sent.
type Mode string

// The modes.
const (
	Live   Mode = "live"
	Shadow Mode = "shadow" // beside another pusher, to compare with
)

// Live says of each user whether notifications are sent to their devices.
func (c Config) Live() func(userID string) bool {
	if c.Mode == Shadow {
		return func(string) bool { return false }
	}
	if len(c.Users) == 0 {
		return func(string) bool { return true }
	}
	var patterns []*glob.Pattern
	for _, source := range c.Users {
		if p, err := glob.Compile(source); err == nil { // else Validate has refused it
			patterns = append(patterns, p)
		}
	}
	return func(userID string) bool {
		return slices.ContainsFunc(patterns, func(p *glob.Pattern) bool { return p.Match(userID) })
	}
}
