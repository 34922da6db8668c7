package stream

// A generation: the time from one assignment of partitions to the next.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

const (
	// The topic is looked at so often: has it more partitions now? The transport asks the brokers so often anyway, and answers from what it knows.
	watchInterval = metadataTTL
	// The end of a log is looked at so often where nothing is fetched.
	lookInterval = 10 * time.Second
	// How long handlers may take to notice that their context has ended.
	grace = 2 * time.Second
	// A rebalance waits for its members so much longer than they may drain.
	rebalanceMargin = 5 * time.Second
)

// generation is what a consumer does with one assignment. Its parts are started and ended by run.
type generation struct {
	consumer *Consumer
	gen      *kafka.Generation
	number   int64
	parts    []*partition
	kicked   chan struct{} // has an element when a commit is wanted now
	lapsed   chan error    // gets an element when the generation has to end
	over     chan struct{} // closed when it has ended
	memory   string        // where its work is saved
	wg       sync.WaitGroup
}

// run works on the assigned partitions until ended does or something makes a new assignment necessary; then it drains. cut ends the handlers' calls too.
func (g *generation) run(ended, cut context.Context) {
	c := g.consumer
	defer c.bury(g)
	taking, stopTaking := context.WithCancel(cut)
	defer stopTaking()
	defer context.AfterFunc(ended, stopTaking)()
	handling, stopHandling := context.WithCancel(cut)
	defer stopHandling()

	defer c.dealt.Store(-1) // before the group joins again
	if !g.begin(taking, handling) {
		return
	}
	for _, p := range g.parts {
		g.wg.Go(func() {
			release, ok := c.occupy(taking, p.id)
			defer release()
			if ok {
				p.run(taking)
			}
		})
	}
	g.wg.Go(func() { g.watch(taking) })
	g.wg.Go(func() { g.look(taking) })
	g.wg.Go(func() { g.witness(taking) })
	c.setCurrent(g)
	defer c.setCurrent(nil)

	err := g.serve(taking)
	if err != nil && taking.Err() == nil {
		c.log.Warn("partitions are given up to be assigned anew", "error", err)
	}
	stopTaking()
	g.drain(cut, stopHandling)
}

// begin finds out what there is to know before the first record, unless the generation lapses first.
func (g *generation) begin(taking, handling context.Context) bool {
	taking, stop := context.WithCancel(taking)
	defer stop()
	lapsed := make(chan bool, 1)
	go func() {
		select {
		case err := <-g.lapsed:
			g.lapse(err)
			stop()
			lapsed <- true
		case <-taking.Done():
			lapsed <- false
		}
	}()
	begun := g.recall(taking) && g.assign(taking, handling)
	stop()
	return !<-lapsed && begun
}

// assign finds out what was committed of the assigned partitions.
func (g *generation) assign(taking, handling context.Context) bool {
	c := g.consumer
	var ids []int
	for _, a := range g.gen.Assignments[c.cfg.Topic] {
		ids = append(ids, a.ID)
	}
	var commits map[int]commit
	if !persist(taking, &complaint{log: c.log, what: "ask for committed offsets"}, func() (err error) {
		commits, err = c.cluster.commits(taking, c.cfg.Group, c.cfg.Topic, ids)
		return err
	}) {
		return false
	}
	for _, id := range ids {
		log := c.log.With("partition", id)
		g.parts = append(g.parts, &partition{
			consumer: c, id: id, generation: g.number, memory: g.memory, handling: handling, kick: g.kick, log: log,
			fetches: &complaint{log: log, what: "fetch records", patience: networkPatience}, takes: &complaint{log: log, what: "take records"},
			committed: commits[id], drained: make(chan struct{}), saved: -1, announced: -1, end: -1,
		})
	}
	c.log.Info("partitions assigned", "generation", g.gen.ID, "partitions", ids)
	return true
}

// serve commits until taking ends, a commit fails or the generation lapses.
func (g *generation) serve(taking context.Context) error {
	tick := time.NewTicker(g.consumer.cluster.cfg.CommitInterval)
	defer tick.Stop()
	for {
		select {
		case <-taking.Done():
			return nil
		case err := <-g.lapsed:
			return err
		case <-g.kicked:
		case <-tick.C:
		}
		if err := g.commit(taking, false); err != nil {
			return err
		}
		g.announce(taking)
	}
}

// watch looks for a change of the topic's partitions, which asks for a new assignment. The group's leader does it for all. It has to see the change twice: the view of a broker
// that lags behind must not undo a deal that was made with a newer one.
func (g *generation) watch(taking context.Context) {
	c := g.consumer
	dealt := c.dealt.Load()
	if dealt < 0 {
		return
	}
	before := dealt
	for sleep(taking, watchInterval) {
		topics, err := c.cluster.topics(taking, []string{c.cfg.Topic})
		if err != nil {
			continue // those who fetch complain
		}
		now := int64(topics[c.cfg.Topic].Partitions)
		if now > 0 && now != dealt && now == before {
			g.lapse(fmt.Errorf("topic %s has %d partitions now, not %d", c.cfg.Topic, now, dealt))
			return
		}
		before = now
	}
}

