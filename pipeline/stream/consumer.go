package stream

// A consumer: one member of one group that reads one topic.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/segmentio/kafka-go"
)

// ConsumerConfig says what a consumer reads and what it does with it.
type ConsumerConfig struct {
	Group   string // its full name
	Topic   string
	Workers int // concurrent Do calls at most
	Batch   int // tasks that Do gets at once at most; 0: 100. When partitions are given up, a call of Do that has begun is waited for as a whole
	Handler Handler

	// Due is when a record may be taken; nil: at once. A record that is not due holds up its partition, so the times must rise with the offsets, as they do
	// when each record of the topic waits equally long.
	Due func(*Record) time.Time

	// Committed is called with the offset below which all is done and committed: at least once after each assignment and after each commit that moved it.
	// An error is told, and the call made again later. Optional.
	Committed func(ctx context.Context, topic string, partition int, mark Mark) error

	// Start is called before the first record of a partition is taken, with the committed offset (-1 if there is none), and returns where to begin: the same,
	// or lower to see records again, or higher to leave some out. It is called again when the partition has to begin elsewhere. An error is told,
	// and the call made again. Optional: nil begins at the committed offset, or at the first record. After a rewind it is asked with the offset of that.
	Start func(ctx context.Context, topic string, partition int, committed int64) (int64, error)

	// Memory names the store in which the handler saves what it does, without white space; "" if that can't be told. It is asked before the first record of an assignment is taken, and may
	// wait until the store is well; and each Config.CommitInterval, when nil as an error says that the store is well now. Another name than the last commit's, such as that
	// of the replica that took over, says that the store may have lost its last writes: then what was done in the last Rewind is read again (see rewind.go). Optional.
	Memory func(ctx context.Context) (string, error)
	Rewind time.Duration // more than the store can lose
}

// Mark is a place in a partition: offsets can be compared only within one incarnation of the topic.
type Mark struct {
	Incarnation int64  // see [Record.Incarnation]
	Offset      int64  // all below are done
	Memory      string // what [ConsumerConfig.Memory] said; "" if that is not known, or not of interest
}

// Consumer is one member of a consumer group. Its methods are safe for concurrent use, except that Run is called once.
type Consumer struct {
	cluster    *Cluster
	cfg        ConsumerConfig
	log        *slog.Logger
	lanes      *lanes
	handlers   sync.WaitGroup // of generations that ended before them
	announcing *complaint
	watchdog   watchdog
	unnamed    *complaint   // of stuck calls
	dealt      atomic.Int64 // partitions that the topic had when this member dealt them out; -1 if another member did

	mu          sync.Mutex
	current     *generation // nil while there is none
	live        *generation // also while it finds out what was committed, and while it drains
	generations int64
	occupied    map[int]chan struct{} // by partition; closed when the goroutine that works on it has ended
}

// NewConsumer returns a consumer that does nothing before Run.
func (c *Cluster) NewConsumer(cfg ConsumerConfig) (*Consumer, error) {
	if cfg.Group == "" || cfg.Topic == "" || cfg.Handler == nil || cfg.Workers < 1 {
		return nil, errors.New("a consumer needs a group, a topic, a handler and at least one worker")
	}
	log := c.log.With("group", cfg.Group, "topic", cfg.Topic)
	consumer := &Consumer{
		cluster: c, cfg: cfg, log: log,
		lanes:      newLanes(cfg.Workers, &complaint{log: log, what: "do tasks"}, cfg.Handler.Do),
		announcing: &complaint{log: log, what: "tell the committed offset"},
		unnamed:    &complaint{log: log, what: "go on in all lanes"},
		occupied:   map[int]chan struct{}{},
	}
	if cfg.Batch > 0 {
		consumer.lanes.batch = cfg.Batch
	}
	consumer.dealt.Store(-1)
	return consumer, nil
}

// Run consumes until ctx ends. Then it takes nothing more, lets what runs finish for Config.DrainTimeout at most, commits, leaves the group, and returns when
// every goroutine it started has ended. When hard ends, what runs is cut off; it must not end before ctx.
//
// Run returns nil after a clean stop. What may get better is waited for: brokers that are away, a topic that is missing. An error means that waiting can't help.
func (c *Consumer) Run(ctx, hard context.Context) error {
	defer c.patrol()()
	defer c.handlers.Wait()
	defer c.lanes.close()
	conns := &connections{dial: c.cluster.dial}
	defer context.AfterFunc(hard, conns.cut)()

	if !persist(ctx, &complaint{log: c.log, what: "look for the topic"}, func() error {
		_, err := c.cluster.topics(ctx, []string{c.cfg.Topic})
		return err
	}) {
		return nil
	}
	cfg := c.cluster.cfg
	group, err := kafka.NewConsumerGroup(kafka.ConsumerGroupConfig{
		ID: c.cfg.Group, Topics: []string{c.cfg.Topic}, Brokers: cfg.Brokers, Dialer: c.cluster.dialer(conns.open),
		HeartbeatInterval: cfg.HeartbeatInterval, SessionTimeout: cfg.SessionTimeout, RebalanceTimeout: cfg.DrainTimeout + rebalanceMargin,
		JoinGroupBackoff: 500 * time.Millisecond, Timeout: requestTimeout, StartOffset: kafka.FirstOffset,
		GroupBalancers: []kafka.GroupBalancer{&dealer{dealt: &c.dealt}},
	})
	if err != nil {
		return fmt.Errorf("join group %s: %w", c.cfg.Group, err)
	}
	member := c.follow(ctx, hard, group)
	group.Close() // drains and leaves
	if member != "" && hard.Err() == nil {
		ctx, cancel := context.WithTimeout(hard, requestTimeout)
		defer cancel()
		c.leave(ctx, member) // again, should kafka-go have failed to
	}
	return nil
}

