package app

// Holding all sending, or some apps', and letting it go on.

import (
	"context"
	"fmt"
	"io"

	"tocsin/clock"
	"tocsin/config"
	"tocsin/pipeline"
	"tocsin/pushers"
)

// CheckApps says if that can't be a pattern of app ids; none means all.
func CheckApps(pattern string) error {
	if pattern == "" {
		return nil
	}
	_, err := pushers.CompileApps(pattern)
	return err
}

// Pause holds the sending to the apps of a pattern, or all sending.
func Pause(ctx context.Context, cfg *config.Config, apps, by string, w io.Writer) error {
	if err := CheckApps(apps); err != nil {
		return err
	}
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Pause(ctx, pipeline.Pause{Apps: apps, At: clock.System{}.Now(), By: printable(by)}); err != nil {
		return err
	}
	fmt.Fprintf(w, "%s is paused: within three seconds workers begin no request any more. `tocsin resume%s` lets it go on.\n", scope(apps), appFlag(apps))
	return nil
}

// Resume takes that back.
func Resume(ctx context.Context, cfg *config.Config, apps string, w io.Writer) error {
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	was, err := store.Resume(ctx, apps)
	if err != nil {
		return err
	}
	orders, err := store.Paused(ctx)
	if err != nil {
		return err
	}
	if !was {
		fmt.Fprintf(w, "%s was not paused.\n", scope(apps))
	} else {
		fmt.Fprintf(w, "%s goes on.\n", scope(apps))
	}
	for _, p := range orders {
		fmt.Fprintf(w, "Still paused: %s\n", describePause(p))
	}
	return nil
}

// Paused writes what is paused.
func Paused(ctx context.Context, cfg *config.Config, w io.Writer) error {
	store, err := openDeployment(ctx, cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	orders, err := store.Paused(ctx)
	if err != nil {
		return err
	}
	if len(orders) == 0 {
		fmt.Fprintln(w, "Nothing is paused.")
	}
	for _, p := range orders {
		fmt.Fprintf(w, "Paused: %s\n", describePause(p))
	}
	return nil
}

func describePause(p pipeline.Pause) string {
	text := fmt.Sprintf("%s, since %s", scope(p.Apps), p.At.Format(timeFormat))
	if p.By != "" {
		text += ", by " + printable(p.By)
	}
	return text
}

// scope is what an order is about.
func scope(apps string) string {
	if apps == "" {
		return "All sending"
	}
	return "Sending to " + printable(apps)
}

func appFlag(apps string) string {
	if apps == "" {
		return ""
	}
	return fmt.Sprintf(" --app %q", apps)
}
