package app

// Where the consumer groups of a deployment stand, and putting one elsewhere.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tocsin/config"
	"tocsin/delivery"
	"tocsin/pipeline/stream"
)

// stageGroup is a consumer group of the deployment.
type stageGroup struct {
	short string // rooms, users, accounts, retry.5s
	name  string // with the prefix
	topic string
}

// stageGroups are all of them.
func stageGroups(cfg *config.Config) []stageGroup {
	groups := []stageGroup{
		{short: StageAccounts, topic: cfg.Topics.Account}, {short: StageRooms, topic: cfg.Topics.Events}, {short: StageUsers, topic: cfg.Topics.Notifications},
	}
	for _, delay := range delivery.Tiers {
		topic := cfg.Topics.Retry(delay)
		groups = append(groups, stageGroup{short: StageRetry + strings.TrimPrefix(topic, cfg.Topics.RetryPrefix), topic: topic})
	}
	for i := range groups {
		groups[i].name = cfg.Kafka.GroupPrefix + "." + groups[i].short
	}
	return groups
}

// standing is where a group is in a partition.
type standing struct {
	stream.Bounds
	committed int64 // -1: nowhere yet
}

// begin is where the group goes on.
func (s standing) begin() int64 {
	if s.committed < 0 {
		return s.First
	}
	return s.committed
}

// lag is how many offsets lie before it.
func (s standing) lag() int64 { return s.End - min(max(s.begin(), s.First), s.End) }

// connectSmall connects for looking at single records.
func connectSmall(cfg *config.Config) (*stream.Cluster, error) {
	small := *cfg
	small.Kafka.FetchBytes = 1 << 10 // a larger record still comes
	return quietKafka(&small)
}

// standings is where a group is in each partition of its topic.
func standings(ctx context.Context, cluster *stream.Cluster, g stageGroup) ([]standing, error) {
	bounds, err := cluster.Bounds(ctx, g.topic)
	if err != nil {
		return nil, err
	}
	marks, err := cluster.Committed(ctx, g.name, g.topic)
	if err != nil {
		return nil, err
	}
	at := make([]standing, len(bounds))
	for p := range at {
		at[p] = standing{Bounds: bounds[p], committed: -1}
		if mark, ok := marks[p]; ok {
			at[p].committed = mark.Offset
		}
	}
	return at, nil
}

// ShowOffsets writes a line for each partition of each group: what it has committed, where the log ends, what lies between, and the time of the first record of that.
func ShowOffsets(ctx context.Context, cfg *config.Config, w io.Writer) error {
	cluster, err := connectSmall(cfg)
	if err != nil {
		return err
	}
	defer cluster.Close()
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "GROUP\tTOPIC\tPARTITION\tCOMMITTED\tEND\tLAG\tNEXT RECORD'S TIME")
	var errs []error
	for _, g := range stageGroups(cfg) {
		at, err := standings(ctx, cluster, g)
		if err != nil {
			errs = append(errs, fmt.Errorf("kafka: group %s: %w", g.name, err))
			if !errors.Is(err, stream.ErrMissingTopic) {
				break // the others would wait as long
			}
			continue
		}
		for p, s := range at {
			committed, next := "-", "-"
			if s.committed >= 0 {
				committed = fmt.Sprint(s.committed)
			}
			if s.lag() > 0 {
				t, err := cluster.TimeAt(ctx, g.topic, p, max(s.begin(), s.First))
				if err != nil {
					return errors.Join(table.Flush(), fmt.Errorf("kafka: %w", err))
				}
				if !t.IsZero() {
					next = t.UTC().Format(time.RFC3339)
				}
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%d\t%d\t%s\n", g.name, g.topic, p, committed, s.End, s.lag(), next)
		}
	}
	return errors.Join(append(errs, table.Flush())...)
}

// ResetOptions say where a group is put.
type ResetOptions struct {
	Group     string    // rooms, users, accounts, retry.5s …, or with the prefix
	Time      time.Time // the first record that is not older; zero: Latest says
	Latest    bool      // the end of the log, else its beginning
	Partition int       // -1: all
	DryRun    bool      // only say what would be done
	Yes       bool      // do it
}

// errNotConfirmed says that nothing was done.
var errNotConfirmed = errors.New("nothing was changed: --yes does it")

