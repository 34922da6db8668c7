package replay

// The worker's configuration in a replay.

import (
	"fmt"

	"tocsin/config"
	"tocsin/delivery"
)

// serverName is the homeserver of a replay whose first line names none.
const serverName = "example.org"

// addresses are the settings that say where servers are. A replay brings its own servers, so a recorded file must not name others.
var addresses = []string{
	"kafka.brokers", "kafka.tls", "kafka.sasl", "redis.mode", "redis.addresses", "redis.username", "redis.password", "redis.password_file", "redis.tls", "redis.sentinel", "redis.db", "admin.listen",
}

// settings are those of the file's first line over what suits a replay: it pushes from the beginning, and does one thing after another, so
// that the same input gives the same output in the same order.
//
// redirected is what the first line says, with the apps led to the push services of the replay.
func settings(in *input, redirected []byte) (*config.Config, error) {
	cfg := config.Default()
	cfg.Homeserver.ServerName = serverName
	cfg.Delivery.PushFrom = delivery.PushFrom{} // the beginning
	cfg.Pipeline.RoomWorkers, cfg.Pipeline.UserWorkers = 1, 1
	cfg.Delivery.Breaker.Failures = 1000 // the most there may be: how long a breaker is open, the wall clock says
	if in.config == nil {
		return cfg, nil
	}
	if err := refuseAddresses(in.config); err != nil {
		return nil, &InputError{in.name, 1, err}
	}
	if err := config.Merge(cfg, redirected); err != nil {
		return nil, &InputError{in.name, 1, err}
	}
	return cfg, nil
}

// refuseAddresses reports a setting that names a server.
func refuseAddresses(raw []byte) error {
	sections, err := members(raw)
	if err != nil {
		return err
	}
	for _, section := range sections {
		keys, err := members(section.raw)
		if err != nil {
			continue // not a section: config.Merge says so
		}
		for _, key := range keys {
			for _, address := range addresses {
				if section.name+"."+key.name == address {
					return fmt.Errorf("config: %s can't be set: a replay brings its own servers", address)
				}
			}
		}
	}
	return nil
}

// connect points the configuration at the servers, and away from all others.
func connect(cfg *config.Config, s *Servers) {
	cfg.Delivery.Proxy, cfg.Tracing.Endpoint = delivery.Proxy{}, ""
	cfg.Kafka.Brokers, cfg.Redis.Addresses, cfg.Admin.Listen = s.Kafka, s.Redis, ""
	if s.Prefix == "" {
		return
	}
	cfg.Kafka.GroupPrefix = s.Prefix + cfg.Kafka.GroupPrefix
	cfg.Redis.KeyPrefix = s.Prefix + cfg.Redis.KeyPrefix
	t := &cfg.Topics
	for _, name := range []*string{&t.Events, &t.Account, &t.Notifications, &t.RoomState, &t.RetryPrefix, &t.DeadLetter, &t.Feedback} {
		*name = s.Prefix + *name
	}
}

// topics are the topics of a replay.
type topics struct {
	partitions int      // of each
	consumed   []string // what the worker reads
	outcomes   []string // what it only writes, and replay reads
	all        []string
}

func topicsOf(cfg *config.Config, partitions int) topics {
	t := topics{
		partitions: partitions,
		consumed:   []string{cfg.Topics.Events, cfg.Topics.Account, cfg.Topics.Notifications},
		outcomes:   []string{cfg.Topics.DeadLetter, cfg.Topics.Feedback},
	}
	for _, delay := range delivery.Tiers {
		t.consumed = append(t.consumed, cfg.Topics.Retry(delay))
	}
	t.all = append(append(t.all, t.consumed...), t.outcomes...)
	return t
}
