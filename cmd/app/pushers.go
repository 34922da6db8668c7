package app

// What an operator does about pushers: the rejection guard, bringing removed ones back, listing a user's.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pipeline/state"
	"tocsin/pipeline/stream"
	"tocsin/pushers"
)

// ShowGuard writes which apps' rejection guards have tripped.
func ShowGuard(ctx context.Context, cfg *config.Config, w io.Writer) error {
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	trips, err := store.Trips(ctx)
	if err != nil {
		return err
	}
	g := cfg.Delivery.Guard
	if len(trips) == 0 {
		fmt.Fprintf(w, "No guard has tripped. One does when %d or more pushkeys of an app, and more than %d %% of those tried, are rejected within %s.\n", g.Rejections, g.Percent, pipeline.ShortDuration(g.Window))
		return nil
	}
	apps := slices.SortedFunc(maps.Keys(trips), func(a, b string) int { return cmp.Or(trips[a].At.Compare(trips[b].At), strings.Compare(a, b)) })
	held, err := store.RejectedSince(ctx, apps)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "APP\tTRIPPED\tREJECTED\tHELD SINCE (ABOUT)")
	for i, app := range apps {
		t := trips[app]
		fmt.Fprintf(table, "%s\t%s\t%d of %d tried\t%d\n", printable(app), t.At.Format(timeFormat), t.Rejected, t.Tried, held[i])
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nPushers that are rejected now are held, not removed, and nothing is sent to them. Is the certificate or key of the app right, and its environment (sandbox or production)?\n"+
		"If so, or once it is: `tocsin pushers guard reset APP`. What was removed before the guard tripped comes back with `tocsin pushers restore`.")
	return nil
}

// ResetGuard lets the guard of an app begin anew: what was held is pushed to again.
func ResetGuard(ctx context.Context, cfg *config.Config, appID string, w io.Writer) error {
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	trip, was, err := store.ResetGuard(ctx, appID, clock.System{}.Now(), cfg.Delivery.Guard.Window)
	if err != nil {
		return err
	}
	if !was {
		trips, err := store.Trips(ctx)
		if err != nil {
			return err
		}
		others := "no guard has"
		if len(trips) > 0 {
			var apps []string
			for app := range trips {
				apps = append(apps, printable(app))
			}
			slices.Sort(apps)
			others = "those of " + strings.Join(apps, ", ") + " have"
		}
		return fmt.Errorf("the guard of %s has not tripped; %s (what it had counted is forgotten)", printable(appID), others)
	}
	fmt.Fprintf(w, "The guard of %s, tripped since %s, is reset: within two seconds workers push to its held pushers again, and rejections are counted anew.\n", printable(appID), trip.At.Format(timeFormat))
	return nil
}

// RestoreOptions say which pushers are to be brought back.
type RestoreOptions struct {
	Apps   string    // pattern of app ids
	Since  time.Time // removed then or later
	UserID string    // "": all users
	DryRun bool      // only tell
}

// RestorePushers brings removed pushers back and tells the homeserver about each. It can be run again, after whatever stopped it.
func RestorePushers(ctx context.Context, cfg *config.Config, opts RestoreOptions, w io.Writer) error {
	apps, err := pushers.CompileApps(opts.Apps)
	if err != nil {
		return err
	}
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	r := &restoration{store: store, topic: cfg.Topics.Feedback, filter: pipeline.RemovedFilter{Apps: apps, Since: opts.Since}, dryRun: opts.DryRun, out: w, began: time.Now(), done: map[string]*restoredApp{}}
	if !opts.DryRun {
		cluster, err := quietKafka(cfg)
		if err != nil {
			return err
		}
		defer cluster.Close()
		if _, err := cluster.Topics(ctx, r.topic); err != nil {
			return fmt.Errorf("kafka: %w", err)
		}
		writer := cluster.NewWriter(stream.WriterConfig{})
		defer writer.Close()
		r.writer = writer
	}
	err = store.ScanRemoved(ctx, opts.UserID, func(some []pipeline.RemovedPusher) error { return r.restore(ctx, some) })
	r.report()
	if err != nil {
		return fmt.Errorf("stopped before the end, and to be run again: %w", err)
	}
	return nil
}

