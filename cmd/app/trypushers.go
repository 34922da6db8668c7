package app

// A test notification to a user's pushers, and what their push services say to it.

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/delivery"
	"tocsin/pipeline"
	"tocsin/pushers"
	"tocsin/pushers/apps"
)

// TryOptions say whom a test notification goes to.
type TryOptions struct {
	UserID  string
	Apps    string // pattern of app ids
	Pushkey string // its hash, as other commands show it; "": all
	Type    string // of the event that it seems to be about; "": a message
	Force   bool   // send what a worker would not: what is paused, held, disabled or in shadow
}

// ErrTry says that not all were accepted; why was written where TryPushers was told to.
var ErrTry = errors.New("not every test notification was accepted")

// TryPushers sends a test notification to a user's pushers, by the senders and the settings of the deployment, and writes what their push services answer, and what a worker would make
// of that. It does none of it: no pusher is removed, nothing is tried again, and nothing is written to Redis or Kafka.
//
// The notification tells the counts of now, so no badge becomes wrong. The room and the event that it names do not exist.
func TryPushers(ctx context.Context, cfg *config.Config, opts TryOptions, w io.Writer) error {
	pattern, err := pushers.CompileApps(opts.Apps)
	if err != nil {
		return err
	}
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	accounts, err := store.Accounts(ctx, []string{opts.UserID})
	if err != nil {
		return err
	}
	counts, err := store.Counts(ctx, []string{opts.UserID})
	if err != nil {
		return err
	}
	states, err := readStates(ctx, store, opts.UserID)
	if err != nil {
		return err
	}
	t := &trial{cfg: cfg, opts: opts, out: w, states: states, saved: accounts[0], account: pipeline.ReadAccount(opts.UserID, accounts[0], cfg.Rules.Options()), badges: pipeline.NewBadges(cfg.Badge)}
	if t.tally, err = pipeline.SumSaved(counts[0].Rooms); err != nil {
		return err
	}
	if t.senders, err = openApps(cfg, Options{}, nil, slog.New(slog.DiscardHandler), clock.System{}); err != nil {
		return err
	}
	defer t.senders.Close()
	return t.run(ctx, pattern)
}

// trial is one run of `tocsin pushers test`.
type trial struct {
	cfg     *config.Config
	opts    TryOptions
	out     io.Writer
	states  states
	saved   map[string]pipeline.VersionedValue
	account *pipeline.Account
	tally   pipeline.Tally
	badges  *pipeline.Badges
	senders *apps.Apps
}

