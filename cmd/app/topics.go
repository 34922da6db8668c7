package app

// The topics: which there must be, and how they are made.

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"time"

	"tocsin/config"
	"tocsin/delivery"
	"tocsin/pipeline/stream"
)

// TopicOptions are the sizes of topics to be made.
type TopicOptions struct {
	Partitions  int // of each topic; 0: 12
	Replication int // copies of each partition; 0: as the brokers default
	RecordBytes int // largest record of the homeserver's; 0: 2 MiB. The brokers must allow four times that
}

// defaultPartitions lets a deployment grow to twelve workers without repartitioning.
const defaultPartitions = 12

// Limits of one record, or batch, of a topic. What a topic takes, the next one on its way must take too, with what is added; the dead letter takes all.
const (
	recordBytes         = 2 << 20
	notificationsFactor = 2
	deadLetterFactor    = 4
)

func days(n int) string {
	return strconv.FormatInt((time.Duration(n) * 24 * time.Hour).Milliseconds(), 10)
}

// topicSpecs are all topics with the settings that the pipeline relies on.
func topicSpecs(cfg *config.Config, opts TopicOptions) []stream.TopicSpec {
	t, eventsBytes := cfg.Topics, opts.RecordBytes
	if eventsBytes == 0 {
		eventsBytes = recordBytes
	}
	notificationsBytes, deadLetterBytes := notificationsFactor*eventsBytes, deadLetterFactor*eventsBytes
	spec := func(name string, settings map[string]string) stream.TopicSpec {
		return stream.TopicSpec{Name: name, Partitions: opts.Partitions, Replication: opts.Replication, Config: settings}
	}
	compacted := func(bytes int) map[string]string {
		return map[string]string{"cleanup.policy": "compact", "delete.retention.ms": days(30), "max.message.bytes": strconv.Itoa(bytes)}
	}
	kept := func(d, bytes int) map[string]string {
		return map[string]string{"cleanup.policy": "delete", "retention.ms": days(d), "max.message.bytes": strconv.Itoa(bytes)}
	}
	specs := []stream.TopicSpec{
		spec(t.Events, kept(7, eventsBytes)),
		spec(t.Account, compacted(eventsBytes)),
		spec(t.Notifications, kept(7, notificationsBytes)),
		spec(t.RoomState, compacted(notificationsBytes)),
		spec(t.DeadLetter, kept(14, deadLetterBytes)),
		spec(t.Feedback, kept(30, eventsBytes)),
	}
	for _, delay := range delivery.Tiers {
		specs = append(specs, spec(t.Retry(delay), kept(7, notificationsBytes)))
	}
	return specs
}

func topicNames(cfg *config.Config) []string {
	var names []string
	for _, s := range topicSpecs(cfg, TopicOptions{}) {
		names = append(names, s.Name)
	}
	return names
}

// CreateTopics makes the topics that are missing and tells w about each. What exists is left as it is.
func CreateTopics(ctx context.Context, cfg *config.Config, opts TopicOptions, w io.Writer) error {
	cluster, err := quietKafka(cfg)
	if err != nil {
		return err
	}
	defer cluster.Close()
	if opts.Partitions == 0 {
		opts.Partitions = defaultPartitions
	}
	specs := topicSpecs(cfg, opts)
	created, err := cluster.CreateTopics(ctx, specs)
	for _, name := range created {
		fmt.Fprintf(w, "created   %s (%d partitions)\n", name, opts.Partitions)
	}
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	there, err := cluster.Topics(ctx, topicNames(cfg)...)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	for _, s := range specs {
		if !slices.Contains(created, s.Name) {
			fmt.Fprintf(w, "unchanged %s (exists, with %d partitions)\n", s.Name, there[s.Name].Partitions)
		}
	}
	return nil
}
