package pipeline

// The rejection guard: a wave of rejections from one app, such as a wrong certificate makes, looks just like dead pushkeys, and must not remove their pushers.

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"tocsin/clock"
	"tocsin/pushers"
)

// GuardLimits say when the guard of an app trips.
type GuardLimits struct {
	Rejections int           // at least so many pushkeys of the app were rejected
	Percent    int           // and they are more than this part of those that were tried
	Window     time.Duration // in the last so many minutes
}

// Trips is the decision, from the distinct pushkeys of an app that were rejected and tried within the window.
func (l GuardLimits) Trips(rejected, tried int64) bool {
	return rejected >= int64(l.Rejections) && rejected*100 > int64(l.Percent)*tried
}

// Trip is a guard that has tripped. It stays so until an operator resets it.
type Trip struct {
	ID              string // a random name: what was held because of an earlier trip is not held because of this one
	At              time.Time
	Rejected, Tried int64 // distinct pushkeys within the window at that moment
}

// Rejection is a pushkey that a push service has rejected.
type Rejection struct {
	AppID   string
	Pushkey string // its hash
	At      time.Time
	Tried   []string // hashes of others of the app that were tried and are not noted yet
}

// Ruling is what the guard says about a rejection.
type Ruling struct {
	Hold            bool // keep the pusher, and push nothing to it; else remove it
	Trip            Trip // why it is held; without ID if more guards have tripped than are noted: it is held this time, and tried again
	Rejected, Tried int64
}

// GuardStore keeps what all workers know of rejections. It knows pushkeys by their hashes alone. Every error means that nothing is lost and the call can be made again.
type GuardStore interface {
	// NoteTried adds to the pushkeys that were tried at that time, by app. They are remembered for the window.
	NoteTried(ctx context.Context, at time.Time, window time.Duration, tried map[string][]string) error
	// Reject notes a rejection and decides about it, in one step for the whole deployment.
	Reject(ctx context.Context, r Rejection, limits GuardLimits) (Ruling, error)
	// Trips are the guards that have tripped, by app.
	Trips(ctx context.Context) (map[string]Trip, error)
}

// How a pusher that is held is marked: among what its user's pushers were told ([SavedCounts.Told], [ToldChange]), so that the mark is read with the counts, at no round trip of its own.

// HeldPrefix begins the names of the marks. The name of no pusher begins with it.
const HeldPrefix = "held "

// HeldField is the name of the mark of a user's pusher.
func HeldField(appID string, key pushers.Pushkey) string { return HeldPrefix + toldName(appID, key) }

// HeldMark marks a pusher of that version as held because of a trip.
func HeldMark(tripID string, v Version) string {
	return fmt.Sprintf("%s %d %d %d", tripID, v.Epoch, v.Partition, v.Offset)
}

// IsHeld says whether a mark still holds a pusher: as long as the guard of its app is tripped, since that same trip, and the pusher was not set anew.
func IsHeld(mark, tripID string, tripped bool, v Version) bool {
	return tripped && tripID != "" && mark == HeldMark(tripID, v)
}

const (
	guardInterval = time.Second // between two looks at the other workers' guards, and two notes of what was tried
	maxTried      = 100_000     // pushkeys that wait to be noted
)

// Guard is one worker's part of the rejection guard. It is safe for concurrent use.
//
// What all workers tried is counted in Redis: each collects its own in memory and notes it every second, and with each rejection what it has of that app. If the room in memory is
// used up, what comes more is not counted: the guard then trips rather too early than too late.
type Guard struct {
	store  GuardStore
	limits GuardLimits
	clock  clock.Clock
	log    *slog.Logger

	tried  triedKeys
	mu     sync.Mutex                      // guards changes of trips
	trips  atomic.Pointer[map[string]Trip] // as last seen, never changed
	behind bool                            // of Run: the last round has failed
}

