package pipeline_test

// Phones behind a service that fails at random show the badge as it is.

import (
	"context"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
	"tocsin/test/stack"
)

// TestPhonesShowTheBadge lets a phone be told of random news over a service that fails at random, with crashes in between. Whenever all is quiet, the phone shows what is unread; and
// while nobody doubts what it shows, it is never told alone what it shows already.
func TestPhonesShowTheBadge(t *testing.T) {
	t.Parallel()
	redis := stack.Redis(t)
	prefix, runs := redis.Prefix, 0
	rapid.Check(t, func(r *rapid.T) {
		runs++
		redis.Prefix = fmt.Sprint(prefix, runs, ":")
		d := newDeskAt(t, redis, nil)
		p := &shownPhone{desk: d, r: r}
		d.users.Delivery = p
		mode := rapid.SampledFrom([]string{pipeline.BadgeRooms, pipeline.BadgeMessages}).Draw(r, "mode")
		settings := func(u *pipeline.Users) {
			u.Delivery, u.Badges = p, pipeline.NewBadges(pipeline.BadgeConfig{Count: mode, Push: true})
		}
		settings(d.users)
		d.pusher("phone", "")
		rooms := []string{garden, arbour}
		positions := map[string]int64{}
		for range rapid.IntRange(1, 25).Draw(r, "steps") {
			room := rapid.SampledFrom(rooms).Draw(r, "room")
			at := rapid.Int64Range(1, positions[room]+1).Draw(r, "position")
			var n pipeline.Notice
			switch rapid.SampledFrom([]string{"message", "message", "read", "redact", "leave"}).Draw(r, "kind") {
			case "message":
				positions[room]++
				n = message(room, fmt.Sprint("$", room, positions[room]), positions[room])
			case "read":
				n = read(room, min(at, positions[room]))
			case "redact":
				n = redact(room, at)
			case "leave":
				positions[room]++
				n = pipeline.Notice{Kind: pipeline.KindLeave, RoomID: room, Position: positions[room]}
			}
			rec := d.record(n)
			tasks := d.take(rec)
			if rapid.IntRange(0, 5).Draw(r, "crash") == 0 { // somewhere on the way; the record is read again
				p.unsure, p.crash = true, true
				if d.counts.failTell = rapid.IntRange(0, 3).Draw(r, "at"); d.counts.failTell > 0 {
					for _, task := range tasks {
						_ = d.users.Do(t.Context(), task.Lane, []stream.Task{task})
					}
					d.counts.failTell = 0
				}
				d.restart(settings)
				p.crash = false
				tasks = d.take(rec)
			}
			d.do(tasks)
			if rapid.Bool().Draw(r, "due") {
				d.due()
			}
		}
		for p.well = true; len(d.written) > 0; {
			d.due()
		}
		if saved := d.unread(mode); p.shows != nil && *p.shows != saved {
			r.Fatalf("the phone shows %d, unread are %d: %v", *p.shows, saved, p.story)
		}
	})
}

// unread is the badge as it should be.
func (d *desk) unread(mode string) int {
	saved, err := d.store.Counts(d.Context(), []string{bob})
	if err != nil {
		d.Fatal(err)
	}
	rooms := map[string]pipeline.Unread{}
	for room, b := range saved[0].Rooms {
		if rooms[room], err = pipeline.DecodeUnread(b); err != nil {
			d.Fatal(err)
		}
	}
	return pipeline.Sum(rooms).Badge(mode).Unread
}

// shownPhone is a phone behind a service that fails at random.
type shownPhone struct {
	*desk
	r      *rapid.T
	shows  *int // nil until it is told
	unsure bool // nobody can know what it shows
	crash  bool // what is answered now may not be noted
	well   bool // nothing fails any more
	story  []string
}

func (p *shownPhone) Deliver(_ context.Context, what pushers.Delivery) pushers.Step {
	n := what.Notification
	step, arrives := pushers.Step{Action: pushers.Settle}, true
	if !p.well {
		switch rapid.SampledFrom([]string{"delivered", "delivered", "failed", "busy", "uncertain", "uncertain, arrives"}).Draw(p.r, "answer") {
		case "failed":
			step, arrives = failed, false
		case "busy":
			step, arrives = busy, false
		case "uncertain":
			step, arrives = uncertain, false
		case "uncertain, arrives":
			step = uncertain
		}
	}
	p.story = append(p.story, fmt.Sprintf("%s %d: %v %v", n.EventID, n.Counts.Unread, step, arrives))
	if arrives && (n.CountsOnly() || n.Counts.Unread > 0) {
		if n.CountsOnly() && !p.unsure && p.shows != nil && *p.shows == n.Counts.Unread {
			p.r.Fatalf("the phone is told %d, which it shows: %v", n.Counts.Unread, p.story)
		}
		p.shows = &n.Counts.Unread
	}
	p.unsure = p.crash || step.Verdict == pushers.Uncertain || p.unsure && step.Action != pushers.Settle
	return step
}
