package pipeline

// Pausing: an operator holds all sending, or that of some apps, and lets it go on.

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"tocsin/pushers"
)

// Pause is one order of an operator to hold sending.
type Pause struct {
	Apps string    // pattern of app ids (see [pushers.CompileApps]); "": all sending
	At   time.Time // when it was given
	By   string    // who gave it, for people
}

// ControlStore keeps the operators' orders. Every error means that nothing is lost and the call can be made again.
type ControlStore interface {
	// Pause gives an order. One for the same apps that stands already stays as it is.
	Pause(ctx context.Context, p Pause) error
	// Resume takes the order for these apps back; false if there was none.
	Resume(ctx context.Context, apps string) (bool, error)
	// Paused are the orders that stand, that for all sending first.
	Paused(ctx context.Context) ([]Pause, error)
}

// controlInterval is how long a worker may not know of an order.
const controlInterval = time.Second

// Control is one worker's knowledge of the orders. It is safe for concurrent use.
type Control struct {
	store  ControlStore
	log    *slog.Logger
	orders atomic.Pointer[orders] // nil: not known yet
	behind bool                   // of Run: the last look has failed
}

// orders are those that stand, ready to be asked. They are never changed.
type orders struct {
	given []Pause
	all   bool
	apps  []pushers.AppPattern
}

// NewControl returns a Control that knows nothing yet.
func NewControl(store ControlStore, log *slog.Logger) *Control {
	return &Control{store: store, log: log}
}

// Paused says whether nothing may be sent to an app now. Before the first successful look everything is paused: what an operator has stopped must not go on because a worker was started.
func (c *Control) Paused(appID string) bool {
	now := c.orders.Load()
	return now == nil || now.paused(appID)
}

func (o *orders) paused(appID string) bool {
	if o.all {
		return true
	}
	for _, apps := range o.apps {
		if apps.Match(appID) {
			return true
		}
	}
	return false
}

// Run looks every second, until ctx ends. While it can't, the orders that it knew stand.
func (c *Control) Run(ctx context.Context) {
	tick := time.NewTicker(controlInterval)
	defer tick.Stop()
	for {
		err := c.Poll(ctx)
		if err != nil && !c.behind && ctx.Err() == nil {
			c.log.Warn("it can't be read whether sending is paused: what was known stands", "error", err)
		}
		c.behind = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Poll looks which orders stand.
func (c *Control) Poll(ctx context.Context) error {
	given, err := c.store.Paused(ctx)
	if err != nil {
		return err
	}
	now := readOrders(given)
	before := c.orders.Swap(now)
	if before == nil {
		before = &orders{}
	}
	told := map[Pause]bool{}
	for _, p := range before.given {
		told[p] = true
	}
	for _, p := range given {
		if !told[p] {
			c.log.Warn("sending is paused: `tocsin resume` lets it go on", "apps", p.scope(), "by", p.By, "since", p.At)
		}
		delete(told, p)
	}
	for p := range told {
		c.log.Info("sending is resumed", "apps", p.scope())
	}
	return nil
}

// readOrders makes orders ready to be asked. A pattern that can't be read holds all sending: it was meant to hold something.
func readOrders(given []Pause) *orders {
	o := &orders{given: given}
	for _, p := range given {
		apps, err := pushers.CompileApps(p.Apps)
		if p.Apps == "" || err != nil {
			o.all = true
			continue
		}
		o.apps = append(o.apps, apps)
	}
	return o
}

// scope is what is paused, for people.
func (p Pause) scope() string {
	if p.Apps == "" {
		return "all"
	}
	return p.Apps
}
