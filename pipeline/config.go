package pipeline

// What an operator can set of the stages.

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"tocsin/pushers"
	"tocsin/rules"
)

// Topics are the names of all topics (section `topics`).
type Topics struct {
	Events        string `yaml:"events" doc:"room events of the homeserver, keyed by room id"`
	Account       string `yaml:"account" doc:"rules, pushers, ignore lists of the homeserver's users, compacted"`
	Notifications string `yaml:"notifications" doc:"what each user is to be told, by partition of the user"`
	RoomState     string `yaml:"room_state" doc:"changelog of room state, compacted"`
	RetryPrefix   string `yaml:"retry_prefix" doc:"retry topics are called this, a dot and their delay"`
	DeadLetter    string `yaml:"dead_letter" doc:"what could not be read or delivered"`
	Feedback      string `yaml:"feedback" doc:"rejected pushers, for the homeserver to delete"`
}

// DefaultTopics are the names that README tells.
func DefaultTopics() Topics {
	return Topics{
		Events: "matrix.room-events", Account: "matrix.account", Notifications: "tocsin.notifications", RoomState: "tocsin.room-state",
		RetryPrefix: "tocsin.retry", DeadLetter: "tocsin.dead-letter", Feedback: "tocsin.pusher-feedback",
	}
}

// Retry is the name of the retry topic of one delay, such as tocsin.retry.5s.
func (t Topics) Retry(delay time.Duration) string { return t.RetryPrefix + "." + ShortDuration(delay) }

// ShortDuration writes 5m and 1h where [time.Duration] writes 5m0s and 1h0m0s.
func ShortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Validate reports names that are missing, not allowed by Kafka, or used twice.
func (t Topics) Validate() error {
	var errs []error
	seen := map[string]string{}
	for _, n := range []struct{ key, name string }{
		{"events", t.Events}, {"account", t.Account}, {"notifications", t.Notifications}, {"room_state", t.RoomState},
		{"retry_prefix", t.RetryPrefix}, {"dead_letter", t.DeadLetter}, {"feedback", t.Feedback},
	} {
		switch first, twice := seen[n.name]; {
		case !validTopic(n.name):
			errs = append(errs, fmt.Errorf("%s: %q is no topic name: 1 to 200 letters, digits, dots, underscores and hyphens", n.key, n.name))
		case twice:
			errs = append(errs, fmt.Errorf("%s: %q is already the name of %s", n.key, n.name, first))
		}
		seen[n.name] = n.key
	}
	return errors.Join(errs...)
}