// look keeps an eye on the ends of partitions from which nothing is fetched, because they wait, are full of work or are stopped: their lag must be seen all the more.
func (g *generation) look(taking context.Context) {
	c := g.consumer
	for sleep(taking, lookInterval) {
		var unseen []int
		for _, p := range g.parts {
			if time.Since(p.lastSeen()) > lookInterval/2 {
				unseen = append(unseen, p.id)
			}
		}
		bounds, err := c.cluster.bounds(taking, c.cfg.Topic, unseen)
		if err != nil {
			continue
		}
		for _, p := range g.parts {
			if b, ok := bounds[p.id]; ok {
				p.sawEnd(b.End)
			}
		}
	}
}

// drain finishes what runs, and fills up below it, within the time for it, and commits. A rebalance stops kafka-go's heartbeats; a commit is one too, at the
// right broker, and shows its error, so the watermarks are committed again and again, moved or not.
func (g *generation) drain(cut context.Context, stopHandling context.CancelFunc) {
	c := g.consumer
	c.lanes.giveUp(true, g.parts...)
	idle := make(chan struct{})
	c.handlers.Go(func() {
		defer close(idle)
		g.wg.Wait()
		for _, p := range g.parts {
			<-p.drained
		}
	})
	heartbeat := time.NewTicker(c.cluster.cfg.HeartbeatInterval)
	defer heartbeat.Stop()
	filled := time.NewTimer(c.cluster.cfg.DrainTimeout / 5)
	defer filled.Stop()
	deadline := time.NewTimer(c.cluster.cfg.DrainTimeout)
	defer deadline.Stop()
	member := true
	for waiting, calledOff := true, false; waiting; {
		select {
		case <-idle:
			waiting = false
		case <-heartbeat.C:
			if member && cut.Err() == nil {
				ctx, cancel := context.WithTimeout(cut, grace) // so as not to miss the deadline
				member = !isFenced(g.commit(ctx, true))
				cancel()
			}
		case <-filled.C:
			c.lanes.giveUp(false, g.parts...)
		case <-deadline.C:
			stopHandling()
			if calledOff {
				c.log.Error("handlers do not end although their context has; their lanes stay blocked until they do")
				waiting = false
			}
			calledOff = true
			deadline.Reset(grace)
		}
	}
	if member && cut.Err() == nil {
		if err := g.commit(cut, false); err != nil {
			c.log.Warn("the last commit failed: what was finished since the one before will be repeated", "error", err)
		}
	}
}

// commit commits the watermarks that moved, or all. It is fenced: the group's coordinator refuses it once the partitions may belong to another member.
func (g *generation) commit(ctx context.Context, all bool) error {
	c := g.consumer
	type made struct {
		part   *partition
		offset int64
		note   note
	}
	var commits []kafka.OffsetCommit
	todo := map[int]made{}
	for _, p := range g.parts {
		if offset, n, ok := p.due(all); ok {
			commits = append(commits, kafka.OffsetCommit{Partition: p.id, Offset: offset, Metadata: n.String()})
			todo[p.id] = made{p, offset, n}
		}
	}
	if len(commits) == 0 {
		return nil
	}
	var res *kafka.OffsetCommitResponse
	err := c.cluster.admin(ctx, func(ctx context.Context) (err error) {
		res, err = c.cluster.client.OffsetCommit(ctx, &kafka.OffsetCommitRequest{
			GroupID: c.cfg.Group, GenerationID: int(g.gen.ID), MemberID: g.gen.MemberID,
			Topics: map[string][]kafka.OffsetCommit{c.cfg.Topic: commits},
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("commit offsets of group %s: %w", c.cfg.Group, explain(err))
	}
	for _, r := range res.Topics[c.cfg.Topic] {
		m, ok := todo[r.Partition]
		if r.Error == nil && ok {
			m.part.save(m.offset, m.note)
			delete(todo, r.Partition)
		} else if err == nil {
			err = fmt.Errorf("commit offset of group %s, partition %d of %s: %w", c.cfg.Group, r.Partition, c.cfg.Topic, r.Error)
		}
	}
	if err == nil && len(todo) > 0 {
		err = fmt.Errorf("commit offsets of group %s: %d partitions were not answered", c.cfg.Group, len(todo))
	}
	return err
}

// isFenced reports whether a commit failed because this member has lost its partitions.
func isFenced(err error) bool {
	return errors.Is(err, kafka.IllegalGeneration) || errors.Is(err, kafka.UnknownMemberId)
}

// announce tells the stage what is committed. What fails is told again after the next tick.
func (g *generation) announce(ctx context.Context) {
	c := g.consumer
	if c.cfg.Committed == nil {
		return
	}
	for _, p := range g.parts {
		mark, ok := p.news()
		if !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, requestTimeout)
		err := c.cfg.Committed(ctx, c.cfg.Topic, p.id, mark)
		cancel()
		if err != nil {
			c.announcing.of(err)
			return
		}
		c.announcing.over()
		p.announce(mark.Offset)
	}
}

// kick asks for a commit now.
func (g *generation) kick() {
	select {
	case g.kicked <- struct{}{}:
	default:
	}
}

// lapse ends the generation.
func (g *generation) lapse(err error) {
	select {
	case g.lapsed <- err:
	default:
	}
}
