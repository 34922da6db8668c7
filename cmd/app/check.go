package app

// What `tocsin check` looks at before a worker is started.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/pushers/apps"
)

// ErrCheck says that a check has failed; what and why was written where Check was told to.
var ErrCheck = errors.New("not everything is as it must be")

// Check looks at whatever a worker needs and writes one line each: ok, or what is wrong and what to do. Everything is looked at, whatever fails before.
func Check(ctx context.Context, cfg *config.Config, w io.Writer) error {
	c := &checker{ctx: ctx, cfg: cfg, out: w}
	c.say("configuration", nil, "valid")
	if cfg.Homeserver.ServerName == "" {
		c.say("homeserver", errors.New("homeserver.server_name is needed: whose users are notified?"), "")
	}
	c.kafka()
	c.redis()
	c.apps()
	if c.failed {
		return ErrCheck
	}
	return nil
}

type checker struct {
	ctx    context.Context
	cfg    *config.Config
	out    io.Writer
	failed bool
	single []string // topics with one replica
}

// say writes one line.
func (c *checker) say(what string, err error, ok string) {
	if err != nil {
		c.failed = true
		fmt.Fprintf(c.out, "FAILED  %-14s %s\n", what, strings.ReplaceAll(err.Error(), "\n", "; "))
		return
	}
	fmt.Fprintf(c.out, "ok      %-14s %s\n", what, ok)
}

func (c *checker) warn(what, text string) { fmt.Fprintf(c.out, "warning %-14s %s\n", what, text) }

// kafka looks at the connection, then at each topic.
func (c *checker) kafka() {
	cluster, err := quietKafka(c.cfg)
	if err != nil {
		c.say("kafka", err, "")
		return
	}
	defer cluster.Close()
	topics, err := cluster.Topics(c.ctx, topicNames(c.cfg)...)
	if err != nil && !errors.Is(err, stream.ErrMissingTopic) {
		c.say("kafka", err, "")
		return
	}
	c.say("kafka", nil, "reachable: "+strings.Join(c.cfg.Kafka.Brokers, ", "))
	names := make([]string, 0, len(topics))
	for name := range topics {
		names = append(names, name)
	}
	settings, err := cluster.TopicConfigs(c.ctx, names...)
	if err != nil {
		c.say("topics", err, "")
	}
	for _, spec := range topicSpecs(c.cfg, TopicOptions{}) {
		topic, ok := topics[spec.Name]
		if !ok {
			c.say("topic", fmt.Errorf("%s does not exist: `tocsin topics create` makes it", spec.Name), "")
			continue
		}
		c.topic(topic, spec, settings)
	}
	if len(c.single) > 0 {
		c.warn("topics", "one replica only, so a lost disk loses them: "+strings.Join(c.single, ", "))
	}
}

// topic compares a topic's settings with what the pipeline relies on.
func (c *checker) topic(topic stream.Topic, spec stream.TopicSpec, settings map[string]map[string]string) {
	have := settings[spec.Name]
	wantCompact := spec.Config["cleanup.policy"] == "compact"
	isCompact := strings.Contains(have["cleanup.policy"], "compact")
	var errs []error
	switch {
	case have == nil:
	case wantCompact && have["cleanup.policy"] != "compact":
		errs = append(errs, fmt.Errorf("cleanup.policy is %q and must be compact: what is deleted by age is lost for who starts later", have["cleanup.policy"]))
	case !wantCompact && isCompact:
		errs = append(errs, fmt.Errorf("cleanup.policy is %q and must be delete: compaction drops records that nobody has read", have["cleanup.policy"]))
	}
	if err := atLeast("delete.retention.ms", have["delete.retention.ms"], spec.Config["delete.retention.ms"]); err != nil {
		errs = append(errs, err)
	}
	if err := atLeast("max.message.bytes", have["max.message.bytes"], c.largest(spec, settings)); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		c.say("topic", fmt.Errorf("%s: %w", spec.Name, err), "")
		return
	}
	c.say("topic", nil, fmt.Sprintf("%s: %d partitions, %d replicas", spec.Name, topic.Partitions, topic.Replication))
	if topic.Replication == 1 {
		c.single = append(c.single, spec.Name)
	}
}

// largest is what a topic must take: the dead letter whatever the others take, so that every record fits as it came; our own topics what we write to them; the homeserver's topics
// what it likes.
func (c *checker) largest(spec stream.TopicSpec, settings map[string]map[string]string) string {
	switch spec.Name {
	case c.cfg.Topics.Events, c.cfg.Topics.Account:
		return ""
	case c.cfg.Topics.DeadLetter:
		var most int64
		for name, have := range settings {
			if n, err := strconv.ParseInt(have["max.message.bytes"], 10, 64); err == nil && name != spec.Name {
				most = max(most, n)
			}
		}
		return strconv.FormatInt(most, 10)
	}
	return spec.Config["max.message.bytes"]
}

// atLeast compares numbers that are written as text; what is not known or not asked for is well.
func atLeast(key, have, want string) error {
	h, err1 := strconv.ParseInt(have, 10, 64)
	n, err2 := strconv.ParseInt(want, 10, 64)
	if err1 != nil || err2 != nil || h >= n {
		return nil
	}
	return fmt.Errorf("%s is %d and must be at least %d", key, h, n)
}

// redis looks at the connection and the settings that keep what is acknowledged.
func (c *checker) redis() {
	store, err := quietRedis(c.cfg)
	if err != nil {
		c.say("redis", err, "")
		return
	}
	defer store.Close()
	if meta, known, err := store.Meta(c.ctx); err == nil && known && meta.Shards != c.cfg.Redis.Shards {
		c.say("redis", fmt.Errorf("redis.shards is %d, and this Redis was first used with %d: it can't be changed", c.cfg.Redis.Shards, meta.Shards), "")
	}
	for _, f := range store.Check(c.ctx) {
		line := fmt.Sprintf("%s: %s: %s", f.Server, f.Subject, f.Text)
		switch f.Level {
		case state.Bad:
			c.say("redis", errors.New(line), "")
		case state.Unread:
			c.warn("redis", line)
		default:
			c.say("redis", nil, line)
		}
	}
}

// apps looks at the apps that are told directly: at their credentials, and whether the push services take them.
func (c *checker) apps() {
	for _, f := range apps.Check(c.ctx, c.cfg.Apps, appsOptions(c.cfg, Options{}, nil, slog.New(slog.DiscardHandler), clock.System{})) {
		if f.Err != nil {
			c.say("app", errors.New(printable(strings.ReplaceAll(f.Err.Error(), "\n", "; "))), "") // push services' own words are in it
			continue
		}
		if f.Good != "" {
			c.say("app", nil, fmt.Sprintf("%s: %s", f.App, printable(f.Good)))
		}
		if f.Warning != "" {
			c.warn("app", fmt.Sprintf("%s: %s", f.App, printable(f.Warning)))
		}
	}
}
