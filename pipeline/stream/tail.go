package stream

// Reading a topic's news in every process, without a group.

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// TailConfig says what a tail reads.
type TailConfig struct {
	Topic string
	// From is where to begin, by partition. A partition that it leaves out begins at its end as it is when Run begins; one that is added to the topic later, at its
	// beginning.
	From map[int]int64
	// Record is called with each record, in order within a partition, from one goroutine a partition. When the topic was made anew, it sees all of it.
	// [Record.Generation] and [Record.Incarnation] are 0.
	Record func(*Record)
}

// Tail reads all partitions of a topic in this process. It commits nothing. Its methods are safe for concurrent use, except that Run is called once.
type Tail struct {
	cluster *Cluster
	cfg     TailConfig
	log     *slog.Logger

	mu    sync.Mutex
	parts map[int]*Progress // nil until it is known where to begin
	wg    sync.WaitGroup
}

// How often a tail looks for new partitions.
const tailWatchInterval = 5 * time.Second

// NewTail returns a tail that does nothing before Run.
func (c *Cluster) NewTail(cfg TailConfig) *Tail {
	return &Tail{cluster: c, cfg: cfg, log: c.log.With("topic", cfg.Topic)}
}

// Run reads until ctx ends and returns when all its goroutines have ended. It waits for whatever may get better, so it has no error to return.
func (t *Tail) Run(ctx context.Context) {
	defer t.wg.Wait()
	since := t.cluster.clock.Now()
	var bounds map[int]Bounds
	if !persist(ctx, &complaint{log: t.log, what: "find the end of the topic"}, func() (err error) {
		bounds, err = t.cluster.Bounds(ctx, t.cfg.Topic)
		return err
	}) {
		return
	}
	begin := map[int]int64{}
	for p, b := range bounds {
		begin[p] = b.End
		if from, ok := t.cfg.From[p]; ok {
			begin[p] = min(max(from, b.First), b.End)
		}
	}
	t.follow(ctx, begin, since)
	for sleep(ctx, tailWatchInterval) {
		topics, err := t.cluster.topics(ctx, []string{t.cfg.Topic})
		if err != nil {
			continue // those who read complain
		}
		added := map[int]int64{}
		for p := range topics[t.cfg.Topic].Partitions {
			if _, known := begin[p]; !known {
				added[p], begin[p] = 0, 0
			}
		}
		t.follow(ctx, added, since)
	}
}

// follow begins to read partitions.
func (t *Tail) follow(ctx context.Context, begin map[int]int64, since time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parts == nil {
		t.parts = map[int]*Progress{}
	}
	for p, offset := range begin {
		t.parts[p] = &Progress{Topic: t.cfg.Topic, Partition: p, Position: offset, Watermark: offset, End: offset}
		t.wg.Go(func() { t.read(ctx, p, commit{offset: offset, note: note{time: milliseconds(since)}}) })
	}
}

// read reads one partition from where a consumer would go on that had committed this.
func (t *Tail) read(ctx context.Context, partition int, at commit) {
	report := &complaint{log: t.log.With("partition", partition), what: "fetch records", patience: networkPatience}
	for {
		var got fetched
		if !persist(ctx, report, func() (err error) {
			got, err = t.cluster.fetch(ctx, t.cfg.Topic, partition, at.offset)
			switch {
			case isMissing(err):
				at.suspect = true
			case errors.Is(err, errOutside), err == nil && at.suspect:
				return t.relocate(ctx, partition, &at, &got)
			}
			return err
		}) {
			return
		}
		for _, r := range got.records {
			t.cfg.Record(r)
			if r.Time.After(at.note.time) {
				at.note.time = r.Time
			}
			t.set(partition, r.Offset+1, got.end)
		}
		at.offset = got.next
		t.set(partition, at.offset, got.end)
	}
}

// relocate finds out where to go on when the offset is not in the log, or the log may be another one.
func (t *Tail) relocate(ctx context.Context, partition int, at *commit, got *fetched) error {
	found, err := t.cluster.locate(ctx, t.cfg.Topic, partition, *at)
	if err != nil {
		return err
	}
	if found.verdict != goesOn {
		t.log.Warn("go on elsewhere: "+string(found.verdict), "partition", partition, "offset", at.offset, "now", found.offset)
	}
	at.suspect = false
	*got = fetched{next: found.offset, end: found.bounds.End}
	return nil
}

func (t *Tail) set(partition int, position, end int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.parts[partition]
	p.Position, p.Watermark, p.End = position, position, max(position, end)
}

// Progress is how far the tail has come, by partition; Group is "".
func (t *Tail) Progress() []Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Progress
	for _, p := range t.parts {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b Progress) int { return cmp.Compare(a.Partition, b.Partition) })
	return all
}

// Ready reports whether the tail knows where it begins: it will see everything that is written from now on.
func (t *Tail) Ready() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.parts != nil
}