// run tries each pusher that is meant, one after another.
func (t *trial) run(ctx context.Context, pattern pushers.AppPattern) error {
	meant, accepted := 0, 0
	for _, field := range slices.Sorted(maps.Keys(t.saved)) {
		app, key, ok := pipeline.PusherIdentity(field)
		if !ok || !pattern.Match(app) || !t.means(key) {
			continue
		}
		meant++
		fmt.Fprintf(t.out, "%s  %s\n", printable(app), key)
		if t.pusher(ctx, field, app, key) {
			accepted++
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if meant == 0 {
		return fmt.Errorf("%s has no such pusher: `tocsin pushers list --user %s` shows all", printable(t.opts.UserID), printable(t.opts.UserID))
	}
	fmt.Fprintf(t.out, "%d of %d were accepted.\n", accepted, meant)
	if accepted < meant {
		return ErrTry
	}
	return nil
}

// means says whether a pusher of that pushkey is one that was asked for.
func (t *trial) means(key pushers.Pushkey) bool {
	return t.opts.Pushkey == "" || strings.TrimPrefix(t.opts.Pushkey, "pushkey#") == key.Hash()
}

// pusher tries one pusher; it says whether its push service took the notification.
func (t *trial) pusher(ctx context.Context, field, app string, key pushers.Pushkey) (accepted bool) {
	p, ok := pipeline.SavedPusher(field, t.saved[field])
	if !ok {
		t.say("state", "it is no http pusher: nothing can be sent to it")
		return false
	}
	d := t.delivery(p.Pusher)
	route := t.senders.Route(&d)
	t.say("service", service(&route))
	state := t.states.of(app, key, p.Version, t.account)
	switch {
	case p.Disabled:
		state = "disabled"
	case state == active && !t.cfg.Delivery.Live()(t.opts.UserID):
		state = "shadow: nothing is sent to the user (delivery.mode, delivery.users)"
	}
	switch {
	case state == active:
		t.say("state", state)
	case !t.opts.Force:
		t.say("state", state+"; so nothing was sent (--force does)")
		return false
	default:
		t.say("state", state+"; it is sent to all the same")
	}
	if route.Untold != "" {
		t.say("answer", fmt.Sprintf("none: the app is not told of %s (events, push_type), so nothing was sent; --type names what it is told of", printable(d.Notification.Type)))
		return false
	}
	if s, ok := route.Sender.(interface {
		Shows(*pushers.Notification) bool
	}); ok && !s.Shows(&d.Notification) { // Apple's: others show by themselves
		t.say("note", "the device shows nothing of it: the app must register its pusher with data.default_payload that has aps, or form must be names or full")
	}
	o := route.Sender.Send(ctx, d)
	t.answer(&route, &d, o)
	return o.Verdict == pushers.Delivered
}

// answer writes what a push service said, and what a worker would make of it.
func (t *trial) answer(route *pushers.Route, d *pushers.Delivery, o pushers.Outcome) {
	status := ""
	if o.Status != 0 {
		status = fmt.Sprintf("%d ", o.Status)
	}
	t.say("answer", status+printable(o.Reason)+": "+apps.Words(route.Provider, o))
	if o.Cause != nil {
		t.say("cause", printable(o.Cause.Error()))
	}
	t.say("verdict", o.Verdict.String()+": "+t.follows(d, o))
}

// follows says what a worker would do now.
func (t *trial) follows(d *pushers.Delivery, o pushers.Outcome) string {
	step := delivery.Next(o, d.Expires.Sub(clock.System{}.Now()))
	text := ""
	switch step.Action {
	case pushers.Settle:
		return "it is done"
	case pushers.Again:
		text = fmt.Sprintf("a worker would try again in %s", pipeline.ShortDuration(delivery.Tiers[step.Tier]))
	case pushers.Remove:
		if _, tripped := t.states.trips[d.Notification.Device.Pusher.AppID]; tripped {
			return "a worker would hold the pusher, because the guard of the app has tripped"
		}
		return "a worker would have the homeserver remove the pusher, or hold it if it is one of a wave (delivery.guard)"
	default:
		text = "a worker would give it up, to the dead letter"
	}
	if o.Pause {
		text += ", and send nothing to the service for a while"
	}
	return text
}

func (t *trial) say(what, text string) { fmt.Fprintf(t.out, "  %-9s %s\n", what, text) }

// service names the push service of a route, and the setting that leads there.
func service(r *pushers.Route) string {
	host := ""
	if r.Provider == pushers.ProviderGateway || r.Provider == pushers.ProviderWebPush {
		host = strings.TrimPrefix(r.Service, r.App+" ")
	}
	return through(r.Provider, host, r.App)
}

// delivery is a notification of an event that does not exist, with the counts of now.
func (t *trial) delivery(p pushers.Pusher) pushers.Delivery {
	now, server := clock.System{}.Now(), t.cfg.Homeserver.ServerName
	var counts pushers.Counts
	if !p.NoCounts {
		counts = t.tally.Badge(t.badges.Count(p.AppID))
	}
	n := pushers.Notification{
		EventID: "$tocsin-test-" + unique(), RoomID: "!tocsin-test:" + server, Type: t.opts.Type, Sender: "@tocsin-test:" + server, SenderDisplayName: "tocsin", RoomName: "Test",
		Prio: pushers.PrioHigh, Counts: counts, Content: jsontext.Value(`{}`),
		Device: pushers.Device{Pusher: p, Tweaks: jsontext.Value(`{"sound":"default"}`)},
	}
	life := t.cfg.Delivery.Expiry.Message
	switch n.Type {
	case "", "m.room.message":
		n.Type, n.Content = "m.room.message", jsontext.Value(`{"msgtype":"m.text","body":"This is a test notification."}`)
	case "m.call.invite":
		life = t.cfg.Delivery.Expiry.Call
	}
	return pushers.Delivery{ID: unique() + unique(), UserID: t.opts.UserID, Notification: n, Since: now, Expires: now.Add(life)}
}

// unique is a text that was not there before.
func unique() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