// follow works from one generation to the next until ctx ends, and returns the last member id.
func (c *Consumer) follow(ctx, hard context.Context, group *kafka.ConsumerGroup) (member string) {
	joining := &complaint{log: c.log, what: "join the group"}
	var leaving sync.WaitGroup
	defer leaving.Wait()
	for {
		gen, err := group.Next(ctx)
		switch {
		case ctx.Err() != nil:
			return member
		case errors.Is(err, kafka.RebalanceInProgress):
		case err != nil:
			joining.of(explain(err))
			if lost := member; lost != "" {
				leaving.Go(func() { c.leave(ctx, lost) })
				member = ""
			}
		default:
			joining.over()
			member = gen.MemberID
			gen.Start(func(ended context.Context) {
				if ended.Err() == nil { // else it ended before it began, and kafka-go would not wait for us
					c.newGeneration(gen).run(ended, hard)
				}
			})
		}
	}
}

func (c *Consumer) newGeneration(gen *kafka.Generation) *generation {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.generations++
	c.live = &generation{consumer: c, gen: gen, number: c.generations, kicked: make(chan struct{}, 1), lapsed: make(chan error, 1), over: make(chan struct{})}
	return c.live
}

// leave ends a membership until the coordinator says that it is over. When kafka-go can't reach the coordinator at the end of a generation, it forgets its
// member id without leaving, joins as another member, and the group waits for the ghost until its session has run out.
func (c *Consumer) leave(ctx context.Context, member string) {
	for ctx.Err() == nil {
		res, err := c.cluster.client.LeaveGroup(ctx, &kafka.LeaveGroupRequest{
			GroupID: c.cfg.Group, Members: []kafka.LeaveGroupRequestMember{{ID: member}},
		})
		if err == nil {
			err = leaveError(res)
		}
		if err == nil || errors.Is(err, kafka.UnknownMemberId) {
			return
		}
		sleep(ctx, 200*time.Millisecond)
	}
}

// leaveError is a broker's answer to a LeaveGroup request. kafka-go reads the error code and the throttle time in the wrong order: the code ends up in the lower half of
// the throttle time.
func leaveError(res *kafka.LeaveGroupResponse) error {
	if code := int16(res.Throttle.Milliseconds()); code != 0 {
		return kafka.Error(code)
	}
	for _, m := range res.Members {
		if m.Error != nil {
			return m.Error
		}
	}
	return nil
}

// occupy waits until an earlier generation's goroutine for a partition has ended. release must be called in any case.
func (c *Consumer) occupy(ctx context.Context, partition int) (release func(), ok bool) {
	c.mu.Lock()
	before := c.occupied[partition]
	mine := make(chan struct{})
	c.occupied[partition] = mine
	c.mu.Unlock()
	release = func() {
		if before != nil {
			<-before // so that who comes next waits for all before
		}
		close(mine)
	}
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return release, false
		}
	}
	return release, true
}

// bury notes that a generation has ended.
func (c *Consumer) bury(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live == g {
		c.live = nil
	}
	close(g.over)
}

func (c *Consumer) setCurrent(g *generation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = g
}

// dealer deals out the partitions where this member leads the group: in ranges, so that the same partitions of topics with equally many go to the same member.
// It notes how many there were: the leader watches for a change, and no other view of the topic can be trusted to be the one that was dealt.
type dealer struct {
	kafka.RangeGroupBalancer
	dealt *atomic.Int64
}

// AssignGroups implements [kafka.GroupBalancer].
func (d *dealer) AssignGroups(members []kafka.GroupMember, partitions []kafka.Partition) kafka.GroupMemberAssignments {
	d.dealt.Store(int64(len(partitions)))
	return d.RangeGroupBalancer.AssignGroups(members, partitions)
}

// Progress is how far the consumer has come in each partition that is assigned to it now, by partition. Where it is not yet known where to begin,
// Position, Watermark and End are -1.
func (c *Consumer) Progress() []Progress {
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()
	if current == nil {
		return nil
	}
	stuck := c.Stuck()
	var all []Progress
	for _, p := range current.parts {
		g := p.progress()
		for _, s := range stuck {
			if s.Partition == g.Partition {
				g.Stuck++
			}
		}
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b Progress) int { return cmp.Compare(a.Partition, b.Partition) })
	return all
}

// Ready reports whether the consumer has its share of the partitions and has begun with each of them.
func (c *Consumer) Ready() bool {
	c.mu.Lock()
	current := c.current
	c.mu.Unlock()
	if current == nil {
		return false
	}
	for _, p := range current.parts {
		if p.progress().Position < 0 {
			return false
		}
	}
	return true
}
