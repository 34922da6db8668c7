package pipeline_test

// Rejections that meet something else.

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"tocsin/pipeline"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// unsteadyGuard can't be asked the first time; before it says so, something happens.
type unsteadyGuard struct {
	*pipeline.Guard
	meanwhile func()
}

func (g *unsteadyGuard) Rejected(ctx context.Context, appID string, key pushers.Pushkey) (pipeline.Ruling, error) {
	if g.meanwhile != nil {
		g.meanwhile()
		g.meanwhile = nil
		return pipeline.Ruling{}, errors.New("the server is away")
	}
	return g.Guard.Rejected(ctx, appID, key)
}

// TestRejectedAndSetAnewMeanwhile has a pusher set anew while the removal of what it was fails and is done again: it stays, and is told again.
func TestRejectedAndSetAnewMeanwhile(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	d.pusher("phone", "")
	d.users.Guard = &unsteadyGuard{d.users.Guard.(*pipeline.Guard), func() {
		d.pusher("phone", `,"set":"anew"`)
		d.users.Accounts.Drop(bob) // as the tail of matrix.account does
	}}
	d.phones["phone"].steps = []pushers.Step{{Action: pushers.Remove, Reason: "rejected", Verdict: pushers.Gone}}
	for _, task := range d.take(d.record(message(garden, "$a", 1))) {
		tries := 0
		for d.users.Do(t.Context(), task.Lane, []stream.Task{task}) != nil {
			if tries++; tries == 5 {
				t.Fatal("it comes to no end")
			}
		}
	}
	if len(d.written) != 0 {
		t.Errorf("the homeserver was told to delete a pusher that was set anew: %s", d.written[0].Value)
	}
	d.got("phone", "$a 1", "$a 1")
	if all, err := d.store.Accounts(t.Context(), []string{bob}); err != nil || len(all[0]) != 1 {
		t.Errorf("%d pushers are left, want the one that was set anew; %v", len(all[0]), err)
	}
}

// TestWhatIsNotSentIsNotTried has a service that was away come back with a wrong certificate: what was held back meanwhile must not make its rejections look few.
func TestWhatIsNotSentIsNotTried(t *testing.T) {
	t.Parallel()
	d := newDesk(t, nil)
	away := pushers.Step{Action: pushers.Again, Detail: "service_down", Unsent: true}
	for i := range 30 {
		name := fmt.Sprint("phone", i)
		d.pusher(name, "")
		d.phones[name].steps = []pushers.Step{away}
	}
	d.handle(message(garden, "$a", 1))
	key := pushers.NewPushkey("other")
	ruling, err := d.users.Guard.Rejected(t.Context(), "app", key)
	if err != nil || ruling.Tried != 1 {
		t.Errorf("%d pushkeys were tried, want 1; %v", ruling.Tried, err)
	}
}
