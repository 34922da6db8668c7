package stream

// Topics: which there are, how they are made and configured.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
)

// Topic is what the cluster says of a topic.
type Topic struct {
	Name        string
	Partitions  int
	Replication int // replicas of each partition
}

// Topics tells of topics, all by name. An error that wraps [ErrMissingTopic] names each one that does not exist; the map then still holds the others. Any other
// error is one of the connection, with its true cause and what to do about it.
func (c *Cluster) Topics(ctx context.Context, names ...string) (map[string]Topic, error) {
	topics, err := c.topics(ctx, names)
	if errors.Is(err, ErrMissingTopic) && sleep(ctx, metadataTTL) {
		topics, err = c.topics(ctx, names) // the transport's view may have been a second old
	}
	return topics, err
}

// metadata asks for topics: all if names is nil. It is the one request whose error tells the true cause of a failed connection.
func (c *Cluster) metadata(ctx context.Context, names []string) (meta *kafka.MetadataResponse, err error) {
	err = c.admin(ctx, func(ctx context.Context) (err error) {
		meta, err = c.client.Metadata(ctx, &kafka.MetadataRequest{Topics: names})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask Kafka for its topics: %w", explainFirst(err))
	}
	return meta, nil
}

func (c *Cluster) topics(ctx context.Context, names []string) (map[string]Topic, error) {
	meta, err := c.metadata(ctx, names)
	if err != nil {
		return nil, err
	}
	found := map[string]Topic{}
	var errs []error
	for _, t := range meta.Topics {
		switch {
		case errors.Is(t.Error, kafka.UnknownTopicOrPartition):
			errs = append(errs, fmt.Errorf("%w: %s", ErrMissingTopic, t.Name))
		case t.Error != nil && !(errors.Is(t.Error, kafka.LeaderNotAvailable) && len(t.Partitions) > 0): // leaders come and go, the topic is there
			errs = append(errs, fmt.Errorf("topic %s: %w", t.Name, explain(t.Error)))
		case len(t.Partitions) == 0: // it is being made
			errs = append(errs, fmt.Errorf("topic %s: %w", t.Name, kafka.LeaderNotAvailable))
		default:
			topic := Topic{Name: t.Name, Partitions: len(t.Partitions)}
			for _, p := range t.Partitions {
				topic.Replication = max(topic.Replication, len(p.Replicas))
			}
			found[t.Name] = topic
		}
	}
	return found, errors.Join(errs...)
}

// TopicSpec is a topic to be made.
type TopicSpec struct {
	Name        string
	Partitions  int               // 0: as the brokers default
	Replication int               // 0: as the brokers default
	Config      map[string]string // Kafka's topic configuration, for example cleanup.policy
}

// CreateTopics makes the topics that do not exist and leaves the others as they are. created names those it made, also beside an error.
func (c *Cluster) CreateTopics(ctx context.Context, specs []TopicSpec) (created []string, err error) {
	if _, err := c.metadata(ctx, []string{}); err != nil {
		return nil, err
	}
	req := &kafka.CreateTopicsRequest{}
	for _, s := range specs {
		t := kafka.TopicConfig{Topic: s.Name, NumPartitions: orDefault(s.Partitions), ReplicationFactor: orDefault(s.Replication)}
		for _, key := range slices.Sorted(maps.Keys(s.Config)) {
			t.ConfigEntries = append(t.ConfigEntries, kafka.ConfigEntry{ConfigName: key, ConfigValue: s.Config[key]})
		}
		req.Topics = append(req.Topics, t)
	}
	var res *kafka.CreateTopicsResponse
	err = c.admin(ctx, func(ctx context.Context) (err error) {
		res, err = c.client.CreateTopics(ctx, req)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("create topics: %w", explain(err))
	}
	var errs []error
	for _, s := range specs {
		switch err := res.Errors[s.Name]; {
		case err == nil:
			created = append(created, s.Name)
		case !errors.Is(err, kafka.TopicAlreadyExists):
			errs = append(errs, fmt.Errorf("create topic %s: %w", s.Name, explain(err)))
		}
	}
	return created, errors.Join(errs...)
}

func orDefault(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

// TopicConfigs is the configuration of topics in effect, by topic and key, the brokers' defaults included.
func (c *Cluster) TopicConfigs(ctx context.Context, names ...string) (map[string]map[string]string, error) {
	req := &kafka.DescribeConfigsRequest{}
	for _, name := range names {
		req.Resources = append(req.Resources, kafka.DescribeConfigRequestResource{ResourceType: kafka.ResourceTypeTopic, ResourceName: name})
	}
	var res *kafka.DescribeConfigsResponse
	err := c.admin(ctx, func(ctx context.Context) (err error) {
		res, err = c.client.DescribeConfigs(ctx, req)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the configuration of topics: %w", explain(err))
	}
	configs := map[string]map[string]string{}
	var errs []error
	for _, r := range res.Resources {
		if r.Error != nil {
			errs = append(errs, fmt.Errorf("configuration of topic %s: %w", r.ResourceName, explain(r.Error)))
			continue
		}
		entries := map[string]string{}
		for _, e := range r.ConfigEntries {
			entries[e.ConfigName] = e.ConfigValue
		}
		configs[r.ResourceName] = entries
	}
	return configs, errors.Join(errs...)
}

// admin makes a request, and once more if it failed: a pooled connection that the broker closed meanwhile is noticed only by using it.
func (c *Cluster) admin(ctx context.Context, request func(context.Context) error) error {
	err := request(ctx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	sleep(ctx, 100*time.Millisecond)
	return request(ctx)
}
