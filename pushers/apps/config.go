package apps

// What an operator can set of apps.

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"tocsin/pushers"
	"tocsin/pushers/apns"
	"tocsin/pushers/fcm"
	"tocsin/pushers/webpush"
)

// Config is section `apps`: how the pushers of some apps are told, by their app ids or patterns of them.
type Config map[string]App

// App is how the pushers of one app are told: an [*apns.Config], [*fcm.Config], [*webpush.Config] or [*Gateway].
type App interface{ Validate() error }

// The types of apps. All but gateways are also what logs, spans and metrics call a provider.
const (
	TypeAPNs    = "apns"
	TypeFCM     = "fcm"
	TypeWebPush = "webpush"
	TypeGateway = "gateway"
)

// Kinds are what `type` may be, in the order in which they are documented.
func (Config) Kinds() []string { return []string{TypeAPNs, TypeFCM, TypeWebPush, TypeGateway} }

// New is an app of a type with its defaults: a pointer to what its keys set. It is nil for what is no type.
func (Config) New(kind string) App {
	switch kind {
	case TypeAPNs:
		return with(apns.Defaults())
	case TypeFCM:
		return with(fcm.Defaults())
	case TypeWebPush:
		return with(webpush.Defaults())
	case TypeGateway:
		return &Gateway{}
	}
	return nil
}

func with[C any](defaults C) *C { return &defaults }

// Provider is the kind of push service that an app is told through: see [pushers.Route].
func Provider(app App) string {
	switch app.(type) {
	case *apns.Config:
		return pushers.ProviderAPNs
	case *fcm.Config:
		return pushers.ProviderFCM
	case *webpush.Config:
		return pushers.ProviderWebPush
	}
	return pushers.ProviderGateway
}

// Listed is what is set for the pushers of an app id, as [Apps.Listed] finds it, and the name under which it stands; nil if there is nothing. It opens no sender, so it needs none of
// the credentials.
func (c Config) Listed(appID string) (name string, app App) {
	for _, name := range c.order() {
		if p, err := pushers.CompileApps(name); err == nil && p.Match(appID) {
			return name, c[name]
		}
	}
	return "", nil
}

// order has the names in the order in which an app id is held against them.
func (c Config) order() []string { return slices.SortedFunc(maps.Keys(c), pushers.CompareApps) }

// Gateway is an app of type `gateway`: its pushers are told through a push gateway, as those of all apps that are not listed.
type Gateway struct {
	URL    string `yaml:"url" doc:"push gateway of your own that all pushers of the app are told through, whatever URL they have and wherever it is; empty: each through its own"`
	CAFile string `yaml:"ca_file" doc:"PEM file of the authorities to trust instead of the system's, for that gateway"`
}

// Validate reports what can't be right, one error a key. It reads no files.
func (g Gateway) Validate() error {
	var errs []error
	if u, err := url.Parse(g.URL); g.URL != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "") {
		errs = append(errs, errors.New("url: it is not a URL such as https://push.example.org/_matrix/push/v1/notify"))
	}
	if g.URL == "" && g.CAFile != "" {
		errs = append(errs, errors.New("ca_file: is set without url"))
	}
	if strings.ContainsAny(g.URL, " \t\r\n") {
		errs = append(errs, errors.New("url: it has spaces"))
	}
	return errors.Join(errs...)
}

// Validate reports names that are no pattern, each in brackets before what is wrong with it. What the apps themselves say is theirs to report.
func (c Config) Validate() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if _, err := pushers.CompileApps(name); err != nil {
			errs = append(errs, fmt.Errorf("[%s]: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// Slowest is the app whose attempts may take the longest, of those that have a timeout of their own, and how long that is; 0 if there is none.
func (c Config) Slowest() (name string, timeout time.Duration) {
	for _, n := range slices.Sorted(maps.Keys(c)) {
		var own time.Duration
		switch app := c[n].(type) {
		case *apns.Config:
			own = app.Timeout
		case *fcm.Config:
			own = app.Timeout
		}
		if own > timeout {
			name, timeout = n, own
		}
	}
	return name, timeout
}
