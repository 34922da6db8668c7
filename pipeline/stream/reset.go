package stream

// Groups from outside: who is a member, and what a group without members has committed.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/segmentio/kafka-go"
)

// ErrInUse is wrapped by errors that say that a group has members: nobody else may change its offsets.
var ErrInUse = errors.New("the group is in use")

// GroupMember is one member of a group, as its coordinator knows it.
type GroupMember struct {
	ClientID, Host string
	Partitions     []int // that it has
}

// String names it for people.
func (m GroupMember) String() string {
	return fmt.Sprintf("%s at %s (partitions %v)", m.ClientID, strings.TrimPrefix(m.Host, "/"), m.Partitions)
}

// Members are those of a group; none if there is no such group.
func (c *Cluster) Members(ctx context.Context, group string) ([]GroupMember, error) {
	var res *kafka.DescribeGroupsResponse
	err := insist(ctx, func() (err error) {
		res, err = c.client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
		if err == nil && len(res.Groups) != 1 {
			return errors.New("no answer")
		}
		if err == nil && !errors.Is(res.Groups[0].Error, kafka.GroupIdNotFound) {
			err = res.Groups[0].Error
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ask for the members of group %s: %w", group, explain(err))
	}
	var members []GroupMember
	for _, m := range res.Groups[0].Members {
		member := GroupMember{ClientID: m.ClientID, Host: m.ClientHost}
		for _, t := range m.MemberAssignments.Topics {
			member.Partitions = append(member.Partitions, t.Partitions...)
		}
		slices.Sort(member.Partitions)
		members = append(members, member)
	}
	return members, nil
}

// ResetOffsets commits offsets for a group that has no members: its consumers will go on there. What the commits remember beside the offset stays true: the
// numbering of the offsets is the same, and the newest record that counts as done is that before the offset, or a newer one that was done. The error wraps [ErrInUse], and names the members,
// if there are any.
func (c *Cluster) ResetOffsets(ctx context.Context, group, topic string, offsets map[int]int64) error {
	members, err := c.Members(ctx, group)
	if err != nil {
		return err
	}
	if len(members) > 0 {
		return fmt.Errorf("%w: %s: stop %v first", ErrInUse, group, members)
	}
	var partitions []int
	for p := range offsets {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	before, err := c.commits(ctx, group, topic, partitions)
	if errors.Is(err, kafka.GroupIdNotFound) {
		before = map[int]commit{}
	} else if err != nil {
		return err
	}
	bounds, err := c.Bounds(ctx, topic)
	if err != nil {
		return err
	}
	var commits []kafka.OffsetCommit
	for _, p := range partitions {
		b, ok := bounds[p]
		if !ok || offsets[p] < b.First || offsets[p] > b.End {
			return fmt.Errorf("offset %d is outside of partition %d of %s, which goes from %d to %d", offsets[p], p, topic, b.First, b.End)
		}
		n, err := c.noteAt(ctx, topic, p, offsets[p], b, before[p].note)
		if err != nil {
			return err
		}
		commits = append(commits, kafka.OffsetCommit{Partition: p, Offset: offsets[p], Metadata: n.String()})
	}
	return c.commitFromOutside(ctx, group, topic, commits)
}

// noteAt is what a commit of an offset remembers.
func (c *Cluster) noteAt(ctx context.Context, topic string, partition int, offset int64, b Bounds, n note) (note, error) {
	now := milliseconds(c.clock.Now())
	if n.incarnation == 0 {
		n.incarnation = now.UnixMilli() // as a consumer begins that finds nothing committed
	}
	if offset > b.First {
		at, err := c.TimeAt(ctx, topic, partition, offset-1)
		if err != nil {
			return n, err
		}
		if at.After(n.time) {
			n.time = at
		}
	}
	if n.time.IsZero() || n.time.After(now) {
		n.time = now
	}
	return n, nil
}

// Remember commits offsets for a group that nobody joins: how far a command has come, for when it is called again. [Cluster.Committed] reads them.
func (c *Cluster) Remember(ctx context.Context, group, topic string, offsets map[int]int64) error {
	var commits []kafka.OffsetCommit
	now := milliseconds(c.clock.Now())
	for p, offset := range offsets {
		commits = append(commits, kafka.OffsetCommit{Partition: p, Offset: offset, Metadata: note{incarnation: now.UnixMilli(), time: now}.String()})
	}
	return c.commitFromOutside(ctx, group, topic, commits)
}

// commitFromOutside commits without being a member. The group's coordinator refuses it while there is one.
func (c *Cluster) commitFromOutside(ctx context.Context, group, topic string, commits []kafka.OffsetCommit) error {
	if len(commits) == 0 {
		return nil
	}
	err := insist(ctx, func() error {
		res, err := c.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: commits}})
		if err != nil {
			return err
		}
		answered := 0
		for _, p := range res.Topics[topic] {
			switch {
			case isFenced(p.Error):
				return fmt.Errorf("%w: %w", ErrInUse, p.Error)
			case p.Error != nil:
				return fmt.Errorf("partition %d: %w", p.Partition, p.Error)
			}
			answered++
		}
		if answered < len(commits) {
			return errors.New("not all partitions were answered")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", group, explain(err))
	}
	return nil
}