// restoration is one run of `tocsin pushers restore`.
type restoration struct {
	store  *state.Store
	writer *stream.Writer
	topic  string
	filter pipeline.RemovedFilter
	dryRun bool
	out    io.Writer

	began, told time.Time
	looked      int
	done        map[string]*restoredApp
}

// restoredApp is what became of the pushers of one app.
type restoredApp struct{ back, asked, anew int }

// restore brings some pushers back, in an order that loses nothing: they are put back into the accounts, then the homeserver is told, then they are forgotten. Whatever stops it, the
// next run finds those that are not forgotten and does it all again, which changes nothing that was done. Workers read the record that tells the homeserver, too, and drop the account
// that they have in memory: so it is written after the account was changed.
func (r *restoration) restore(ctx context.Context, some []pipeline.RemovedPusher) error {
	r.looked += len(some)
	some = slices.DeleteFunc(some, func(p pipeline.RemovedPusher) bool { return !r.filter.Match(&p) })
	switch {
	case len(some) == 0:
		return nil
	case r.dryRun:
		return r.foresee(ctx, some)
	}
	outcomes, err := r.store.RestorePushers(ctx, some)
	if err != nil {
		return err
	}
	var messages []stream.Message
	for i := range some {
		if outcomes[i] == pipeline.SetAnew {
			continue
		}
		m, err := pipeline.RestoredMessage(r.topic, &some[i], clock.System{}.Now())
		if err != nil {
			return err
		}
		messages = append(messages, m)
	}
	if err := r.writer.Write(ctx, messages...); err != nil {
		return fmt.Errorf("kafka: %w", err)
	}
	if err := r.store.ForgetRemoved(ctx, some); err != nil {
		return err
	}
	for i := range some {
		app := r.app(&some[i])
		switch outcomes[i] {
		case pipeline.PutBack:
			app.back++
		case pipeline.RemovedSince:
			app.asked++
		case pipeline.SetAnew:
			app.anew++
		}
	}
	if now := time.Now(); now.Sub(cmp.Or(r.told, r.began)) >= 2*time.Second {
		r.told = now
		all := r.sum()
		fmt.Fprintf(r.out, "… %d looked at, %d done, %.0f a second\n", r.looked, all.back+all.asked+all.anew, float64(all.back+all.asked+all.anew)/now.Sub(r.began).Seconds())
	}
	return nil
}

// foresee tells what restore would do. Whether a pusher that is gone would be put back or left to the homeserver, it does not look.
func (r *restoration) foresee(ctx context.Context, some []pipeline.RemovedPusher) error {
	users := make([]string, len(some))
	for i := range some {
		users[i] = some[i].UserID
	}
	accounts, err := r.store.Accounts(ctx, users)
	if err != nil {
		return err
	}
	for i := range some {
		if _, again := accounts[i][some[i].Field]; again {
			r.app(&some[i]).anew++
		} else {
			r.app(&some[i]).back++
		}
	}
	return nil
}

func (r *restoration) app(p *pipeline.RemovedPusher) *restoredApp {
	id, _, _ := p.Identity()
	if r.done[id] == nil {
		r.done[id] = &restoredApp{}
	}
	return r.done[id]
}

func (r *restoration) sum() (all restoredApp) {
	for _, a := range r.done {
		all.back, all.asked, all.anew = all.back+a.back, all.asked+a.asked, all.anew+a.anew
	}
	return all
}