// NewGuard returns a guard that has seen nothing yet.
func NewGuard(store GuardStore, limits GuardLimits, clk clock.Clock, log *slog.Logger) *Guard {
	g := &Guard{store: store, limits: limits, clock: clk, log: log, tried: newTriedKeys()}
	g.trips.Store(&map[string]Trip{})
	return g
}

// Tried notes that a notification went out to a pushkey, whatever came of it. What was held back on this side does not count. It never waits.
func (g *Guard) Tried(appID string, key pushers.Pushkey) { g.tried.add(appID, key) }

// Rejected asks what to do with a pusher whose pushkey was rejected. Once the guard of its app has tripped, the answer is to hold it, for requests that were in flight then, too.
// After an error it is to be asked again.
func (g *Guard) Rejected(ctx context.Context, appID string, key pushers.Pushkey) (Ruling, error) {
	tried, before, noted := g.tried.take(appID)
	defer noted()
	ruling, err := Ruling{}, await(ctx, before)
	if err == nil {
		ruling, err = g.store.Reject(ctx, Rejection{AppID: appID, Pushkey: key.Hash(), At: g.clock.Now(), Tried: hashes(tried)}, g.limits)
	}
	if err != nil {
		g.tried.putBack(appID, tried)
		return Ruling{}, err
	}
	if ruling.Hold && ruling.Trip.ID != "" {
		g.learn(func(trips map[string]Trip) map[string]Trip { trips[appID] = ruling.Trip; return trips })
	}
	return ruling, nil
}

// await waits until notes are over. A rejection that overtook a note of what was tried would be too large a part of it.
func await(ctx context.Context, notes []chan struct{}) error {
	for _, over := range notes {
		select {
		case <-over:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Tripped names the trip of an app's guard, as last seen: at most a second ago while Redis answers.
func (g *Guard) Tripped(appID string) (tripID string, ok bool) {
	trip, ok := (*g.trips.Load())[appID]
	return trip.ID, ok
}

// Run exchanges with Redis every second until ctx ends, and then once more what is left. Nothing is lost by an error but time.
func (g *Guard) Run(ctx context.Context) {
	tick := time.NewTicker(guardInterval)
	defer tick.Stop()
	for {
		g.round(ctx)
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), guardInterval)
			defer cancel()
			_ = g.Flush(last) // what can't be noted now is not counted
			return
		case <-g.tried.full:
		case <-tick.C:
		}
	}
}

// round notes and looks, and says once if it can't.
func (g *Guard) round(ctx context.Context) {
	err := g.Flush(ctx)
	if err == nil {
		err = g.Poll(ctx)
	}
	if err != nil && !g.behind && ctx.Err() == nil {
		g.log.Warn("the rejection guard can't be kept up to date: it goes by what it knew", "error", err)
	}
	g.behind = err != nil
}

// Flush notes in Redis what was tried since it was last called.
func (g *Guard) Flush(ctx context.Context) error {
	tried, noted := g.tried.takeAll()
	defer noted()
	if len(tried) == 0 {
		return nil
	}
	hashed := make(map[string][]string, len(tried))
	for app, keys := range tried {
		hashed[app] = hashes(keys)
	}
	err := g.store.NoteTried(ctx, g.clock.Now(), g.limits.Window, hashed)
	if err != nil {
		for app, keys := range tried {
			g.tried.putBack(app, keys)
		}
	}
	return err
}

// Poll looks which guards have tripped or been reset.
func (g *Guard) Poll(ctx context.Context) error {
	trips, err := g.store.Trips(ctx)
	if err != nil {
		return err
	}
	g.learn(func(map[string]Trip) map[string]Trip { return trips })
	return nil
}