// ResetOffsets puts a group that has no members elsewhere, and writes what it does and what follows. Without Yes it changes nothing.
func ResetOffsets(ctx context.Context, cfg *config.Config, opts ResetOptions, w io.Writer) error {
	groups := stageGroups(cfg)
	i := slices.IndexFunc(groups, func(g stageGroup) bool { return opts.Group == g.short || opts.Group == g.name })
	if i < 0 {
		return fmt.Errorf("%w: there is no group %q: groups are %s", ErrUsage, opts.Group, shortNames(groups))
	}
	g := groups[i]
	cluster, err := connectSmall(cfg)
	if err != nil {
		return err
	}
	defer cluster.Close()
	at, err := standings(ctx, cluster, g)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if opts.Partition >= len(at) {
		return fmt.Errorf("%w: topic %s has the partitions 0 to %d, and no %d", ErrUsage, g.topic, len(at)-1, opts.Partition)
	}
	to, err := targets(ctx, cluster, g, at, opts)
	if err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	again, skipped := tellReset(g, at, to, w)
	explainReset(g, again, skipped, w)
	members, err := cluster.Members(ctx, g.name)
	switch {
	case err != nil:
		return fmt.Errorf("kafka: %w", err)
	case len(members) > 0:
		return fmt.Errorf("nothing was changed: %w: %s has %d members: stop them first: %v", stream.ErrInUse, g.name, len(members), members)
	case opts.DryRun:
		fmt.Fprintln(w, "Dry run: nothing was changed.")
		return nil
	case !opts.Yes:
		return errNotConfirmed
	}
	if err := cluster.ResetOffsets(ctx, g.name, g.topic, to); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	fmt.Fprintf(w, "Group %s is reset in %d partitions.\n", g.name, len(to))
	return nil
}

func shortNames(groups []stageGroup) string {
	var names []string
	for _, g := range groups {
		names = append(names, g.short)
	}
	return strings.Join(names, ", ")
}

// targets are the new offsets of the partitions that are meant.
func targets(ctx context.Context, cluster *stream.Cluster, g stageGroup, at []standing, opts ResetOptions) (map[int]int64, error) {
	to := map[int]int64{}
	for p, s := range at {
		if to[p] = s.First; opts.Latest {
			to[p] = s.End
		}
	}
	if !opts.Time.IsZero() {
		found, err := cluster.OffsetsAt(ctx, g.topic, opts.Time)
		if err != nil {
			return nil, err
		}
		for p, s := range at {
			to[p] = min(max(found[p], s.First), s.End)
		}
	}
	maps.DeleteFunc(to, func(p int, _ int64) bool { return opts.Partition >= 0 && p != opts.Partition })
	return to, nil
}

// tellReset writes what becomes of each partition, and counts.
func tellReset(g stageGroup, at []standing, to map[int]int64, w io.Writer) (again, skipped int64) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TOPIC\tPARTITION\tCOMMITTED\tNEW\tREAD AGAIN\tLEFT OUT")
	for _, p := range slices.Sorted(maps.Keys(to)) {
		s := at[p]
		committed := "-"
		if s.committed >= 0 {
			committed = fmt.Sprint(s.committed)
		}
		back, ahead := max(min(s.begin(), s.End)-to[p], 0), max(to[p]-max(s.begin(), s.First), 0)
		again, skipped = again+back, skipped+ahead
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%d\t%d\n", g.topic, p, committed, to[p], back, ahead)
	}
	table.Flush() // to w, which is told nothing else until then
	return again, skipped
}

// explainReset says what follows.
func explainReset(g stageGroup, again, skipped int64, w io.Writer) {
	stage, _, _ := strings.Cut(g.short, ".")
	switch {
	case skipped > 0 && stage == StageAccounts:
		fmt.Fprintf(w, "%d records lie before the new offsets. Those that Redis does not have are read all the same: this stage goes on where Redis stands, if that is lower.\n", skipped)
	case skipped > 0:
		fmt.Fprintf(w, "Up to %d records will never be read: %s\n", skipped, map[string]string{
			StageRooms: "their events notify nobody and count nowhere, and rooms do not know the state that they set.",
			StageUsers: "what they tell is neither counted nor pushed, and what was read stays unread.",
			StageRetry: "the deliveries that wait there are not tried again, and no dead letter tells of them.",
		}[stage])
	}
	if again > 0 {
		fmt.Fprintf(w, "Up to %d records will be read again: %s\n", again, map[string]string{
			StageRooms:    "what was done with them is kept, so it changes nothing; only records of which a room's state knows nothing (because Redis lost it) are done.",
			StageUsers:    "counts stay as they are. What is still unread may be pushed a second time where the ledger no longer remembers that it was delivered.",
			StageAccounts: "what is newer stays, so it changes nothing unless Redis has lost something.",
			StageRetry:    "their deliveries are due at once, and sent where the ledger does not remember that they were delivered.",
		}[stage])
	}
	if skipped == 0 && again == 0 {
		fmt.Fprintln(w, "The group stays where it is.")
	}
}