// report writes what was done.
func (r *restoration) report() {
	for _, id := range slices.Sorted(maps.Keys(r.done)) {
		a := r.done[id]
		if r.dryRun {
			fmt.Fprintf(r.out, "%s: %d would be restored, %d were set again before\n", printable(id), a.back, a.anew)
			continue
		}
		fmt.Fprintf(r.out, "%s: %d pushed to again, %d left to the homeserver, which removed them and was asked to set them again, %d set again before\n", printable(id), a.back, a.asked, a.anew)
	}
	all, took := r.sum(), time.Since(r.began).Round(time.Millisecond)
	if r.dryRun {
		fmt.Fprintf(r.out, "%d of %d removed pushers would be restored: nothing was changed\n", all.back, r.looked)
		return
	}
	fmt.Fprintf(r.out, "%d of %d removed pushers were restored, in %v\n", all.back+all.asked, r.looked, took)
}

// ListPushers writes the pushers of a user, through which push service each is told, and what keeps it from being pushed to.
func ListPushers(ctx context.Context, cfg *config.Config, userID string, w io.Writer) error {
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	saved, err := store.Accounts(ctx, []string{userID})
	if err != nil {
		return err
	}
	states, err := readStates(ctx, store, userID)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "APP\tPUSHKEY\tTOLD THROUGH\tSTATE")
	account := pipeline.ReadAccount(userID, saved[0], cfg.Rules.Options())
	rows := 0
	for _, field := range slices.Sorted(maps.Keys(saved[0])) {
		if app, key, ok := pipeline.PusherIdentity(field); ok {
			p, _ := pipeline.SavedPusher(field, saved[0][field]) // without a URL if nothing can be sent to it
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", printable(app), key, toldThrough(cfg.Apps, app, p.URL), states.of(app, key, saved[0][field].Version, account))
			rows++
		}
	}
	for _, r := range states.removed {
		app, key, ok := r.Identity()
		if _, again := saved[0][r.Field]; !ok || again {
			continue
		}
		p, _ := pipeline.SavedPusher(r.Field, pipeline.VersionedValue{Value: r.Saved})
		fmt.Fprintf(table, "%s\t%s\t%s\tremoved %s: %s\n", printable(app), key, toldThrough(cfg.Apps, app, p.URL), r.At.Format(timeFormat), printable(r.Reason))
		rows++
	}
	if rows == 0 {
		fmt.Fprintf(w, "No pusher of %s is known.\n", printable(userID))
		return nil
	}
	return table.Flush()
}

// states is what may keep pushers of a user from being pushed to.
type states struct {
	trips   map[string]pipeline.Trip
	marks   map[string]string // of the rejection guard, among what pushers were told
	control *pipeline.Control
	removed []pipeline.RemovedPusher
}

func readStates(ctx context.Context, store *state.Store, userID string) (s states, err error) {
	s.control = pipeline.NewControl(store, slog.New(slog.DiscardHandler))
	var errs [4]error
	s.trips, errs[0] = store.Trips(ctx)
	saved, err := store.Counts(ctx, []string{userID})
	if errs[1] = err; err == nil {
		s.marks = saved[0].Told
	}
	errs[2] = s.control.Poll(ctx)
	errs[3] = store.ScanRemoved(ctx, userID, func(some []pipeline.RemovedPusher) error { s.removed = append(s.removed, some...); return nil })
	slices.SortFunc(s.removed, func(a, b pipeline.RemovedPusher) int {
		return cmp.Or(a.At.Compare(b.At), strings.Compare(a.Field, b.Field))
	})
	return s, errors.Join(errs[:]...)
}

// of is the state of a pusher that is registered.
func (s states) of(app string, key pushers.Pushkey, v pipeline.Version, account *pipeline.Account) string {
	trip, tripped := s.trips[app]
	switch {
	case account.Deactivated:
		return "not pushed to: the account is deactivated"
	case account.Pusher(app, key.Reveal()) == nil:
		return "not pushed to: it is disabled, or no http pusher"
	case pipeline.IsHeld(s.marks[pipeline.HeldField(app, key)], trip.ID, tripped, v):
		return "held: rejected, and the guard of the app has tripped " + trip.At.Format(timeFormat)
	case s.control.Paused(app):
		return "paused"
	}
	return active
}

// active is the state of a pusher that is pushed to.
const active = "active"