// learn changes what is known of trips, and tells the operator of what is new.
func (g *Guard) learn(change func(copy map[string]Trip) map[string]Trip) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := *g.trips.Load()
	now := change(maps.Clone(before))
	g.trips.Store(&now)
	for app, trip := range now {
		if before[app].ID != trip.ID {
			g.log.Error("the rejection guard of an app has tripped: so many of its pushkeys are rejected that its certificate or environment may be wrong. Its rejected pushers are held, not removed: see `tocsin pushers guard`",
				"app_id", app, "rejected", trip.Rejected, "tried", trip.Tried, "since", trip.At)
		}
	}
	for app := range before {
		if _, still := now[app]; !still {
			g.log.Info("the rejection guard of an app was reset", "app_id", app)
		}
	}
}

// Instrument lets a metric tell how many guards have tripped: above 0 somebody must look. It returns what ends that.
func (g *Guard) Instrument(provider metric.MeterProvider) (metric.Registration, error) {
	meter := provider.Meter("tocsin/pipeline")
	gauge, err := meter.Int64ObservableGauge("tocsin.guard.tripped", metric.WithDescription("Apps whose rejection guard has tripped: their rejected pushers are held until an operator resets it"))
	if err != nil {
		return nil, err
	}
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(gauge, int64(len(*g.trips.Load())))
		return nil
	}, gauge)
}

// triedKeys are pushkeys that were tried and are not noted yet.
type triedKeys struct {
	mu    sync.Mutex
	byApp map[string]map[pushers.Pushkey]struct{}
	size  int
	full  chan struct{}              // has a message when half of the room is used up
	notes map[string][]chan struct{} // by app: of those that were taken out, closed when they are noted, or back
}

func newTriedKeys() triedKeys {
	return triedKeys{byApp: map[string]map[pushers.Pushkey]struct{}{}, full: make(chan struct{}, 1), notes: map[string][]chan struct{}{}}
}

// add notes a pushkey, if there is room.
func (t *triedKeys) add(appID string, key pushers.Pushkey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := t.byApp[appID]
	if _, known := keys[key]; known || t.size >= maxTried {
		return
	}
	if keys == nil {
		keys = map[pushers.Pushkey]struct{}{}
		t.byApp[appID] = keys
	}
	keys[key] = struct{}{}
	if t.size++; t.size == maxTried/2 {
		select {
		case t.full <- struct{}{}:
		default:
		}
	}
}

// take takes out those of one app. Before are the notes of that app that were begun before and are not over; noted is to be called when this one is.
func (t *triedKeys) take(appID string) (keys []pushers.Pushkey, before []chan struct{}, noted func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before, noted = slices.Clone(t.notes[appID]), func() {}
	if of := t.byApp[appID]; len(of) > 0 {
		keys, noted = slices.Collect(maps.Keys(of)), t.begin(appID)
		delete(t.byApp, appID)
		t.size -= len(keys)
	}
	return keys, before, noted
}

// takeAll takes out all; noted is to be called when they are noted, or back.
func (t *triedKeys) takeAll() (all map[string][]pushers.Pushkey, noted func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all = make(map[string][]pushers.Pushkey, len(t.byApp))
	for app, keys := range t.byApp {
		all[app] = slices.Collect(maps.Keys(keys))
	}
	clear(t.byApp)
	t.size = 0
	return all, t.begin(slices.Collect(maps.Keys(all))...)
}

// begin begins a note of these apps' pushkeys. What it returns ends it. t.mu is held.
func (t *triedKeys) begin(apps ...string) (end func()) {
	over := make(chan struct{})
	for _, app := range apps {
		t.notes[app] = append(t.notes[app], over)
	}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, app := range apps {
			t.notes[app] = slices.DeleteFunc(t.notes[app], func(o chan struct{}) bool { return o == over })
			if len(t.notes[app]) == 0 {
				delete(t.notes, app)
			}
		}
		close(over)
	}
}

// putBack notes again what could not be handed on.
func (t *triedKeys) putBack(appID string, keys []pushers.Pushkey) {
	for _, key := range keys {
		t.add(appID, key)
	}
}

func hashes(keys []pushers.Pushkey) []string {
	all := make([]string, len(keys))
	for i, key := range keys {
		all[i] = key.Hash()
	}
	return all
}