// validTopic leaves room for a retry topic's delay within Kafka's 249 characters.
func validTopic(name string) bool {
	if name == "" || len(name) > 200 || name == "." || name == ".." {
		return false
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

// Config is section `pipeline`: how much a worker takes on at once.
type Config struct {
	RoomWorkers    int `yaml:"room_workers" doc:"rooms whose events are evaluated at the same time"`
	UserWorkers    int `yaml:"user_workers" doc:"users whose notifications are composed and sent at the same time"`
	CachedMembers  int `yaml:"cached_members" doc:"room members whose rooms' state is kept in memory, about 200 bytes each"`
	CachedAccounts int `yaml:"cached_accounts" doc:"users whose rules and pushers are kept in memory"`
}

// Defaults serve a machine of two cores.
func Defaults() Config {
	return Config{RoomWorkers: 8, UserWorkers: 256, CachedMembers: 2_000_000, CachedAccounts: 200_000}
}

// Validate reports what can't be right, one error a key.
func (c Config) Validate() error {
	var errs []error
	for _, n := range []struct {
		key      string
		value    int
		min, max int
	}{
		{"room_workers", c.RoomWorkers, 1, 4096}, {"user_workers", c.UserWorkers, 1, 65536}, {"cached_members", c.CachedMembers, 1000, 1_000_000_000},
		{"cached_accounts", c.CachedAccounts, 1, 100_000_000},
	} {
		if n.value < n.min || n.value > n.max {
			errs = append(errs, fmt.Errorf("%s: %d is not between %d and %d", n.key, n.value, n.min, n.max))
		}
	}
	return errors.Join(errs...)
}

// Whose unread notifications are counted, for [CountsConfig].
const (
	CountAll     = "all"
	CountPushers = "pushers"
)

// CountsConfig is section `counts`: what is counted, and how much of it is kept.
type CountsConfig struct {
	Users         string        `yaml:"users" doc:"whose unread notifications are counted: everybody's, so that a first phone shows the right badge at once (all), or only those of users who have a pusher (pushers)"`
	MaxUnread     int           `yaml:"max_unread" doc:"unread notifications that are counted exactly in one room of one user; above it the newest are kept"`
	IdleMaxUnread int           `yaml:"idle_max_unread" doc:"the same in a room in which a user without a pusher has read nothing for idle_after"`
	IdleAfter     time.Duration `yaml:"idle_after" doc:"see idle_max_unread"`
}

// DefaultCounts count everybody.
func DefaultCounts() CountsConfig {
	return CountsConfig{Users: CountAll, MaxUnread: 1000, IdleMaxUnread: 20, IdleAfter: 720 * time.Hour}
}

// Validate reports what can't be right, one error a key.
func (c CountsConfig) Validate() error {
	var errs []error
	if c.Users != CountAll && c.Users != CountPushers {
		errs = append(errs, fmt.Errorf("users: %q is neither %s nor %s", c.Users, CountAll, CountPushers))
	}
	if c.MaxUnread < 1 || c.MaxUnread > 100_000 {
		errs = append(errs, fmt.Errorf("max_unread: %d is not between 1 and 100000", c.MaxUnread))
	}
	if c.IdleMaxUnread < 1 || c.IdleMaxUnread > c.MaxUnread && c.MaxUnread >= 1 { // one fault is told once
		errs = append(errs, fmt.Errorf("idle_max_unread: %d is not between 1 and max_unread, %d", c.IdleMaxUnread, c.MaxUnread))
	}
	if c.IdleAfter < 24*time.Hour {
		errs = append(errs, fmt.Errorf("idle_after: %v is less than a day, 24h: days are what is kept of when a user was last seen", c.IdleAfter))
	}
	return errors.Join(errs...)
}

// Badge modes of [BadgeConfig].
const (
	BadgeRooms    = "rooms"
	BadgeMessages = "messages"
)

// BadgeConfig is section `badge`: what counts.unread counts, and who is told of nothing else.
type BadgeConfig struct {
	Count      string            `yaml:"count" doc:"rooms with something unread (rooms) or unread notifications (messages); pending invites count in both"`
	CountByApp map[string]string `yaml:"count_by_app" doc:"the same for single apps, by a pattern of their app_id (* is any text): \"org.example.ios*\": messages. Of several that match the longest counts, and the app_id itself above all"`
	Push       bool              `yaml:"push" doc:"send a notification of the counts alone when a badge changes without an event to push (read elsewhere, redacted, left). A pusher that does not want it says data.events_only: true; one that wants no counts at all data.disable_badge_count: true (MSC4076)"`
	NoPushApps []string          `yaml:"no_push_apps" doc:"apps that are not sent such notifications, by patterns of their app_id (* is any text)"`
}

// DefaultBadge counts rooms, as Synapse does.
func DefaultBadge() BadgeConfig { return BadgeConfig{Count: BadgeRooms, Push: true} }

// Validate reports unknown modes, and patterns that are none.
func (c BadgeConfig) Validate() error {
	var errs []error
	mode := func(key, value string) {
		if value != BadgeRooms && value != BadgeMessages {
			errs = append(errs, fmt.Errorf("%s: %q is neither %s nor %s", key, value, BadgeRooms, BadgeMessages))
		}
	}
	pattern := func(key, source string) {
		if _, err := pushers.CompileApps(source); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	mode("count", c.Count)
	for _, app := range slices.Sorted(maps.Keys(c.CountByApp)) {
		pattern("count_by_app", app)
		mode("count_by_app", c.CountByApp[app])
	}
	for i, app := range c.NoPushApps {
		pattern(fmt.Sprintf("no_push_apps[%d]", i), app)
	}
	return errors.Join(errs...)
}

// RulesConfig is section `rules`.
type RulesConfig struct {
	Dialect        string   `yaml:"dialect" doc:"current: today's specification; 2015: the original one, with implicit asterisks and .m.rule.fallback"`
	LegacyMentions bool     `yaml:"legacy_mentions" doc:"evaluate the mention rules that the specification dropped in v1.17, as deployed homeservers still do"`
	Features       []string `yaml:"features" doc:"experimental rules and conditions to switch on, by proposal: msc3381 (polls), msc3664 (related events), msc3931 (room_version_supports), msc4028 (encrypted events), msc4210 (no legacy mentions), msc4306 (thread subscriptions), jitsi"`
}

// DefaultRules evaluate as today's homeservers do.
func DefaultRules() RulesConfig { return RulesConfig{Dialect: "current", LegacyMentions: true} }

// Validate reports an unknown dialect or feature.
func (c RulesConfig) Validate() error {
	var errs []error
	if c.Dialect != string(rules.Current) && c.Dialect != string(rules.Dialect2015) {
		errs = append(errs, fmt.Errorf("dialect: %q is neither %s nor %s", c.Dialect, rules.Current, rules.Dialect2015))
	}
	for i, name := range c.Features {
		if err := new(rules.Options).SetFeature(name, true); err != nil {
			errs = append(errs, fmt.Errorf("features[%d]: %w", i, err))
		}
	}
	return errors.Join(errs...)
}

// Options are the settings as package rules takes them. Names that Validate reports are left out.
func (c RulesConfig) Options() rules.Options {
	o := rules.Options{Dialect: rules.Dialect(c.Dialect), NoLegacyMentions: !c.LegacyMentions}
	for _, name := range c.Features {
		_ = o.SetFeature(name, true)
	}
	return o
}
